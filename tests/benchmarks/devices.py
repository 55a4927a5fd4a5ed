"""The processor and another device side by side over all that a helper asks: differences and times.

Run as `python tests/benchmarks/devices.py [cuda | mps | cpu]`: cuda unless told otherwise. Each call is made once before
it is timed. On a GPU with Captum installed, a map is also compared with Captum's best batch, TF32 off for both.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402

ALLOWED = 1e-4


def timed(call, repeats=1):
    """What `call` returns, and the least seconds of its later runs; the answer is in the processor's memory."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        answer = call()
        seconds.append(time.perf_counter() - start)
    return answer, min(seconds)


def questions(helper):
    """Names, and calls that give arrays to compare."""
    cats = [helper.load(ROOT / "images" / name) for name in ("cat.jpg", "tabby.jpg", "chelsea.png")]
    conflicts = ROOT / "images" / "stimuli" / "conflicts"
    orders = [helper.shuffle(cats[0], 4, seed=seed) for seed in range(16)]
    yield "probabilities", lambda: helper.probabilities(cats)
    yield "top-1", lambda: helper.probabilities(cats).argmax(axis=1)
    yield "16 orders of 4 x 4 tiles", lambda: helper.probabilities(orders)
    yield "occlusion map, 196 windows", lambda: helper.occlusion_map(cats[0]).probabilities
    yield "occlusion map, 784 windows", lambda: helper.occlusion_map(cats[0], stride=8).probabilities
    yield "shape bias, 160 pictures", lambda: np.array([helper.shape_bias(conflicts).shape_bias])


def compare(one, other):
    """Yield for each question its name, the largest difference, what is allowed, and both helpers' seconds."""
    for (name, first), (_, second) in zip(questions(one), questions(other)):
        (answer, seconds), (second_answer, second_seconds) = timed(first), timed(second)
        yield name, float(np.abs(answer - second_answer).max()), ALLOWED, seconds, second_seconds


def against_captum(helper):
    """Print milliseconds a window of our map of 196 and of Captum's of 144 windows, by its batch."""
    from captum.attr import Occlusion

    cat, module = helper.load(ROOT / "images" / "cat.jpg"), helper.network.module
    whole, grey = (torch.tensor(picture, device=helper.device).permute(2, 0, 1)[None] / 127.5 - 1
                   for picture in (cat, np.full_like(cat, 128)))

    def captum(batch):
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return Occlusion(lambda inputs: module(inputs).softmax(1)).attribute(
                whole, (3, 48, 48), (3, 16, 16), grey, 285, perturbations_per_eval=batch).cpu()

    ours = 1000 * timed(lambda: helper.occlusion_map(cat), 5)[1] / 196
    print(f"a window of a map: ours {ours:.3f} ms")
    for batch in (16, 48, 144):
        theirs = 1000 * timed(lambda: captum(batch), 5)[1] / 144
        print(f"Captum, {batch} at once: {theirs:.3f} ms, {theirs / ours:.2f} times ours")


def main(device="cuda"):
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not there[device]:
        print(f"skipped: this machine has no {device} device.")
        return
    one, other = cnn_helper.CNN_Helper(device="cpu"), cnn_helper.CNN_Helper(device=device)
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"{one.network.name}: {torch.get_num_threads()} threads by {one.engine}; {name} by {other.engine}")
    for question, difference, allowed, seconds, other_seconds in compare(one, other):
        verdict = "" if difference <= allowed else "  TOO FAR APART"
        print(f"{question:28} differ by {difference:.1g}; {seconds:.3f} s, {other_seconds:.3f} s, "
              f"{seconds / other_seconds:.1f} times{verdict}", flush=True)
    if device == "cuda":
        try:
            against_captum(other)
        except ImportError:
            print("Captum is not installed: pip install captum")


if __name__ == "__main__":
    main(*sys.argv[1:])
