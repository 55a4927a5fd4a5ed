"""Reading pictures: whatever comes is read right, or refused with a sentence that says what to do."""

import http.server
import io
import os
import resource
import struct
import tempfile
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

import cnn_helper
from cnn_helper import load_picture

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(picture, format, **options):
    """The bytes of a file that holds `picture`, an array or a PIL image."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def png_by_hand(width, height, depth, colour_type, pixels):
    """The bytes of a PNG file, chunk by chunk; `pixels` are its rows, each behind a filter byte."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def one_colour(colour, mode="RGB"):
    return Image.new(mode, (30, 20), colour)


def near(picture, expected, tolerance):
    return np.abs(picture.astype(int) - expected).max() <= tolerance


# Geometry: 20 rows and 30 columns at size 20 are columns 5 to 24 as they are; the rest against another resampler.

@pytest.mark.parametrize("extra, kept", [(0, slice(5, 25)), (1, slice(5, 25)), (2, slice(6, 26))])
def test_of_a_wide_picture_the_centre_is_kept(wide, extra, kept):
    wider = np.concatenate([wide, wide[:, :extra]], axis=1)
    np.testing.assert_array_equal(load_picture(wider, 20)[0], wider[:, kept])


def test_of_a_tall_picture_the_centre_is_kept(wide):
    tall = wide.swapaxes(0, 1)
    np.testing.assert_array_equal(load_picture(tall, 20)[0], tall[5:25])


def resampled(picture, size):
    """The oracle: all of the picture through PyTorch's antialiased bicubic resampling, then the centre."""
    height, width = (round(side * size / min(picture.shape[:2])) for side in picture.shape[:2])
    batch = torch.tensor(np.moveaxis(picture, 2, 0)[None], dtype=torch.float64)
    whole = torch.nn.functional.interpolate(batch, (height, width), mode="bicubic", antialias=True)[0]
    top, left = (height - size) // 2, (width - size) // 2
    return np.rint(whole.clamp(0, 255).numpy())[:, top:top + size, left:left + size].transpose(1, 2, 0)


@pytest.mark.parametrize("height, width", [(40, 70), (70, 40), (13, 17), (17, 13), (101, 64), (30, 90), (120, 30)])
def test_the_shorter_side_becomes_the_size_and_the_centre_is_kept(height, width):
    # Levels far from 0 and 255: the two libraries differ in when they clip.
    picture = np.random.default_rng(0).integers(70, 186, (height, width, 3), dtype=np.uint8)
    assert near(load_picture(picture, 24)[0], resampled(picture, 24), tolerance=2)


@pytest.mark.parametrize("turn", [False, True])
def test_of_a_strip_of_900_x_3_the_very_centre_is_kept(turn):
    ramp = np.clip(128 + 40 * (np.arange(900) - 449.5), 0, 255)  # 40 levels a pixel, 128 in the middle
    strip = np.repeat(np.repeat(ramp[None, :, None], 3, axis=0), 3, axis=2).astype(np.uint8)
    strip = strip.swapaxes(0, 1) if turn else strip
    loaded = load_picture(strip, 224)[0]
    across = loaded.mean(axis=(1, 2) if turn else (0, 2))
    assert across[111:113].mean() == pytest.approx(128, abs=2)  # half a pixel aside it would be 108 or 148


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (50, 1, 3), (2, 900, 3)])
def test_the_smallest_pictures_are_blown_up(shape):
    picture = np.full(shape, (10, 20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(load_picture(picture, 224)[0], np.broadcast_to((10, 20, 30), (224, 224, 3)))


def test_a_picture_of_the_right_size_comes_back_as_it_is_and_as_a_copy(cnnh):
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    loaded = cnnh.load(picture)
    np.testing.assert_array_equal(loaded, picture)
    assert not np.shares_memory(loaded, picture) and loaded.dtype == np.uint8


# Files

CORRECT = [  # encoder, and how far a level may be off
    ("PNG", dict(format="PNG"), 0),
    ("BMP", dict(format="BMP"), 0),
    ("TIFF", dict(format="TIFF"), 0),
    ("WebP without loss", dict(format="WEBP", lossless=True), 0),
    ("WebP", dict(format="WEBP", quality=95), 45),
    ("JPEG", dict(format="JPEG", quality=98, subsampling=0), 6),
    ("progressive JPEG", dict(format="JPEG", quality=98, subsampling=0, progressive=True), 6),
]


@pytest.mark.parametrize("options, tolerance", [row[1:] for row in CORRECT], ids=[row[0] for row in CORRECT])
def test_files_in_colour_are_read(wide, options, tolerance):
    picture, opaque = load_picture(saved(wide, **options), 20)
    assert near(picture, wide[:, 5:25], tolerance) and opaque is None


def test_a_progressive_jpeg_is_one(wide):
    assert b"\xff\xc2" in saved(wide, "JPEG", progressive=True) and b"\xff\xc2" not in saved(wide, "JPEG")


def test_a_jpeg_in_cmyk_is_read(wide):
    file = saved(Image.fromarray(wide).convert("CMYK"), "JPEG", quality=98, subsampling=0)
    assert Image.open(io.BytesIO(file)).mode == "CMYK"
    assert near(load_picture(file, 20)[0], wide[:, 5:25], tolerance=8)


def test_a_grey_jpeg_is_read(wide):
    picture = load_picture(saved(wide[:, :, 0], "JPEG", quality=98), 20)[0]
    assert near(picture, wide[:, 5:25, :1], tolerance=4)


# The six letters are squares of colour; what a viewer shows is always abc above def.
LETTERS = {"a": (250, 20, 20), "b": (20, 250, 20), "c": (20, 20, 250),
           "d": (240, 240, 30), "e": (120, 120, 120), "f": (0, 0, 0)}


def letters(rows):
    """An array from "abc def": each letter ten pixels high and wide."""
    small = np.array([[LETTERS[letter] for letter in row] for row in rows.split()], dtype=np.uint8)
    return small.repeat(10, axis=0).repeat(10, axis=1)


@pytest.mark.parametrize("format, options, tolerance", [
    ("PNG", {}, 0), ("WEBP", dict(lossless=True), 0), ("JPEG", dict(quality=98, subsampling=0), 40)])
@pytest.mark.parametrize("orientation, stored", [
    (1, "abc def"), (2, "cba fed"), (3, "fed cba"), (4, "def abc"),
    (5, "ad be cf"), (6, "cf be ad"), (7, "fc eb da"), (8, "da eb fc")])
def test_a_turned_photograph_stands_upright(orientation, stored, format, options, tolerance):
    exif = Image.Exif()
    exif[0x112] = orientation
    file = saved(letters(stored), format, exif=exif, **options)
    assert near(load_picture(file, 20)[0], letters("abc def")[:, 5:25], tolerance)


def test_an_orientation_that_does_not_exist_turns_nothing(wide):
    exif = Image.Exif()
    exif[0x112] = 99
    np.testing.assert_array_equal(load_picture(saved(wide, "PNG", exif=exif), 20)[0], wide[:, 5:25])


def test_damaged_exif_does_not_spoil_a_picture(wide):
    file = saved(wide, "JPEG", quality=98, subsampling=0, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert near(load_picture(file, 20)[0], wide[:, 5:25], tolerance=6)


def test_a_png_with_a_palette_is_read():
    picture = letters("abc def")
    file = saved(Image.fromarray(picture).quantize(6), "PNG")
    assert Image.open(io.BytesIO(file)).mode == "P"
    np.testing.assert_array_equal(load_picture(file, 20)[0], picture[:, 5:25])


def test_a_png_of_one_bit_is_black_and_white():
    bits = np.arange(600).reshape(20, 30) % 7 < 3
    file = saved(bits, "PNG")
    assert file[24] == 1  # the depth
    np.testing.assert_array_equal(load_picture(file, 20)[0], np.where(bits, 255, 0)[:, 5:25, None].repeat(3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped():
    grey = np.array([0, 128, 129, 257 * 10, 257 * 100, 40_000, 65_535], dtype=np.uint16)
    file = saved(grey.repeat(20)[None].repeat(20, axis=0), "PNG")
    assert file[24] == 16
    expected = [0, 0, 1, 10, 100, 156, 255]  # 128 / 257 = 0.498, 129 / 257 = 0.502, 40,000 / 257 = 155.6
    pixels = np.array(cnn_helper.open_picture(file))
    assert pixels[3, ::20].tolist() == [[level] * 3 for level in expected]


def test_sixteen_bits_in_colour_are_scaled_not_clipped():
    row = b"\0" + struct.pack(">90H", *([257 * 10, 257 * 100, 65_535] * 30))
    picture = load_picture(png_by_hand(30, 20, 16, 2, row * 20), 20)[0]
    np.testing.assert_array_equal(picture, np.broadcast_to((10, 100, 255), (20, 20, 3)))


def floating_tiff(level):
    return saved(Image.new("F", (30, 20), level), "TIFF")


def test_grey_of_floats_is_read():
    assert load_picture(floating_tiff(0.4), 20)[0].tolist() == [[[102] * 3] * 20] * 20


def test_grey_of_floats_outside_0_to_1_is_refused_for_its_values():
    with pytest.raises(ValueError, match=r"^image: values of dtype float32 must lie in 0..1; got 200..200"):
        load_picture(floating_tiff(200), 20)


TRANSPARENT = np.zeros((20, 30, 4), dtype=np.uint8)
TRANSPARENT[:, 10:20] = (200, 0, 100, 255)
TRANSPARENT[:, 20:] = (200, 0, 100, 128)
SHOWN = np.full((20, 30, 3), 255)
SHOWN[:, 10:20] = (200, 0, 100)
SHOWN[:, 20:] = (227, 127, 177)  # 200 * 128/255 + 255 * 127/255, and so on


@pytest.mark.parametrize("source", [
    TRANSPARENT, TRANSPARENT / 255, torch.tensor(np.moveaxis(TRANSPARENT, 2, 0)), Image.fromarray(TRANSPARENT),
    saved(TRANSPARENT, "PNG"), saved(TRANSPARENT, "WEBP", lossless=True)],
    ids=["array", "floats", "tensor", "PIL image", "PNG", "WebP"])
def test_transparent_parts_are_white(source):
    picture, opaque = load_picture(source, 20)
    assert near(picture, SHOWN[:, 5:25], tolerance=1)
    np.testing.assert_array_equal(opaque, np.broadcast_to(np.arange(5, 25) >= 10, (20, 20)))


def key_coloured(mode):
    """A PNG in `mode` whose left half has the one colour, or level, that counts as transparent."""
    key, ink = {"RGB": ((9, 8, 7), RED), "L": (9, 80), "1": (1, 0), "P": (1, 0)}[mode]
    picture = Image.new(mode, (30, 20), ink)
    if mode == "P":
        picture.putpalette([255, 0, 0, 9, 8, 7])
    picture.paste(key, (0, 0, 15, 20))
    return saved(picture, "PNG", transparency=key)


@pytest.mark.parametrize("mode, ink", [("RGB", RED), ("L", (80, 80, 80)), ("1", (0, 0, 0)), ("P", RED)])
def test_a_colour_that_counts_as_transparent_is_white(mode, ink):
    picture, opaque = load_picture(key_coloured(mode), 20)
    assert picture[0, 0].tolist() == [255] * 3 and tuple(picture[0, 19]) == ink
    assert opaque[:, :10].sum() == 0 and opaque[:, 10:].all()


def test_grey_with_alpha_is_read():
    picture = Image.merge("LA", [one_colour(100, "L"), one_colour(0, "L")])
    picture.paste((100, 255), (15, 0, 30, 20))
    loaded = load_picture(saved(picture, "PNG"), 20)[0]
    assert loaded[0, 0].tolist() == [255] * 3 and loaded[0, 19].tolist() == [100] * 3


def test_a_picture_with_alpha_but_no_transparent_part_has_no_mask():
    assert load_picture(np.full((20, 30, 4), 255, dtype=np.uint8), 20)[1] is None


@pytest.mark.parametrize("format, options", [("GIF", {}), ("PNG", {}), ("WEBP", dict(lossless=True))])
def test_of_an_animation_the_first_frame_is_taken(format, options):
    file = saved(one_colour(RED), format, save_all=True, append_images=[one_colour(BLUE)], duration=100, **options)
    assert Image.open(io.BytesIO(file)).n_frames == 2
    assert np.unique(load_picture(file, 20)[0].reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LA", "RGBA", "I", "I;16", "F"])
def test_a_pil_image_of_any_mode_is_read_and_left_as_it_is(mode):
    source = Image.new(mode, (30, 20))
    before = (source.mode, source.size, source.tobytes(), dict(source.info))
    assert load_picture(source, 24)[0].shape == (24, 24, 3)
    assert (source.mode, source.size, source.tobytes(), dict(source.info)) == before


# Arrays and tensors: (20, 30) at size 20 again, so that the expectation is the array's own middle

GREY = np.arange(600).reshape(20, 30) % 256
ARRAYS = {
    "uint8": lambda wide: wide,
    "int64": lambda wide: wide.astype(np.int64),
    "big-endian uint16": lambda wide: wide.astype(">u2"),
    "float64 in 0..1": lambda wide: wide / 255,
    "float32 in 0..1": lambda wide: (wide / 255).astype(np.float32),
    "float16 in 0..1": lambda wide: (wide / 255).astype(np.float16),
    "columns first in memory": np.asfortranarray,
    "a view from right to left": lambda wide: wide[:, ::-1].copy()[:, ::-1],
    "tensor of uint8": lambda wide: torch.tensor(np.moveaxis(wide, 2, 0)),
    "tensor of floats": lambda wide: torch.tensor(np.moveaxis(wide, 2, 0)) / 255,
    "tensor that asks for gradients": lambda wide: (torch.tensor(np.moveaxis(wide, 2, 0)) / 255).requires_grad_(),
    "bytes in a bytearray": lambda wide: bytearray(saved(wide, "PNG")),
    "bytes in a memoryview": lambda wide: memoryview(saved(wide, "PNG")),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
def test_arrays_and_tensors_are_read(wide, make):
    np.testing.assert_array_equal(load_picture(make(wide), 20)[0], wide[:, 5:25])


@pytest.mark.parametrize("source", [
    GREY, GREY[:, :, None], GREY / 255, GREY[:, :, None].repeat(3, axis=2),
    torch.tensor(GREY), torch.tensor(GREY)[None]],
    ids=["(H, W)", "(H, W, 1)", "floats", "(H, W, 3)", "tensor (H, W)", "tensor (1, H, W)"])
def test_grey_arrays_are_read(source):
    np.testing.assert_array_equal(load_picture(source, 20)[0], GREY[:, 5:25, None].repeat(3, axis=2))


def test_halves_of_bfloat16_are_read():
    tensor = torch.tensor([0.0, 0.5, 1.0], dtype=torch.bfloat16)[:, None, None].repeat(1, 20, 30)
    np.testing.assert_array_equal(load_picture(tensor, 20)[0], np.broadcast_to((0, 128, 255), (20, 20, 3)))


def test_booleans_are_black_and_white():
    bits = GREY % 2 == 1
    np.testing.assert_array_equal(load_picture(bits, 20)[0][:, :, 1], np.where(bits, 255, 0)[:, 5:25])


def test_arrays_and_tensors_are_left_as_they_are(wide):
    array, tensor = wide / 255, torch.tensor(np.moveaxis(wide, 2, 0).copy())
    load_picture(array, 24), load_picture(tensor, 24)
    np.testing.assert_array_equal(array, wide / 255)
    np.testing.assert_array_equal(tensor.numpy(), np.moveaxis(wide, 2, 0))


ONES = np.ones((20, 30, 3))
REFUSED_ARRAYS = {
    "above 1": (ONES * 1.01, r"values of dtype float64 must lie in 0..1; got 1.01..1.01"),
    "floats up to 255": (ONES * [0, 1, 255], r"must lie in 0..1; got 0..255"),
    "below 0": (ONES * -0.5, r"must lie in 0..1; got -0.5..-0.5"),
    "whole numbers below 0": (-ONES.astype(int), r"values of dtype int64 must lie in 0..255; got -1..-1"),
    "whole numbers above 255": (ONES.astype(int) * 256, r"must lie in 0..255; got 256..256"),
    "NaN": (ONES * np.nan, r"must lie in 0..1; got nan..nan"),
    "one NaN": (np.where(np.arange(3) == 1, np.nan, ONES), r"must lie in 0..1; got nan..nan"),
    "infinity": (ONES * np.inf, r"must lie in 0..1; got inf..inf"),
    "channels first": (np.zeros((3, 20, 30)), r"got \(3, 20, 30\)\. Channels come last: try np.moveaxis\(array"),
    "one channel first": (np.zeros((1, 20, 30)), r"got \(1, 20, 30\)\. Channels come last"),
    "two channels": (np.zeros((20, 30, 2)), r"\(height, width, 3\), or with 1 or 4 channels; got \(20, 30, 2\)\.$"),
    "four axes": (np.zeros((2, 20, 30, 3)), r"got \(2, 20, 30, 3\)"),
    "one axis": (np.zeros(30), r"got \(30,\)"),
    "no axis": (np.array(0.5), r"got \(\)"),
    "no rows": (np.zeros((0, 30, 3)), r"the array \(0, 30, 3\) must have at least one pixel and at most 50 million"),
    "no columns": (np.zeros((20, 0)), r"the array \(20, 0\) must have at least one pixel"),
    "no channels": (np.zeros((20, 30, 0)), r"got \(20, 30, 0\)"),
    "a hundred million pixels": (np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), r"at most 50 million"),
    "tensor with channels last": (torch.zeros(20, 30, 3), r"must be \(3, height, width\).*got \(20, 30, 3\)"),
    "batch of tensors": (torch.zeros(1, 3, 20, 30), r"a torch tensor must be .*got \(1, 3, 20, 30\)"),
    "normalised tensor": (torch.zeros(3, 20, 30) - 1, r"must lie in 0..1; got -1..-1"),
    "empty tensor": (torch.zeros(3, 0, 30), r"\(0, 30, 3\) must have at least one pixel"),
    "PIL image without pixels": (Image.new("RGB", (0, 20)), r"the PIL image cannot be read .*\(it has no pixels\)"),
}


@pytest.mark.parametrize("source, sentence", REFUSED_ARRAYS.values(), ids=REFUSED_ARRAYS)
def test_what_is_no_picture_is_refused(cnnh, source, sentence):
    with pytest.raises(ValueError, match=f"^image: .*{sentence}"):
        cnnh.load(source)


@pytest.mark.parametrize("source, sentence", [
    (None, "got NoneType; allowed are an array .*a torch tensor .*a path, a PIL image, bytes, an open file or an http"),
    (7, "got int; allowed are"), (True, "got bool"), (1.5, "got float"), ([[0, 0], [0, 0]], "got list"),
    ({}, "got dict"), (np.uint8(3), "got uint8"),
    (io.StringIO("<svg/>"), 'the file is open as text; open it with mode "rb"'),
    (np.zeros((20, 30), dtype=complex), "dtype complex128 is no picture; use uint8, or floats in 0..1"),
    (np.zeros((20, 30), dtype=object), "dtype object is no picture"),
    (np.array([["a"] * 30] * 20), "dtype <U1 is no picture")],
    ids=lambda value: type(value).__name__)
def test_what_is_of_no_known_type_is_refused(cnnh, source, sentence):
    with pytest.raises(TypeError, match=f"^image: .*{sentence}"):
        cnnh.load(source)


# Paths and open files

def test_whatever_is_open_as_text_is_refused(cnnh, path):
    with tempfile.NamedTemporaryFile("w+") as wrapped, open(path) as plain:
        for file in (wrapped, plain):
            with pytest.raises(TypeError, match='^image: the file is open as text; open it with mode "rb"'):
                cnnh.load(file)


@pytest.fixture
def path(wide, tmp_path):
    path = tmp_path / "Größe 1.png"
    path.write_bytes(saved(wide, "PNG"))
    return path


def test_a_path_may_be_text_or_a_path_or_begin_at_home(path, wide, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    for source in (str(path), path, f"~/{path.name}", type(path)("~") / path.name):
        np.testing.assert_array_equal(load_picture(source, 20)[0], wide[:, 5:25])


def test_a_name_ending_does_not_decide_the_format(wide, tmp_path):
    path = tmp_path / "really a png.jpg"
    path.write_bytes(saved(wide, "PNG"))
    np.testing.assert_array_equal(load_picture(path, 20)[0], wide[:, 5:25])


@pytest.mark.parametrize("position", [0, 9, 10**6])
def test_an_open_file_is_read_from_its_beginning_and_left_where_it_was(path, wide, position):
    with open(path, "rb") as on_disk:
        for file in (on_disk, io.BytesIO(path.read_bytes())):
            file.seek(position)
            np.testing.assert_array_equal(load_picture(file, 20)[0], wide[:, 5:25])
            assert file.tell() == position and not file.closed


def test_an_open_file_that_is_no_picture_is_left_where_it_was():
    file = io.BytesIO(b"no picture")
    file.seek(4)
    with pytest.raises(ValueError, match=r"image: the open file cannot be read as a picture \(unknown format\)"):
        load_picture(file, 20)
    assert file.tell() == 4


def test_a_pipe_is_read(path, wide):
    reading, writing = os.pipe()
    with open(reading, "rb") as file:
        with open(writing, "wb") as other_end:
            other_end.write(path.read_bytes())
        np.testing.assert_array_equal(load_picture(file, 20)[0], wide[:, 5:25])


def test_a_closed_file_is_refused():
    file = io.BytesIO()
    file.close()
    with pytest.raises(ValueError, match="image: the open file cannot be read .*closed file"):
        load_picture(file, 20)


@pytest.mark.parametrize("name", [
    "missing.jpg", "a\0b.jpg", "long" * 100, "~nobody of this name/cat.jpg", "data:image/png;base64,AA"])
def test_a_missing_file_is_named_with_the_folder_where_it_was_sought(name):
    with pytest.raises(FileNotFoundError, match=r"image: there is no file .*\(looked in "):
        load_picture(name, 20)


@pytest.mark.parametrize("name", ["", "."])
def test_a_folder_is_refused(name, tmp_path):
    for source in (name, tmp_path):
        with pytest.raises(ValueError, match="image: .* is a folder; name one picture in it"):
            load_picture(source, 20)


NOISE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
NO_PICTURES = {
    "empty": b"",
    "text": b"A cat sat on the mat.\n" * 20,
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="9" height="9"/></svg>',
    "HTML saved as a picture": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES)
def test_a_file_that_is_no_picture_is_refused_by_name(content, tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    reason = r"cannot be read as a picture \(unknown format\); it may be cut short or not be a picture at all. JPEG"
    with pytest.raises(ValueError, match=f"^image: .*cat.jpg {reason}"):
        load_picture(path, 20)
    with pytest.raises(ValueError, match=f"^image: these bytes {reason}"):
        load_picture(content, 20)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("format, options", [
    ("JPEG", {}), ("JPEG", dict(progressive=True)), ("PNG", {}), ("GIF", {}), ("WEBP", dict(lossless=True)),
    ("BMP", {})])
def test_a_file_cut_short_is_refused(format, options, share, tmp_path):
    whole = saved(NOISE.repeat(4, axis=0).repeat(4, axis=1), format, **options)
    path = tmp_path / "half.picture"
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match=r"image: .*half.picture cannot be read as a picture .*it may be cut short"):
        load_picture(path, 20)


# Bombs: small files that claim more pixels than memory holds

@pytest.mark.parametrize("width, height", [(60_000, 60_000), (9_000, 9_900), (900_000, 100)])
def test_a_bomb_is_refused_before_it_is_decoded(width, height, monkeypatch, tmp_path):
    def decoded(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_by_hand(width, height, 8, 2, bytes(1000)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ValueError, match="image: more than 50 million pixels in .*bomb.png; make a smaller"):
            load_picture(path, 20)


def test_a_bomb_does_not_move_memory():
    bomb = png_by_hand(60_000, 60_000, 8, 2, bytes(1000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="more than 50 million pixels in these bytes"):
        load_picture(bomb, 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kilobytes, where 10 GB are claimed


# Addresses, from a server in this process

class Pages(http.server.BaseHTTPRequestHandler):
    """/picture, /moved to it, /elsewhere (out of http), /missing, /page, and some that are slow or large."""

    def do_GET(self):
        server = self.server
        if self.path.startswith(("/moved", "/elsewhere")):
            self.send_response(302)
            self.send_header("Location", server.elsewhere if "elsewhere" in self.path else "/picture")
            self.end_headers()
        elif self.path == "/missing":
            self.send_error(404, "no such page")
        else:
            if self.path == "/silent":
                server.over.wait(20)
            self.send_response(200)
            self.end_headers()
            self.send_body()

    def send_body(self):
        if self.path == "/page":
            self.wfile.write(b"<html>No picture</html>")
        if self.path == "/half":
            self.wfile.write(self.server.picture[:-30])
        if self.path == "/picture":
            self.wfile.write(self.server.picture)
        while self.path in ("/drip", "/endless") and not self.server.over.wait(0.02):
            self.wfile.write(bytes(1 if self.path == "/drip" else 100_000))
            self.wfile.flush()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(wide, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.picture, server.over = saved(wide, "PNG"), threading.Event()
        server.handle_error = lambda *arguments: None  # a client that hangs up is what some tests want
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("page", ["/picture", "/moved"])
def test_an_address_is_fetched(server, wide, page):
    np.testing.assert_array_equal(load_picture(server.address + page, 20)[0], wide[:, 5:25])


def test_an_address_may_be_written_in_capitals(server, wide):
    address = server.address.replace("http", "HTTP") + "/picture"
    np.testing.assert_array_equal(load_picture(address, 20)[0], wide[:, 5:25])


@pytest.mark.parametrize("page, sentence", [
    ("/missing", r"could not fetch http://.*/missing \(HTTP Error 404: no such page\); save the picture"),
    ("/page", r"/page cannot be read as a picture \(unknown format\)"),
    ("/half", r"/half cannot be read as a picture .*cut short")])
def test_an_address_without_a_picture_is_refused(server, page, sentence):
    with pytest.raises(ValueError, match=f"^image: .*{sentence}"):
        load_picture(server.address + page, 20)


@pytest.mark.parametrize("page", ["/silent", "/drip"])
def test_a_server_that_does_not_come_to_an_end_is_given_up(server, monkeypatch, page):
    monkeypatch.setattr(cnn_helper, "SECONDS_TO_WAIT", 0.3)
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"image: could not fetch http.*{page} \(.*(timed out|not there after 0.3)"):
        load_picture(server.address + page, 20)
    assert 0.25 < time.monotonic() - start < 3


def test_a_picture_that_is_too_large_is_not_fetched_to_its_end(server, monkeypatch):
    monkeypatch.setattr(cnn_helper, "LARGEST_DOWNLOAD", 1_000_000)
    with pytest.raises(ValueError, match="image: http://.*/endless is larger than 1 MB; give a smaller copy"):
        load_picture(server.address + "/endless", 20)


def test_a_picture_as_large_as_is_allowed_is_fetched_and_one_byte_more_is_too_much(server, monkeypatch):
    monkeypatch.setattr(cnn_helper, "LARGEST_DOWNLOAD", len(server.picture))
    assert load_picture(server.address + "/picture", 20)[0].shape == (20, 20, 3)
    monkeypatch.setattr(cnn_helper, "LARGEST_DOWNLOAD", len(server.picture) - 1)
    with pytest.raises(ValueError, match="image: http://.*/picture is larger than 0 MB"):
        load_picture(server.address + "/picture", 20)


@pytest.mark.parametrize("scheme", ["file", "ftp", "data"])
def test_an_address_that_leads_out_of_http_is_refused(server, path, scheme):
    elsewhere = {"file": path.as_uri(), "ftp": "ftp://127.0.0.1/cat.png", "data": "data:image/png;base64,AA"}
    server.elsewhere = elsewhere[scheme]
    with pytest.raises(ValueError, match=f"image: could not fetch http://.*(not allowed|unknown url type: {scheme})"):
        load_picture(server.address + "/elsewhere", 20)


@pytest.mark.parametrize("address", [
    "file:///etc/hostname", "ftp://127.0.0.1/cat.png", "gopher://x/y", "://x", "C://cat.png"])
def test_any_other_kind_of_address_is_refused(address):
    with pytest.raises(ValueError, match="image: the address .* must begin with http:// or https://"):
        load_picture(address, 20)


@pytest.mark.parametrize("address", [
    "http://", "http://[", "http://127.0.0.1:1/cat.png", "http://a b/ü", "https://127.0.0.1:1/"])
def test_an_address_that_leads_nowhere_is_refused(address, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(ValueError, match="image: could not fetch http.*; save the picture and give its path"):
        load_picture(address, 20)
