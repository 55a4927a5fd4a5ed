"""The mask of the object, on pictures with a known outline and on photographed animals."""

import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
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
    assert np.mean(scores["plain"]) >= 0.93
    assert np.mean(scores["busy"]) >= 0.87


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
    mask = cnnh.foreground(cats[1])
    assert mask[65:90, 82:95].mean() > 0.9  # the left ear
    assert mask[100:118, 200:213].mean() > 0.8  # the right ear
    assert mask[185:200, 70:90].mean() > 0.9  # the paw
    assert mask[25:60, 50:130].mean() > 0.9  # the back
    assert mask[190:220, 0:50].mean() < 0.1  # the cushion


def test_a_face_that_fills_the_frame_keeps_its_forehead_and_both_eyes(cnnh, cats):
    mask = cnnh.foreground(cats[2])
    assert mask[10:50, 40:140].mean() > 0.9  # the forehead
    assert mask[80:95, 60:75].all() and mask[85:95, 175:185].all()  # the eyes
    assert mask[0:40, 200:].mean() < 0.1  # the pink cloth on its right


def test_what_is_seen_first_does_not_hide_the_rest(cnnh, cats):
    picture = cnn_helper.normalise(cats[1][None], cnnh.network, cnnh.device)
    first = cnn_helper.look(picture, cnnh.network.module, (0.75, 1, 1.5))[0, 0].numpy()
    twice, _ = cnn_helper.see(cats[1], cnnh.network, cnnh.device)
    share = [seen[25:90, 40:75].mean() / seen[100:180, 80:190].mean() for seen in (first, twice)]
    assert share[1] > 1.2 * share[0]  # the back, beside the face


def test_where_the_network_sees_the_cat_turns_with_the_picture(cnnh, cats):
    seen, maps = cnn_helper.see(cats[0], cnnh.network, cnnh.device)
    mirrored, _ = cnn_helper.see(cats[0][:, ::-1].copy(), cnnh.network, cnnh.device)
    assert seen.shape == (224, 224) and 0 <= seen.min() and seen.max() == 1 and len(maps) == 3
    np.testing.assert_allclose(mirrored, seen[:, ::-1], atol=0.02)
    assert seen[60:, 60:170].mean() > 3 * seen[60:, 190:].mean()  # the body, and the floor on its right


def test_a_cat_looks_more_like_an_object_than_the_floor(cnnh, cats):
    likeness = cnn_helper.objectness(cats[0], cnnh.network, cnnh.device)
    assert likeness.shape == (224, 224)
    assert likeness[115:165, 80:160].mean() > likeness[150:220, 175:220].mean() + 0.4


def test_one_readout_serves_every_network_at_its_own_size(cnnh, cats):
    assert cnn_helper.readout_features(cats[0], cnnh.network, cnnh.device).shape == (1344, 56, 56)
    own = cnn_helper.objectness(cats[0], cnnh.network, cnnh.device)
    other = cnn_helper.CNN_Helper(torchvision.models.get_model("resnet18", weights=None), device="cpu")
    np.testing.assert_allclose(cnn_helper.objectness(cats[0], other.network, other.device), own, atol=1e-4)
    large = cnn_helper.objectness(cats[0].repeat(2, 0).repeat(2, 1), other.network, other.device)
    assert large.shape == (448, 448) and np.corrcoef(large[::2, ::2].ravel(), own.ravel())[0, 1] > 0.99


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
