"""What changes a picture, the object found in it, targets and numbers, against expectations written by hand."""

import itertools
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import needs_openvino
from PIL import Image, ImageFilter
from test_networks import ChannelMeans, channel_helper

import cnn_helper
from cnn_helper import BUNDLED, Prediction, find_object, shuffle_tiles, swap_texture

BENCHMARK = runpy.run_path(__file__.replace("test_transforms", "benchmarks/foreground"))


tiny = pytest.fixture(scope="module", name="tiny")(lambda: channel_helper())


def noise(height, width, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture.flags.writeable = False
    return picture


SQUARE, MASK, (ROW, COLUMN) = noise(20, 20), np.arange(400).reshape(20, 20) % 7 < 2, np.indices((140, 200))
GREY, ELLIPSE = np.full((140, 200, 3), 90, dtype=np.uint8), ((ROW - 70) / 50) ** 2 + ((COLUMN - 100) / 80) ** 2 < 1


def tiles(picture, grid):  # row by row, as bytes
    height, width = (side // grid for side in picture.shape[:2])
    return [picture[row * height:(row + 1) * height, column * width:(column + 1) * width].tobytes()
            for row in range(grid) for column in range(grid)]


@pytest.mark.parametrize("grid", range(1, 14))
def test_shuffling_moves_every_tile_whole_and_loses_none(grid):
    picture, height, width = noise(13, 17), 13 // grid * grid, 17 // grid * grid
    for seed in range(5):
        shuffled = shuffle_tiles(picture, grid, seed)
        assert sorted(tiles(shuffled, grid)) == sorted(tiles(picture, grid))
        assert (tiles(shuffled, grid) == tiles(picture, grid)) == (grid == 1) and shuffled.flags.writeable
        assert (shuffled[height:] == picture[height:]).all() and (shuffled[:, width:] == picture[:, width:]).all()


def test_the_seed_alone_decides_between_all_orders_but_the_first(tiny, wide):
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    orders = [tuple(map(tiles(wide, 2).index, tiles(shuffle_tiles(wide, 2, seed), 2))) for seed in range(300)]
    assert len(set(orders)) == 23 and max(map(orders.count, orders)) < 40  # 4! less one; 13 times each on average
    np.testing.assert_array_equal(tiny.shuffle(SQUARE, 4, seed=5), tiny.shuffle(SQUARE, seed=np.int64(5)))
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("size, stride, fill, corners", [
    (7, 5, 9, (0, 5, 10)), (7, 5, (1, 2, 3), (0, 5, 10)), (20, 1, np.array([4, 5, 255]), (0,)), (1, 19, 0, (0, 19)),
    (8, None, 128, (0, 6, 12)), (1, None, 128, (0, 9, 18)), (19, None, 128, (0, 1))])
def test_occluding_covers_each_position_inside_row_by_row(tiny, size, stride, fill, corners):
    copies = tiny.occlude(SQUARE, size, **({"stride": stride, "fill": fill} if stride else {}))
    for copy, (top, left) in zip(copies, itertools.product(corners, corners), strict=True):
        expected = tiny.load(SQUARE)
        expected[top:top + size, left:left + size] = fill
        np.testing.assert_array_equal(copy, expected)


@pytest.mark.parametrize("mask", [
    MASK, MASK.astype(np.uint8), MASK * 255, MASK * 255.0, MASK.tolist(), torch.tensor(MASK), Image.fromarray(MASK),
    MASK & False, MASK | True])
def test_a_silhouette_is_black_on_white_for_masks_of_every_kind(tiny, mask):
    silhouette, expected = tiny.silhouette(SQUARE, mask), np.where(np.asarray(mask), 0, 255)
    assert silhouette.dtype == np.uint8 and (silhouette == expected[:, :, None]).all() and silhouette.shape[2:] == (3,)
    assert tiny.swap_texture(SQUARE, noise(9, 5), mask=mask).shape == (20, 20, 3)


@pytest.mark.parametrize("where", ["everywhere", "object", "background"])
@pytest.mark.parametrize("height, width", [(1, 1), (4, 6), (140, 200)])
def test_the_texture_goes_where_it_is_asked_for_and_nowhere_else(height, width, where):
    image = noise(height, width)
    for skin in (noise(*sides, 1) for sides in ((1, 1), (3, 2), (4, 900), (900, 4), (1500, 2200))):
        for mask in (np.zeros((height, width), bool), np.ones((height, width), bool), image[:, ::-1, 0] > 99):
            mask.flags.writeable = False
            swapped = swap_texture(image, skin, mask, where)
            kept = {"everywhere": mask & False, "object": ~mask, "background": mask}[where]
            assert swapped.shape == image.shape and (swapped[kept] == image[kept]).all()
            assert kept.all() or (swapped != image).any(axis=2)[~kept].mean() > 0.8


def test_the_object_takes_light_and_shade_without_a_bright_rim_and_the_background_is_even_and_darker():
    skin = np.full((7, 5, 3), (100, 60, 20), dtype=np.uint8)
    flat = swap_texture(GREY, skin, ELLIPSE)
    assert flat[70, 100].tolist() == [100, 60, 20] and flat[5, 5].tolist() == [60, 36, 12]
    lit = np.where(COLUMN[:, :, None] < 100, np.uint8(20), np.uint8(250)).repeat(3, axis=2)
    swapped = swap_texture(lit, skin, ELLIPSE)
    assert 39 <= swapped[70, 60, 0] < 70 and 140 < swapped[70, 140, 0] <= 180  # 0.4 to 1.8 times the skin
    assert (swap_texture(lit, skin, ELLIPSE & False) == flat[5, 5]).all() and (swapped[:, :10] == flat[5, 5]).all()
    image = Image.fromarray(np.where(ELLIPSE, np.uint8(20), np.uint8(255))).convert("RGB")  # dark on white
    image = np.array(image.filter(ImageFilter.GaussianBlur(1)))  # its edge is soft, as a photograph's
    swapped = swap_texture(image, np.full((9, 9, 3), 128, dtype=np.uint8), ELLIPSE, "object")[:, :, 0].astype(float)
    white = Image.fromarray(ELLIPSE).convert("L")
    inner, deep = (np.asarray(white.filter(ImageFilter.MinFilter(side))) > 0 for side in (5, 11))
    assert 120 < swapped[deep].max() < 132 and swapped[inner].max() < swapped[deep].max() + 12  # the skin has 128


@pytest.mark.parametrize("rows, columns, mirrored", [(60, 40, True), (140, 135, False), (900, 1400, False)])
def test_a_skin_is_enlarged_at_most_one_and_a_half_times_and_tiled_by_mirroring(rows, columns, mirrored):
    down, right = np.meshgrid(np.linspace(0, 250, rows), np.linspace(0, 250, columns), indexing="ij")
    whole = swap_texture(GREY, np.rint(np.dstack([down, right, 0 * down])).astype(np.uint8), ELLIPSE | True)
    for levels, side in ((whole[:, 7, 0].astype(int), rows), (whole[7, :, 1].astype(int), columns)):
        first = levels[:side * 3 // 2]
        assert (np.diff(first) >= 0).all() and (first[-1] == 250 or not mirrored)
        np.testing.assert_array_equal(levels[len(first):2 * len(first)], first[::-1][:len(levels) - len(first)])


@needs_openvino
@pytest.mark.slow
def test_cats_in_elephant_hide_are_elephants_and_on_their_own_ground_cats(images):
    hide, elephants = images / "elephant_skin.png", []
    for name in BUNDLED:
        helper = cnn_helper.CNN_Helper(name, device="cpu")
        dressed = [helper.swap_texture(images / cat, hide) for cat in ("cat.jpg", "tabby.jpg", "chelsea.png")]
        partly = [helper.swap_texture(images / "cat.jpg", hide, where=place) for place in ("object", "background")]
        answer = helper.classify(images / "cat.jpg", dressed, partly)
        elephants += [each[0].index in (101, 385, 386) for each in answer.predictions[1:4]]
        shares = answer.share([101, 385, 386])
        assert shares[1] > 0.5 and shares[2] > 0.4 and max(answer.share("cat")[1:4]) < 0.05
        assert answer.predictions[4][0].index in range(281, 286) and answer.share("elephant")[4] < 0.05
        assert name != "efficientnet_lite0" or answer.unchanged == (False, False, False, True, True)
    assert sum(elephants) >= 8  # of nine


@needs_openvino
@pytest.mark.filterwarnings("error")
def test_the_cats_are_found_and_masks_of_nearly_nothing_or_everything_warn(cnnh, cats):
    masks = [cnnh.foreground(cat) for cat in cats]
    assert all(mask.shape == (224, 224) and mask.dtype == bool for mask in masks)
    for number, top, bottom, left, right, inside in (
            (0, 25, 45, 140, 165, True), (0, 120, 140, 80, 120, True), (0, 40, 60, 12, 18, True),  # head, body, tail
            (0, 0, 60, 60, 110, False), (0, 110, 145, 0, 25, False),  # the floor, and the flank of a neighbour
            (1, 65, 90, 82, 95, True), (1, 105, 118, 190, 205, True), (1, 185, 200, 70, 90, True),  # ears, a paw
            (1, 190, 220, 0, 50, False), (2, 10, 150, 20, 190, True), (2, 160, 224, 200, 224, False)):  # cushion, face
        share = masks[number][top:bottom, left:right].mean()
        assert share > 0.85 if inside else share < 0.1, (number, top, left, share)
    for axis in (0, 1):  # twice as high, and twice as wide
        assert (find_object(cats[0].repeat(2, axis)) == masks[0].repeat(2, axis)).mean() > 0.98
    for picture in (0 * GREY, noise(100, 300)):
        with pytest.warns(UserWarning, match="foreground.*%"):
            assert not 0.02 <= find_object(picture).mean() <= 0.95


def test_a_transparent_background_decides_by_itself(tiny):
    picture = np.dstack([noise(30, 20), np.pad(np.uint8(255) * MASK, ((5, 5), (0, 0)))])
    assert (tiny.foreground(picture) == MASK).all() and (tiny.silhouette(picture)[MASK] == 0).all()


@needs_openvino
@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARK["STAMPS"].is_dir(), reason="needs photographs: apt install tuxpaint-stamps-default")
def test_photographed_animals_are_cut_out():
    scores = {"plain": [], "busy": []}
    for _, kind, picture, truth in BENCHMARK["composites"](224, every=6):
        scores[kind].append(((mask := find_object(picture)) & truth).sum() / (mask | truth).sum())
    assert len(scores["busy"]) > 15 and np.mean(scores["plain"]) >= 0.93 and np.mean(scores["busy"]) >= 0.9


def test_the_network_is_read_once_for_all_threads_and_without_it_ones_own_mask_works(cats, monkeypatch, tmp_path):
    openvino = pytest.importorskip("openvino")
    fresh = runpy.run_path(cnn_helper.__file__)["find_object"].__globals__  # the module, before it has loaded a network
    helper, damaged = fresh["CNN_Helper"](ChannelMeans(), size=20, device="cpu"), tmp_path / "damaged.onnx"
    damaged.write_bytes(cnn_helper.U2NETP.read_bytes()[:10_000])
    for place, name, value in (
            (sys.modules, "openvino", None), (fresh, "U2NETP", tmp_path / "none.onnx"), (fresh, "U2NETP", damaged)):
        with monkeypatch.context() as lacking, pytest.raises(FileNotFoundError) as caught:
            lacking.setitem(place, name, value)
            assert (helper.silhouette(SQUARE, MASK)[MASK] == 0).all()
            helper.foreground(SQUARE)
        caught.match("^foreground: (?=.*pip install openvino)(?=.*[.]onnx)(?=.*mask)")
    read, files = openvino.Core.compile_model, []
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *given: files.append(given) or read(*given))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fresh["find_object"], cats * 2))
    assert len(files) == 1
    np.testing.assert_array_equal(together, [find_object(cat) for cat in cats] * 2)


@pytest.mark.parametrize("target, indices", [
    (285, [285]), (np.int64(285), [285]), ("  egyptian CAT ", [285]), (Prediction(285, "Egyptian cat", 0.5), [285]),
    ("tiger", [292]), ("cat", range(281, 287)), ("Elephant", [385, 386]), ("car", [436, 511, 817]),
    ("dog", sorted({*range(152, 269)} - {192, 204, 227, 242, 251, 258, 260, 264})), ([285, 281], [281, 285]),
    (("tabby", np.int64(282), Prediction(285, "", 0.5)), [281, 282, 285]), (np.array([281, 282]), [281, 282]),
    (["elephant", 101], [101, 385, 386]), (["cat", 285], range(281, 287)), (Prediction((1, 2), "", 0.5), [1, 2])])
def test_a_target_is_one_class_or_several_added(cnnh, cats, target, indices):
    indices, answer = list(indices), cnnh.classify(cats[0], cats[1], target=target)
    expected = cnnh.probabilities(cats[:2])[:, indices].sum(axis=1)
    assert [sorted(np.atleast_1d(each.index)) for each in answer.followed] == [indices, indices]
    assert [each.probability for each in answer.followed] == pytest.approx(expected, abs=1e-5)
    assert answer.share(target) == pytest.approx(expected, abs=1e-5)
    assert answer.unchanged == (answer.predictions[1][0].index in indices,)


@pytest.mark.parametrize("target, sentence", [
    ("labrador", "(?!.*(library|radiator|radio).*Labrador).*Labrador retriever"), ("Egyptain cat", "Egyptian cat"),
    ("egyptian_cat", "Egyptian cat"), ("zebre", "zebra"), ("", "''"),
    ("Cardigan", "264.*474"), (285.0, "999.*285.0"), (b"crane", "999"), (True, "999.*True"), ([], r"\[\]"),
    ([285, True], "999.*True"), (-1, "999.*-1"), ([285, 1000], "999.*1000"), (Prediction(1000, "", 0.5), "999.*1000")])
def test_what_is_no_target_is_refused(cnnh, cats, target, sentence):
    for ask in (cnnh.classify, cnnh.occlusion_map):
        with pytest.raises((ValueError, TypeError), match=f"^target: .*{sentence}"):
            ask(cats[0], target=target)


def test_ones_own_labels_come_before_categories_and_squares_may_raise_several_classes():
    helper = channel_helper(categories=["cat", "crane", "crane"])
    assert helper.classify(SQUARE, target="CAT").followed[0].index == 0
    for target, sentence in (("crane", "1.*2"), ("dog", "dog")):
        with pytest.raises(ValueError, match=f"^target: .*{sentence}"):
            helper.classify(SQUARE, target=target)
    green = helper.occlusion_map(0 * SQUARE, [0, 2], size=20, stride=20, fill=(0, 255, 0))  # logits 0, 10, 0
    assert green.probabilities == pytest.approx(np.array([[2 / (2 + np.exp(10))]]), abs=1e-6)


@pytest.mark.parametrize("method, name, low, high, others", [
    ("shuffle", "grid", 1, 20, {}), ("shuffle", "seed", 0, 2**63 - 1, {}), ("classify", "topk", 1, 5, {}),
    ("classify", "target", 0, 2, {}), ("occlude", "size", 1, 20, {}), ("occlude", "stride", 1, 20, dict(size=9)),
    ("occlude", "fill", 0, 255, dict(size=9)), ("occlusion_map", "size", 1, 20, {}),
    ("occlusion_map", "stride", 1, 20, dict(size=9)), ("occlusion_map", "fill", 0, 255, dict(size=9)),
    ("occlusion_map", "target", 0, 2, dict(size=9)), ("shuffle_curve", "grids", 1, 20, dict(seeds=[0])),
    ("shuffle_curve", "seeds", 0, 2**63 - 1, dict(grids=[2])), ("occlusion_curve", "sizes", 1, 20, {})])
def test_whole_numbers_in_range_are_taken_and_others_are_refused(tiny, method, name, low, high, others):
    def call(value):
        value = [value] if name in ("grids", "seeds", "sizes") else value
        return getattr(tiny, method)(SQUARE, **{name: value}, **others)
    assert all(call(value) is not None for value in (low, high, np.int64(low), np.int64(high)))
    for value in (low - 1, high + 1, -(10**30), True, np.False_, float(low), np.float64(low)):
        with pytest.raises((TypeError, ValueError)[type(value) is int], match=f"^{name}?: .*{low}.*{high}.*{value}"):
            call(value)


@pytest.mark.parametrize("method, others, name, values, sentence", [
    ("silhouette", {}, "mask", (MASK[:, :19], MASK[:, :, None], True, "mask.png", MASK * 2, MASK * 254 + 1), ""),
    ("swap_texture", dict(skin=GREY), "mask", (MASK[:19], MASK * 0.5, MASK * np.nan), ""),
    ("swap_texture", dict(skin=GREY, mask=MASK), "where", ("Object", "", None), "everywhere.*object.*background"),
    ("occlude", dict(size=9), "fill", ("red", None, (1, 2), (1, 2, 3, 4), (1, 2.0, 3), (1, 2, 300), ()), "255")])
def test_what_is_no_mask_no_place_and_no_colour_is_refused(tiny, method, others, name, values, sentence):
    for value in values:
        with pytest.raises((ValueError, TypeError), match=f"^{name}: .*{sentence}"):
            getattr(tiny, method)(SQUARE, **others, **{name: value})
