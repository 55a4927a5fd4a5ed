"""The mask of the object, on pictures with a known outline and on photographed animals."""

import base64
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import cnn_helper

BENCHMARK = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "foreground.py"))


def overlap(one, other):
    """Intersection over union."""
    return (one & other).sum() / (one | other).sum()


@pytest.mark.slow
@pytest.mark.skipif(not BENCHMARK["STAMPS"].is_dir(), reason="needs photographs: apt install tuxpaint-stamps-default")
def test_photographed_animals_are_cut_out(cnnh):
    scores = {"plain": [], "busy": []}
    for name, kind, picture, truth in BENCHMARK["composites"](cnnh.size, every=3):
        scores[kind].append(overlap(cnnh.foreground(picture), truth))
    assert len(scores["plain"]) + len(scores["busy"]) >= 40
    assert np.mean(scores["plain"]) >= 0.95
    assert np.mean(scores["busy"]) >= 0.92


def test_the_mask_has_one_part_and_comes_again(cnnh, cats):
    import cv2

    mask = cnnh.foreground(cats[0])
    assert mask.shape == (224, 224) and mask.dtype == bool
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2  # the background and one part
    np.testing.assert_array_equal(cnnh.foreground(cats[0]), mask)


def test_a_cats_head_and_tail_are_in_its_mask_and_the_floor_is_not(cnnh, cats):
    mask = cnnh.foreground(cats[0])
    assert mask[25:45, 140:165].mean() > 0.9  # the head
    assert mask[120:140, 80:120].all()  # the body
    assert mask[0:60, 60:110].mean() < 0.1  # floor above the back


def test_a_cat_that_fills_the_frame_keeps_its_ears_paw_and_back(cnnh, cats):
    import cv2

    mask = cnnh.foreground(cats[1])
    right_ear = np.zeros((224, 224), dtype=np.uint8)  # traced by hand, as columns and rows
    tip_and_on = [(220, 93), (205, 98), (195, 103), (180, 110), (188, 128), (198, 124), (205, 116), (210, 109), (214, 102)]
    assert mask[cv2.fillPoly(right_ear, [np.array(tip_and_on)], 1) > 0].mean() > 0.85  # it has the cushion's colour
    assert mask[65:90, 82:95].mean() > 0.9  # the left ear
    assert mask[185:200, 70:90].mean() > 0.9  # the paw
    assert mask[25:60, 50:130].mean() > 0.9  # the back
    assert mask[190:220, 0:50].mean() < 0.1  # the cushion


def test_a_face_that_fills_the_frame_keeps_its_forehead_its_eyes_and_an_ear_that_the_frame_cuts(cnnh, cats):
    mask = cnnh.foreground(cats[2])
    assert mask[10:50, 40:140].mean() > 0.9  # the forehead
    assert mask[80:95, 60:75].all() and mask[85:95, 175:185].all()  # the eyes
    assert mask[0:40, 200:].mean() > 0.9  # the ear
    assert mask[160:, 200:].mean() < 0.1  # the blurred room on its right


def test_where_the_network_sees_the_cat_turns_with_the_picture(cnnh, cats):
    picture = cnn_helper.normalise(cats[0][None], cnnh.network, cnnh.device)
    seen = cnn_helper.look(picture, cnnh.network.module)
    mirrored = cnn_helper.look(picture.flip(-1), cnnh.network.module)
    assert seen.shape == (224, 224) and 0 <= seen.min() and seen.max() == 1
    np.testing.assert_allclose(mirrored, seen[:, ::-1], atol=0.02)
    assert seen[60:, 60:170].mean() > 3 * seen[60:, 190:].mean()  # the body, and the floor on its right


def test_a_cat_looks_more_like_an_object_than_the_floor(cnnh, cats):
    odds = cnn_helper.objectness(cats[0], cnnh.network, cnnh.device)
    assert odds.shape == (224, 224) and odds.dtype == np.float32
    assert odds[115:165, 80:160].mean() > 2  # the body
    assert odds[150:220, 175:220].mean() < -2  # the floor


def test_the_readout_weighs_eight_units_as_written_out_by_hand(cnnh, cats):
    import cv2

    features = cnn_helper.readout_features(cats[0], cnnh.network, cnnh.device).numpy()
    assert features.shape == (448, 56, 56)
    rows = np.frombuffer(base64.b64decode(cnn_helper.READOUT), dtype=np.int8).astype(float).reshape(8, 448)
    coarse = np.empty((56, 56))
    for row, column in np.ndindex(56, 56):
        units = [step * (weights @ features[:, row, column]) + bias
                 for step, weights, bias in zip(cnn_helper.READOUT_STEPS, rows, cnn_helper.READOUT_BIASES)]
        coarse[row, column] = cnn_helper.READOUT_CONSTANT + sum(
            sign * max(unit, 0) for sign, unit in zip(cnn_helper.READOUT_SIGNS, units))
    fine = cnn_helper.objectness(cats[0], cnnh.network, cnnh.device)
    np.testing.assert_allclose(fine, cv2.resize(coarse, (224, 224)), atol=1e-3)


def test_one_readout_serves_every_network_at_its_own_size(cnnh, cats):
    own = cnn_helper.objectness(cats[0], cnnh.network, cnnh.device)
    other = cnn_helper.CNN_Helper(torchvision.models.get_model("resnet18", weights=None), device="cpu")
    np.testing.assert_allclose(cnn_helper.objectness(cats[0], other.network, other.device), own, atol=1e-3)
    large = cnn_helper.objectness(cats[0].repeat(2, 0).repeat(2, 1), other.network, other.device)
    assert large.shape == (448, 448) and np.corrcoef(large[::2, ::2].ravel(), own.ravel())[0, 1] > 0.99


def test_colours_correct_an_outline_that_is_a_little_off():
    picture = np.random.default_rng(0).integers(0, 30, (60, 90, 3), dtype=np.uint8)
    truth = np.zeros((60, 90), dtype=bool)
    truth[15:45, 20:70] = True
    picture[truth] += np.array([200, 120, 40], dtype=np.uint8)
    odds = np.full((60, 90), -2.0)
    odds[20:50, 28:78] = 2  # five pixels too low, eight too far right
    np.testing.assert_array_equal(cnn_helper.cut_out(picture, odds), truth)


@pytest.mark.parametrize("odds, expected", [(-2, False), (2, True)])
def test_without_two_sides_there_is_nothing_to_cut(odds, expected):
    picture = np.zeros((20, 30, 3), dtype=np.uint8)
    assert (cnn_helper.cut_out(picture, np.full((20, 30), odds)) == expected).all()


@pytest.mark.parametrize("odds, stays", [(2, False), (4, True)])
def test_what_is_sure_stays_whatever_its_colour(odds, stays):
    picture = np.random.default_rng(0).integers(0, 30, (40, 60, 3), dtype=np.uint8)
    picture[:, 30:] += 200
    given = np.where(np.arange(60) < 30, -2, 2) * np.ones((40, 1))
    given[10:14, 5:9] = odds
    assert (cnn_helper.cut_out(picture, given)[10:14, 5:9] == stays).all()
    assert (cnn_helper.cut_out(picture, -given)[10:14, 5:9] != stays).all()


def test_along_edges_is_ridge_regression_on_the_colours_of_each_window():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (36, 44, 3), dtype=np.uint8)
    values = random.normal(size=(36, 44)).astype(np.float32)
    kept = picture.copy(), values.copy()
    reach = 2  # an eighteenth of 36

    def windows(maps):
        padded = np.pad(maps, [(reach, reach)] * 2 + [(0, 0)] * (maps.ndim - 2), mode="reflect")
        return {(row, column): padded[row:row + 5, column:column + 5] for row, column in np.ndindex(36, 44)}

    lines = np.empty((36, 44, 4))
    colours, targets = windows(picture / 255), windows(values.astype(float))
    for place in np.ndindex(36, 44):
        x, y = colours[place].reshape(25, 3), targets[place].ravel()
        slope = np.linalg.solve(np.cov(x.T, bias=True) + 1e-5 * np.eye(3), (x - x.mean(0)).T @ (y - y.mean()) / 25)
        lines[place] = [*slope, y.mean() - slope @ x.mean(0)]
    mean_lines = windows(lines)
    expected = [mean_lines[place].mean((0, 1)) @ [*picture[place] / 255, 1] for place in np.ndindex(36, 44)]
    np.testing.assert_allclose(cnn_helper.along_edges(picture, values).ravel(), expected, atol=2e-3)
    np.testing.assert_array_equal(picture, kept[0])
    np.testing.assert_array_equal(values, kept[1])


def test_a_part_of_the_grounds_colour_stays_where_the_odds_speak_for_it():
    picture = np.random.default_rng(0).integers(150, 170, (90, 90, 3), dtype=np.uint8)
    truth = np.zeros((90, 90), dtype=bool)
    truth[30:70, 20:60] = True
    picture[truth] -= 120
    truth[40:60, 60:75] = True  # an ear of the ground's colour
    odds = np.where(truth, 3, -3).astype(np.float32)
    assert not cnn_helper.cut_out(picture, odds)[46:54, 60:75].any()
    refined = cnn_helper.refine(picture, odds) > 0
    assert refined[46:54, 60:69].all() and overlap(refined, truth) > 0.85


def test_nothing_is_surer_than_sure():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    sure = np.where(random.random((40, 40)) < 0.5, 4, -4).astype(np.float32)
    np.testing.assert_array_equal(cnn_helper.refine(picture, 5 * sure), cnn_helper.refine(picture, sure))


def test_odds_too_coarse_for_the_outline_find_it():
    import cv2

    picture = np.random.default_rng(0).integers(0, 30, (90, 90, 3), dtype=np.uint8)
    truth = np.zeros((90, 90), dtype=bool)
    truth[20:60, 30:75] = True
    picture[truth] += np.array([200, 120, 40], dtype=np.uint8)
    odds = cv2.blur(np.where(np.roll(truth, (3, -3), (0, 1)), 4, -4).astype(np.float32), (9, 9))
    assert overlap(odds > 0, truth) < 0.85
    assert overlap(cnn_helper.refine(picture, odds) > 0, truth) > 0.99


def test_of_several_parts_the_one_that_the_network_looks_at_stays_and_its_pinholes_close():
    mask = np.zeros((40, 60), dtype=bool)
    mask[5:19, 2:58] = True  # larger, and not looked at
    mask[20:38, 10:40] = True
    expected = mask.copy()
    expected[:20] = False
    expected[24:30, 14:24] = mask[24:30, 14:24] = False  # 60 pixels, as between legs
    mask[34, 30:33] = False
    activation = np.where(np.arange(40) >= 20, 0.9, 0.1)[:, None] * np.ones((1, 60))
    np.testing.assert_array_equal(cnn_helper.tidy(mask, activation), expected)


def test_the_callers_own_chance_in_opencv_is_left_alone(cnnh, cats):
    import cv2

    def draw():
        return cv2.randu(np.empty((3, 3)), 0, 1).copy()

    cv2.setRNGSeed(7)
    draw()
    expected = draw()
    cv2.setRNGSeed(7)
    draw()
    cnnh.foreground(cats[0])
    np.testing.assert_array_equal(draw(), expected)


def test_a_transparent_background_is_the_mask_itself(cnnh):
    picture = np.full((300, 224, 4), 255, dtype=np.uint8)  # the centre square starts at row 38
    picture[..., 3] = 0
    picture[50:100, 20:60, 3] = 255
    expected = np.zeros((224, 224), dtype=bool)
    expected[12:62, 20:60] = True
    np.testing.assert_array_equal(cnnh.foreground(picture), expected)
    np.testing.assert_array_equal(cnnh.silhouette(picture), np.where(expected, 0, 255)[..., None].repeat(3, 2))


def test_a_mask_of_nearly_nothing_is_warned_of(cnnh):
    with pytest.warns(UserWarning, match="the foreground found covers .* of the picture and is likely wrong"):
        cnnh.foreground(np.zeros((224, 224, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "mobilenet_v3_small", "densenet121"])
def test_every_kind_of_cnn_gives_a_mask_and_keeps_no_hooks(name, cats):
    module = torchvision.models.get_model(name, weights=None)
    helper = cnn_helper.CNN_Helper(module, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, it may find nothing
        assert helper.foreground(cats[1]).shape == (224, 224)
    assert not any(layer._forward_hooks for layer in helper.network.module.modules())


class Branched(torch.nn.Module):
    """A small CNN whose backbone may be cut off from gradients; a side branch has no part in the answer."""

    def __init__(self, frozen):
        super().__init__()
        self.backbone, self.side, self.frozen = torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.Conv2d(8, 4, 3, stride=2), frozen
        self.head = torch.nn.Linear(8, 5)

    def forward(self, batch):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.backbone(batch).relu()
        self.side(maps)
        return self.head(maps.mean((2, 3)))


def test_a_side_branch_does_not_disturb_and_a_cut_off_backbone_is_explained(cats):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, it may find nothing
        assert cnn_helper.CNN_Helper(Branched(False), device="cpu").foreground(cats[0]).shape == (224, 224)
    with pytest.raises(ValueError, match="model: foreground needs gradients"):
        cnn_helper.CNN_Helper(Branched(True), device="cpu").foreground(cats[0])
    with pytest.raises(ValueError, match="and so does swap_texture"):
        cnn_helper.CNN_Helper(Branched(True), device="cpu").swap_texture(cats[0], cats[1], steps=1)


def test_inference_mode_changes_nothing(cnnh, cats):
    mask, swapped = cnnh.foreground(cats[0]), cnnh.swap_texture(cats[0], cats[1], steps=2)
    with torch.inference_mode():
        np.testing.assert_array_equal(cnnh.foreground(cats[0]), mask)
        np.testing.assert_array_equal(cnnh.swap_texture(cats[0], cats[1], steps=2), swapped)


def test_a_lazy_module_gives_a_mask(cats):
    module = torch.nn.Sequential(torch.nn.LazyConv2d(8, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                                 torch.nn.Flatten(), torch.nn.LazyLinear(5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, it may find nothing; and lazy layers call themselves experimental
        assert cnn_helper.CNN_Helper(module, device="cpu").foreground(cats[0]).shape == (224, 224)


def test_pictures_too_small_to_paint_are_refused():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    helper = cnn_helper.CNN_Helper(module, size=20, device="cpu")
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="swap_texture: needs pictures of 32 pixels and more; this network takes 20"):
        helper.swap_texture(picture, picture)


@pytest.mark.parametrize("name, size", [("resnet18", 4), ("resnet18", 8), ("alexnet", 64), ("mobilenet_v3_small", 32)])
def test_the_smallest_pictures_that_a_network_bears_get_a_mask(name, size):
    helper = cnn_helper.CNN_Helper(torchvision.models.get_model(name, weights=None), size=size, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # untrained, it may find nothing
        mask = helper.foreground(picture)
    assert mask.shape == (size, size) and mask.dtype == bool


def test_the_outline_is_described(cnnh, cats):
    mask = np.zeros((224, 224), dtype=bool)
    mask[:112] = True
    assert "50% of its area" in cnn_helper.draw_outline(cats[0], mask).description
