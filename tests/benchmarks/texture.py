"""Every cat in every skin: what the making network and the others see before and after, and how much shape is left.

Run as `python tests/benchmarks/texture.py`. The first network makes the pictures; the others have no part in them.
"""

import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402

SKINS = {"elephant_skin.png": [101, 385, 386], "zebra_hide.png": [340]}  # and the classes of their animals
CATS = [281, 282, 283, 284, 285]


def shape_left(before, after):
    """The correlation of the two pictures' gradient magnitudes after a blur of 3 pixels."""
    before, after = (cnn_helper.contours(cnn_helper.brightness(torch.tensor(picture).permute(2, 0, 1)[None] / 255))[:1]
                     for picture in (before, after))
    return cnn_helper.correlation(before, after).item()


def answer(helper, picture, classes):
    row = helper.probabilities(picture)[0]
    return f"{row[classes].sum():.3f} / {row[CATS].sum():.3f} {helper.categories[row.argmax()][:16]:16}"


def main():
    helpers = [cnn_helper.CNN_Helper(name) for name in cnn_helper.BUNDLED]
    print("probability of the skin's classes / of the cats', and the first answer")
    print(" " * 31 + " | ".join(f"{helper.network.name:32}" for helper in helpers) + " | shape left, seconds")
    for skin, classes in SKINS.items():
        for name in ("cat.jpg", "tabby.jpg", "chelsea.png"):
            before = helpers[0].load(ROOT / "images" / name)
            start = time.perf_counter()
            after = helpers[0].swap_texture(before, ROOT / "images" / skin)
            seconds = time.perf_counter() - start
            for when, picture, more in (("before", before, ""), ("after", after, f"{shape_left(before, after):.2f}, {seconds:.1f} s")):
                answers = " | ".join(f"{answer(helper, picture, classes):32}" for helper in helpers)
                print(f"{name[:9]:9} {skin[:13]:13} {when:6} {answers} | {more}")


if __name__ == "__main__":
    main()
