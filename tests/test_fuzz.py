"""Thousands of damaged picture files: each is read, or refused with one of the documented errors."""

import collections
import io
import warnings

import numpy as np
import pytest
from PIL import Image

import cnn_helper

ROUNDS = 60  # for each file and kind of damage


def whole_files():
    """Small files of the four formats, with and without the extras that decoders stumble over."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (11, 17, 3), dtype=np.uint8))
    alpha = Image.fromarray(random.integers(0, 256, (11, 17, 4), dtype=np.uint8))
    deep = Image.fromarray(random.integers(0, 65_536, (11, 17), dtype=np.uint16))
    turned = Image.Exif()
    turned[0x112], turned[0x10E] = 6, "a description"
    frames = dict(save_all=True, append_images=[noise.rotate(180)], duration=50)
    recipes = {
        "JPEG": (noise, "JPEG", dict(exif=turned)), "progressive JPEG": (noise, "JPEG", dict(progressive=True)),
        "JPEG in CMYK": (noise.convert("CMYK"), "JPEG", {}), "grey JPEG": (noise.convert("L"), "JPEG", {}),
        "PNG": (alpha, "PNG", dict(exif=turned)),
        "PNG with a palette": (noise.quantize(16), "PNG", dict(transparency=3)),
        "deep PNG": (deep, "PNG", {}), "APNG": (noise, "PNG", frames),
        "GIF": (noise, "GIF", dict(transparency=3)), "animated GIF": (noise, "GIF", frames),
        "WebP": (noise, "WEBP", dict(exif=turned)), "WebP without loss": (alpha, "WEBP", dict(lossless=True)),
        "animated WebP": (noise, "WEBP", frames),
    }
    for name, (picture, format, options) in recipes.items():
        file = io.BytesIO()
        picture.save(file, format, **options)
        yield name, file.getvalue()


FILES = dict(whole_files())


def flip(content, random):
    """Other values in one to eight bytes, half of the time among the first hundred, where headers are."""
    damaged = bytearray(content)
    reach = len(damaged) if random.random() < 0.5 else min(100, len(damaged))
    for place in random.integers(0, reach, random.integers(1, 9)):
        damaged[place] ^= random.integers(1, 256)
    return bytes(damaged)


def cut(content, random):
    """The beginning alone, or a hole in the middle."""
    start, end = sorted(random.integers(0, len(content), 2))
    return content[:start] + (content[end:] if random.random() < 0.5 else b"")


def splice(content, random):
    """The beginning of one file and the end of another, or a piece that comes twice."""
    start, end = sorted(random.integers(0, len(content), 2))
    if random.random() < 0.5:
        return content[:end] + content[start:]
    other = list(FILES.values())[random.integers(len(FILES))]
    return content[:start] + other[random.integers(len(other)):]


def fate(content):
    """What becomes of a file: "read", or the kind of error; anything undocumented comes through."""
    before = content[:]
    try:
        picture, opaque = cnn_helper.load_picture(content, 24)
    except (ValueError, TypeError, FileNotFoundError) as error:
        assert str(error).startswith("image: "), f"no sentence for people: {error}"
        return type(error).__name__
    assert picture.shape == (24, 24, 3) and picture.dtype == np.uint8
    assert opaque is None or (opaque.shape == (24, 24) and opaque.dtype == bool)
    assert content == before
    return "read"


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(name):
    assert fate(FILES[name]) == "read"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip, cut, splice], ids=lambda damage: damage.__name__)
def test_damaged_files_are_read_or_refused_with_a_sentence(damage):
    random = np.random.default_rng(20)
    fates = collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in FILES.values():
            fates.update(fate(damage(content, random)) for _ in range(ROUNDS))
    assert sum(fates.values()) == ROUNDS * len(FILES)
    assert fates["read"] > 20 and fates["ValueError"] > 100, f"the damage is too mild or too strong: {fates}"


@pytest.mark.slow
def test_warnings_that_count_as_errors_change_nothing_of_that():
    random = np.random.default_rng(21)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fates = collections.Counter(fate(flip(content, random)) for content in FILES.values() for _ in range(ROUNDS))
    assert fates["read"] > 20 and fates["ValueError"] > 100


@pytest.mark.slow
def test_random_bytes_behind_a_right_beginning_are_refused():
    random = np.random.default_rng(22)
    for content in FILES.values():
        for _ in range(5):
            assert fate(content[:12] + random.bytes(200)) == "ValueError"
