"""Occlusion maps: ours against Captum and plain PyTorch, the same windows in one run; start-up time and memory.

Run as `python tests/benchmarks/occlusion.py`. Each round runs every way once; the fastest round of each counts.
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

ROUNDS, WINDOW, STRIDE, GREY = 3, 48, 16, 128


def spread(falls, size):
    """Captum's map from ours: at each pixel the mean fall over the windows that cover it."""
    total, count = np.zeros((2, size, size))
    for row, column in np.ndindex(falls.shape):
        place = np.s_[row * STRIDE:row * STRIDE + WINDOW, column * STRIDE:column * STRIDE + WINDOW]
        total[place] += falls[row, column]
        count[place] += 1
    return total / np.maximum(count, 1)


def ways_to_map(helper, image, target):
    """Functions from nothing to a map (S, S), by name."""
    network = helper.network
    batch = cnn_helper.normalise(image[None], network, "cpu")
    grey = cnn_helper.normalise(np.full_like(image[None], GREY), network, "cpu")
    copies = cnn_helper.normalise(helper.occlude(image, WINDOW, stride=STRIDE, fill=GREY), network, "cpu")
    side = (helper.size - WINDOW) // STRIDE + 1

    def ours():
        result = helper.occlusion_map(image, target, size=WINDOW, stride=STRIDE, fill=GREY)
        return spread(result.target.probability - result.probabilities, helper.size)

    def captum(at_once):
        with torch.inference_mode():
            explained = Occlusion(lambda inputs: network.module(inputs).softmax(1)).attribute(
                batch, (3, WINDOW, WINDOW), (3, STRIDE, STRIDE), grey, target, perturbations_per_eval=at_once)
        return explained[0, 0].numpy()

    def plain(at_once):
        with torch.inference_mode():
            whole = network.module(batch).softmax(1)[0, target].item()
            answers = torch.cat([network.module(part).softmax(1)[:, target] for part in copies.split(at_once)])
        return spread(whole - answers.numpy().reshape(side, side), helper.size)

    ways = {"ours": ours, "Captum, default": lambda: captum(1)}
    ways |= {f"Captum, {n} at once": lambda n=n: captum(n) for n in (2, 4, 8, 16)}
    return ways | {f"PyTorch, {n} at once": lambda n=n: plain(n) for n in (4, 16)}


def compare(helper, image):
    """Print one network's rows."""
    target = int(helper.probabilities(image)[0].argmax())
    ways = ways_to_map(helper, image, target)
    ways["ours"]()  # compiles
    seconds, maps = {way: [] for way in ways}, {}
    for _ in range(ROUNDS):
        for way, function in ways.items():
            start = time.perf_counter()
            maps[way] = function()
            seconds[way].append(time.perf_counter() - start)
    windows = ((helper.size - WINDOW) // STRIDE + 1) ** 2
    for way in ways:
        difference = np.abs(maps[way] - maps["ours"]).max()
        print(f"| {helper.network.name} | {way} | {1000 * min(seconds[way]) / windows:.1f} | "
              f"{min(seconds[way]) / min(seconds['ours']):.2f} | {difference:.0e} |", flush=True)


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
    print(f"memory during a map of stride 4 (2,025 windows): {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MB more")
    imports = started("import torch, torchvision")
    answer = started("import cnn_helper; cnn_helper.CNN_Helper().probabilities('images/cat.jpg')")
    print(f"import torch, torchvision: {imports:.1f} s; from nothing to the first answer: {answer:.1f} s, {answer / imports:.2f} times\n")
    print("| network | way | ms a window | times ours | largest difference |\n|---|---|---|---|---|")
    compare(helper, image)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        resnet = torchvision.models.resnet50()
    compare(cnn_helper.CNN_Helper(resnet, device="cpu"), image)


if __name__ == "__main__":
    main()
