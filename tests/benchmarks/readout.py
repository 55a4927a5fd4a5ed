"""Train `READOUT`, by which `foreground` tells objects from what is around them.

Run as `python tests/benchmarks/readout.py FOLDER`, with a folder of photographs to paste objects on; prints the constant.
The objects are photographs with known outlines from the Debian package tuxpaint-stamps-default: the animals that
benchmarks/foreground.py does not ask about, and things. The numbers in cnn_helper.py were trained on 173 backgrounds from
the Debian packages gcompris-qt-data, gnome-backgrounds, mate-backgrounds, lomiri-wallpapers-16.04 and -20.04, and
ukui-wallpapers. Many of these show an animal or a thing of their own, which counts as ground there; yet 129 scenes without
one, tried in their place, brought no better masks.
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
COUNT, PLACES, UNITS = 3000, 200, 8  # composites, places asked about in each, hidden units


def stamps():
    """Photographs with an alpha channel, cropped to what is opaque; none that the benchmark asks about."""
    things = [path for folder in THINGS for path in sorted((SCENES["STAMPS"].parent / folder).rglob("*.png"))]
    for path in SCENES["animals"]()[1::2] + things:
        stamp = Image.open(path).convert("RGBA")
        stamp = stamp.crop(stamp.getchannel("A").getbbox())
        if min(stamp.size) > 40 and (np.asarray(stamp)[..., 3] < 128).mean() > 0.05:
            yield stamp


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
    scale = rng.uniform(0.45, 1.6) * size / max(stamp.size)
    stamp = stamp.resize([max(1, round(side * scale)) for side in stamp.size], Image.Resampling.BICUBIC)
    place = [int(rng.uniform(min(0, size - side), max(0, size - side) + 1)) for side in stamp.size]
    layer = Image.new("RGBA", (size, size))
    layer.paste(stamp, place)
    alpha = np.asarray(layer)[..., 3:] / 255.0
    picture = SCENES["mix"](alpha, background(rng, photographs, size), np.asarray(layer)[..., :3])
    return picture.clip(0, 255).astype(np.uint8), alpha[..., 0]


def disturb(rng, picture, alpha):
    """Other light on the object than on its ground, a depth of field that ends, a camera's noise and compression."""
    def relit(pixels):
        tinted = pixels * rng.uniform(0.8, 1.2, 3) + rng.uniform(-20, 20)
        return 255 * (tinted / 255).clip(0, 1) ** rng.uniform(0.8, 1.25)

    picture = SCENES["mix"](alpha[..., None], relit(picture), relit(picture))
    angle, (down, across) = rng.uniform(0, 2 * np.pi), np.mgrid[-1:1:1j * len(picture), -1:1:1j * len(picture)]
    out_of_focus = (2 * (np.cos(angle) * across + np.sin(angle) * down) + rng.uniform(-2, 1)).clip(0, 1)[..., None]
    picture = SCENES["mix"](out_of_focus, picture, cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 5)))
    picture = picture + rng.normal(0, rng.uniform(0, 6), picture.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
    return cv2.imdecode(cv2.imencode(".jpg", picture.clip(0, 255).astype(np.uint8), quality)[1], cv2.IMREAD_COLOR)


def samples(cnn_helper, folder):
    """Features (N, channels) of places in composites, as many of the object as of its ground, and which of both they are."""
    cnnh, objects = cnn_helper.CNN_Helper(device="cpu"), list(stamps())
    photographs = [cnnh.load(path) for path in sorted(Path(folder).iterdir())]
    features, known = [], []
    for number in tqdm(range(COUNT)):
        rng = np.random.default_rng(number)
        picture, alpha = compose(rng, objects[number % len(objects)], photographs, cnnh.size)
        picture = disturb(rng, picture, alpha) if rng.random() < 0.5 else picture
        maps = cnn_helper.readout_features(picture, cnnh.network, cnnh.device).flatten(1).T
        inside = cv2.resize(alpha, (cnnh.size // 4,) * 2, interpolation=cv2.INTER_AREA).ravel() > 0.5
        if 0.02 < inside.mean() < 0.9:
            places = [rng.choice(np.flatnonzero(side), PLACES // 2) for side in (inside, ~inside)]
            features.append(maps[np.concatenate(places)].half())
            known += [1.0] * (PLACES // 2) + [0.0] * (PLACES // 2)
    return torch.cat(features), torch.tensor(known)


def train(features, known, epochs=6, batch=1024):
    """A layer of hidden units and one that weighs them, by logistic regression: (weights, biases, share of each, constant)."""
    torch.manual_seed(0)
    mean, deviation = features.float().mean(0), features.float().std(0)
    readout = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(features.shape[1], UNITS), torch.nn.ReLU(),
                                  torch.nn.Linear(UNITS, 1))
    optimizer = torch.optim.AdamW(readout.parameters(), weight_decay=0.001)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, epochs * (len(known) // batch))
    for _ in range(epochs):
        for places in torch.randperm(len(known))[:len(known) // batch * batch].view(-1, batch):
            odds = readout((features[places].float() - mean) / deviation)[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, known[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    weights = readout[1].weight.detach() / deviation
    return weights, readout[1].bias.detach() - weights @ mean, readout[3].weight.detach()[0], readout[3].bias.item()


def main(folder):
    """Train, round the weights to 8 bits and print the constants, and how good the rounded ones are."""
    sys.path.insert(0, str(ROOT))
    import cnn_helper

    features, known = samples(cnn_helper, folder)
    weights, biases, shares, constant = train(features, known)
    weights, biases = weights * shares.abs()[:, None], biases * shares.abs()  # a ReLU lets positive factors pass
    steps = weights.abs().amax(1) / 127
    rounded = (weights / steps[:, None]).round().to(torch.int8)
    units = features.float() @ (steps[:, None] * rounded).T + biases
    right = ((units.relu() @ shares.sign() + constant > 0) == (known > 0.5)).float().mean()
    print(f"{right:.1%} of {len(known)} places right")
    for name, values in {"STEPS": steps, "BIASES": biases, "SIGNS": shares.sign()}.items():
        print(f"READOUT_{name} = {tuple(float(f'{value:.4g}') for value in values)}")
    print(f"READOUT_CONSTANT = {constant:.4g}\nREADOUT = (")
    text = base64.b64encode(rounded.numpy().tobytes()).decode()
    print("\n".join(f'    "{line}"' for line in textwrap.wrap(text, 112)) + "\n)")


if __name__ == "__main__":
    main(sys.argv[1])
