"""Transforms that need no network, against expectations written by hand, and the arguments of the methods."""

import re

import hypothesis.strategies as some
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

import cnn_helper
from cnn_helper import Prediction, as_mask, blacken, colour, cover, shuffle_tiles, whole_number, window_corners

pictures = arrays(np.uint8, some.tuples(some.integers(1, 24), some.integers(1, 24), some.just(3)))
properties = settings(max_examples=60, deadline=None, derandomize=True)


def frozen(picture):
    """`picture`, such that writing to it raises."""
    picture.flags.writeable = False
    return picture


def tiles(picture, grid):
    """The tiles of a picture, row by row, as bytes."""
    height, width = (side // grid for side in picture.shape[:2])
    return [picture[row * height:(row + 1) * height, column * width:(column + 1) * width].tobytes()
            for row in range(grid) for column in range(grid)]


# Shuffling

@given(pictures, some.integers(1, 6), some.integers(0, 2**63 - 1))
@properties
def test_shuffling_moves_every_tile_whole_and_loses_none(picture, grid, seed):
    assume(grid <= min(picture.shape[:2]))
    shuffled = shuffle_tiles(frozen(picture), grid, seed)
    assert shuffled.shape == picture.shape and shuffled.dtype == np.uint8 and not np.shares_memory(shuffled, picture)
    assert sorted(tiles(shuffled, grid)) == sorted(tiles(picture, grid))
    height, width = (side // grid * grid for side in picture.shape[:2])
    np.testing.assert_array_equal(shuffled[height:], picture[height:])
    np.testing.assert_array_equal(shuffled[:, width:], picture[:, width:])


@given(pictures, some.integers(2, 6), some.integers(0, 1000))
@properties
def test_shuffling_never_leaves_every_tile_in_place(picture, grid, seed):
    assume(grid <= min(picture.shape[:2]) and len(set(tiles(picture, grid))) == grid * grid)
    assert not np.array_equal(shuffle_tiles(picture, grid, seed), picture)


def test_four_tiles_are_moved_by_all_seeds():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    orders = [tuple(map(tiles(picture, 2).index, tiles(shuffle_tiles(picture, 2, seed), 2))) for seed in range(300)]
    assert len(set(orders)) == 23  # 4! less the one that moves nothing
    assert max(orders.count(order) for order in set(orders)) < 40  # 13 on average


def test_shuffling_a_picture_written_out_by_hand():
    """Two by two tiles, each one pixel high and two wide."""
    picture = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.uint8)[:, :, None].repeat(3, axis=2)
    order = np.random.default_rng(7).permutation(4)
    parts = [[1, 2], [3, 4], [5, 6], [7, 8]]
    rows = [parts[order[0]] + parts[order[1]], parts[order[2]] + parts[order[3]]]
    assert order.tolist() != [0, 1, 2, 3]
    assert shuffle_tiles(picture, 2, 7)[:, :, 1].tolist() == rows


def test_a_grid_of_one_changes_nothing(wide):
    np.testing.assert_array_equal(shuffle_tiles(wide, 1, 3), wide)


def test_tiles_may_be_single_pixels(wide):
    shuffled = shuffle_tiles(wide, 20, 0)
    assert len(np.unique(shuffled.reshape(-1, 3), axis=0)) == 600


def test_the_same_seed_shuffles_alike_and_another_does_not(cnnh, cats):
    first = cnnh.shuffle(cats[0], 4, seed=5)
    np.testing.assert_array_equal(first, cnnh.shuffle(cats[0], 4, seed=np.int64(5)))
    np.testing.assert_array_equal(first, shuffle_tiles(cats[0], 4, 5))
    assert not np.array_equal(first, cnnh.shuffle(cats[0], 4, seed=6))
    assert not np.array_equal(cnnh.shuffle(cats[0]), cats[0])


def test_shuffling_leaves_the_global_chance_alone(cnnh, cats):
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    cnnh.shuffle(cats[0], 8, seed=2)
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


# Windows

@pytest.mark.parametrize("height, width, size, stride, rows, columns", [
    (20, 30, 10, 10, [0, 10], [0, 10, 20]),
    (20, 30, 10, 7, [0, 7], [0, 7, 14]),
    (20, 30, 20, 10, [0], [0, 10]),
    (20, 30, 18, 1, [0, 1, 2], list(range(13))),
    (5, 3, 3, 2, [0, 2], [0]),
    (4, 4, 4, 100, [0], [0]),
    (3, 2, 1, 1, [0, 1, 2], [0, 1])])
def test_windows_lie_wholly_inside_from_the_top_left_corner_on(height, width, size, stride, rows, columns):
    found = window_corners(height, width, size, stride)
    assert (found[0].tolist(), found[1].tolist()) == (rows, columns)


@given(some.integers(1, 40), some.integers(1, 40), some.integers(1, 40), some.integers(1, 40))
@properties
def test_no_window_that_fits_is_left_out(height, width, size, stride):
    assume(size <= min(height, width))
    expected = [[corner for corner in range(side) if corner % stride == 0 and corner + size <= side]
                for side in (height, width)]
    assert [corners.tolist() for corners in window_corners(height, width, size, stride)] == expected


@given(pictures, some.data())
@properties
def test_covering_touches_the_window_and_nothing_else(picture, data):
    height, width = picture.shape[:2]
    size = data.draw(some.integers(1, min(height, width)))
    row, column = data.draw(some.integers(0, height - size)), data.draw(some.integers(0, width - size))
    fill = data.draw(some.tuples(*[some.integers(0, 255)] * 3))
    covered = cover(frozen(picture), row, column, size, colour(fill))
    for y, x in np.ndindex(height, width):
        inside = row <= y < row + size and column <= x < column + size
        assert tuple(covered[y, x]) == (fill if inside else tuple(picture[y, x]))


def test_covering_a_picture_written_out_by_hand():
    picture = frozen(np.zeros((3, 5, 3), dtype=np.uint8))
    assert cover(picture, 1, 3, 2, colour(9))[:, :, 2].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 9, 9], [0, 0, 0, 9, 9]]


def test_occluding_covers_position_after_position_row_by_row(cnnh, cats):
    copies = cnnh.occlude(cats[0], 100, stride=60, fill=(1, 2, 3))
    assert copies.shape == (9, 224, 224, 3) and copies.dtype == np.uint8
    corners = [(row, column) for row in (0, 60, 120) for column in (0, 60, 120)]
    for copy, (row, column) in zip(copies, corners):
        expected = cats[0].copy()
        expected[row:row + 100, column:column + 100] = 1, 2, 3
        np.testing.assert_array_equal(copy, expected)


@pytest.mark.parametrize("size, count", [(90, 9), (150, 9), (187, 9), (222, 9), (223, 4), (224, 1)])
def test_occluding_without_a_stride_gives_three_by_three_positions_where_there_is_room(cnnh, cats, size, count):
    copies = cnnh.occlude(cats[0], size)
    assert len(copies) == count
    assert (copies[0][:size, :size] == 128).all() and (copies[-1][224 - size:, 224 - size:] == 128).mean() > 0.97


# Silhouettes

MASK = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)


def test_a_silhouette_is_black_on_white():
    silhouette = blacken(frozen(np.full((2, 3, 3), 77, dtype=np.uint8)), MASK)
    assert silhouette.dtype == np.uint8 and silhouette.tolist() == [
        [[0] * 3, [255] * 3, [255] * 3], [[0] * 3, [0] * 3, [255] * 3]]


@given(pictures, some.data())
@properties
def test_a_silhouette_is_the_mask_and_nothing_of_the_picture(picture, data):
    mask = data.draw(arrays(bool, picture.shape[:2]))
    silhouette = blacken(frozen(picture), frozen(mask))
    for channel in range(3):
        np.testing.assert_array_equal(silhouette[:, :, channel], np.where(mask, 0, 255))


@pytest.mark.parametrize("mask", [
    MASK, MASK.astype(np.uint8), MASK * 255, MASK * 255.0, MASK.astype(np.int64), MASK.tolist(), torch.tensor(MASK)],
    ids=["bool", "0 and 1", "0 and 255", "floats", "int64", "list", "tensor"])
def test_masks_of_every_kind_are_understood(mask):
    found = as_mask(mask, 2, 3)
    assert found.dtype == bool and found.tolist() == MASK.tolist()


def test_a_mask_of_nothing_and_a_mask_of_everything_are_masks():
    assert not as_mask(np.zeros((2, 3)), 2, 3).any() and as_mask(np.full((2, 3), 255), 2, 3).all()


@pytest.mark.parametrize("mask, sentence", [
    (MASK.T, r"must have the shape of the picture, \(2, 3\); got \(3, 2\)"),
    (MASK[:, :, None], r"got \(2, 3, 1\)"),
    (True, r"got \(\)"),
    ("mask.png", r"got \(\)"),
    (MASK * 2, "must hold booleans, or 0 and 255 only; got dtype int64 with other values"),
    (np.array([[0, 1, 255]] * 2), "must hold booleans, or 0 and 255 only"),
    (MASK * 0.5, "got dtype float64"),
    (np.full((2, 3), np.nan), "got dtype float64"),
    (np.full((2, 3), None), "got dtype object")])
def test_what_is_no_mask_is_refused(mask, sentence):
    with pytest.raises(ValueError, match=f"^mask: .*{sentence}"):
        as_mask(mask, 2, 3)


def test_a_silhouette_after_a_mask_of_ones_own(cnnh, cats):
    mask = frozen(np.indices((224, 224))[0] < 50)
    silhouette = cnnh.silhouette(cats[0], mask)
    assert (silhouette[:50] == 0).all() and (silhouette[50:] == 255).all() and silhouette.shape == (224, 224, 3)
    np.testing.assert_array_equal(cnnh.silhouette(cats[0], mask=mask * 255), silhouette)


def test_a_mask_of_another_shape_is_refused(cnnh, cats):
    with pytest.raises(ValueError, match=r"mask: must have the shape of the picture, \(224, 224\); got \(224, 225\)"):
        cnnh.silhouette(cats[0], np.zeros((224, 225), dtype=bool))


# Numbers as arguments

@pytest.mark.parametrize("value", [3, np.int8(3), np.uint8(3), np.int64(3), np.uint64(3)])
def test_whole_numbers_are_pythons_and_numpys(value):
    found = whole_number("size", value, 3, 3)
    assert found == 3 and type(found) is int


NO_WHOLE_NUMBERS = [True, False, np.True_, 3.0, np.float32(3), "3", None, [3], np.array(3), np.array([3]), 3j, b"3"]


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS, ids=repr)
def test_what_is_no_whole_number_is_refused_by_type(value):
    with pytest.raises(TypeError, match=r"^size: must be a whole number from 0 to 9; got .*\.$"):
        whole_number("size", value, 0, 9)


@pytest.mark.parametrize("value", [-1, 10, np.int64(-1), 2**70])
def test_a_whole_number_out_of_range_is_refused_by_value(value):
    with pytest.raises(ValueError, match=f"^size: must be a whole number from 0 to 9; got {value}"):
        whole_number("size", value, 0, 9)


@pytest.mark.parametrize("fill, expected", [
    (0, [0, 0, 0]), (255, [255] * 3), (np.uint8(128), [128] * 3), ((1, 2, 3), [1, 2, 3]), ([1, 2, 3], [1, 2, 3]),
    (np.array([1, 2, 3]), [1, 2, 3]), (np.array([1, 2, 255], dtype=np.uint8), [1, 2, 255])])
def test_a_fill_is_a_grey_level_or_a_triple(fill, expected):
    found = colour(fill)
    assert found.dtype == np.uint8 and found.tolist() == expected


@pytest.mark.parametrize("fill, error, sentence", [
    (-1, ValueError, "from 0 to 255; got -1"), (256, ValueError, "from 0 to 255; got 256"),
    ((1, 2, 300), ValueError, "got 300"), ((1, 2.0, 3), TypeError, "got 2.0"), (0.5, TypeError, "got 0.5"),
    (True, TypeError, "got True"), ((True, 2, 3), TypeError, "got True"), (np.nan, TypeError, "got nan"),
    ((1, 2), ValueError, r"a grey level or three of them \(red, green, blue\), 0 to 255; got \(1, 2\)"),
    ((1, 2, 3, 4), ValueError, "a grey level or three"), ((), ValueError, "a grey level or three"),
    ("red", ValueError, "a grey level or three .*got 'red'"), (None, ValueError, "a grey level or three .*got None")])
def test_what_is_no_fill_is_refused(fill, error, sentence):
    with pytest.raises(error, match=f"^fill: must be .*{sentence}"):
        colour(fill)


CALLS = {  # each numeric argument of each method, with its range
    "grid of shuffle": (lambda c, cat, value: c.shuffle(cat, value), "grid", 1, 224),
    "seed of shuffle": (lambda c, cat, value: c.shuffle(cat, seed=value), "seed", 0, 2**63 - 1),
    "size of occlude": (lambda c, cat, value: c.occlude(cat, value, stride=224), "size", 1, 224),
    "stride of occlude": (lambda c, cat, value: c.occlude(cat, 224, stride=value), "stride", 1, 224),
    "fill of occlude": (lambda c, cat, value: c.occlude(cat, 224, fill=value), "fill", 0, 255),
    "size of occlusion_map": (lambda c, cat, value: c.occlusion_map(cat, size=value, stride=224), "size", 1, 224),
    "stride of occlusion_map": (lambda c, cat, value: c.occlusion_map(cat, size=224, stride=value), "stride", 1, 224),
    "fill of occlusion_map": (lambda c, cat, value: c.occlusion_map(cat, size=224, fill=value), "fill", 0, 255),
    "target of occlusion_map": (lambda c, cat, value: c.occlusion_map(cat, value, size=224), "target", 0, 999),
    "topk of classify": (lambda c, cat, value: c.classify(cat, topk=value), "topk", 1, 1000),
}
REFUSING = CALLS | {  # too slow to be called with what they allow
    "steps of swap_texture": (lambda c, cat, value: c.swap_texture(cat, cat, steps=value), "steps", 1, 10_000),
    "seed of swap_texture": (lambda c, cat, value: c.swap_texture(cat, cat, steps=1, seed=value), "seed", 0, 2**63 - 1),
}


@pytest.mark.parametrize("call, name, low, high", CALLS.values(), ids=CALLS)
def test_numbers_at_both_ends_of_the_range_are_taken_numpys_too(cnnh, cats, call, name, low, high):
    for value in (low, high, np.int64(low), np.int64(high)):
        assert call(cnnh, cats[0], value) is not None


@pytest.mark.parametrize("call, name, low, high", REFUSING.values(), ids=REFUSING)
def test_numbers_out_of_range_are_refused_with_the_range(cnnh, cats, call, name, low, high):
    for value in (low - 1, high + 1, -(10**30)):
        with pytest.raises(ValueError, match=f"^{name}: .*from {low} to {high}.*got {value}"):
            call(cnnh, cats[0], value)


@pytest.mark.parametrize("call, name, low, high", REFUSING.values(), ids=REFUSING)
def test_what_is_no_whole_number_is_refused_with_the_range(cnnh, cats, call, name, low, high):
    for value in (True, np.False_, float(low), np.float64(high)):
        with pytest.raises(TypeError, match=f"^{name}: .*from {low} to {high}.*got "):
            call(cnnh, cats[0], value)


def test_the_pictures_given_to_the_methods_are_left_as_they_are(cnnh, wide):
    picture = wide.copy()
    cnnh.shuffle(picture), cnnh.occlude(picture), cnnh.silhouette(picture, np.ones((224, 224), dtype=bool))
    np.testing.assert_array_equal(picture, wide)


def test_a_picture_of_the_networks_size_is_left_as_it_is(cnnh, cats):
    assert not cats[0].flags.writeable  # so that writing to it would have raised
    for result in (cnnh.load(cats[0]), cnnh.shuffle(cats[0], 1), cnnh.occlude(cats[0], 1, stride=224)):
        assert result.flags.writeable and not np.shares_memory(result, cats[0])


# The class to watch

EGYPTIAN_CAT = 285


@pytest.mark.parametrize("target", [
    EGYPTIAN_CAT, np.int64(EGYPTIAN_CAT), "Egyptian cat", "egyptian CAT", "  Egyptian cat ",
    Prediction(EGYPTIAN_CAT, "Egyptian cat", 0.5)], ids=repr)
def test_a_target_is_an_index_a_label_or_a_prediction(cnnh, target):
    assert cnnh._target_index(target) == EGYPTIAN_CAT


@pytest.mark.parametrize("label, classes", [("crane", "0 (crane), 2 (crane)"), ("CRANE", "0 (crane), 2 (crane)"), ("Maillot", "3 (maillot), 4 (maillot)")])
def test_a_label_of_two_classes_asks_which(label, classes):
    """Which of ImageNet's labels occur twice depends on torchvision's version, so the network here is our own."""
    five = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 5))
    labels = ["crane", "cat", "crane", "maillot", "maillot"]
    helper = cnn_helper.CNN_Helper(five, categories=labels, size=20, device="cpu")
    sentence = f"target: {label!r} may mean {classes}; give one of these numbers."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helper._target_index(label)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        helper.occlusion_map(np.zeros((20, 20, 3), dtype=np.uint8), label, size=10, stride=10)
    assert helper._target_index("CAT") == 1


def test_labels_that_differ_only_in_capitals_ask_which(cnnh):
    with pytest.raises(ValueError, match=r"target: 'cardigan' may mean 264 \(Cardigan\), 474 \(cardigan\); give one of"):
        cnnh._target_index("cardigan")  # a dog, and a garment


@pytest.mark.parametrize("label, classes", [("crane", (134, 517)), ("maillot", (638, 639))])
def test_imagenets_names_of_two_classes_ask_which(cnnh, label, classes):
    with pytest.raises(ValueError, match=rf"may mean {classes[0]} \({label}.*{classes[1]} \({label}"):
        cnnh._target_index(label)
    assert cnnh._target_index("tiger") == 292  # though there are tiger cats, beetles and sharks


@pytest.mark.parametrize("label, sentence", [
    ("Egyptain cat", "there is no class 'Egyptain cat'. Did you mean egyptian cat"),
    ("egyptian_cat", "Did you mean egyptian cat"),
    ("zebre", "Did you mean zebra"),
    ("qqqqq", r"there is no class 'qqqqq'\.$"),
    ("", r"there is no class ''\.$")])
def test_a_label_that_does_not_exist_suggests_near_ones(cnnh, label, sentence):
    with pytest.raises(ValueError, match=f"^target: .*{sentence}"):
        cnnh._target_index(label)


@pytest.mark.parametrize("target", [[285], ("Egyptian cat",), 285.0, b"crane", True])
def test_a_target_of_no_known_type_is_refused(cnnh, target):
    with pytest.raises(TypeError, match="^target: .*from 0 to 999; got "):
        cnnh._target_index(target)


def test_a_target_of_another_network_is_refused_by_its_index(cnnh, cats):
    with pytest.raises(ValueError, match="^target: must be a whole number from 0 to 999; got 1000"):
        cnnh.occlusion_map(cats[0], Prediction(1000, "class 1000", 0.5))


# Several pictures

def test_one_picture_several_and_an_array_of_them_get_the_same_answers(cnnh, cats):
    together = cnnh.probabilities(cats)
    mixed = [torch.tensor(cats[0]).permute(2, 0, 1), Image.fromarray(cats[1]), cats[2]]
    for several in (tuple(cats), np.stack(cats), torch.tensor(np.stack(cats)).permute(0, 3, 1, 2), mixed):
        np.testing.assert_allclose(cnnh.probabilities(several), together, atol=1e-6)
    for cat, row in zip(cats, together):
        np.testing.assert_allclose(cnnh.probabilities(cat)[0], row, atol=1e-5)


def test_a_skin_nearly_as_large_as_the_square_fills_it_without_a_mirror():
    skin = torch.linspace(0, 1, 200).view(1, 1, 1, 200).expand(1, 3, 160, 200)  # brighter to the right
    filled = cnn_helper.tile_mirrored(skin, 224)
    assert filled.shape == (1, 3, 224, 224)
    assert (filled.diff(dim=3) >= -1e-6).all()


def test_a_small_skin_is_mirrored_and_not_blown_up():
    skin = torch.linspace(0, 1, 60).view(1, 1, 60, 1).expand(1, 3, 60, 40)  # brighter downwards; 60 x 40 gives 90 x 60
    filled = cnn_helper.tile_mirrored(skin, 224)
    torch.testing.assert_close(filled[:, :, :90], filled[:, :, 90:180].flip(2))
    torch.testing.assert_close(filled[:, :, :44], filled[:, :, 180:])
    assert (filled[:, :, :90].diff(dim=2) >= -1e-6).all()
