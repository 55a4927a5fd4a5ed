"""Train `READOUT`, by which `foreground` tells objects from what is around them.

Run as `python tests/benchmarks/readout.py FOLDER`, with a folder of photographs to paste objects on; prints the constant.
The objects are photographs with known outlines from the Debian package tuxpaint-stamps-default: the animals that
benchmarks/foreground.py does not ask about, and things. The numbers in cnn_helper.py were trained on backgrounds from 173
photographs of the Debian package gcompris-qt-data.
"""

import base64
import runpy
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
SCENES = runpy.run_path(str(Path(__file__).with_name("foreground.py")))
THINGS = ("clothes", "food", "hobbies", "household", "people", "plants", "sports", "vehicles")
COUNT = 3000  # composites


def stamps():
    """Photographs with an alpha channel, cropped to what is opaque; none that the benchmark asks about."""
    things = [path for folder in THINGS for path in sorted((SCENES["STAMPS"].parent / folder).rglob("*.png"))]
    for path in SCENES["animals"]()[1::2] + things:
        stamp = Image.open(path).convert("RGBA")
        box = stamp.getchannel("A").getbbox()
        if box and min(stamp.crop(box).size) > 40 and (np.asarray(stamp.crop(box))[..., 3] < 128).mean() > 0.05:
            yield stamp.crop(box)


def background(rng, photographs, size):
    """A random part of a photograph, half of them blurred as behind a portrait, or a drawn scene."""
    if rng.random() < 0.25:
        return SCENES[rng.choice(["white", "studio", "grass", "planks", "outdoors"])](rng, size) * np.ones((size, size, 3))
    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.uniform(size // 2, size))
    row, column = rng.integers(0, size + 1 - side, 2)
    part = cv2.resize(photograph[row:row + side, column:column + side], (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(part, (0, 0), rng.uniform(1, 6)) if rng.random() < 0.5 else part


def compose(rng, stamp, photographs, size):
    """The stamp on a background, small or so large that the frame cuts it: a picture and its mask."""
    if rng.random() < 0.5:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scale = rng.uniform(0.45, 1.3) * size / max(stamp.size)
    stamp = stamp.resize([max(1, round(side * scale)) for side in stamp.size], Image.Resampling.BICUBIC)
    place = [int(rng.uniform(min(0, size - side), max(0, size - side) + 1)) for side in stamp.size]
    layer = Image.new("RGBA", (size, size))
    layer.paste(stamp, place)
    alpha = np.asarray(layer)[..., 3:] / 255.0
    picture = SCENES["mix"](alpha, background(rng, photographs, size), np.asarray(layer)[..., :3])
    return picture.clip(0, 255).astype(np.uint8), alpha[..., 0]


def main(folder):
    """Ridge regression, each picture's object and surroundings weighing the same; features as large as they vary."""
    sys.path.insert(0, str(ROOT))
    import cnn_helper

    cnnh, objects = cnn_helper.CNN_Helper(device="cpu"), list(stamps())
    photographs = [cnnh.load(path) for path in sorted(Path(folder).iterdir())]
    moments = answers = 0
    for number in tqdm(range(COUNT)):
        rng = np.random.default_rng(number)
        picture, alpha = compose(rng, objects[number % len(objects)], photographs, cnnh.size)
        maps = cnn_helper.readout_features(picture, cnnh.network, cnnh.device)
        features = maps.flatten(1).T[::3]
        known = torch.tensor(cv2.resize(alpha, maps.shape[1:], interpolation=cv2.INTER_AREA).ravel()[::3]).float()
        inside = known > 0.5
        if 0.02 < inside.float().mean() < 0.9:
            columns = torch.cat([features, torch.ones(len(features), 1)], 1)
            weight = torch.where(inside, 0.5 / inside.sum(), 0.5 / (~inside).sum()) / COUNT
            moments = moments + columns.T @ (columns * weight[:, None])
            answers = answers + columns.T @ (weight * known)
    variance = (moments.diagonal() - moments[-1] ** 2).clamp(min=1e-6)
    variance[-1] = 0  # the constant is free
    solution = torch.linalg.solve((moments + 0.1 * torch.diag(variance)).double(), answers.double()).numpy()
    step = np.abs(solution[:-1]).max() / 127
    text = base64.b64encode(np.rint(solution[:-1] / step).astype(np.int8)).decode()
    print(f"READOUT_STEP, READOUT_CONSTANT = {step:.4g}, {solution[-1]:.4g}\nREADOUT = (")
    print("\n".join(f'    "{line}"' for line in textwrap.wrap(text, 112)) + "\n)")


if __name__ == "__main__":
    main(sys.argv[1])
