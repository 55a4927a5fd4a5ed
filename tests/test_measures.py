"""Accuracy, shape bias, curves and live controls, with networks whose answers are fixed."""

import io
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch
from PIL import Image

import cnn_helper
from test_networks import ChannelMeans, channel_helper

CAT, ELEPHANT, DOG, BEAR, AIRPLANE, KNIFE = 281, 385, 153, 294, 404, 499


class FirstPixel(torch.nn.Module):
    """The class 10 * red + green of the first pixel; a knife's picture is likelier a dog, of none of 118 kinds likely."""

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


def write(folder, **answers):
    """Write pictures that `pointer` takes for a class; the names' __ and _ stand for / and -."""
    for name, index in answers.items():
        path = folder / f"{name.replace('__', '/').replace('_', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture_of(index)).save(path)


def test_the_sixteen_categories_hold_207_classes_and_none_twice(pointer):
    found = {name: pointer.classify(picture_of(0), target=name).followed[0].index for name in cnn_helper.SIXTEEN}
    assert len(found) == 16 and np.unique(np.hstack([*found.values()]), return_counts=True)[1].tolist() == [1] * 207
    assert (found["bicycle"], found["cat"], found["oven"]) == ((444, 671), (281, 282, 283, 284, 285, 286), 766)


def test_accuracy_counts_what_is_named_right(pointer, tmp_path):
    write(tmp_path, cat__a=CAT, cat__b=286, cat__more__c=DOG, dog__cat__d=CAT, knife__e=KNIFE, zebra__f=340, g=CAT)
    (tmp_path / "cat" / "broken.png").write_bytes(b"no picture")
    result = pointer.accuracy(tmp_path)
    assert pointer.classify(picture_of(KNIFE), target="dog").followed[0].probability > 0.9
    assert (result.correct, result.total, result.accuracy) == (4, 5, 0.8)
    assert result.categories == {"cat": (3, 1, 4), "knife": (1, 0, 1)} and "cat 3 of 4" in result.description
    assert result.standard_error == pytest.approx((0.8 * 0.2 / 5) ** 0.5)
    assert len(result.skipped) == 1 and "broken.png" in result.skipped[0]


def test_shape_bias_counts_shape_texture_and_neither(pointer, tmp_path):
    write(tmp_path, cat1_elephant1=CAT, x__cat2_elephant1=ELEPHANT, cat3_dog2=DOG, dog1_cat12=DOG, dog2_bear1=AIRPLANE,
          dog3_cat1=DOG, cat1_cat2=CAT, cat1_zebra1=CAT, holiday=CAT, cat_dog_bear=CAT, sub__bear1_dog1=CAT)
    (tmp_path / "cat4-dog1.png").symlink_to(tmp_path / "nowhere.png")
    result, none = pointer.shape_bias(str(tmp_path)), pointer.shape_bias(tmp_path / "sub")
    assert (result.shape, result.texture, result.total, result.shape_bias) == (3, 2, 7, 0.6)
    assert result.categories == {"bear": (0, 0, 1), "cat": (1, 2, 3), "dog": (2, 0, 3)}
    assert result.standard_error == pytest.approx((0.6 * 0.4 / 5) ** 0.5) and "cat 1:2 of 3" in result.description
    assert len(result.skipped) == 1 and "cat4-dog1.png" in result.skipped[0]
    assert np.isnan(none.shape_bias) and none.total == 1


@pytest.mark.parametrize("measure, expected", [("accuracy", "airplane.*truck"), ("shape_bias", "cat7-elephant1")])
def test_a_folder_without_usable_pictures_says_what_is_expected(pointer, tmp_path, measure, expected):
    write(tmp_path, holiday=CAT)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises((ValueError, FileNotFoundError), match=f"^folder: .*{expected}"):
            getattr(pointer, measure)(folder)
    with pytest.raises(ValueError, match="^model: .*3 classes"):
        getattr(channel_helper(), measure)(tmp_path)


def test_conflicts_are_written_as_the_measure_reads_them(pointer, tmp_path, wide):
    cut = np.dstack([wide, np.where(wide[:, :, 0] < 99, 255, 0)])[::-1].astype(np.uint8)  # its object needs no network
    for shapes, skins, word in [({"cat": [cut, np.zeros((5, 5, 2))]}, {"dog": [wide]}, "image"),
                                ({"cat": [cut]}, {"zebra": [wide]}, "category"), ({"cat": 3}, {}, "shapes")]:
        with pytest.raises((ValueError, TypeError), match=word):
            pointer.make_conflicts(shapes, skins, tmp_path / "new")
    assert not [*tmp_path.iterdir()]  # all is read before the first is written
    skins = {"elephant": [picture_of(99)], "dog": [wide[::-1], wide[:, ::-1]], "cat": [wide]}
    written = pointer.make_conflicts({"cat": [cut[::-1], cut], "bear": [cut]}, skins, tmp_path / "new")
    names = [f"cat{number}-{skin}" for number in "12" for skin in ("elephant1", "dog1", "dog2")]
    names += [f"bear1-{skin}" for skin in ("elephant1", "dog1", "dog2", "cat1")]
    assert [path.stem for path in written] == names and pointer.shape_bias(tmp_path).total == 10
    swapped = pointer.swap_texture(cut, wide[:, ::-1])
    np.testing.assert_array_equal(np.asarray(Image.open(written[names.index("cat2-dog2")])), swapped)


@pytest.mark.parametrize("kind, points, given", [
    ("shuffle", (1, 8), {"seeds": (3, 5)}), ("occlusion", (20, 120), {"stride": 90, "fill": 9})])
def test_a_curve_is_what_the_changes_and_the_answers_give(cnnh, cats, kind, points, given):
    curve = getattr(cnnh, f"{kind}_curve")(cats[:2], points, **given)
    for point, values, kept in zip(points, curve.probabilities, curve.unchanged):
        copies = [[cnnh.shuffle(cat, point, seed=seed) for seed in (3, 5)] if kind == "shuffle" else
                  cnnh.occlude(cat, point, **given) for cat in cats[:2]]
        rows = [(cnnh.probabilities(each), cnnh.probabilities(cat).argmax()) for each, cat in zip(copies, cats)]
        np.testing.assert_allclose(values, np.hstack([row[:, own] for row, own in rows]), atol=1e-5)
        np.testing.assert_array_equal(kept, np.hstack([row.argmax(axis=1) == own for row, own in rows]))
    assert curve.points == points and f"{points[1]}: " in curve.description


CURVE = cnn_helper.Curve("net", "tiles a side", (1, 2), (np.ones(3),) * 2, (np.ones(3),) * 2)
ANSWER = cnn_helper.Classification("net", (None,), ((),), ("",), (), None)


@pytest.mark.parametrize("results", [[], [3], [CURVE] * 5, [CURVE, replace(CURVE, points=(4, 8))], [CURVE, ANSWER],
                                     [CURVE, replace(CURVE, label="x")], [ANSWER] * 6, [ANSWER, replace(ANSWER, images=())]])
def test_only_results_that_fit_are_compared(results):
    with pytest.raises((TypeError, ValueError), match="^compare: "):
        cnn_helper.compare(*results)


@pytest.mark.parametrize("method, given, words", [
    ("shuffle_curve", {"grids": 4}, "grids"), ("shuffle_curve", {"seeds": ()}, "seeds"), ("explore", {"skin": 3}, "int"),
    ("occlusion_curve", {"sizes": (10, 45)}, "sizes.*45"), ("explore", {"experiments": {"blur": 3}}, "experiments")])
def test_odd_arguments_are_refused(wide, method, given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        getattr(channel_helper(), method)(wide, **given)


class Recorded(cnn_helper.CNN_Helper):
    made = []

    def __init__(self, model, **more):
        self.made.append((model, more))
        super().__init__(model, **more)


def paint(picture):
    picture[:] = 7
    return picture[:, :10] / 255


@pytest.fixture
def explorer(wide):
    pytest.importorskip("anywidget")
    helper = Recorded(ChannelMeans(), categories=["<red>", "green", "blue"], size=20, device="cpu")
    return helper.explore(wide, wide[::-1], experiments={"paint": paint, "broken": lambda picture: 1 / 0})


@pytest.mark.parametrize("messages, rows, columns", [
    ([[0.2, 0.9]], (15, 20), (1, 7)), ([[-0.4, 1.7]], (17, 20), (0, 3)), (["ArrowRight", "ArrowDown"] * 30, (17, 20), (17, 20)),
    (["ArrowUp", "ArrowLeft"] * 30, (0, 3), (0, 3)), ([[0.5, 0.5]], (7, 13), (7, 13))])
def test_the_square_follows_the_pointer_and_the_arrow_keys(explorer, wide, messages, rows, columns):
    for message in messages:
        frame = explorer.stage.frame
        explorer.point(None, message, [])
        assert explorer.stage.frame > frame  # the stage waits for it
    expected = wide[:, 5:25].copy()
    expected[slice(*rows), slice(*columns)] = 128
    np.testing.assert_array_equal(explorer.result.images[1], expected)


def test_controls_change_the_picture_and_errors_are_told(explorer, wide):
    controls, stage = explorer.controls, explorer.stage
    controls["experiment"].value, controls["grid"].value, controls["seed"].value = "shuffle", 2, 5
    np.testing.assert_array_equal(explorer.result.images[1], cnn_helper.shuffle_tiles(wide[:, 5:25], 2, 5))
    controls["experiment"].value = "paint"
    assert (explorer.result.images[1] == 7).all() and np.array_equal(explorer.result.images[0], wide[:, 5:25])
    assert np.asarray(Image.open(io.BytesIO(stage.picture))).mean() == pytest.approx(7, abs=1)
    assert "&lt;red&gt;" in stage.answer and stage.words == explorer.result.description
    before = explorer.result, stage.picture
    controls["experiment"].value = "broken"
    assert "division by zero" in stage.answer and before == (explorer.result, stage.picture)
    controls["experiment"].value = "occlusion map"
    assert isinstance(explorer.result, cnn_helper.OcclusionMap) and stage.picture != before[1]
    explorer.point(None, [0.5, 0.5], [])
    assert controls["experiment"].value == "occlude" and len(explorer.result.images) == 2


def test_other_networks_are_made_as_the_first_was(explorer):
    explorer.controls["second"].value = "efficientnet_lite0"
    assert Recorded.made[-1] == ("efficientnet_lite0", {"device": explorer.helper.device})
    assert all(name in explorer.stage.answer for name in (">ChannelMeans<", ">efficientnet_lite0<"))
    explorer.controls["network"].value = "efficientnet_lite0"
    assert explorer.result.images[0].shape == (224, 224, 3) and Recorded.made[-2][0] != "efficientnet_lite0"


def test_an_uploaded_picture_is_called_by_its_name(explorer, wide):
    file = io.BytesIO()
    Image.fromarray(wide[::-1]).save(file, "png")
    for name, content in (("upside_down.png", file.getvalue()), ("notes.txt", b"no picture")):
        explorer.controls["upload"].value = [
            dict(name=name, type="", size=1, content=memoryview(content), last_modified=datetime.now())]
        np.testing.assert_array_equal(explorer.result.images[0], wide[::-1, 5:25])
    assert "notes.txt" in explorer.stage.answer
    explorer.controls["back"].click()
    np.testing.assert_array_equal(explorer.result.images[0], wide[:, 5:25])


def test_a_still_figure_comes_before_the_widget(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value, **more: shown.append(value))
    explorer._ipython_display_()
    assert f'id="{explorer.stage.still}"><img' in shown[0].data and len(shown) == 2
    assert shown[1] is explorer.box or "application/vnd.jupyter.widget-view+json" in shown[1]


@pytest.mark.parametrize("missing", ["anywidget", "ipywidgets", "8"])
def test_without_the_widgets_there_is_a_still_figure_and_a_hint(missing, monkeypatch, wide):
    if missing == "8":
        monkeypatch.setattr(pytest.importorskip("ipywidgets"), "__version__", "7.8.1")
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.warns(UserWarning, match="pip install.*ipywidgets>=8"):
        assert isinstance(channel_helper().explore(wide), cnn_helper.Classification)
