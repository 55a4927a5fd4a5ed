"""The processor and another device side by side over all that a helper does: how far apart they are, and their times.

Run as `python tests/benchmarks/devices.py [cuda | mps | cpu]`: cuda unless told otherwise. Each call is made once before
it is timed; the times are of one call, the texture swap's includes all its steps.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402

ELEPHANTS = [101, 385, 386]


def timed(call):
    """What `call` returns, and the seconds that its second run takes."""
    call()
    start = time.perf_counter()
    answer = call()  # an array in the processor's memory: a GPU has finished
    return answer, time.perf_counter() - start


def questions(helper):
    """Everything to compare: a name, a call that gives an array, how to tell two of them apart, the most allowed."""
    cats = [helper.load(ROOT / "images" / name) for name in ("cat.jpg", "tabby.jpg", "chelsea.png")]
    skin = ROOT / "images" / "elephant_skin.png"

    def largest(one, other):
        return np.abs(one - other).max()

    def most_unequal(one, other):
        return (one != other).reshape(len(one), -1).mean(1).max()  # of one picture's pixels or answers

    return [
        ("probabilities", lambda: helper.probabilities(cats), largest, 1e-3),
        ("top-1", lambda: helper.probabilities(cats).argmax(1), most_unequal, 0),
        ("16 orders of 4 x 4 tiles", lambda: helper.probabilities([helper.shuffle(cats[0], 4, seed=seed) for seed in range(16)]),
         largest, 1e-3),
        ("occlusion map, 144 windows", lambda: helper.occlusion_map(cats[0]).probabilities, largest, 1e-3),
        ("foreground", lambda: np.stack([helper.foreground(cat) for cat in cats]), most_unequal, 0.01),
        ("silhouette's answer", lambda: helper.probabilities(helper.silhouette(cats[0])).argmax(1), most_unequal, 0),
        ("texture swap: an elephant", lambda: helper.probabilities(helper.swap_texture(cats[0], skin))[0].argmax() in ELEPHANTS,
         lambda one, other: not (one and other), 0),
    ]


def compare(one, other):
    """Yield a row for each question: its name, the difference, the most allowed, and both helpers' seconds."""
    for (name, ask_one, difference, allowed), (_, ask_other, _, _) in zip(questions(one), questions(other)):
        (answer, seconds), (second_answer, second_seconds) = timed(ask_one), timed(ask_other)
        yield name, float(difference(answer, second_answer)), allowed, seconds, second_seconds


def main(device="cuda"):
    if device == "cuda" and not torch.cuda.is_available() or device == "mps" and not torch.backends.mps.is_available():
        print(f"skipped: this machine has no {device} device.")
        return
    one, other = cnn_helper.CNN_Helper(device="cpu"), cnn_helper.CNN_Helper(device=device)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"{one.network.name}: the processor by {one.engine}, {torch.get_num_threads()} threads; {name} by {other.engine}")
    print(f"{'':28} difference, allowed | seconds: processor, {device}, ratio")
    for question, difference, allowed, seconds, other_seconds in compare(one, other):
        verdict = "" if difference <= allowed else "  TOO FAR APART"
        print(f"{question:28} {difference:10.2g}, {allowed:<7g} | {seconds:8.3f}, {other_seconds:8.3f}, "
              f"{seconds / other_seconds:6.2f}{verdict}")


if __name__ == "__main__":
    main(*sys.argv[1:])
