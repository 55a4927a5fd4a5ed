"""Accuracy, shape bias, curves, and the explorer's Python side, with networks whose answers are fixed."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import cnn_helper


class FirstPixel(torch.nn.Module):
    """1,000 classes; the one whose index is 10 * red + green of the upper left pixel gets all the weight."""

    def forward(self, batch):
        index = (10 * batch[:, 0, 0, 0] * 255 + batch[:, 1, 0, 0] * 255).round().long()
        return 50.0 * torch.nn.functional.one_hot(index, 1000)


@pytest.fixture(scope="module")
def pointer():
    return cnn_helper.CNN_Helper(FirstPixel(), size=20, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")


CAT, ELEPHANT, DOG, BEAR, AIRPLANE = 281, 385, 153, 294, 404


@pytest.fixture
def write(tmp_path):
    """Write pictures that `pointer` takes for a class, by their path below the temporary folder, which is returned."""
    def write_pictures(answers):
        for name, index in answers.items():
            picture = np.zeros((20, 20, 3), dtype=np.uint8)
            picture[:, :, 0], picture[:, :, 1] = divmod(index, 10)
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / name)
        return tmp_path

    return write_pictures


def test_the_sixteen_categories_hold_207_classes_and_none_twice():
    indices = [index for category in cnn_helper.SIXTEEN for index in cnn_helper.class_indices(category)]
    assert len(cnn_helper.SIXTEEN) == 16 and len(indices) == len(set(indices)) == 207
    assert cnn_helper.class_indices("bicycle") == [444, 671]
    assert cnn_helper.class_indices("cat") == [281, 282, 283, 284, 285, 286]


def test_shape_bias_counts_shape_texture_and_neither(pointer, write):
    result = pointer.shape_bias(write({
        "cat/cat1-elephant1.png": CAT, "cat/cat2-elephant1.png": ELEPHANT, "cat3-dog2.png": DOG, "dog/dog1-cat1.png": DOG,
        "dog/dog2-bear1.png": AIRPLANE, "cat/cat1-cat2.png": CAT, "cat1-zebra1.png": CAT, "holiday.png": CAT}))
    assert result.categories == {"cat": (1, 2, 3), "dog": (1, 0, 2)}
    assert (result.shape, result.texture, result.total) == (2, 2, 5)
    assert result.shape_bias == 0.5 and result.standard_error == pytest.approx(np.sqrt(0.5 * 0.5 / 4))
    assert "cat 1:2 of 3" in result.description and result._repr_html_().startswith("<img alt=")


def test_without_a_decision_for_either_cue_the_shape_bias_is_nan_and_drawn(pointer, write):
    result = pointer.shape_bias(write({"cat1-bear1.png": AIRPLANE}))
    assert np.isnan(result.shape_bias) and result.total == 1 and result.figure() is result.figure()


def test_accuracy_counts_what_is_named_right_below_each_category(pointer, write):
    result = pointer.accuracy(write({
        "set/cat/a.png": CAT, "set/cat/b.png": DOG, "set/cat/deeper/c.png": 286, "bear/d.png": BEAR, "zebra/e.png": CAT}))
    assert result.categories == {"bear": (1, 0, 1), "cat": (2, 1, 3)}
    assert (result.correct, result.total, result.accuracy) == (3, 4, 0.75)
    assert result.standard_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert "cat 2 of 3" in result.description


def test_a_decision_is_the_highest_mean_not_the_highest_sum(write):
    row = np.zeros(1000)
    row[cnn_helper.class_indices("dog")] = 0.005  # 110 dogs share 0.55
    row[499] = 0.1  # one knife
    row[0] = 1 - row.sum()
    logits = torch.tensor(np.log(row + 1e-9), dtype=torch.float32)

    class Fixed(torch.nn.Module):
        def forward(self, batch):
            return logits + 0 * batch.mean((1, 2, 3))[:, None]

    helper = cnn_helper.CNN_Helper(Fixed(), size=20, device="cpu")
    result = helper.accuracy(write({"knife/a.png": 0, "dog/b.png": 0}))
    assert result.categories == {"dog": (0, 1, 1), "knife": (1, 0, 1)}


def test_files_that_cannot_be_read_are_listed_and_skipped(pointer, write):
    folder = write({"cat/cat1-bear1.png": CAT})
    (folder / "cat" / "cat2-bear1.png").write_bytes(b"no picture")
    (folder / "cat" / "cat3-bear1.png").symlink_to(folder / "nowhere.png")
    for result in (pointer.shape_bias(folder), pointer.accuracy(folder)):
        assert result.total == 1 and len(result.skipped) == 2
        assert "cat2-bear1.png" in result.skipped[0] and "there is no file" in result.skipped[1]


@pytest.mark.parametrize("measure, expected", [("shape_bias", "SHAPE-TEXTURE"), ("accuracy", "CATEGORY")])
def test_a_folder_without_usable_pictures_says_what_is_expected(pointer, write, measure, expected):
    folder = write({"holiday/1.png": CAT})
    for place in (folder, folder / "missing"):
        with pytest.raises(ValueError, match=f"^folder: .*{expected}.*elephant"):
            getattr(pointer, measure)(place)
    few = cnn_helper.CNN_Helper(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), size=20, device="cpu")
    with pytest.raises(ValueError, match="^model: .*3 classes"):
        getattr(few, measure)(folder)


def test_conflicts_are_written_as_the_measure_reads_them(cnnh, images, tmp_path):
    written = cnnh.make_conflicts({"cat": [images / "cat.jpg", images / "chelsea.png"]},
                                  {"elephant": [images / "elephant_skin.png"], "cat": [images / "tabby.jpg"]}, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["cat/cat1-elephant1.png", "cat/cat2-elephant1.png"]
    result = cnnh.shape_bias(tmp_path)
    assert (result.shape, result.texture, result.total) == (0, 2, 2)


def test_conflicts_are_read_before_the_first_is_written(cnnh, cats, tmp_path):
    with pytest.raises(ValueError, match="^image: "):
        cnnh.make_conflicts({"cat": [cats[0], np.zeros((5, 5, 2))]}, {"elephant": [cats[1]]}, tmp_path)
    with pytest.raises(ValueError, match="^category: must be one of airplane"):
        cnnh.make_conflicts({"cat": [cats[0]]}, {"zebra": [cats[1]]}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_curves_are_what_the_transforms_and_probabilities_give(cnnh, cats):
    own = [cnnh.probabilities(cat)[0].argmax() for cat in cats[:2]]
    curve = cnnh.shuffle_curve(cats[:2], grids=(1, 4), seeds=(3, 5))
    expected = [[cnnh.probabilities(cnnh.shuffle(cat, grid, seed=seed))[0][index]
                 for cat, index in zip(cats, own) for seed in (3, 5)] for grid in (1, 4)]
    np.testing.assert_allclose(curve.probabilities, expected, atol=1e-5)
    assert curve.unchanged[0].all() and curve.points == (1, 4)
    covered = cnnh.occlusion_curve(cats[0], sizes=(200,), stride=24)
    np.testing.assert_allclose(covered.probabilities[0], cnnh.probabilities(list(cnnh.occlude(cats[0], 200, stride=24)))[:, own[0]],
                               atol=1e-5)


@pytest.mark.parametrize("call", [
    lambda cnnh, cat: cnnh.shuffle_curve([cat], 4), lambda cnnh, cat: cnnh.shuffle_curve([cat], (2,), seeds=()),
    lambda cnnh, cat: cnnh.shuffle_curve([cat], (1, 500)), lambda cnnh, cat: cnnh.shuffle_curve([]),
    lambda cnnh, cat: cnnh.occlusion_curve([cat], {45}), lambda cnnh, cat: cnnh.occlusion_curve([cat], (10, 500))])
def test_curves_refuse_odd_points_before_the_work(cnnh, cats, call, monkeypatch):
    monkeypatch.setattr(cnnh, "answers", lambda *arguments: pytest.fail("asked too early"))
    with pytest.raises(ValueError, match="^(grids|seeds|images|sizes): must be"):
        call(cnnh, cats[0])


def curve(points=(1, 2), label="tiles a side"):
    values = tuple(np.full(3, 0.5) for _ in points)
    return cnn_helper.Curve("net", label, points, values, tuple(value > 0 for value in values))


@pytest.mark.parametrize("results", [
    [], [3], [curve()] * 5, [curve(), curve((4, 8))], [curve(), curve(label="side of the square")]])
def test_only_alike_results_are_compared(results):
    with pytest.raises((TypeError, ValueError), match="^compare: takes"):
        cnn_helper.compare(*results)


@pytest.fixture
def explorer(cnnh, images):
    return cnnh.explore(images / "cat.jpg", images / "elephant_skin.png",
                        experiments={"flip": lambda picture: picture[:, ::-1], "fail": lambda picture: picture * 2.0})


def choose(explorer, **values):
    for name, value in values.items():
        explorer.controls[name].value = value
    return explorer.result.images[1]


def test_controls_change_the_answer_at_once(explorer, cnnh, cats):
    choose(explorer, experiment="occlude", size=50)
    explorer.point(None, [0.25, 0.75], [])
    covered = cats[0].copy()
    covered[168 - 25:168 + 25, 56 - 25:56 + 25] = 128
    np.testing.assert_array_equal(explorer.result.images[1], covered)
    assert explorer.result.predictions[1] == cnnh.classify(covered).predictions[0]
    explorer.point(None, "ArrowRight", [])
    assert (explorer.result.images[1][143:193, 39:89] == 128).all()  # 8 pixels further
    assert explorer.place == pytest.approx([0.25 + 1 / 28, 0.75])
    np.testing.assert_array_equal(choose(explorer, experiment="shuffle", grid=2, seed=3), cnnh.shuffle(cats[0], 2, seed=3))
    np.testing.assert_array_equal(choose(explorer, experiment="flip"), cats[0][:, ::-1])
    np.testing.assert_array_equal(choose(explorer, experiment="silhouette"), cnnh.silhouette(cats[0]))
    for place in ("everywhere", "object", "background"):
        assert choose(explorer, experiment=f"texture {place}").shape == (224, 224, 3)
    assert "elephant" not in explorer.stage.answer and "Egyptian cat" in explorer.stage.answer  # the ground alone


def test_a_click_on_the_map_shows_the_square_there(explorer):
    explorer.controls["experiment"].value = "occlusion map"
    assert isinstance(explorer.result, cnn_helper.OcclusionMap)
    explorer.point(None, [0.5, 0.5], [])
    assert explorer.controls["experiment"].value == "occlude"
    assert (explorer.result.images[1][100:124, 100:124] == 128).all()


def test_errors_are_told_in_words_and_the_last_picture_stays(explorer, cats):
    before, frame = explorer.stage.picture, explorer.stage.frame
    explorer.controls["experiment"].value = "fail"
    assert "must lie in 0..1" in explorer.stage.answer and explorer.stage.picture == before and explorer.stage.frame > frame
    explorer.upload({"new": [{"name": "notes.txt", "content": memoryview(b"no picture")}]})
    assert "notes.txt" in explorer.stage.answer and explorer.stage.picture == before
    explorer.controls["experiment"].value = "whole picture"
    np.testing.assert_array_equal(explorer.result.images[0], cats[0])


def test_pictures_can_be_dropped_in_and_the_first_comes_back(explorer, images, cats):
    explorer.upload({"new": [{"name": "tabby.jpg", "content": memoryview((images / "tabby.jpg").read_bytes())}]})
    np.testing.assert_array_equal(explorer.result.images[0], cats[1])
    explorer.controls["back"].click()
    np.testing.assert_array_equal(explorer.result.images[0], cats[0])


def test_other_networks_are_made_as_the_helper_was(images):
    made = []

    class Recording(cnn_helper.CNN_Helper):
        def __init__(self, *arguments, **options):
            made.append((arguments, options))
            super().__init__(*arguments, **options)

    explorer = Recording(device="cpu").explore(images / "cat.jpg")
    explorer.controls["second"].value = "efficientnet_lite1"
    assert made[1] == (("efficientnet_lite1",), {"device": torch.device("cpu")})
    assert explorer.stage.answer.count("<section>") == 2 and "efficientnet_lite1" in explorer.stage.answer
    explorer.controls["second"].value = "no second"
    explorer.controls["network"].value = "efficientnet_lite1"
    assert len(made) == 2 and explorer.result.images[0].shape == (240, 240, 3)


def test_without_widgets_there_is_a_still_figure_and_a_hint(cnnh, cats, monkeypatch):
    import ipywidgets

    for patch in (lambda: monkeypatch.setattr(ipywidgets, "__version__", "7.8.5"),
                  lambda: monkeypatch.setitem(sys.modules, "anywidget", None)):
        patch()
        with pytest.warns(UserWarning, match="pip install anywidget"):
            assert isinstance(cnnh.explore(cats[0]), cnn_helper.Classification)
    with pytest.raises((TypeError, ValueError), match="experiments"):
        cnnh.explore(cats[0], experiments={"blur": 3})


def test_the_still_figure_comes_before_the_widget(explorer, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda output, **options: shown.append(output))
    explorer._ipython_display_()
    assert explorer.stage.still in shown[0].data and "<img alt=" in shown[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown[1]
