"""What the questions return: numbers, words, and figures, measured by the renderer's own text boxes."""

import html
import itertools
import re
import unittest.mock
import urllib.request
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

import cnn_helper
from cnn_helper import Accuracy, Curve, OcclusionMap, Prediction, ShapeBias
from test_networks import channel_helper


def plain(*colour):
    """A picture of one colour, not square."""
    return np.full((20, 30, 3), colour, dtype=np.uint8)


RED, GREEN, E10 = plain(255, 0, 0), plain(0, 255, 0), np.exp(10)  # a logit is ten times the mean of a channel


def test_answers_are_in_order_and_of_classes_or_categories(cnnh, cats, images):
    pictures = [cats[0], images / "elephant_skin.png"]
    rows, result = cnnh.probabilities(pictures), cnnh.classify(pictures, topk=7, target="cat")
    best = sorted(range(1000), key=lambda index: -rows[0, index])[:7]
    assert [(each.index, each.label) for each in result.predictions[0]] == [(n, cnnh.categories[n]) for n in best]
    assert [each.probability for each in result.predictions[0]] == pytest.approx(rows[0, best], abs=1e-6)
    assert (result.followed[0].label, result.followed[0].index) == ("cat", tuple(range(281, 287)))
    assert [each.probability for each in result.followed] == pytest.approx(rows[:, 281:287].sum(axis=1), abs=1e-6)
    assert result.share("elephant") == pytest.approx(rows[:, 385:387].sum(axis=1)) and not any(result.unchanged)


def test_the_first_pictures_class_is_followed():
    result = channel_helper().classify(RED, [GREEN], np.stack([RED, RED]), topk=1, titles=np.array([1, 2, 3, 4]))
    assert [(each.index, each.label) for each in result.followed] == [(0, "red")] * 4
    numbers = np.array([[E10, 1, E10, E10], [E10 + 1] * 4]) / (E10 + 2)
    np.testing.assert_allclose([each.probability for each in result.followed], numbers[0], atol=1e-6)
    np.testing.assert_allclose(result.share(["red", "green"]), numbers[1], atol=1e-6)
    assert result.unchanged == (False, True, True) and result.titles == ("1", "2", "3", "4")
    words = r"1: red >99.9 %\W+2: green >99.9 %.*red >99.9 % → <0.1 %.*3: .*red >99.9 % → >99.9 %"
    assert re.match(words, repr(result))
    np.testing.assert_array_equal(result.images[1], GREEN[:, 5:25])
    equal = channel_helper().classify(plain(0, 99, 99)).predictions[0]
    assert [each.index for each in equal] == [1, 2, 0]  # equal ones stay in the order of the classes


@pytest.mark.parametrize("target, index, label", [
    (2, 2, "blue"), (" Blue ", 2, "blue"), (Prediction(2, "blue", 0.3), 2, "blue"),
    (["blue", 1], (2, 1), "blue + green"), (np.array([1, 2]), (1, 2), "green + blue"),
    (Prediction((1, 2), "cold", 0.3), (1, 2), "cold")])
def test_a_target_is_a_class_or_several_together(target, index, label):
    result, count = channel_helper().classify(RED, GREEN, target=target, titles=("a", 5.0)), np.size(index)
    assert (result.followed[0].index, result.followed[0].label) == (index, label)
    assert result.followed[0].probability == pytest.approx(count / (E10 + 2), abs=1e-6)
    assert result.unchanged == (count > 1,) and result.titles == ("a", "5.0") and label in repr(result)


@pytest.mark.parametrize("pictures, given, error, words", [
    ([], {}, ValueError, "image"), ([RED, GREEN], {"titles": {"a", "b"}}, ValueError, "titles"),
    ([RED, GREEN], {"titles": ["one"]}, ValueError, "titles.*2.*1"), ([RED], {"titles": "one"}, ValueError, "titles"),
    ([RED], {"topk": 6}, ValueError, "topk.*1 to 5.*6"), ([RED], {"topk": 2.0}, TypeError, "topk.*2.0")])
def test_odd_arguments_are_refused(pictures, given, error, words):
    with pytest.raises(error, match=words):
        channel_helper().classify(*pictures, **given)


def test_probabilities_are_written_for_people():
    written = {0: "<0.1 %", 0.0004: "<0.1 %", 0.004: "0.4 %", 0.0994: "9.9 %", 0.0996: "10 %", 0.41: "41 %",
               0.9879: "99 %", 0.992: "99.2 %", 0.99951: ">99.9 %", 1: ">99.9 %"}
    assert {value: cnn_helper.percent(value) for value in written} == written


class Pixel(torch.nn.Module):
    """25 classes: 16 times the red level of row 12, column 3, less 8; zero; and 23 others with no chance."""

    def forward(self, batch):
        level = 16 * batch[:, :1, 12, 3] - 8
        return torch.cat([level, 0 * level, -99 + 0 * level.expand(-1, 23)], dim=1)


@pytest.fixture(scope="module")
def pixel():
    labels = [f"{number}: wide-mouthed West Highland white terrier, a label of its own" for number in range(25)]
    return cnn_helper.CNN_Helper(Pixel(), categories=labels, size=20, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")


def test_a_maps_colours_cover_the_picture_and_no_change_is_neutral():
    values = np.float32([[0.4, 0.4, 0.9], [0.4, 0.4, 0.4], [0.4, 0.1, 0.4]])  # cells of 7 x 7 pixels, the last cut
    result = OcclusionMap(plain(90)[:, :20], Prediction(0, "a", 0.4), values, size=9, stride=7)
    coloured = result.coloured()[0]
    assert coloured.shape == (20, 20, 3) and coloured.dtype == np.uint8
    tint = coloured[:, :, 2].astype(int) - coloured[:, :, 0]
    signs, expected = np.sign(np.where(abs(tint) > 5, tint, 0)), np.zeros((20, 20))
    expected[:7, 14:], expected[14:, 7:14] = signs[0, 19], -signs[0, 19]
    assert signs[0, 19] and np.array_equal(signs, expected)
    assert result.largest_change == pytest.approx((3, 17, 0.9), abs=1e-6)


def legible(figure):
    """The texts of a figure and the boxes of its pictures, in inches; all text is inside, large enough, and apart."""
    with unittest.mock.patch.object(Text, "draw", autospec=True, side_effect=Text.draw) as draw:
        figure.draw(figure.canvas.get_renderer())
    drawn = [call.args[0] for call in draw.call_args_list]
    texts = [(text, text.get_window_extent()) for text in drawn if text.get_visible() and text.get_text().strip()]
    pictures = [axes.get_window_extent() for axes in figure.axes if axes.images]
    for text, box in texts:
        assert text.get_fontsize() >= 12 and min(box.p0) >= 0 and all(box.p1 <= figure.bbox.p1), text
        assert not any(box.overlaps(other.padded(-1)) for other in pictures), text
    for (text, box), (other, second) in itertools.combinations(texts, 2):
        assert not box.padded(-0.5).overlaps(second.padded(-0.5)), (text, other)
    inches = figure.dpi_scale_trans.inverted().transform_bbox
    return [(text.get_text(), inches(box)) for text, box in texts], [inches(box) for box in pictures]


PICTURES = [plain(level) for level in (250, 99, 140, 0, 180, 90, 128, 255, 60, 20)]
TITLES = [f"a title of more words than there is room for {number} " * 3 for number in range(10)]


@pytest.mark.parametrize("topk", [1, 3, 5, 20])
@pytest.mark.parametrize("count", range(1, 11))
def test_all_of_a_classification_is_legible(pixel, count, topk):
    result = pixel.classify(PICTURES[:count], topk=topk, titles=TITLES[:count], target=[0, 1, 2])
    figure, shares = result.figure(), [[0, *(each.probability for each in answer)] for answer in result.predictions]
    bars = np.reshape([bar.get_width() for bar in figure.artists], (count, 1 + topk))  # in inches; the target has none
    np.testing.assert_allclose(bars, np.array(shares) * np.max(bars) / np.max(shares), atol=1e-6)
    assert 2 < np.max(bars) / np.max(shares) < 7
    (texts, pictures), (width, height) = legible(figure), figure.get_size_inches()
    numbers = [box for text, box in texts if re.match("[<>]?[0-9.]+ %$", text)]
    assert len(pictures) == count and len(numbers) == count * topk + 1  # the target's in the first picture
    least = {1: 4, 2: 3, 3: 3.6, 4: 2.7, 6: 3.6, 7: 2.7, 8: 2.7}.get(count, 2.2)
    assert min(min(box.width, box.height) for box in pictures) > least - 0.01
    beside = pictures[0].y0 < numbers[1].y0 < pictures[0].y1 and numbers[1].x0 > pictures[0].x1
    assert width <= 12 and beside == (count < 3)
    if count <= 3 and topk <= 5 or count == 10 and topk == 1:
        assert height <= 6.4  # a slide of 1280 x 720 with a title
    if count == 10:
        assert [len({*np.round(places, 2)}) for places in zip(*(box.p0 for box in pictures))] == [5, 2]


@pytest.mark.parametrize("networks, count", [*itertools.product((1, 2, 3, 5), (1, 2))])
def test_networks_compared_on_the_same_pictures_are_legible(pixel, networks, count):
    names = [f"network {number} of a long name" for number in range(networks)]
    results = [replace(pixel.classify(PICTURES[:count], topk=4), network=name) for name in names]
    texts, pictures = legible(cnn_helper.compare(*results).figure())
    assert {name[:9] for name in names} <= {text[:9] for text, _ in texts} and len(pictures) == count * networks


@pytest.mark.parametrize("level", [0, 64, 100, 128, 150, 192, 255])  # 0.03, 1.8, 15, 50, 81, 98 and 99.97 percent
@pytest.mark.parametrize("fill", [2, 120, 252])
def test_a_map_tells_its_largest_change_and_frames_the_square(pixel, level, fill):
    """Squares centred at 2, 6, ... 18 begin 3 pixels before: those at rows 10, 14 and columns 2, 6 cover the pixel."""
    result = pixel.occlusion_map(plain(level), [0, 2], size=6, stride=4, fill=fill)
    whole, covered = 1 / (1 + np.exp(8 - 16 * np.array([level, fill]) / 255))
    expected = np.full((5, 5), whole)
    expected[2:4, :2] = covered
    np.testing.assert_allclose(result.probabilities - result.target.probability, expected - whole, atol=1e-6)
    assert result.largest_change == pytest.approx((10, 2, covered), abs=1e-6) and "row 10, column 2" in repr(result)
    texts = " ".join(text for text, _ in legible(result.figure())[0])
    assert f"{cnn_helper.percent(whole)} → {cnn_helper.percent(covered)}" in texts
    assert {each.get_bbox().bounds for each in result.figure().axes[0].patches} == {(-1.5, 6.5, 6, 6)}  # rows 7..12


def curves(*last, points=(1, 2, 4, 8, 16)):
    """Curves in one figure that begin around 0.9 and end around `last`."""
    values = [tuple(np.linspace([0.8, 0.9, 1], np.add(end, [-0.1, 0, 0.1]).clip(0, 1), len(points))) for end in last]
    return cnn_helper.compare(*(Curve(f"network {number} of a name that goes on", "tiles a side", points, each, each)
                                for number, each in enumerate(values)))


ERRORS = dict(zip(range(2010, 2018), (28.2, 25.8, 16.4, 11.7, 6.7, 3.57, 2.99, 2.25)))
CONTEST = cnn_helper.draw_contest(ERRORS, human=5.1, deep_from=2012)
CHARTS = [(CONTEST, ["28.2 %", "16.4 %", "3.57 %", "5.1 %", "person", "first deep network"]),
          (cnn_helper.draw_contest(dict.fromkeys(range(8), 90), human=90, deep_from=0), ["90 %"])]
CHARTS += [(curves(*last, points=points), [f"network {number}" for number in range(len(last))])
           for last in ((0.5,), (0.5,) * 4, (1,) * 4, (0,) * 4, (0.97, 0.95, 0.5, 0.02), (0.03, 0.01, 0.99))
           for points in ((3,), (1, 2, 4, 8, 16), tuple(range(10, 220, 15)))]
CHARTS += [(kind(network="network of a name that goes on", categories=dict.fromkeys(names, row), skipped=()),
            [*names, "people", "ResNet-50", "network of", "±", "1811.12231"])
           for kind in (Accuracy, ShapeBias) for names in (["cat"], [*cnn_helper.SIXTEEN])
           for row in ((10, 0, 10), (0, 10, 10), (0, 0, 10), (37, 63, 12_345))]


@pytest.mark.parametrize("chart, words", CHARTS)
def test_charts_are_legible(chart, words):
    texts = " ".join(text for text, _ in legible(chart.figure())[0])
    assert all(each in texts for each in words)


DOLLARS = ["$10 bill, $5", "$^$", "a_$b^$"]
FIGURES = {  # each made anew
    "classification": lambda: channel_helper().classify(RED, GREEN, titles=['<b>"x', "&amp;<!--"]),
    "dollars": lambda: channel_helper(categories=DOLLARS).classify(RED, GREEN, target=[0, 1], titles=DOLLARS[1:]),
    "map": lambda: channel_helper(categories=DOLLARS).occlusion_map(RED, "$^$", size=8, stride=6),
    "curves": lambda: curves(0.2, 0.9, 0), "contest": lambda: cnn_helper.draw_contest(ERRORS, human=5.1, deep_from=2012),
    "accuracy": lambda: Accuracy(network="n", categories={"cat": (3, 1, 4)}, skipped=()),
    "outline": lambda: cnn_helper.draw_outline(PICTURES[0], np.add.outer(np.arange(20), np.arange(30)) > 30)}
HOSTILE = {"image.origin": "lower", "text.usetex": True, "savefig.transparent": True, "figure.dpi": 50,
           "figure.constrained_layout.use": True, "savefig.bbox": "tight", "image.cmap": "hot", "lines.linewidth": 9}


@pytest.mark.filterwarnings("error:Glyph")  # a letter that the font does not have
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_the_same_whatever_matplotlibs_settings(make, tmp_path):
    page = (result := make())._repr_html_()
    alt = re.fullmatch('<img alt="([^"<>]*)" style="max-width:100%" src="data:image/webp;base64,[^"<>]*">', page)[1]
    result.save(str(tmp_path / "plain.png"))
    assert html.unescape(alt) == repr(result)
    with plt.rc_context({"font.family": "DejaVu Serif"}):
        assert {text.get_fontfamily()[0] for text in make().figure().findobj(Text)} == {"DejaVu Serif"}
    with plt.rc_context():
        plt.style.use("dark_background")
        plt.rcParams.update(HOSTILE)
        before, again = dict(plt.rcParams), make()
        assert again._repr_html_() == page and again.figure() is again.figure()
        again.save(tmp_path / "hostile.png")
        again.save(tmp_path / "figure.pdf")
        assert dict(plt.rcParams) == before and not plt.get_fignums()
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    images = [np.asarray(Image.open(tmp_path / name).convert("RGBA")) for name in ("plain.png", "hostile.png")]
    np.testing.assert_array_equal(*images)
    assert images[0].shape[1::-1] == pytest.approx(100 * result.figure().get_size_inches(), abs=1)


def test_a_figure_taller_than_webp_allows_is_made_smaller():
    result = channel_helper().classify([RED] * 50, topk=1)
    page = cnn_helper.compare(result, result)._repr_html_()
    assert 15_000 < Image.open(urllib.request.urlopen(page.split('"')[5])).height <= 16_383
