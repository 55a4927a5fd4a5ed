"""What classify and occlusion_map return: their numbers, their words and their figures."""

import base64
import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import cnn_helper
from test_networks import channel_helper, plain_probabilities


class Corner(torch.nn.Module):
    """Two classes: how bright the pixel in row 12, column 3 is, and zero."""

    def forward(self, batch):
        bright = 8 * batch[:, 0, 12, 3]
        return torch.stack([bright, torch.zeros_like(bright)], dim=1)


def corner_helper():
    return cnn_helper.CNN_Helper(Corner(), size=20, mean=(0, 0, 0), std=(1, 1, 1), categories=["bright", "dark"], device="cpu")


def test_predictions_are_the_largest_probabilities_in_order(cnnh, cats):
    answer = cnnh.classify(cats[0], topk=7).predictions[0]
    row = cnnh.probabilities(cats[0])[0]
    best = sorted(range(1000), key=lambda index: -row[index])[:7]
    assert [each.index for each in answer] == best
    assert [each.label for each in answer] == [cnnh.categories[index] for index in best]
    assert [each.probability for each in answer] == pytest.approx(row[best])


def test_equal_probabilities_come_in_the_order_of_the_classes():
    answer = channel_helper().classify(np.zeros((20, 20, 3), dtype=np.uint8), topk=3).predictions[0]
    assert [each.index for each in answer] == [0, 1, 2]


def test_a_classification_follows_the_first_pictures_class():
    red, green = np.zeros((2, 20, 20, 3), dtype=np.uint8)
    red[:, :, 0], green[:, :, 1] = 255, 255
    result = channel_helper().classify(red, green, red, topk=1, titles=["a", "b", "c"])
    assert [each.label for each in result.followed] == ["red"] * 3
    assert result.followed[0].probability == pytest.approx(1 / (1 + 2 * np.exp(-10)), abs=1e-6)
    assert result.followed[1].probability == pytest.approx(np.exp(-10) / (1 + 2 * np.exp(-10)), abs=1e-6)
    assert result.unchanged == (False, True)
    assert result.description == ("a: red >99.9 %; b: green >99.9 % (red >99.9 % → <0.1 %); "
                                  "c: red >99.9 % (red >99.9 % → >99.9 %).")


def test_pictures_come_one_by_one_in_lists_and_in_stacks(cnnh, cats):
    result = cnnh.classify(cats[0], [cats[1], cats[2]], np.stack(cats))
    assert len(result.images) == 6
    np.testing.assert_array_equal(result.images[5], cats[2])


@pytest.mark.parametrize("value, words", [
    (0, "<0.1 %"), (0.0004, "<0.1 %"), (0.004, "0.4 %"), (0.0994, "9.9 %"), (0.0996, "10 %"), (0.41, "41 %"),
    (0.9879, "99 %"), (0.992, "99.2 %"), (0.99951, ">99.9 %"), (1, ">99.9 %")])
def test_probabilities_are_written_for_people(value, words):
    assert cnn_helper.percent(value) == words


def test_no_picture_is_refused(cnnh):
    with pytest.raises(ValueError, match="give classify at least one picture"):
        cnnh.classify()


@pytest.mark.parametrize("topk, error", [(0, ValueError), (1001, ValueError), (2.0, TypeError), (True, TypeError)])
def test_topk_is_a_whole_number_up_to_the_classes(cnnh, cats, topk, error):
    with pytest.raises(error, match="topk: must be a whole number from 1 to 1000"):
        cnnh.classify(cats[0], topk=topk)


def test_a_network_of_few_classes_lists_all_it_has():
    result = channel_helper().classify(np.zeros((20, 20, 3), dtype=np.uint8))
    assert len(result.predictions[0]) == 3
    with pytest.raises(ValueError, match="topk: must be a whole number from 1 to 5; got 6"):
        channel_helper().classify(np.zeros((20, 20, 3), dtype=np.uint8), topk=6)


def test_dollars_in_titles_and_labels_are_no_formulas(cats):
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    helper = channel_helper(categories=["$10 bill, $5", "$^$", "a_$b^$"])
    for result in (helper.classify(picture, picture, titles=["$^$", "a_$b^$"]), helper.classify([picture] * 5),
                   helper.occlusion_map(picture, "$^$", size=8, stride=6)):
        assert "data:image/webp" in result._repr_html_()


def test_hundreds_of_pictures_can_be_shown():
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    page = channel_helper().classify([picture] * 500)._repr_html_()
    shown = Image.open(io.BytesIO(base64.b64decode(page.split("base64,")[1].rstrip('">'))))
    assert 15_000 < shown.height <= 16_383


@pytest.mark.parametrize("values, expected", [
    ([[0.2, 0.9]], (0.2, 0.9)), ([[0.88, 0.9]], (0.8, 0.9)), ([[0.01, 0.04]], (0, 0.1)), ([[0, 1e-5]], (0, 0.1))])
def test_a_maps_colours_span_a_tenth_and_no_negative_probability(cats, values, expected):
    values = np.array(values, dtype=np.float32)
    target = cnn_helper.Prediction(1, "goldfish", 0.5)
    figure = cnn_helper.OcclusionMap(cats[0], target, values, 112, 112).figure()
    assert figure.axes[1].images[1].get_clim() == pytest.approx(expected, abs=1e-6)


def test_long_words_stay_inside_the_figure(cnnh, cats):
    salamander = cnnh.occlusion_map(cats[0], "European fire salamander", size=112, stride=56)
    many = cnnh.classify(cats[0], cats[1], topk=20, titles=["a title of more words than there is room for, " * 3, "two\nlines"])
    for figure in (salamander.figure(), many.figure()):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        width, height = figure.canvas.get_width_height()
        for text in [text for axes in figure.axes for text in (*axes.texts, axes.title, axes.yaxis.label)]:
            box = text.get_window_extent(renderer)
            assert not text.get_text() or box.x0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
    labels = [text.get_window_extent(renderer) for text in figure.axes[2].texts[::2]]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in zip(labels, labels[1:]))


def test_titles_must_fit_the_pictures(cnnh, cats):
    with pytest.raises(ValueError, match="titles: 2 pictures need as many titles; got 1"):
        cnnh.classify(cats[0], cats[1], titles="one")


def test_an_occlusion_map_equals_classifying_every_covered_copy(cnnh, cats):
    result = cnnh.occlusion_map(cats[0], size=90, stride=50, fill=(10, 200, 30))
    copies = cnnh.occlude(cats[0], size=90, stride=50, fill=(10, 200, 30))
    assert result.probabilities.shape == (3, 3) and len(copies) == 9
    expected = plain_probabilities(cnnh.network, copies)[:, result.target.index].reshape(3, 3)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-4)
    assert result.target == cnnh.classify(cats[0]).predictions[0][0]


def test_an_occlusion_map_has_rows_and_columns_in_their_places():
    """Only windows over row 12, column 3 matter: with size 6 and stride 4, rows 8 and 12 (and not 16), column 0."""
    white = np.full((20, 20, 3), 255, dtype=np.uint8)
    result = corner_helper().occlusion_map(white, size=6, stride=4, fill=0)
    expected = np.full((4, 4), 1 / (1 + np.exp(-8)))
    expected[2:4, 0] = 0.5
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-6)
    assert result.lowest == (8, 0)
    assert "from 50 % (top-left corner at row 8, column 0)" in result.description


@pytest.mark.parametrize("target", [1, "dark", "DARK", np.int64(1), cnn_helper.Prediction(1, "dark", 0.3)])
def test_an_occlusion_map_watches_the_class_asked_for(target):
    result = corner_helper().occlusion_map(np.full((20, 20, 3), 255, dtype=np.uint8), target, size=10, stride=10)
    assert result.target.label == "dark"
    assert result.target.probability == pytest.approx(1 / (1 + np.exp(8)), abs=1e-6)


def test_pictures_are_not_changed(cnnh, cats):
    before = [cat.copy() for cat in cats]
    cnnh.classify(cats)
    cnnh.occlusion_map(cats[0], size=150, stride=70)
    for cat, copy in zip(cats, before):
        np.testing.assert_array_equal(cat, copy)


def shown(result):
    """The picture that a notebook shows, and its description."""
    page = result._repr_html_()
    assert page.startswith('<img alt="') and page.count("<img") == 1
    return page.split('alt="')[1].split('"')[0]


@pytest.mark.parametrize("count, topk", [(1, 5), (2, 5), (3, 3), (4, 5), (6, 2), (10, 1)])
def test_a_classification_draws_every_picture_and_every_label(cnnh, cats, count, topk):
    result = cnnh.classify([cats[number % 3] for number in range(count)], topk=topk, titles=[f"cat {n}" for n in range(count)])
    figure = result.figure()
    texts = [text for axes in figure.axes for text in axes.texts]
    assert sum(len(axes.images) for axes in figure.axes) == count
    assert sum("%" in text.get_text() and "→" not in text.get_text() for text in texts) == count * topk
    assert min(text.get_fontsize() for text in texts) >= 12
    assert figure.get_figwidth() <= 12 and figure.get_figheight() <= 7.2  # a slide of 1280 x 720
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width + 1, f"{text.get_text()} is cut off"
    assert "cat 0: Egyptian cat 98 %" in shown(result)


def test_a_figure_is_saved_at_a_hundred_dots_an_inch(cnnh, cats, tmp_path):
    result = cnnh.classify(cats[0])
    result.save(tmp_path / "figure.png")
    saved = Image.open(tmp_path / "figure.png")
    assert saved.size == tuple(round(100 * side) for side in result.figure().get_size_inches())
    result.save(str(tmp_path / "figure.pdf"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name, error, message", [
    ("figure", ValueError, "path: must end in .png, .pdf, .svg or .jpg; got 'figure'"),
    ("figure.xyz", ValueError, "path: must end in .png, .pdf, .svg or .jpg; got 'figure.xyz'"),
    ("nowhere/figure.png", FileNotFoundError, "path: there is no folder .*nowhere"),
])
def test_a_figure_that_cannot_be_saved_says_why(tmp_path, name, error, message):
    result = channel_helper().classify(np.zeros((20, 20, 3), dtype=np.uint8))
    with pytest.raises(error, match=message):
        result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_drawing_leaves_matplotlibs_settings_and_figures_alone(cnnh, cats):
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    cnnh.classify(cats[0])._repr_html_()
    cnnh.occlusion_map(cats[0], size=150, stride=70)._repr_html_()
    assert dict(matplotlib.rcParams) == before and plt.get_fignums() == []


def test_a_description_cannot_break_the_page(cnnh, cats):
    assert '<b>"x' not in cnnh.classify(cats[0], titles='<b>"x')._repr_html_()


def test_the_contests_chart_shows_its_numbers_and_the_human_line():
    chart = cnn_helper.draw_contest({2011: 25.8, 2012: 16.4}, human=5.1, deep_from=2012)
    texts = {text.get_text() for axes in chart.figure().axes for text in axes.texts}
    assert {"25.8 %", "16.4 %", "the first\ndeep network"} <= texts
    assert [patch.get_height() for patch in chart.figure().axes[0].patches[:2]] == [25.8, 16.4]
    assert [list(line.get_ydata()) for line in chart.figure().axes[0].lines] == [[5.1, 5.1]]
    assert "2011 25.8, 2012 16.4" in shown(chart)


def test_an_occlusion_maps_cells_lie_around_their_squares_centres():
    result = corner_helper().occlusion_map(np.full((20, 20, 3), 255, dtype=np.uint8), size=6, stride=4, fill=0)
    cells = result.figure().axes[1].images[1]
    left, right, bottom, top = cells.get_extent()
    # The first square covers pixels 0..5, its centre is at 2.5; cells are 4 wide, so the first spans 0.5..4.5.
    assert (left, top) == (0.5, 0.5) and (right, bottom) == (16.5, 16.5)
    picture = io.BytesIO()
    result.figure().savefig(picture, format="png")
    assert Image.open(picture).size == (1200, 580)


def test_an_approximate_map_is_exact_where_it_computed_and_near_elsewhere(cnnh, cats):
    settings = dict(size=90, stride=9)
    exact = cnnh.occlusion_map(cats[0], **settings).probabilities
    approximate = cnnh.occlusion_map(cats[0], **settings, approximate=True).probabilities
    assert approximate.shape == exact.shape == (15, 15) and approximate.dtype == np.float32
    np.testing.assert_allclose(approximate[::3, ::3], exact[::3, ::3], atol=1e-5)
    assert (np.abs(approximate - exact) < 1e-5).sum() >= 36 + 11  # every third and the last, and a twentieth of all
    assert np.corrcoef(approximate.ravel(), exact.ravel())[0, 1] > 0.9


def test_an_approximate_map_interpolates_linearly_and_keeps_rows_and_columns_apart():
    asked = []

    def plane(rows, columns):
        asked.append(len(rows))
        return 2.0 * rows + 3.0 * columns

    rows, columns = np.arange(0, 45, 5), np.arange(0, 26, 2)  # 9 x 13 positions, known at 4 x 5
    values = cnn_helper.approximate_map(plane, rows, columns, share=0)
    np.testing.assert_allclose(values, 2 * rows[:, None] + 3 * columns[None])
    assert asked == [20]
