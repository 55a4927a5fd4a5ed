"""Thousands of damaged picture files: each is read, or refused with one of the documented errors."""

import collections
import io
import warnings

import numpy as np
import pytest
from PIL import Image

import cnn_helper

ROUNDS = 100  # for each file and kind of damage


def whole_files():
    """Small files of the four formats, with and without the extras that decoders have trouble with."""
    random = np.random.default_rng(0)
    noise, alpha = (Image.fromarray(random.integers(0, 256, (11, 17, n), dtype=np.uint8)) for n in (3, 4))
    deep = Image.fromarray(random.integers(0, 65_536, (11, 17), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x112], turned[0x10E] = 6, "a description"
    frames = dict(save_all=True, append_images=[noise.rotate(180)], duration=50)
    for picture, format, options in (
            (noise, "JPEG", dict(exif=turned)), (noise.convert("CMYK"), "JPEG", dict(progressive=True)),
            (alpha, "PNG", dict(exif=turned)), (noise.quantize(16), "PNG", dict(transparency=3)), (deep, "PNG", {}),
            (noise, "PNG", frames), (noise, "GIF", frames), (noise, "WEBP", dict(exif=turned)),
            (alpha, "WEBP", dict(lossless=True)), (noise, "WEBP", frames)):
        file = io.BytesIO()
        picture.save(file, format, **options)
        yield file.getvalue()


def damage(content, random):
    """One to eight other bytes, half of the time in the header; or a hole; or a piece that comes twice."""
    start, end = sorted(random.integers(0, len(content), 2))
    kind, damaged = random.integers(4), bytearray(content)
    for place in random.integers(0, min(len(content), (100, 10**6)[kind % 2]), random.integers(1, 9)):
        damaged[place] ^= random.integers(1, 256)
    return (bytes(damaged), bytes(damaged), content[:start] + content[end:], content[:end] + content[start:])[kind]


@pytest.mark.slow
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_damaged_files_are_read_or_refused_with_a_sentence(action):
    random, fates = np.random.default_rng(20), collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter(action)  # warnings that count as errors change nothing
        for content in whole_files():
            versions = [content, *(damage(content, random) for _ in range(ROUNDS))]
            versions += [content[:12] + random.bytes(200) for _ in range(5)]  # noise behind a right beginning
            for number, version in enumerate(versions):
                try:
                    picture, opaque = cnn_helper.load_picture(version, 24)
                except ValueError as error:
                    assert str(error).startswith("image: ") and number > 0
                    fates["noise" if number > ROUNDS else "refused"] += 1
                else:
                    assert picture.shape == (24, 24, 3) and picture.dtype == np.uint8
                    assert opaque is None or (opaque.shape == (24, 24) and opaque.dtype == bool)
                    fates["read"] += 1
    assert fates["noise"] == 50 and fates["read"] > 50 and fates["refused"] > 200, fates
