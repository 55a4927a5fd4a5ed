"""Networks: the bundled ones, torchvision's, and modules of one's own; answers against plain PyTorch."""

import functools
import hashlib
import os
import re
import shutil
import threading
import urllib.request
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.models as models
from torch.nn import BatchNorm2d, Conv2d, Dropout, Flatten, Identity, LazyLinear, Linear, Sequential
from torch.nn.utils import prune, weight_norm

import cnn_helper

pytestmark = pytest.mark.filterwarnings(
    "ignore:A new version of MNAS", "ignore:The .grad attribute", "ignore::FutureWarning", "ignore::DeprecationWarning")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
V1, V2, SWAG = "IMAGENET1K_V1", "IMAGENET1K_V2", "IMAGENET1K_SWAG_E2E_V1"
AUXILIARY = {"aux_logits": True, "transform_input": True, "init_weights": False}
SMALL = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 16}  # for vision transformers
SETTINGS = (torch.get_default_dtype, torch.get_default_device, torch.get_float32_matmul_precision,
            torch.is_grad_enabled, torch.is_inference_mode_enabled, lambda: torch.is_autocast_enabled("cpu"))
PICTURES = [np.random.default_rng(top).integers(0, top, (20, 20, 3), dtype=np.uint8) for top in (256, 120, 30)]


def plain_probabilities(network, images):
    """The oracle: normalisation and softmax written out, one picture at a time."""
    rows = []
    for image in images:
        channels = [(image[:, :, c] / 255.0 - float(network.mean[c])) / float(network.std[c]) for c in range(3)]
        with torch.no_grad():
            logits = network.module.cpu()(torch.tensor(np.stack(channels)[None], dtype=torch.float32))[0].double()
        rows.append((torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()).numpy())
    return np.array(rows)


class ChannelMeans(torch.nn.Module):
    """Three classes, red, green and blue: the logits are ten times the mean of each channel."""

    def forward(self, batch):
        return 10 * batch.mean(dim=(2, 3))


class Then(torch.nn.Module):
    """A module whose output goes through a function; it counts its runs and keeps the module's last output."""

    def __init__(self, function, module=None):
        super().__init__()
        self.function, self.module, self.runs = function, module or ChannelMeans(), torch.zeros(1)

    def forward(self, batch):
        self.runs += 1
        self.kept = self.module(batch)
        return self.function(self.kept)


own_helper = functools.partial(cnn_helper.CNN_Helper, size=20, device="cpu", **PLAIN)
channel_helper = functools.partial(own_helper, ChannelMeans(), categories=["red", "green", "blue"])


def small_network(size=20):
    """Five classes, random weights, and answers that depend on where things are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Sequential(Conv2d(3, 6, 3), BatchNorm2d(6), torch.nn.ReLU(), Dropout(), Conv2d(6, 4, 3, 2), Flatten(),
                          Linear(4 * ((size - 3) // 2) ** 2, 5))


def used(change, module=None):
    """A module after a change in place and a forward pass with gradients."""
    module = module or small_network()
    change(module)
    module(torch.ones(2, 3, 20, 20))
    return module


@pytest.mark.parametrize("name, size", [
    ("efficientnet_lite0", 224), ("EfficientNet-Lite1", 240), ("efficientnet_lite2", 260)])
def test_bundled_networks_answer_as_a_plain_forward_pass(name, size, images, capfd):
    random_state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        helper = cnn_helper.CNN_Helper(name, device="cpu")
        cats = [helper.load(images / file) for file in ("cat.jpg", "tabby.jpg", "chelsea.png")]
        answer = helper.probabilities(cats * 3)
    assert helper.size == size and capfd.readouterr() == ("", "") and torch.equal(torch.get_rng_state(), random_state)
    assert answer.dtype == np.float32 and helper.probabilities([]).shape == (0, 1000)
    np.testing.assert_allclose(answer, np.tile(plain_probabilities(helper.network, cats), (3, 1)), atol=1e-5)
    assert helper.categories[answer[0].argmax()] == "Egyptian cat" and answer[0].max() > 0.7


def test_the_labels_are_torchvisions_wherever_it_keeps_them(monkeypatch):
    labels = tuple(models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
    assert cnn_helper.imagenet_labels() == labels
    for answer in ({}, {"_IMAGENET_CATEGORIES": ["tench"]}):  # as if the file had another content
        monkeypatch.setattr("runpy.run_path", lambda path: answer)
        assert (cnn_helper.imagenet_labels() == labels) == (answer == {})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for torch.hub's cache; no network; no OpenVINO, as large networks take long to compile."""
    ask = urllib.request.urlopen
    monkeypatch.setattr("torch.hub.urlopen", lambda request: ask(request.full_url.replace("https:", "closed:")))
    monkeypatch.setitem(cnn_helper.sys.modules, "openvino", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "hub" / "checkpoints"
    shutil.rmtree(tmp_path)


def published(name, **settings):
    """A torchvision network with random weights, logits of deviation 3; its state with the published file's keys."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module, size = models.get_model(name, **settings).eval(), settings.get("image_size", 224)
        if name.startswith("mnasnet"):  # before version 2 the stem had one size for all widths
            module._load_from_state_dict({}, "", {"version": 1}, False, [], [], [])
        last = list(module.eval().parameters())[-2].normal_()
        last *= 3 / module(torch.randn(1, 3, size, size)).std()
    old_keys = {"dense": [(r"(denselayer\d+\.(?:norm|relu|conv))([12])", r"\1.\2")],
                "vit_b": [(r"mlp\.0", "mlp.linear_1"), (r"mlp\.3", "mlp.linear_2")]}
    state = module.state_dict()
    for new, old in old_keys.get(name[:5], []):
        state = {re.sub(new, old, key): value for key, value in state.items() if "num_batches" not in key}
    return module, state


@pytest.mark.slow
@pytest.mark.parametrize("name, weights, taken, size, settings", [
    ("densenet121", V1, V1, 224, {}), ("mnasnet0_5", V1, V1, 224, {}), ("maxvit_t", V1, V1, 224, {}),
    ("googlenet", V1, V1, 224, AUXILIARY), ("inception_v3", V1, V1, 299, AUXILIARY), ("swin_v2_t", V1, V1, 256, {}),
    ("vit_b_16", SWAG, SWAG, 384, {"image_size": 384}), ("vit_h_14", None, SWAG, 518, {"image_size": 518}),
    ("mobilenet_v2", None, V1, 224, {}), ("mobilenet_v2", f"MobileNet_V2_Weights.{V2}", V2, 224, {}),
    ("efficientnet_b1", V2, V2, 240, {}), ("mobilenet_v2", models.MobileNet_V2_Weights.IMAGENET1K_V2, V2, 224, {}),
])
def test_torchvisions_networks_load_as_published(name, weights, taken, size, settings, hub, images, monkeypatch):
    build = models.vision_transformer._vision_transformer
    monkeypatch.setattr(models.vision_transformer, "_vision_transformer", lambda **more: build(**(more | SMALL)))
    module, state = published(name, **settings)
    entry = models.get_model_weights(name)[taken]
    torch.save(state, hub / Path(entry.url).name)
    random_state, environment = torch.get_rng_state(), dict(os.environ)
    helper = cnn_helper.CNN_Helper(name, weights=weights, device="cpu")
    assert torch.equal(torch.get_rng_state(), random_state) and dict(os.environ) == environment
    assert "get_state_dict" not in vars(entry) and entry.get_state_dict(progress=False).keys() == state.keys()
    picture = helper.load(images / "tabby.jpg")
    assert picture.shape == (size, size, 3) and (taken in repr(helper)) == (taken != V1)
    expected = plain_probabilities(SimpleNamespace(module=module, **IMAGENET), [picture])
    np.testing.assert_allclose(helper.probabilities(picture), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["squeezenet1_1", "densenet121", "mnasnet0_5"])
@pytest.mark.parametrize("kind", ["text", "empty", "cut", "old, cut", "code", "another's", "wrapped", "list", "tensor"])
def test_a_file_that_cannot_be_read_is_damaged_and_another_networks_is_not(kind, name, hub):
    path = hub / Path(models.get_model_weights(name).IMAGENET1K_V1.url).name
    code = type("Code", (), {"__reduce__": lambda self: (os.remove, (str(path),))})  # unpickled, it deletes the file
    state = Linear(3, 3).state_dict()
    strange = {"code": code(), "wrapped": {"state_dict": state}, "list": [1], "tensor": torch.ones(1)}
    torch.save(strange.get(kind, state), path, _use_new_zipfile_serialization=kind != "old, cut")
    cut = {"text": b"<html>not found", "empty": b"", "cut": path.read_bytes()[:500], "old, cut": path.read_bytes()[:-3]}
    content = cut.get(kind, path.read_bytes())
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^weights: .*{path.name}") as caught:
        cnn_helper.CNN_Helper(name)
    assert ("damaged" in str(caught.value)) == (kind in (*cut, "code"))
    assert path.read_bytes() == content


def test_a_download_is_checked_and_cached(hub, monkeypatch, tmp_path):
    """torchvision's real download path, its address pointed at a file that this test wrote."""
    with pytest.raises(FileNotFoundError, match="pytorch.org/models/squeezenet.*unknown url type.*efficientnet_lite0"):
        cnn_helper.CNN_Helper("squeezenet1_1")
    module, state = published("squeezenet1_1")
    torch.save(state, tmp_path / "file")
    digest = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()[:8]
    addresses = [shutil.copy(tmp_path / "file", tmp_path / f"file-{end}.pth").as_uri() for end in ("00000000", digest)]
    monkeypatch.setattr(models.SqueezeNet1_1_Weights, "url", property(lambda self: addresses[0]))
    with pytest.raises(FileNotFoundError, match="^weights: .*hash"):
        cnn_helper.CNN_Helper("squeezenet1_1")
    addresses.pop(0)
    helper = cnn_helper.CNN_Helper("squeezenet1_1", device="cpu")
    assert torch.equal(helper.network.module.classifier[1].weight, module.classifier[1].weight)
    assert [path.name for path in hub.iterdir()] == [f"file-{digest}.pth"]


@pytest.mark.parametrize("model, settings, words", [
    ("resnet51", {}, "^model: .*'resnet51'.*resnet50.*efficientnet_lite0"), (None, {}, "^model: .*NoneType"),
    (ChannelMeans, {}, "^model: "), (ChannelMeans(), {"weights": V1}, "^weights: "),
    ("efficientnet_lite0", {"weights": V1}, "^weights: "), ("resnet50", {"weights": 2}, f"^weights: .*{V1}, {V2}"),
    ("resnet50", {"weights": models.ResNet101_Weights.IMAGENET1K_V2}, f"^weights: .*{V1}, {V2}"),
    ("resnet50", {"weights": f"ResNet101_Weights.{V2}"}, f"^weights: .*{V1}, {V2}"),
    ("resnet18", {"categories": ["a"]}, "categories.*resnet18"), ("resnet18", {"mean": (0, 0, 0)}, "mean.*resnet18"),
    ("efficientnet_lite0", {"size": 300}, "size.*lite0"), ("efficientnet_lite0", {"std": (1, 1, 1)}, "std.*lite0"),
    (Conv2d(1, 4, 3), {}, "^model: .*3, 224, 224"), (Sequential(Flatten(), Linear(3072, 10)), {}, "^model: .*size"),
    (Conv2d(3, 4, 3), {}, "^model: .*classes"), (Sequential(ChannelMeans(), Linear(3, 1)), {}, "^model: .*two"),
    (Then(lambda means: means[0]), {}, "^model: .*classes"), (Then(lambda means: means.long()), {}, "^model: .*int64"),
    (Then(lambda means: {"logits": means}), {}, "^model: .*dict"), (Then(lambda means: (means,)), {}, "^model: .*tup"),
    (Then(lambda means: means * np.nan), {}, "^model: .*NaN"), (Then(threading.Lock()), {}, "^model: .*lock"),
    (used(lambda module: module, Then(lambda logits: logits, small_network())), {}, "^model: .*copy"),
    (used(lambda module: weight_norm(module[0])), {}, "^model: .*copy"),
    (used(lambda module: prune.l1_unstructured(module[0], "weight", 0.5)), {}, "^model: .*copy"),
])
def test_what_is_no_usable_network_is_refused_in_a_sentence(model, settings, words, hub):
    with pytest.raises(TypeError if model in (None, ChannelMeans) else ValueError, match=words):
        cnn_helper.CNN_Helper(model, **settings)


@pytest.mark.parametrize("name, values", [
    ("categories", [["red", "green"], {"red", "green", "blue"}, {1: "r", 2: "g", 3: "b"}, {"r": 0, "g": 0, "b": 1}]),
    ("mean", [(0.5,), 0.5, "grey", (0, 0, np.nan)]), ("std", [(1, 1), (0, 1, 1), (1, 1, -1)]),
    ("size", [0, 20.0, "large"]), ("device", ["abacus", "xla", "meta", 7.5]),
])
def test_an_argument_that_does_not_fit_is_refused(name, values):
    for value in values:
        with pytest.raises((ValueError, TypeError), match=f"^(mean, )?{name}"):
            channel_helper(**{name: value})


def test_a_module_of_ones_own_answers_by_hand_computed_numbers():
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    picture[:10, :, 1] = 255  # the upper half is green: the channels' means are 0, 1/2, 0
    row = channel_helper().probabilities(picture)[0]
    assert row == pytest.approx([1 / (2 + np.exp(5)), np.exp(5) / (2 + np.exp(5)), 1 / (2 + np.exp(5))], abs=1e-6)
    row = channel_helper(mean=np.array([0, 0.5, 1]), std=torch.tensor([1, 0.5, 1])).probabilities(picture | 255)[0]
    assert row == pytest.approx(np.array([1, 1, np.exp(-10)]) / (2 + np.exp(-10)), abs=1e-6)  # logits 10, 10, 0
    for categories in (np.array(["red", "green", "blue"]), {1: "green", 2: "blue", 0: "red"},
                       {"blue": 2, "red": 0, "green": 1}, {np.int64(2): "blue", 0: "red", np.uint8(1): "green"},
                       {"0": "red", "1": "green", "2": "blue"}):
        assert channel_helper(categories=categories).categories == ("red", "green", "blue")


OWN = {
    "partly frozen": lambda: used(lambda module: module[0].requires_grad_(False)),
    "lazy, has run": lambda: used(lambda module: module.__setitem__(6, LazyLinear(5))),
    "view": lambda: Sequential(Conv2d(3, 4, 3, 3), Then(lambda batch: batch.view(-1, 144), Identity()), Linear(144, 5)),
    "changes its input": lambda: Sequential(Then(lambda batch: batch.mul_(2), Identity()), small_network()),
    "loop over pictures": lambda: Then(lambda means: torch.stack([(row - row.mean()) / row.std() for row in means])),
    "branch by picture": lambda: Then(lambda means: torch.stack([row if row[0] > 3 else 2 * row for row in means])),
    "branch by batch": lambda: Then(lambda means: means if means.mean() > 3 else torch.arange(3.0) - means),
    "branch by the last picture": lambda: Then(lambda means: 2 * means if 3 < means[-1].mean() < 7 else means),
    "mean of the batch": lambda: Then(lambda means: means - means.mean(0)),
    "scripted": lambda: torch.jit.script(small_network().eval()),
    "traced": lambda: torch.jit.trace(small_network().eval(), torch.ones(1, 3, 20, 20)),
    "channels last": lambda: small_network().to(memory_format=torch.channels_last),
    "float16": lambda: small_network().half(), "bfloat16": lambda: small_network().bfloat16(),
    "float64": lambda: small_network().double(),
    "answers float64": lambda: Then(torch.Tensor.double, small_network()),
}


@pytest.mark.parametrize("kind", OWN)
def test_a_module_of_any_kind_answers_as_in_plain_pytorch_and_is_left_as_it_was(kind):
    def condition():
        kept = [(part.training, str(vars(part).get("runs")), id(vars(part).get("kept"))) for part in module.modules()]
        state = [(name, value.dtype, value.tolist()) for name, value in module.state_dict().items()]
        return kept, state, [each.requires_grad for each in module.parameters()]

    with torch.random.fork_rng(devices=[]):
        module = OWN[kind]()
    held, random_state = condition(), torch.get_rng_state()
    helper = own_helper(module)
    together, alone = helper.probabilities(PICTURES), [helper.probabilities(picture)[0] for picture in PICTURES]
    assert condition() == held and torch.equal(torch.get_rng_state(), random_state)
    expected = plain_probabilities(SimpleNamespace(module=module.float().eval(), **PLAIN), PICTURES)
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    batch = torch.tensor(np.moveaxis(np.stack(PICTURES) / 255, 3, 1), dtype=torch.float32).contiguous()
    np.testing.assert_allclose(together, module(batch).softmax(1).detach(), atol=1e-5)
    assert helper.categories == tuple(f"class {index}" for index in range(expected.shape[1]))


@pytest.mark.parametrize("network", [small_network(), OWN["branch by picture"](), "efficientnet_lite0"])
def test_torchs_global_settings_change_no_number_and_are_left(network):
    def answers():
        make = cnn_helper.CNN_Helper if isinstance(network, str) else own_helper
        return make(network, device="cpu").probabilities(PICTURES)

    expected = answers()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode(), torch.device("meta"):
            torch.set_default_dtype(torch.float64)
            torch.set_float32_matmul_precision("medium")
            before, found = [read() for read in SETTINGS], answers()
            assert [read() for read in SETTINGS] == before
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_lazy_module_that_has_not_run_stays_lazy():
    module, random_state = Sequential(Flatten(), LazyLinear(5)), torch.get_rng_state()
    own_helper(module)
    assert module[1].has_uninitialized_params() and torch.equal(torch.get_rng_state(), random_state)


def test_nan_for_one_picture_is_refused_when_it_comes():
    helper = own_helper(Then(lambda means: means / means.amax(1, keepdim=True)))
    assert np.isfinite(helper.probabilities(PICTURES)).all()
    for ask in (helper.probabilities, helper.classify, lambda picture: helper.occlusion_map(picture, size=5)):
        with pytest.raises(ValueError, match="^model: .*NaN"):
            ask(np.zeros_like(PICTURES[0]))


def test_a_softmax_at_the_end_is_warned_about(recwarn):
    own_helper(Sequential(ChannelMeans(), torch.nn.LogSoftmax(1)))  # logits
    assert not recwarn.list
    own_helper(Sequential(ChannelMeans(), torch.nn.Softmax(1)))
    assert re.search("model: .*take the softmax off", str(recwarn.pop(UserWarning).message))


@pytest.mark.parametrize("size, stride, target, classes", [
    (9, 5, "class 3", [3]), (8, 3, 2, [2]), (1, 5, [4, "class 1", 4], [1, 4]), (4, 1, 0, [0]), (13, 6, 1, [1]),
    (61, 53, "cat", list(range(281, 287))), (130, 87, [285, "tabby"], [281, 285]),
])
def test_an_occlusion_map_is_exact_on_a_small_network_and_on_lite2(size, stride, target, classes, images):
    small, fill = classes[0] < 5, (200, 30, 90)
    helper = (own_helper(small_network(13), size=13) if small else
              cnn_helper.CNN_Helper("efficientnet_lite2", device="cpu"))
    picture = np.random.default_rng(5).integers(0, 256, (13, 17, 3), dtype=np.uint8) if small else images / "cat.jpg"
    image = picture[:, 2:15] if small else helper.load(picture)
    (rows, columns), centres, copies = np.indices(image.shape[:2]), range(stride // 2, len(image), stride), [image]
    for row, column in ((row, column) for row in centres for column in centres):
        below, right = rows - (row - size // 2), columns - (column - size // 2)
        copies.append(image.copy())
        copies[-1][(0 <= below) & (below < size) & (0 <= right) & (right < size)] = fill
    expected = plain_probabilities(helper.network, copies)[:, classes].sum(axis=1)
    result = helper.occlusion_map(picture, target, size=size, stride=stride, fill=fill)
    assert result.target.probability == pytest.approx(expected[0], abs=1e-5)
    np.testing.assert_allclose(result.probabilities, expected[1:].reshape(len(centres), -1), atol=1e-5)
    row, column = divmod(np.abs(expected[1:] - expected[0]).argmax(), len(centres))  # the largest change, up or down
    assert re.search(rf"\b{centres[row]}\D+\b{centres[column]}\b", repr(result))
