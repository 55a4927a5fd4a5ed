"""What the tests share: the project's folder on the path, one helper for all, pictures that are not square."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs OpenVINO")
sys.path.insert(0, str(ROOT))

import cnn_helper  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; runs unless `-m 'not slow'` leaves it out")


@pytest.fixture(scope="session")
def cnnh():
    return cnn_helper.CNN_Helper(device="cpu")


@pytest.fixture(scope="session")
def images():
    """The folder of the lecture's pictures."""
    return ROOT / "images"


@pytest.fixture(scope="session")
def cats(cnnh, images):
    """The repository's three cats, as the network sees them; never to be changed."""
    loaded = [cnnh.load(images / name) for name in ("cat.jpg", "tabby.jpg", "chelsea.png")]
    for cat in loaded:
        cat.flags.writeable = False
    return loaded


@pytest.fixture(scope="session")
def wide():
    """A read-only picture of 20 rows, 30 columns: red rises to the right, green downwards, no two pixels are alike."""
    row, column = np.indices((20, 30))
    picture = np.stack([8 * column, 12 * row, 255 - 5 * (row + column)], axis=2).astype(np.uint8)
    picture.flags.writeable = False
    return picture

