"""Networks: the bundled ones, torchvision's, and a module of one's own; answers against plain PyTorch."""

import hashlib
import urllib.error
import warnings

import numpy as np
import pytest
import torch
import torchvision

import cnn_helper


def plain_probabilities(network, images):
    """The oracle: normalisation and softmax written out, one picture at a time."""
    rows = []
    for image in images:
        channels = [(image[:, :, c] / 255.0 - network.mean[c]) / network.std[c] for c in range(3)]
        batch = torch.tensor(np.stack(channels)[None], dtype=torch.float32)
        with torch.no_grad():
            logits = network.module.cpu()(batch)[0].double()
        exponentials = torch.exp(logits - logits.max())
        rows.append((exponentials / exponentials.sum()).numpy())
    return np.array(rows)


class ChannelMeans(torch.nn.Module):
    """Three classes, red, green and blue: the logits are ten times the mean of each channel."""

    def forward(self, batch):
        return 10 * batch.mean(dim=(2, 3))


def channel_helper(**more):
    settings = dict(categories=["red", "green", "blue"], size=20, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")
    return cnn_helper.CNN_Helper(ChannelMeans(), **(settings | more))


def test_probabilities_equal_a_plain_forward_pass(cnnh, cats):
    expected = plain_probabilities(cnnh.network, cats)
    answer = cnnh.probabilities(cats)
    assert answer.dtype == np.float32 and answer.shape == (len(cats), 1000)
    np.testing.assert_allclose(answer, expected, atol=1e-4)
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


def test_many_pictures_get_the_same_answers_as_each_alone(cnnh, cats):
    many = [cats[number % 3] for number in range(2 * cnn_helper.BATCH[cnnh.engine] + 1)]
    alone = np.concatenate([cnnh.probabilities(cat) for cat in cats])
    np.testing.assert_allclose(cnnh.probabilities(many), alone[np.arange(len(many)) % 3], atol=1e-5)


def test_no_picture_gets_no_answer(cnnh):
    assert cnnh.probabilities([]).shape == (0, 1000)


@pytest.mark.parametrize("name, size", [("efficientnet_lite1", 240), ("efficientnet_lite2", 260)])
def test_the_other_bundled_networks_know_a_cat(name, size, images):
    helper = cnn_helper.CNN_Helper(name, device="cpu")
    top = helper.classify(images / "cat.jpg").predictions[0][0]
    assert helper.size == size
    assert top.label == "Egyptian cat" and top.probability > 0.7


def test_a_bundled_name_may_be_written_with_hyphens(images):
    assert cnn_helper.CNN_Helper("EfficientNet-Lite0", device="cpu").network.name == "efficientnet_lite0"


def test_a_module_of_ones_own_answers_by_hand_computed_numbers():
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    picture[:10, :, 1] = 255  # the upper half is green: the channels' means are 0, 1/2, 0
    row = channel_helper().probabilities(picture)[0]
    assert row == pytest.approx([1 / (2 + np.exp(5)), np.exp(5) / (2 + np.exp(5)), 1 / (2 + np.exp(5))], abs=1e-6)


def test_a_module_of_ones_own_is_normalised_as_it_asks():
    picture = np.full((20, 20, 3), 255, dtype=np.uint8)
    row = channel_helper(mean=(0, 0.5, 1), std=(1, 0.5, 1)).probabilities(picture)[0]  # logits 10, 10, 0
    assert row == pytest.approx(np.array([1, 1, np.exp(-10)]) / (2 + np.exp(-10)), abs=1e-6)


def test_a_module_of_ones_own_is_left_as_it_was():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    helper = cnn_helper.CNN_Helper(module, size=20, device="cpu")
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert not helper.network.module.training
    assert helper.categories == ("class 0", "class 1", "class 2", "class 3")


class TwoWays(torch.nn.Module):
    """Which of two answers depends on the brightness, as with networks that may leave early."""

    def forward(self, batch):
        means = batch.mean((2, 3))
        return 5 * means if batch.mean() > 0.3 else -5 * means + torch.arange(3.0)


@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_a_module_that_goes_two_ways_is_never_answered_for_by_one_of_them(level):
    helper = cnn_helper.CNN_Helper(TwoWays(), size=20, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")
    picture = np.full((20, 20, 3), level, dtype=np.uint8)
    picture[:, :, 1] //= 2
    expected = TwoWays()(torch.tensor(picture / 255).permute(2, 0, 1)[None].float()).softmax(1)[0]
    np.testing.assert_allclose(helper.probabilities(picture)[0], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_of_another_precision_answers_in_single(dtype):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).to(dtype)
    helper = cnn_helper.CNN_Helper(module, size=20, device="cpu")
    assert helper.probabilities(np.zeros((20, 20, 3), dtype=np.uint8)).sum() == pytest.approx(1, abs=1e-6)
    assert module[0].weight.dtype == dtype


@pytest.mark.parametrize("module, size, given", [
    (torch.nn.Conv2d(1, 4, 3), 20, r"\(1, 3, 20, 20\)"),
    (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)), None, r"\(1, 3, 224, 224\); if it takes another size"),
])
def test_a_module_that_fails_on_pictures_says_on_which(module, size, given):
    with pytest.raises(ValueError, match=f"^model: fails on a batch of colour pictures {given}"):
        cnn_helper.CNN_Helper(module, size=size, device="cpu")


@pytest.mark.parametrize("name, value", [
    ("mean", (0.5,)), ("mean", 0.5), ("mean", "grey"), ("mean", (0, 0, np.nan)), ("std", (1, 1)), ("std", (0, 1, 1)), ("std", (1, 1, -1)),
])
def test_a_mean_or_deviation_is_three_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}: must be three numbers.* for red, green and blue, as .*; got "):
        channel_helper(**{name: value})


def test_a_mean_may_be_an_array_or_a_tensor():
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    expected = channel_helper(mean=(0.1, 0.2, 0.3)).probabilities(picture)
    for mean in (np.array([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.3])):
        np.testing.assert_allclose(channel_helper(mean=mean).probabilities(picture), expected, atol=1e-6)


@pytest.mark.parametrize("given", [{"size": 300}, {"categories": ["a"]}, {"mean": (0, 0, 0)}, {"std": (1, 1, 1)}])
def test_a_named_network_has_its_own_size_and_categories(given):
    with pytest.raises(ValueError, match="belong to a module of your own; resnet18 has its own"):
        cnn_helper.CNN_Helper("resnet18", **given)


def test_the_wrong_number_of_categories_is_refused():
    with pytest.raises(ValueError, match="has 3 classes; got 2 labels"):
        channel_helper(categories=["red", "green"])


def test_a_module_that_gives_no_logits_is_refused():
    with pytest.raises(ValueError, match=r"must answer a batch \(N, 3, 224, 224\) with logits"):
        cnn_helper.CNN_Helper(torch.nn.Conv2d(3, 4, 3), device="cpu")


def test_a_network_that_is_none_is_refused():
    with pytest.raises(TypeError, match="model: must be a network's name or a torch.nn.Module; got NoneType"):
        cnn_helper.CNN_Helper(None)


def test_a_torchscript_module_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit calls itself deprecated
        scripted = torch.jit.script(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()))
    with pytest.raises(TypeError, match="model: one cannot look into a TorchScript module"):
        cnn_helper.CNN_Helper(scripted, device="cpu")


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(ValueError, match="no network 'resnet51'. Did you mean .*resnet50.*Bundled: efficientnet_lite0"):
        cnn_helper.CNN_Helper("resnet51")


def test_unknown_weights_list_what_there_is():
    with pytest.raises(ValueError, match="weights: resnet50 has IMAGENET1K_V1, IMAGENET1K_V2; got 'IMAGENET1K_V9'"):
        cnn_helper.CNN_Helper("resnet50", weights="IMAGENET1K_V9")


@pytest.mark.parametrize("device, sentence", [("abacus", "must be cpu, cuda, mps"), ("xla", "this machine has .*cpu")])
def test_a_device_that_is_not_there_is_refused(device, sentence):
    with pytest.raises(ValueError, match=f"device: {sentence}"):
        cnn_helper.CNN_Helper(device=device)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder in place of torch.hub's cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def write_checkpoint(folder, entry, name):
    """A randomly weighted network's state, where torch.hub looks for the downloaded one; returns the network."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    folder.mkdir(parents=True)
    torch.save(module.state_dict(), folder / entry.url.split("/")[-1])
    return module


def test_a_checkpoint_in_the_cache_is_used_without_a_network(hub, images):
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    module = write_checkpoint(hub, entry, "squeezenet1_1")
    helper = cnn_helper.CNN_Helper("squeezenet1_1", device="cpu")
    assert (helper.size, helper.network.mean[0], len(helper.categories)) == (224, 0.485, 1000)
    batch = cnn_helper.normalise(helper.load(images / "cat.jpg")[None], helper.network, "cpu")
    with torch.no_grad():
        expected = module(batch).softmax(dim=1).numpy()
    np.testing.assert_allclose(helper.probabilities(images / "cat.jpg"), expected, atol=1e-5)


def test_unset_weights_mean_the_first_ones_not_the_default(hub):
    with pytest.raises(FileNotFoundError, match="resnet50-0676ba61.pth"):  # V1's file; DEFAULT's is resnet50-11ad3fa6
        cnn_helper.CNN_Helper("resnet50")


def test_weights_that_cannot_be_fetched_say_what_to_do(hub, monkeypatch):
    def closed(*arguments, **more):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", closed)
    with pytest.raises(FileNotFoundError) as caught:
        cnn_helper.CNN_Helper("alexnet")
    for part in ("https://download.pytorch.org/models/alexnet", "no route to host", str(hub), "efficientnet_lite0"):
        assert part in str(caught.value)


def test_a_damaged_checkpoint_is_named_and_left_in_place(hub):
    hub.mkdir(parents=True)
    path = hub / torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url.split("/")[-1]
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=f"{path.name} is damaged .*delete it"):
        cnn_helper.CNN_Helper("alexnet")
    assert path.read_bytes() == b"not a checkpoint"


def test_a_checkpoint_of_another_network_is_named(hub):
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    hub.mkdir(parents=True)
    torch.save({"strange": torch.zeros(1)}, hub / entry.url.split("/")[-1])
    with pytest.raises(ValueError, match="squeezenet1_1-.*is damaged"):
        cnn_helper.CNN_Helper("squeezenet1_1")


def test_a_download_is_checked_and_cached(hub, monkeypatch, tmp_path):
    """torchvision's real download path, its address pointed at a file that this test wrote."""
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    module = write_checkpoint(tmp_path / "server", entry, "squeezenet1_1")
    served = (tmp_path / "server" / entry.url.split("/")[-1])
    digest = hashlib.sha256(served.read_bytes()).hexdigest()[:8]
    address = served.rename(served.with_name(f"squeezenet-{digest}.pth")).as_uri()
    monkeypatch.setattr(type(entry), "url", property(lambda self: address))
    helper = cnn_helper.CNN_Helper("squeezenet1_1", device="cpu")
    assert (hub / f"squeezenet-{digest}.pth").exists()
    assert torch.equal(helper.network.module.state_dict()["classifier.1.weight"], module.state_dict()["classifier.1.weight"])


def test_building_networks_leaves_chance_as_it_was():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    cnn_helper.CNN_Helper(device="cpu")
    with pytest.raises(Exception):
        cnn_helper.CNN_Helper("alexnet", weights="none such")
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_printed_and_nothing_warned(capfd, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cnn_helper.CNN_Helper(device="cpu").probabilities(images / "tabby.jpg")
    assert capfd.readouterr() == ("", "")
