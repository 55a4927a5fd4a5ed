"""Draws the README's two pictures into `images/`, or into another folder: `python tests/figures.py [folder]`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402


def draw(folder):
    """Write cat_classified.png and cat-elephant_classified.png to `folder`."""
    cnnh = cnn_helper.CNN_Helper(device="cpu")
    cat, skin = ROOT / "images" / "cat.jpg", ROOT / "images" / "elephant_skin.png"
    mask = cnnh.foreground(cat)
    dressed = [cnnh.swap_texture(cat, skin, mask=mask, where=place) for place in ("object", "everywhere")]
    cnnh.classify(cat).save(folder / "cat_classified.png")
    titles = ["the cat", "elephant hide on the cat", "elephant hide everywhere"]
    cnnh.classify(cat, dressed, topk=3, titles=titles).save(folder / "cat-elephant_classified.png")


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "images"))
