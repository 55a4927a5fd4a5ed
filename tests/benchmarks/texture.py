"""What three networks say of cats and photographed animals in elephant hide: everywhere, on the object, on its background.

Run as `python tests/benchmarks/texture.py`; the animals are Debian's package tuxpaint-stamps-default, where it is there.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import cnn_helper  # noqa: E402
import foreground  # noqa: E402

ELEPHANTS = ["tusker", "Indian elephant", "African elephant"]


def pictures(helper):
    """Pictures (S, S, 3) with the masks (S, S) of their objects."""
    for name in ("cat.jpg", "tabby.jpg", "chelsea.png"):
        cat = helper.load(ROOT / "images" / name)
        yield cat, helper.foreground(cat)
    if foreground.STAMPS.is_dir():
        for _, kind, picture, mask in foreground.composites(helper.size, every=8):
            if kind == "busy":
                yield picture, mask


def main():
    skin = ROOT / "images" / "elephant_skin.png"
    for name in cnn_helper.BUNDLED:
        helper = cnn_helper.CNN_Helper(name, device="cpu")
        for where in cnn_helper.PLACES:
            elephants, kept, seconds, count = 0, 0, 0.0, 0
            for picture, mask in pictures(helper):
                start = time.perf_counter()
                dressed = helper.swap_texture(picture, skin, mask=mask, where=where)
                seconds += time.perf_counter() - start
                result = helper.classify(picture, dressed, topk=1)
                elephants += result.predictions[1][0].label in ELEPHANTS
                kept += result.unchanged[0]
                count += 1
            print(f"{name}, {where}: {elephants} of {count} an elephant, {kept} as before; "
                  f"{1000 * seconds / count:.0f} ms each", flush=True)


if __name__ == "__main__":
    main()
