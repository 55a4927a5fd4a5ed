"""How well `foreground` cuts out photographed animals: pasted on drawn grounds, so that the mask is known.

Run as `python tests/benchmarks/foreground.py [every]`: every second photograph unless told otherwise.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

STAMPS = Path("/usr/share/tuxpaint/stamps/animals")  # Debian package tuxpaint-stamps-default
DRAWN = {"cartoon", "toys"}  # folders of drawings, not photographs


def noise(random, size, grain):
    """Smooth noise from 0 to 1, (size, size, 1): random numbers on a coarse grid (rows, columns), enlarged."""
    grid = Image.fromarray(random.random(grain, dtype=np.float32))
    return np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC))[..., None].clip(0, 1)


def mix(amount, low, high):
    """From colour `low` where `amount` is 0 to colour `high` where it is 1."""
    return (1 - amount) * np.asarray(low, float) + amount * np.asarray(high, float)


def white(random, size):
    return np.full((size, size, 3), 255.0)


def studio(random, size):
    """A pale backdrop that darkens downwards."""
    colour = random.uniform(120, 240, 3)
    return mix(np.linspace(0, 1, size)[:, None, None], colour, 0.75 * colour) + random.normal(0, 2, (size, size, 1))


def grass(random, size):
    """Upright blades over patches of light and shade."""
    blades = 0.6 * noise(random, size, (size // 6, size // 2)) + 0.4 * noise(random, size, (6, 6))
    return mix(blades, (25, 55, 10), (150, 175, 80))


def planks(random, size):
    """A wooden floor: planks of slightly different browns, with grain and dark joints."""
    plank, place = np.divmod(np.arange(size) + random.integers(40), 36)
    tone = random.uniform(0.2, 0.8, plank.max() + 1)[plank][:, None, None]
    floor = mix(0.6 * tone + 0.4 * noise(random, size, (size // 2, 8)), (95, 60, 35), (210, 160, 110))
    return np.where((place < 2)[:, None, None], 0.4 * floor, floor)


def paste(random, stamp, background, share, inside=True):
    """Lay a stamp over a background; returns the picture and the stamp's mask."""
    size, stamp = len(background), stamp.crop(stamp.getchannel("A").getbbox())
    scale = share * size / max(stamp.size)
    stamp = stamp.resize([max(1, round(side * scale)) for side in stamp.size], Image.Resampling.BICUBIC)
    x, y = (random.integers(0, size - side + 1) for side in stamp.size)
    if not inside:  # a neighbour, cut by the left or the right of the frame
        x = random.choice([-stamp.width * 3 // 4, size - stamp.width // 4])
    layer = Image.new("RGBA", (size, size))
    layer.paste(stamp, (int(x), int(y)))
    alpha = np.asarray(layer)[..., 3:] / 255.0
    return mix(alpha, background, np.asarray(layer)[..., :3]), alpha[..., 0] > 0.5


def animals():
    """The files of all photographed animals, in order."""
    return [path for path in sorted(STAMPS.rglob("*.png")) if not DRAWN & set(path.parts)]


def composites(size, every=2):
    """Yield (name, kind, picture, mask), the kind being plain or busy."""
    stamps = [Image.open(path).convert("RGBA") for path in animals()]
    for number, path in list(enumerate(animals()))[::every]:
        for kind, scenes in {"plain": (white, studio), "busy": (grass, planks, studio)}.items():
            random = np.random.default_rng(number)
            scene = scenes[number // every % len(scenes)]
            background = scene(random, size)
            if kind == "busy" and scene is studio:
                background, _ = paste(random, stamps[random.integers(len(stamps))], background, 0.8, inside=False)
            picture, mask = paste(random, stamps[number], background, random.uniform(0.6, 0.95))
            yield f"{path.stem} on {scene.__name__}", kind, picture.clip(0, 255).astype(np.uint8), mask


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import cnn_helper

    scores, start = {"plain": [], "busy": []}, time.perf_counter()
    for name, kind, picture, truth in composites(224, *map(int, sys.argv[1:])):
        mask = cnn_helper.find_object(picture)
        scores[kind].append((round(float((mask & truth).sum() / (mask | truth).sum()), 2), name))
    for kind, found in scores.items():
        print(f"{kind}: IoU {np.mean([share for share, _ in found]):.3f} of {len(found)}, worst:", *sorted(found)[:6])
    print(f"{(time.perf_counter() - start) / sum(map(len, scores.values())):.2f} s a picture, composing included")
