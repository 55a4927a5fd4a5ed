"""Shape bias, curves and live controls, with networks whose answers are fixed."""

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


def picture_of(index):
    """A picture that `pointer` takes for the class `index`."""
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    picture[:, :, 0], picture[:, :, 1] = divmod(index, 10)
    return picture


CAT, ELEPHANT, DOG, BEAR, AIRPLANE = 281, 385, 153, 294, 404


@pytest.fixture
def stimuli(tmp_path):
    """A folder of stimuli: name and the class that `pointer` answers with."""
    def write(**answers):
        for name, index in answers.items():
            name = name.replace("_", "-")
            path = tmp_path / name.rstrip("0123456789").split("-")[0].rstrip("0123456789") / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture_of(index)).save(path)
        return tmp_path

    return write


def test_the_sixteen_categories_hold_207_classes_and_none_twice():
    indices = [index for category in cnn_helper.SIXTEEN for index in cnn_helper.class_indices(category)]
    assert len(cnn_helper.SIXTEEN) == 16 and len(indices) == len(set(indices)) == 207
    assert cnn_helper.class_indices("bicycle") == [444, 671]
    assert cnn_helper.class_indices("cat") == [281, 282, 283, 284, 285, 286]


def test_a_decision_is_the_highest_mean_not_the_highest_sum():
    row = np.zeros((1, 1000))
    row[0, cnn_helper.class_indices("dog")] = 0.005  # 110 dogs share 0.55
    row[0, 499] = 0.1  # one knife
    assert cnn_helper.sixteen_way(row) == ["knife"]


def test_of_equal_categories_the_first_in_the_alphabet_decides():
    assert cnn_helper.sixteen_way(np.zeros((2, 1000))) == ["airplane", "airplane"]


def test_shape_bias_counts_shape_texture_and_neither(pointer, stimuli):
    folder = stimuli(cat1_elephant1=CAT, cat2_elephant1=ELEPHANT, cat3_dog2=DOG, dog1_cat1=DOG, dog2_bear1=AIRPLANE)
    result = pointer.shape_bias(folder)
    assert (result.shape, result.texture, result.total) == (2, 2, 5)
    assert result.shape_bias == 0.5
    assert result.categories == {"cat": (1, 2, 3), "dog": (1, 0, 2)}
    assert "cat 1:2 of 3" in result.description and result._repr_html_().startswith("<img alt=")


def test_pictures_whose_cues_agree_and_strange_names_are_left_out(pointer, stimuli):
    folder = stimuli(cat1_cat2=CAT, cat1_zebra1=CAT, holiday=CAT, cat1_bear1=BEAR)
    assert pointer.shape_bias(folder).total == 1


def test_a_file_that_is_no_picture_is_reported_and_skipped(pointer, stimuli):
    folder = stimuli(cat1_bear1=CAT)
    (folder / "cat" / "cat2-bear1.png").write_bytes(b"no picture")
    result = pointer.shape_bias(folder)
    assert result.total == 1 and len(result.skipped) == 1 and "cat2-bear1.png" in result.skipped[0]


def test_a_link_to_nowhere_is_reported_and_skipped(pointer, stimuli):
    folder = stimuli(cat1_elephant1=CAT)
    (folder / "cat" / "cat2-elephant1.png").symlink_to(folder / "nowhere.png")
    result = pointer.shape_bias(folder)
    assert result.total == 1 and "there is no file" in result.skipped[0]


def test_a_folder_without_stimuli_says_what_is_expected(pointer, tmp_path):
    with pytest.raises(ValueError, match="holds no picture named SHAPE-TEXTURE.*cat7-elephant1.png.*texture-vs-shape"):
        pointer.shape_bias(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        pointer.shape_bias(tmp_path / "nowhere")


def test_shape_bias_needs_imagenets_classes():
    helper = cnn_helper.CNN_Helper(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), size=20, device="cpu")
    with pytest.raises(ValueError, match="needs ImageNet's 1,000 classes; this network has 3"):
        helper.shape_bias(".")


@pytest.mark.slow
def test_conflicts_are_written_as_the_measure_reads_them(cnnh, images, tmp_path, monkeypatch):
    monkeypatch.setattr(type(cnnh), "swap_texture", lambda self, image, skin, *, seed=0: self.load(skin))
    written = cnnh.make_conflicts({"cat": [images / "cat.jpg", images / "tabby.jpg"]},
                                  {"elephant": [images / "elephant_skin.png"], "cat": [images / "tabby.jpg"]}, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == ["cat/cat1-elephant1.png", "cat/cat2-elephant1.png"]
    result = cnnh.shape_bias(tmp_path)
    assert (result.shape, result.texture, result.total) == (0, 2, 2)


def test_conflicts_are_read_before_the_first_is_painted(cnnh, cats, tmp_path):
    with pytest.raises(ValueError, match="image: an array must be"):
        cnnh.make_conflicts({"cat": [cats[0], np.zeros((5, 5, 2))]}, {"elephant": [cats[1]]}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(cnnh, cats, tmp_path):
    file = tmp_path / "cat.png"
    file.touch()
    with pytest.raises(ValueError, match="^folder: .*cat.png is a file"):
        cnnh.make_conflicts({"cat": [cats[0]]}, {"elephant": [cats[1]]}, file)


def test_a_bar_within_another_leaves_nothing_behind(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda line, **_: shown.append(line))
    line = cnn_helper.StatusLine()
    line.write("\x1b[A")
    line.write("\n\r\x1b[A")
    assert shown == []
    line.write("\n\r 50%\x1b[A")
    assert shown == [{"text/plain": "50%"}]


def test_a_conflict_of_an_unknown_category_is_refused(cnnh, tmp_path):
    with pytest.raises(ValueError, match="category: must be one of airplane, .*; got 'zebra'"):
        cnnh.make_conflicts({"cat": []}, {"zebra": []}, tmp_path)


def test_a_curve_is_what_shuffle_and_probabilities_give(cnnh, cats):
    curve = cnnh.shuffle_curve(cats[:2], grids=(1, 4), seeds=(3, 5))
    expected = [[cnnh.probabilities(cnnh.shuffle(cat, grid, seed=seed))[0][cnnh.probabilities(cat)[0].argmax()]
                 for cat in cats[:2] for seed in (3, 5)] for grid in (1, 4)]
    np.testing.assert_allclose(curve.probabilities, expected, atol=1e-5)
    assert curve.unchanged[0].all() and curve.points == (1, 4)
    assert "efficientnet_lite0" in curve.description and curve._repr_html_().startswith("<img alt=")


def curve(points=(1, 2), label="tiles a side"):
    values = tuple(np.full(3, 0.5) for _ in points)
    return cnn_helper.Curve("net", label, points, values, tuple(value > 0 for value in values))


@pytest.mark.parametrize("curves", [[curve()] * 5, [curve(), curve((4, 8))], [curve(), curve(label="side of the square")]])
def test_only_curves_over_the_same_points_are_compared(curves):
    with pytest.raises(ValueError, match="^compare: takes up to four curves of one kind over the same points; got tiles a side 1, 2;"):
        cnn_helper.compare(*curves)


def test_a_curve_checks_all_its_points_before_the_first():
    def answer(images):
        raise AssertionError("asked too early")

    helper = cnn_helper.CNN_Helper(FirstPixel(), size=20, device="cpu")
    helper.probabilities = answer
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="^grids: must be a whole number from 1 to 20; got 500"):
        helper.shuffle_curve([picture], grids=(1, 2, 500))
    with pytest.raises(ValueError, match="^sizes: must be a whole number from 1 to 20; got 45"):
        helper.occlusion_curve([picture], sizes=(10, 45))


def test_an_occlusion_curve_falls_with_the_squares_size(cnnh, cats):
    curve = cnnh.occlusion_curve(cats[0], sizes=(20, 200))
    assert [len(values) for values in curve.probabilities] == [9, 9]
    assert curve.probabilities[0].mean() > 0.9 > 0.5 > curve.probabilities[1].mean()
    assert len(cnn_helper.compare(curve, curve).figure().axes[0].lines) == 2


@pytest.fixture
def explorer(cnnh, images):
    return cnnh.explore(images / "cat.jpg", skin=images / "elephant_skin.png")


def test_controls_change_the_answer_at_once(explorer, cnnh, cats):
    explorer.controls["experiment"].value = "occlude"
    explorer.controls["size"].value, explorer.controls["row"].value, explorer.controls["column"].value = 150, 74, 0
    covered = cats[0].copy()
    covered[74:224, :150] = 128
    np.testing.assert_array_equal(explorer.result.images[1], covered)
    assert explorer.result.predictions[1] == cnnh.classify(covered).predictions[0]
    explorer.controls["experiment"].value = "shuffle"
    explorer.controls["grid"].value = 2
    np.testing.assert_array_equal(explorer.result.images[1], cnnh.shuffle(cats[0], 2))


def test_another_network_answers(explorer):
    explorer.controls["network"].value = "efficientnet_lite1"
    assert explorer.result.images[0].shape == (240, 240, 3)


def test_a_picture_dropped_in_is_taken_and_a_bad_one_is_explained(explorer, images, cats):
    explorer.open_upload({"new": [{"content": memoryview((images / "tabby.jpg").read_bytes())}]})
    np.testing.assert_array_equal(explorer.result.images[0], cats[1])
    explorer.open_upload({"new": [{"content": memoryview(b"no picture")}]})
    assert "cannot be read as a picture" in explorer.message.value
    np.testing.assert_array_equal(explorer.result.images[0], cats[1])


def test_a_page_without_widgets_gets_a_still_figure(explorer):
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and bundle["text/html"].startswith('<img alt="picture 1: Egyptian cat')


def test_without_ipywidgets_there_is_a_still_figure_and_a_hint(cnnh, cats, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.warns(UserWarning, match="pip install ipywidgets"):
        assert isinstance(cnnh.explore(cats[0]), cnn_helper.Classification)


@pytest.mark.parametrize("call, message", [
    (lambda cnnh, cat: cnnh.shuffle_curve([cat], 4), "grids: must be a list with at least one entry"),
    (lambda cnnh, cat: cnnh.shuffle_curve([cat], (2,), seeds=()), "seeds: must be a list with at least one entry"),
    (lambda cnnh, cat: cnnh.shuffle_curve([cat], "24"), "grids: must be a list with at least one entry"),
    (lambda cnnh, cat: cnnh.shuffle_curve([]), "images: must be a list with at least one entry"),
    (lambda cnnh, cat: cnnh.occlusion_curve([cat], ()), "sizes: must be a list with at least one entry"),
    (lambda cnnh, cat: cnnh.occlusion_curve([cat], (500,)), "sizes: must be a whole number from 1 to 224; got 500"),
    (lambda cnnh, cat: cnnh.shape_bias(3), "folder: must be a path; got int"),
    (lambda cnnh, cat: cnnh.make_conflicts([cat], {}, "x"), "must be lists of pictures by category"),
    (lambda cnnh, cat: cnnh.make_conflicts({"cat": 3}, {}, "x"), "must be lists of pictures by category"),
    (lambda cnnh, cat: cnnh.explore(cat, skin=3), "image: got int; allowed are"),
    (lambda cnnh, cat: cnn_helper.compare(), "one or more of them"),
    (lambda cnnh, cat: cnn_helper.compare(3), "one or more of them"),
    (lambda cnnh, cat: cnn_helper.draw_outline(cat, 3), r"mask: must have the shape of the picture, \(224, 224\)"),
    (lambda cnnh, cat: cnnh.silhouette(cat, [[1, 0], [1]]), "mask: its rows must be equally long"),
    (lambda cnnh, cat: cnnh.occlusion_map(cat, 1.5), "target: must be a label, a Prediction or a class's number from 0 to 999; got 1.5"),
    (lambda cnnh, cat: cnn_helper.CNN_Helper(weights="DEFAULT"), "weights: only torchvision's networks have several"),
])
def test_odd_arguments_are_refused_in_a_sentence(cnnh, cats, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(cnnh, cats[0])
