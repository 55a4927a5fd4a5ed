"""Occlusion maps on a processor: ours, Captum's and plain PyTorch's, in one run; memory; start-up time.

Run as `python tests/benchmarks/occlusion.py`. Each round runs every way once; the fastest round of each counts. Captum's
squares lie inside the picture, 144 of them; ours are cut by the border too, 196. So times are for one window.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from captum.attr import Occlusion

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402

ROUNDS, SIZE, STRIDE, GREY = 3, 48, 16, 128


def covered(image):
    """All copies of a picture with a square centred at STRIDE // 2 + STRIDE * (row, column), cut by the border."""
    for row in range(STRIDE // 2, len(image), STRIDE):
        for column in range(STRIDE // 2, len(image), STRIDE):
            copy = image.copy()
            copy[max(0, row - SIZE // 2):row + SIZE // 2, max(0, column - SIZE // 2):column + SIZE // 2] = GREY
            yield copy


def ways_to_map(helper, image, target):
    """By name: a function that computes a map, and how many windows it asks about."""
    network = helper.network
    mean, std = (torch.as_tensor(values).view(3, 1, 1) for values in (network.mean, network.std))

    def normalise(pictures):
        return (torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 255 - mean) / std

    whole, grey, copies = normalise([image]), normalise([np.full_like(image, GREY)]), normalise(list(covered(image)))

    def captum(at_once):
        with torch.inference_mode():
            return Occlusion(lambda inputs: network.module(inputs).softmax(1)).attribute(
                whole, (3, SIZE, SIZE), (3, STRIDE, STRIDE), grey, target, perturbations_per_eval=at_once)

    def plain(at_once):
        with torch.inference_mode():
            return torch.cat([network.module(part).softmax(1)[:, target] for part in copies.split(at_once)]).numpy()

    inside = ((helper.size - SIZE) // STRIDE + 1) ** 2
    ways = {"ours": (lambda: helper.occlusion_map(image, target, size=SIZE, stride=STRIDE, fill=GREY), len(copies))}
    ways |= {f"PyTorch, {n} at once": (lambda n=n: plain(n), len(copies)) for n in (4, 16)}
    ways |= {f"Captum, {n} at once": (lambda n=n: captum(n), inside) for n in (1, 2, 4, 8, 16)}
    return ways


def compare(helper, image):
    """Print one network's rows, and how far our map is from plain PyTorch's."""
    target = int(helper.probabilities(image)[0].argmax())
    ways = ways_to_map(helper, image, target)
    ways["ours"][0]()
    seconds, answers = {way: [] for way in ways}, {}
    for _ in range(ROUNDS):
        for way, (function, _) in ways.items():
            start = time.perf_counter()
            answers[way] = function()
            seconds[way].append(time.perf_counter() - start)
    ours = min(seconds["ours"]) / ways["ours"][1]
    for way, (_, windows) in ways.items():
        one = min(seconds[way]) / windows
        print(f"| {helper.network.name} | {way} | {1000 * one:.1f} | {one / ours:.2f} |", flush=True)
    difference = np.abs(answers["ours"].probabilities.ravel() - answers["PyTorch, 4 at once"]).max()
    print(f"largest difference between ours and PyTorch over {ways['ours'][1]} windows: {difference:.0e}")


def started(code):
    """Seconds that a new Python needs to run `code`, the faster of two."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    helper = cnn_helper.CNN_Helper(device="cpu")
    image = helper.load(ROOT / "images" / "cat.jpg")
    helper.occlusion_map(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    helper.occlusion_map(image, stride=4)
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory during a map of stride 4 (3,136 windows): {more:.0f} MB more")
    imports = started("import torch")
    answer = started("import cnn_helper; cnn_helper.CNN_Helper().probabilities('images/cat.jpg')")
    print(f"import torch: {imports:.1f} s; from nothing to the first answer: {answer:.1f} s\n")
    print("| network | way | ms a window | times ours |\n|---|---|---|---|")
    compare(helper, image)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        resnet = torchvision.models.resnet50()
    compare(cnn_helper.CNN_Helper(resnet, device="cpu"), image)


if __name__ == "__main__":
    main()
