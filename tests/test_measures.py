"""Accuracy, shape bias, curves and live controls, with networks whose answers are fixed."""

import datetime
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import cnn_helper
from test_networks import ChannelMeans, channel_helper

CAT, ELEPHANT, DOG, BEAR, AIRPLANE, KNIFE = 281, 385, 153, 294, 404, 499


class FirstPixel(torch.nn.Module):
    """The class 10 * red + green of the first pixel; with a knife's picture, all dogs together are likelier still."""

    def forward(self, batch):
        index = (2550 * batch[:, 0, 0, 0] + 255 * batch[:, 1, 0, 0]).round().long() % 1000
        logits = 50.0 * torch.nn.functional.one_hot(index, 1000)
        logits[:, 151:269] += 48 * (index == KNIFE)[:, None]
        return logits


@pytest.fixture(scope="module")
def pointer():
    return cnn_helper.CNN_Helper(FirstPixel(), size=20, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")


def picture_of(index):
    return np.full((20, 30, 3), (*divmod(index, 10), 0), dtype=np.uint8)


def test_measures_count_decisions_of_sixteen_categories(pointer, tmp_path):
    found = {name: pointer.classify(picture_of(KNIFE), target=name).followed[0] for name in cnn_helper.SIXTEEN}
    indices = np.hstack([each.index for each in found.values()])
    assert len(indices) == len({*indices}) == 207 and found["bicycle"].index == (444, 671)
    assert found["dog"].probability > 0.8 > 0.1 > found["knife"].probability  # and yet a knife has the highest mean
    answers = {"cat1-zebra1": CAT, "cat-dog-bear": CAT, "zebra/f": 340, "dog/dog1-cat12": DOG, "dog/dog3-cat1": DOG,
               "dog/dog2-bear1": AIRPLANE, "knife/bear1-dog1": KNIFE, "dog/cat/cat4-cat2": CAT, "cat/x/cat3-dog2": DOG,
               "cat/cat2-elephant1": ELEPHANT, "cat/cat1-elephant1": CAT}
    for name, index in answers.items():
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture_of(index)).save(path)
    path.with_name("cat8-dog1.png").write_bytes(b"no picture")
    path.with_name("cat9-dog1.png").symlink_to("nowhere.png")
    accuracy, bias = pointer.accuracy(tmp_path), pointer.shape_bias(str(tmp_path))
    assert accuracy.categories == {"cat": (2, 2, 4), "dog": (2, 1, 3), "knife": (1, 0, 1)}  # right, wrong, all
    assert bias.categories == {"bear": (0, 0, 1), "cat": (1, 2, 3), "dog": (2, 0, 3)}  # by shape, by texture, all
    assert (accuracy.correct, accuracy.total) == (5, 8) and (bias.shape, bias.texture, bias.total) == (3, 2, 7)
    assert [each.standard_error**2 for each in (accuracy, bias)] == pytest.approx([0.625 * 0.375 / 8, 0.6 * 0.4 / 5])
    assert "cat 2 of 4" in repr(accuracy) and "cat 1:2 of 3" in repr(bias)
    assert all(len(each.skipped) == 2 and "cat8-dog1" in each.skipped[0] for each in (accuracy, bias))
    assert (accuracy.accuracy, bias.shape_bias) == (5 / 8, 3 / 5)
    assert np.isnan(pointer.shape_bias(tmp_path / "knife").shape_bias)


def test_conflicts_are_written_as_the_measure_reads_them(pointer, tmp_path, wide):
    cut = np.dstack([wide, np.where(wide[:, :, 0] < 99, 255, 0)])[::-1].astype(np.uint8)  # its object needs no network
    skins = {"elephant": [picture_of(99)], "dog": [wide[::-1], wide[:, ::-1]], "cat": [wide]}
    written = pointer.make_conflicts({"cat": [cut[::-1], cut]}, skins, tmp_path / "new")
    names = [f"cat{number}-{skin}" for number in "12" for skin in ("elephant1", "dog1", "dog2")]
    assert [path.stem for path in written] == names and pointer.shape_bias(tmp_path).total == 6
    np.testing.assert_array_equal(np.asarray(Image.open(written[5])), pointer.swap_texture(cut, wide[:, ::-1]))


@pytest.mark.parametrize("kind, points, given", [("shuffle", (1, 8), {"seeds": (3, 5)}), ("occlusion", (9, 99), {"fill": 9})])
def test_a_curve_is_what_the_changes_and_the_answers_give(cnnh, cats, kind, points, given):
    curve = getattr(cnnh, f"{kind}_curve")(cats[:2], points, **given)
    for point, values, kept in zip(curve.points, curve.probabilities, curve.unchanged):
        copies = [[cnnh.shuffle(cat, point, seed=seed) for seed in (3, 5)] if kind == "shuffle" else
                  cnnh.occlude(cat, point, **given) for cat in cats[:2]]
        rows = [(cnnh.probabilities(each), cnnh.probabilities(cat).argmax()) for each, cat in zip(copies, cats)]
        np.testing.assert_allclose(values, np.hstack([row[:, own] for row, own in rows]), atol=1e-5)
        np.testing.assert_array_equal(kept, np.hstack([row.argmax(axis=1) == own for row, own in rows]))


def test_what_does_not_fit_is_refused(pointer, tmp_path, wide):
    helper = channel_helper()
    Image.fromarray(picture_of(CAT)).save(tmp_path / "holiday.png")
    answer, curve = helper.classify(wide), helper.shuffle_curve(wide, (1, 2))
    calls = [(lambda: pointer.accuracy(tmp_path), "airplane.*truck"), (lambda: pointer.shape_bias(tmp_path), "cat7-el"),
             (lambda: pointer.accuracy(tmp_path / "no"), "folder.*no"), (lambda: helper.accuracy(tmp_path), "3 class"),
             (lambda: helper.shuffle_curve(wide, 4), "grids"), (lambda: helper.shuffle_curve([]), "images"),
             (lambda: pointer.make_conflicts({"cat": [wide]}, {"zebra": [wide]}, tmp_path), "category"),
             (lambda: helper.occlusion_curve(wide, (10, 45)), "sizes.*45"), (lambda: helper.explore(wide, 3), "int"),
             (lambda: helper.explore(wide, experiments={"blur": 3}), "experiments"),
             (lambda: helper.explore(wide, experiments=[print]), "experiments")]
    for results in ([], [3], [curve] * 5, [curve, replace(curve, points=(4, 8))], [curve, replace(curve, label="x")],
                    [curve, answer], [cnn_helper.compare(curve), curve], [answer] * 6,
                    [answer, helper.classify(wide, wide)]):
        calls.append((lambda results=results: cnn_helper.compare(*results), "^compare: "))
    for call, words in calls:
        with pytest.raises((TypeError, ValueError, FileNotFoundError), match=words):
            call()


@pytest.fixture
def explorer(wide):
    pytest.importorskip("anywidget")
    subclass, labels = type("Subclass", (cnn_helper.CNN_Helper,), {}), ["<red>", "green", "blue"]
    return subclass(ChannelMeans(), categories=labels, size=20, device="cpu").explore(wide, wide[::-1], experiments={
        "paint": lambda picture: picture.fill(7) or picture[:, :10] / 255, "broken": lambda picture: 1 / 0})


@pytest.mark.parametrize("messages, square", [([[0.2, 0.9]], np.s_[15:, 1:7]), ([[-0.4, 1.7]], np.s_[17:, :3]),
    (["ArrowRight", "ArrowDown"] * 30, np.s_[17:, 17:]), (["ArrowUp", "ArrowLeft"] * 30, np.s_[:3, :3])])
def test_the_square_follows_the_pointer_and_the_arrow_keys(explorer, wide, messages, square):
    for message in messages:
        frame = explorer.stage.view["frame"]
        explorer.point(None, message, [])
        assert explorer.stage.view["frame"] > frame  # the stage waits for it
    expected = wide[:, 5:25].copy()
    expected[square] = 128
    np.testing.assert_array_equal(explorer.result.images[1], expected)


def controls_of(explorer):
    names = ("experiment", "network", "second", "your picture", "tiles", "order", "square")
    return dict(zip(names, explorer.controls))


def test_controls_change_the_picture_and_errors_are_told(explorer, wide):
    controls, stage = controls_of(explorer), explorer.stage
    controls["experiment"].value, controls["tiles"].value, controls["order"].value = "shuffle", 2, 5
    np.testing.assert_array_equal(explorer.result.images[1], cnn_helper.shuffle_tiles(wide[:, 5:25], 2, 5))
    controls["experiment"].value = "paint"
    assert (explorer.result.images[1] == 7).all() and np.array_equal(explorer.result.images[0], wide[:, 5:25])
    assert np.asarray(Image.open(urllib.request.urlopen(stage.view["picture"]))).mean() == pytest.approx(7, abs=1)
    assert "&lt;red&gt;" in stage.view["answer"] and stage.view["words"] == repr(explorer.result)
    before = explorer.result, stage.view["picture"]
    controls["experiment"].value = "broken"
    assert "division by zero" in stage.view["answer"] and before == (explorer.result, stage.view["picture"])
    controls["experiment"].value = "occlusion map"
    assert isinstance(explorer.result, cnn_helper.OcclusionMap) and stage.view["picture"] != before[1]
    explorer.point(None, [0.5, 0.5], [])
    assert controls["experiment"].value == "occlude" and len(explorer.result.images) == 2


def test_other_networks_and_pictures_are_taken(explorer, images, wide):
    controls, back = controls_of(explorer), explorer.box.children[1].children[-1]
    controls["network"].value, controls["second"].value = "efficientnet_lite0", "ChannelMeans"
    assert all(name in explorer.stage.view["answer"] for name in (">ChannelMeans<", ">efficientnet_lite0<"))
    assert type(explorer.find("efficientnet_lite0")) is type(explorer.find("ChannelMeans")) is not cnn_helper.CNN_Helper
    for name, data in (("tabby.jpg", (images / "tabby.jpg").read_bytes()), ("notes.txt", b"no picture")):
        file = {"name": name, "type": "", "size": len(data), "content": memoryview(data)}
        controls["your picture"].set_trait("value", (file | {"last_modified": datetime.datetime.now()},))
        np.testing.assert_array_equal(explorer.result.images[0], cnn_helper.load_picture(images / "tabby.jpg", 224)[0])
    assert "notes.txt" in explorer.stage.view["answer"]
    back.click()
    np.testing.assert_array_equal(explorer.result.images[0], cnn_helper.load_picture(wide, 224)[0])
    explorer.find("ChannelMeans").device = "nowhere"
    controls["second"].value = "efficientnet_lite1"
    assert "nowhere" in explorer.stage.view["answer"]


@pytest.mark.parametrize("name, module", [("anywidget", None), ("ipywidgets", type("Old", (), {"__version__": "7.8"}))])
def test_a_still_figure_comes_before_the_widget_or_alone(explorer, wide, monkeypatch, name, module):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value, **more: shown.append(value))
    explorer._ipython_display_()
    assert 'class="explorer-still"><img' in shown[0].data and "widget-view" in str(shown[1])
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.warns(UserWarning, match="pip install.*ipywidgets>=8"):
        assert isinstance(channel_helper().explore(wide), cnn_helper.Classification)
