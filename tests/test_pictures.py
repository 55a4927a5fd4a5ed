"""Reading pictures: whatever comes is read right, or refused with a sentence that says what to do."""

import base64
import http.server
import io
import os
import re
import struct
import sys
import threading
import time
import urllib.parse
import zlib
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
from PIL import Image, ImageFile

import cnn_helper
from cnn_helper import load_picture


def saved(picture, format, **options):
    """The bytes of a file that holds `picture`, an array or a PIL image."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def near(picture, expected, tolerance):
    return picture.dtype == np.uint8 and np.abs(picture.astype(int) - expected).max() <= tolerance


def resampled(picture, size):
    """The oracle: all of the picture through PyTorch's antialiased bicubic resampling, then the centre."""
    height, width = (round(side * size / min(picture.shape[:2])) for side in picture.shape[:2])
    batch = torch.tensor(np.moveaxis(picture, 2, 0)[None], dtype=torch.float64)
    whole = torch.nn.functional.interpolate(batch, (height, width), mode="bicubic", antialias=True)[0]
    top, left = (height - size) // 2, (width - size) // 2
    return np.rint(whole.clamp(0, 255).numpy())[:, top:top + size, left:left + size].transpose(1, 2, 0)


@pytest.mark.parametrize("height, width", [
    (24, 31), (32, 24), (40, 70), (70, 40), (13, 17), (17, 13), (120, 30), (3, 900), (900, 3), (1, 1), (1, 50)])
def test_the_shorter_side_becomes_the_size_and_the_centre_is_kept(height, width):
    # Levels far from 0 and 255: the two libraries differ in when they clip.
    picture = np.random.default_rng(0).integers(70, 186, (height, width, 3), dtype=np.uint8)
    assert near(load_picture(picture, 24)[0], resampled(picture, 24), tolerance=2)


# Files: six squares of colour, abc above def, or levels that rise to the right, downwards, and to the top left.
# Of their 20 rows and 30 columns, columns 5 to 24 are shown as they are at size 20.

def letters(rows):
    """An array from "abc def": each letter ten pixels high and wide."""
    levels = np.array([[50 * "abcdef".index(letter) for letter in row] for row in rows.split()], dtype=np.uint8)
    return np.stack([levels, 250 - levels, levels // 2], axis=2).repeat(10, axis=0).repeat(10, axis=1)


ABC, ROW, COLUMN = letters("abc def"), *np.indices((20, 30))
SMOOTH = np.stack([8 * COLUMN, 12 * ROW, 255 - 5 * (ROW + COLUMN)], axis=2).astype(np.uint8)
PALETTE, BITS = Image.fromarray(ABC).quantize(6), np.dstack([ROW * COLUMN % 7 < 3] * 3)
DEEP = np.tile(np.array([0, 128, 129, 2570, 25_700, 65_535], dtype=np.uint16).repeat(5), (20, 1))
SCALED = np.tile(np.array([0, 0, 1, 10, 100, 255]).repeat(5)[:, None], (20, 1, 3))  # 128 / 257 is 0.498, and 129 0.502
FINE = dict(quality=98, subsampling=0)
MOVING = dict(save_all=True, append_images=[PALETTE.rotate(180)], duration=100)
FILES = {  # the file, what it shows, and how far a level may be off
    "PNG": (saved(SMOOTH, "PNG"), SMOOTH, 0), "BMP": (saved(SMOOTH, "BMP"), SMOOTH, 0),
    "TIFF": (saved(SMOOTH, "TIFF"), SMOOTH, 0), "WebP": (saved(SMOOTH, "WEBP", quality=95), SMOOTH, 45),
    "lossless WebP": (saved(SMOOTH, "WEBP", lossless=True), SMOOTH, 0),
    "JPEG": (saved(SMOOTH, "JPEG", **FINE), SMOOTH, 6),
    "progressive JPEG": (saved(SMOOTH, "JPEG", progressive=True, **FINE), SMOOTH, 6),
    "JPEG in CMYK": (saved(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", **FINE), SMOOTH, 8),
    "grey JPEG": (saved(SMOOTH[:, :, 2], "JPEG", **FINE), SMOOTH[:, :, 2:], 4),
    "damaged EXIF": (saved(SMOOTH, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05", **FINE), SMOOTH, 6),
    "PNG with a palette": (saved(PALETTE, "PNG"), ABC, 0), "GIF": (saved(PALETTE, "GIF"), ABC, 0),
    "moving PNG": (saved(PALETTE, "PNG", **MOVING), ABC, 0), "moving GIF": (saved(PALETTE, "GIF", **MOVING), ABC, 0),
    "moving WebP": (saved(PALETTE, "WEBP", lossless=True, **MOVING), ABC, 0),
    "PNG of one bit": (saved(BITS[:, :, 0], "PNG"), 255 * BITS, 0), "PNG of 16 bits": (saved(DEEP, "PNG"), SCALED, 0),
    "TIFF of floats": (saved(Image.new("F", (30, 20), 0.4), "TIFF"), 0 * SCALED + 102, 0),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("content, shown, tolerance", FILES.values(), ids=FILES)
def test_files_are_read_from_paths_from_bytes_and_open(tmp_path, monkeypatch, content, shown, tolerance):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    path = tmp_path / "Größe 1.jpg"  # its ending does not decide the format
    path.write_bytes(content)
    with open(path, "rb") as file:
        for position, source in enumerate((path, str(path), "~/Größe 1.jpg", content, file, file)):
            file.seek(9 * position)  # it is read from its beginning nevertheless
            loaded, opaque = load_picture(source, 20)
            assert loaded.shape == (20, 20, 3) and near(loaded, shown[:, 5:25], tolerance)
            assert opaque is None and not file.closed


@pytest.mark.parametrize("format, options, tolerance", [("PNG", {}, 0), ("JPEG", FINE, 40)])
@pytest.mark.parametrize("orientation, stored", [
    (1, "abc def"), (2, "cba fed"), (3, "fed cba"), (4, "def abc"), (5, "ad be cf"), (6, "cf be ad"),
    (7, "fc eb da"), (8, "da eb fc"), (99, "abc def")])
def test_a_turned_photograph_stands_upright(orientation, stored, format, options, tolerance):
    exif = Image.Exif()
    exif[0x112] = orientation
    file = saved(letters(stored), format, exif=exif, **options)
    assert near(load_picture(file, 20)[0], ABC[:, 5:25], tolerance)


ALPHA, KEY = np.where((ROW < 10) & (COLUMN < 10), 0, 255).astype(np.uint8), PALETTE.getpixel((0, 0))
RGBA = np.dstack([ABC, ALPHA])  # without the letter a
TRANSPARENT = {
    "array": (RGBA, ABC), "floats": (RGBA / 255, ABC), "tensor": (torch.tensor(RGBA).permute(2, 0, 1), ABC),
    "PIL image": (Image.fromarray(RGBA), ABC), "PNG": (saved(RGBA, "PNG"), ABC),
    "WebP": (saved(RGBA, "WEBP", lossless=True), ABC), "GIF": (saved(PALETTE, "GIF", transparency=KEY), ABC),
    "PNG with a palette": (saved(PALETTE, "PNG", transparency=KEY), ABC),
    "PNG with a key": (saved(ABC, "PNG", transparency=(0, 250, 0)), ABC),
    "grey PNG with a key": (saved(ABC[:, :, 0], "PNG", transparency=0), ABC[:, :, :1]),
    "grey PNG with alpha": (saved(np.dstack([ABC[:, :, 0], ALPHA]), "PNG"), ABC[:, :, :1]),
    "half": (np.dstack([ABC, ALPHA // 2 + ALPHA % 2]), np.rint(ABC * (128 / 255) + 127)),
}


@pytest.mark.parametrize("source, shown", TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparent_parts_are_white(source, shown):
    picture, opaque = load_picture(source, 20)
    assert near(picture, np.where(ALPHA[:, :, None] > 0, shown, 255)[:, 5:25], tolerance=1)
    np.testing.assert_array_equal(opaque, ALPHA[:, 5:25] > 0)


@pytest.mark.parametrize("mode", "1 L P RGB RGBX CMYK YCbCr HSV LA RGBA RGBa I I;16 F".split())
def test_a_pil_image_of_any_mode_is_read_and_left_as_it_is(mode):
    source = Image.new(mode, (30, 20))
    before = source.copy()
    assert load_picture(source, 24)[0].shape == (24, 24, 3) and source == before


GREY, THREE, FIRST = SMOOTH[:, :, 0], SMOOTH[:, :, [0, 0, 0]], torch.tensor(np.moveaxis(SMOOTH, 2, 0))
ARRAYS = {  # what is given, and what is shown
    "uint8": (SMOOTH, SMOOTH), "int64": (SMOOTH.astype(int), SMOOTH), "uint16": (SMOOTH.astype(">u2"), SMOOTH),
    "float64": (SMOOTH / 255, SMOOTH), "float16": (np.float16(SMOOTH / 255), SMOOTH), "booleans": (BITS, 255 * BITS),
    "columns first": (np.asfortranarray(SMOOTH), SMOOTH), "turned back": (SMOOTH[::-1].copy()[::-1], SMOOTH),
    "(H, W)": (GREY, THREE), "(H, W, 1)": (GREY[:, :, None], THREE), "grey floats": (GREY / 255, THREE),
    "opaque": (np.dstack([SMOOTH, 0 * GREY + 255]), SMOOTH), "tensor": (FIRST, SMOOTH),
    "tensor with gradients": ((FIRST / 255).requires_grad_(), SMOOTH), "tensor (1, H, W)": (FIRST[:1], THREE),
    "tensor (H, W)": (FIRST[0], THREE), "bfloat16": ((FIRST / 255 > 0.5).bfloat16(), 255 * (SMOOTH > 127)),
    "PIL image of int32": (Image.fromarray(GREY.astype(np.int32)), THREE),
    "PIL image of int32, 16 bits": (Image.fromarray(DEEP.astype(np.int32)), SCALED),
    "bytearray": (bytearray(FILES["PNG"][0]), SMOOTH), "memoryview": (memoryview(FILES["PNG"][0]), SMOOTH),
}


@pytest.mark.parametrize("source, shown", ARRAYS.values(), ids=ARRAYS)
def test_arrays_and_tensors_are_read_and_left_as_they_are(source, shown):
    levels = source.detach().float().numpy() if torch.is_tensor(source) else source
    before = np.array(levels)
    loaded, opaque = load_picture(source, 20)
    np.testing.assert_array_equal(loaded, shown[:, 5:25])
    assert opaque is None and np.array_equal(before, levels)


ONES = np.ones((20, 30, 3))
REFUSED = {
    "above 1": (ONES * 1.01, r"0\.\.1;.*1\.01"), "floats up to 255": (ONES * [0, 1, 255], r"0\.\.1;.*255"),
    "below 0": (ONES * -0.5, r"0\.\.1;.*-0\.5"), "whole numbers below 0": (-ONES.astype(int), r"0\.\.255;.*-1"),
    "whole numbers above 255": (ONES.astype(int) * 256, r"0\.\.255;.*256"),
    "one NaN": (np.where(np.arange(3) == 1, np.nan, ONES), "nan"), "infinity": (ONES * np.inf, "inf"),
    "channels first": (np.zeros((3, 20, 30)), r"channels last.*\(3, 20, 30\)"),
    "two channels": (np.zeros((20, 30, 2)), r"\(20, 30, 2\)"), "no axis": (np.array(0.5), r"\(\)"),
    "four axes": (np.zeros((2, 20, 30, 3)), r"\(2, 20, 30, 3\)"), "no columns": (np.zeros((20, 0)), r"\(20, 0\)"),
    "a hundred million pixels": (np.broadcast_to(np.uint8(0), (10_000, 10_000, 3)), "50,000,000"),
    "tensor with channels last": (torch.zeros(20, 30, 3), r"tensor.*\(3, height, width\).*\(20, 30, 3\)"),
    "normalised tensor": (torch.zeros(3, 20, 30) - 1, r"0\.\.1;.*-1"),
    "PIL image without pixels": (Image.new("RGB", (0, 20)), "pixels"),
    "PIL image of floats to 200": (Image.new("F", (30, 20), 200), r"0\.\.1;.*200"),
    "complex": (ONES * 1j, "dtype complex128"), "objects": (ONES.astype(object), "dtype object"),
    "nothing": (None, "NoneType.*path"), "list": ([[0, 0], [0, 0]], "list"), "no bytes": (b"", "unknown"),
    "open as text": (io.TextIOWrapper(io.BytesIO(FILES["JPEG"][0]), encoding="utf-8"), ""),
    "HTML": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "unknown"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(range(200)), "(?=.*HEIC)(?=.*pillow-heif)(?=.*JPEG)"),
    "another HEIC": (b"\0\0\0\x18ftypmif1" + bytes(range(200)), "(?=.*HEIC)(?=.*pillow-heif)(?=.*JPEG)"),
}


@pytest.mark.parametrize("source, sentence", REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused(cnnh, monkeypatch, source, sentence):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises((ValueError, TypeError), match=f"^image: .*{sentence}"):
        cnnh.load(source)


@pytest.mark.parametrize("name", ["missing.jpg", "a\0b.jpg", "long" * 100, "~nobody of this name/cat.jpg"])
def test_a_missing_file_is_named_with_the_folder_where_it_was_sought(name):
    with pytest.raises(FileNotFoundError, match=f"^image: .*{name[:20]}(?s:.*){os.path.basename(os.getcwd())}"):
        load_picture(name, 20)


def test_what_cannot_be_wound_back_is_read():
    reading, writing = os.pipe()
    os.write(writing, FILES["PNG"][0])
    os.close(writing)
    with open(reading, "rb") as file:
        np.testing.assert_array_equal(load_picture(file, 20)[0], SMOOTH[:, 5:25])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_file_cut_short_is_refused_by_name(format, share, tmp_path):
    whole = saved(np.random.default_rng(1).integers(0, 256, (80, 120, 3), dtype=np.uint8), format)
    path = tmp_path / "half.picture"
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match="^image: .*half.picture.*cut short"):
        load_picture(path, 20)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width, height", [(60_000, 60_000), (9_000, 9_900), (900_000, 100)])
def test_a_bomb_is_refused_before_it_is_decoded(width, height, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    bomb = bytearray(FILES["PNG"][0])
    bomb[16:24] = struct.pack(">II", width, height)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(ValueError, match="^image: .*pixels"):
        load_picture(bomb, 20)


class Pages(http.server.BaseHTTPRequestHandler):
    """A server that answers agents that name the project: a picture, part of one, a redirect, or without an end."""

    def do_GET(self):
        page, over = urllib.parse.unquote(self.path), self.server.over
        if "cnn_helper" not in self.headers["User-Agent"] or page == "/missing":
            return self.send_error(404 if page == "/missing" else 403)
        if page == "/silent":
            over.wait(20)
        self.send_response(302 if page.startswith("/to/") else 200)
        self.send_header("Location", page.removeprefix("/to/"))
        self.end_headers()
        for _ in range(300 if page in ("/drip", "/endless") else 0):
            self.wfile.write(bytes(1 if page == "/drip" else 100_000))
            if over.wait(0.02):
                break
        bodies = {"/page": b"<html>No picture</html>", "/half": FILES["PNG"][0][:-30]}
        self.wfile.write(bodies.get(page, FILES["PNG"][0]))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.over = threading.Event()
        server.handle_error = lambda *arguments: None  # a client that hangs up is what some tests want
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("before, page, after", [
    ("", "/picture", ""), ("", "/to//picture", ""), ("", "/a photo of Größe.png", ""), (" ", "/picture", " \n")])
def test_an_address_is_fetched(here, before, page, after):
    assert requests.get(here + "/picture", timeout=5).status_code == 403  # to an agent that does not name itself
    address = before + (here.replace("http", "HTTP") if before else here) + page + after
    np.testing.assert_array_equal(load_picture(address, 20)[0], SMOOTH[:, 5:25])


CAT = (Path(__file__).resolve().parents[1] / "images" / "cat.jpg").as_uri()  # a picture, but not of the web
INLINE = "data:image/png;base64," + base64.b64encode(FILES["PNG"][0]).decode()


@pytest.mark.parametrize("address, sentence", [
    ("HERE/missing", "404"), ("HERE/page", "unknown"), ("HERE/half", "cut short"), ("HERE/silent", ""),
    ("HERE/drip", ""), (f"HERE/to/{CAT}", ""), (f"HERE/to/{INLINE}", ""), (CAT, ""), ("ftp://127.0.0.1/cat.png", ""),
    ("C://cat.png", ""), ("http://", ""), ("http://[", ""), ("http://a b/ü", ""), ("http://127.0.0.1:1/", "")])
def test_an_address_without_a_picture_is_refused_in_time(here, monkeypatch, address, sentence):
    monkeypatch.setattr(cnn_helper, "SECONDS_TO_WAIT", 0.5)
    address, start = address.replace("HERE", here), time.monotonic()
    with pytest.raises(ValueError, match=f"^image: .*{re.escape(address)[:40]}.*{sentence}"):
        load_picture(address, 20)
    assert time.monotonic() - start < 5


def test_a_picture_as_large_as_is_allowed_is_fetched_and_one_byte_more_is_too_much(here, monkeypatch):
    size = len(FILES["PNG"][0])
    monkeypatch.setattr(cnn_helper, "LARGEST_DOWNLOAD", size)
    assert load_picture(here + "/picture", 20)[0].shape == (20, 20, 3)
    monkeypatch.setattr(cnn_helper, "LARGEST_DOWNLOAD", size - 1)
    for page in ("/picture", "/endless"):
        with pytest.raises(ValueError, match=f"^image: .*{page}"):
            load_picture(here + page, 20)
