"""How well `foreground` cuts out photographed animals: composites with a known mask.

Run as `python tests/benchmarks/foreground.py [every]`: every second photograph unless told otherwise.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

STAMPS = Path("/usr/share/tuxpaint/stamps/animals")  # Debian package tuxpaint-stamps-default
DRAWN = {"cartoon", "toys"}  # folders of drawings, not photographs


def noise(rng, size, grain):
    """Smooth noise from 0 to 1: random numbers on a coarse (rows, columns) grid, blown up."""
    grid = Image.fromarray(rng.random(grain, dtype=np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))[..., None].clip(0, 1)


def mix(amount, low, high):
    """From colour `low` where `amount` is 0 to colour `high` where it is 1."""
    return (1 - amount) * np.asarray(low, float) + amount * np.asarray(high, float)


def white(rng, size):
    return np.full((size, size, 3), 255.0)


def studio(rng, size):
    """A lit backdrop: a pale colour of chance that darkens downwards."""
    colour = rng.uniform(120, 240, 3)
    return mix(np.linspace(0, 1, size)[:, None, None], colour, 0.75 * colour) + rng.normal(0, 2, (size, size, 1))


def grass(rng, size):
    """Upright blades over patches of light and shade."""
    blades = 0.6 * noise(rng, size, (size // 6, size // 2)) + 0.4 * noise(rng, size, (6, 6))
    return mix(blades, (25, 55, 10), (150, 175, 80))


def planks(rng, size):
    """A wooden floor: planks of slightly different browns, with grain and dark joints."""
    plank, place = np.divmod(np.arange(size) + rng.integers(40), 36)
    tone = rng.uniform(0.2, 0.8, plank.max() + 1)[plank][:, None, None]
    floor = mix(0.6 * tone + 0.4 * noise(rng, size, (size // 2, 8)), (95, 60, 35), (210, 160, 110))
    return np.where((place < 2)[:, None, None], 0.4 * floor, floor)


def outdoors(rng, size):
    """Sky over blurred bushes over grass, as behind an animal in a field."""
    rows = np.arange(size)[:, None, None]
    bushes = mix(noise(rng, size, (12, 12)), (30, 45, 25), (120, 125, 70))
    scene = np.where(rows < size * rng.uniform(0.1, 0.3), (190, 205, 225), bushes)
    return np.where(rows > size * rng.uniform(0.55, 0.75), grass(rng, size), scene)


def paste(rng, stamp, background, share, inside=True):
    """Lay a stamp over a background; returns the picture and the stamp's mask."""
    size = len(background)
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    scale = share * size / max(stamp.size)
    stamp = stamp.resize([max(1, round(side * scale)) for side in stamp.size], Image.Resampling.BICUBIC)
    x, y = (rng.integers(0, size - side + 1) for side in stamp.size)
    if not inside:  # a neighbour, cut by the left or the right of the frame
        x = rng.choice([-stamp.width * 3 // 4, size - stamp.width // 4])
    layer = Image.new("RGBA", (size, size))
    layer.paste(stamp, (int(x), int(y)))
    alpha = np.asarray(layer)[..., 3:] / 255.0
    return mix(alpha, background, np.asarray(layer)[..., :3]), alpha[..., 0] > 0.5


def animals():
    """The files of all photographed animals, in order."""
    return [path for path in sorted(STAMPS.rglob("*.png")) if not DRAWN & set(path.parts)]


def composites(size, every=2):
    """Yield (name, kind, picture, mask), kind being plain or busy."""
    paths = animals()
    stamps = [Image.open(path).convert("RGBA") for path in paths]
    for i in range(0, len(stamps), every):
        for kind, scenes in {"plain": (white, studio), "busy": (grass, planks, outdoors, studio)}.items():
            rng = np.random.default_rng(i)
            scene = scenes[i // every % len(scenes)]
            background = scene(rng, size)
            if kind == "busy" and scene is studio:
                background, _ = paste(rng, stamps[rng.integers(len(stamps))], background, 0.8, inside=False)
            picture, mask = paste(rng, stamps[i], background, rng.uniform(0.6, 0.95))
            yield f"{paths[i].stem} on {scene.__name__}", kind, picture.clip(0, 255).astype(np.uint8), mask


def main(find, size, every=2):
    """Print the mean IoU of `find(picture)`, the worst pictures, and the time."""
    scores, started = {"plain": [], "busy": []}, time.process_time()
    for name, kind, picture, truth in composites(size, every):
        mask = find(picture)
        scores[kind].append(((mask & truth).sum() / (mask | truth).sum(), name))
    count = sum(map(len, scores.values()))
    print(f"{(time.process_time() - started) / count:.2f} s of processor time a picture, composing included")
    for kind, found in scores.items():
        print(f"{kind}: mean IoU {np.mean([iou for iou, _ in found]):.3f} over {len(found)} pictures; worst:")
        print("   " + ", ".join(f"{name} {iou:.2f}" for iou, name in sorted(found)[:6]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import cnn_helper

    cnnh = cnn_helper.CNN_Helper()
    main(cnnh.foreground, cnnh.size, *map(int, sys.argv[1:]))
