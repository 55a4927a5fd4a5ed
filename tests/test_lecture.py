"""The lecture's claims as numbers, and the lecture itself, run from top to bottom in a copy."""

import os
import re
import shutil

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

import cnn_helper

FIGURES = ["ImageNet_progress", "cat_classified", "cat_shuffle_classified_1", "cat_shuffle_classified_2", "cat_occlude_150",
           "cat_occlude_187", "cat_silhouette_classified", "cat-elephant_classified"]
ELEPHANTS, CATS = ("tusker", "Indian elephant", "African elephant"), ("tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat")


def share(helper, image, labels):
    """The probability of all `labels` together."""
    row = helper.probabilities(image)[0]
    return sum(row[helper.categories.index(label)] for label in labels)


def contours_left(before, after):
    """The correlation of the two pictures' gradient magnitudes, blurred by 3 pixels; computed with OpenCV."""
    import cv2

    def edges(picture):
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return cv2.GaussianBlur(np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)), (0, 0), 3)

    return np.corrcoef(edges(before).ravel(), edges(after).ravel())[0, 1]


@pytest.fixture(scope="module")
def cat(cnnh, images):
    return cnnh.load(images / "cat.jpg")


def test_the_cat_is_an_egyptian_cat(cnnh, cat):
    top = cnnh.classify(cat).predictions[0][0]
    assert top.label == "Egyptian cat" and top.probability == pytest.approx(0.98, abs=0.01)


@pytest.mark.parametrize("grid, kept, mean", [(2, 20, 0.90), (4, 13, 0.39), (8, 0, 0.01)])
def test_of_twenty_shuffles_so_many_keep_the_label(cnnh, cat, grid, kept, mean):
    result = cnnh.classify(cat, [cnnh.shuffle(cat, grid, seed=seed) for seed in range(20)])
    assert sum(result.unchanged) == pytest.approx(kept, abs=1)
    assert np.mean([each.probability for each in result.followed[1:]]) == pytest.approx(mean, abs=0.03)


@pytest.mark.parametrize("size, kept, best", [(150, 7, 0.94), (187, 4, 0.50)])
def test_of_nine_covered_cats_so_many_keep_the_label(cnnh, cat, size, kept, best):
    result = cnnh.classify(cat, cnnh.occlude(cat, size))
    assert len(result.unchanged) == 9 and sum(result.unchanged) == kept
    assert max(each.probability for each in result.followed[1:]) == pytest.approx(best, abs=0.02)


def test_one_square_of_81_takes_the_label_away(cnnh, cat):
    result = cnnh.classify(cat, cnnh.occlude(cat, 90, stride=16), topk=1)
    lost = [answer[0] for answer, kept in zip(result.predictions[1:], result.unchanged) if not kept]
    assert len(result.unchanged) == 81 and [each.label for each in lost] == ["dalmatian"]
    assert min(each.probability for each in result.followed) == pytest.approx(0.37, abs=0.03)


def test_the_silhouette_is_taken_for_a_dog(cnnh, cat):
    result = cnnh.classify(cat, cnnh.silhouette(cat))
    breeds = cnnh.categories[151:269]  # ImageNet's dogs, from Chihuahua to Mexican hairless
    assert result.predictions[1][0].label in breeds
    assert share(cnnh, result.images[1], breeds) == pytest.approx(0.80, abs=0.03)
    assert share(cnnh, result.images[1], CATS) < 0.04
    assert result.followed[1].probability == pytest.approx(0.023, abs=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["efficientnet_lite1", "efficientnet_lite2"])
def test_every_bundled_network_makes_an_elephant_that_the_first_sees_too(cnnh, images, maker):
    helper = cnn_helper.CNN_Helper(maker, device="cpu")
    swapped = helper.swap_texture(images / "tabby.jpg", images / "elephant_skin.png")
    for judge in (helper, cnnh):
        assert judge.classify(swapped).predictions[0][0].label in ELEPHANTS
        assert share(judge, swapped, CATS) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cat.jpg", "tabby.jpg", "chelsea.png"])
def test_a_cat_in_the_hide_is_an_elephant_for_its_maker_and_for_judges(cnnh, images, name):
    cat = cnnh.load(images / name)
    swapped = cnnh.swap_texture(cat, images / "elephant_skin.png")
    helpers = [cnnh] + [cnn_helper.CNN_Helper(model, device="cpu") for model in ("efficientnet_lite1", "efficientnet_lite2")]
    for helper in helpers:
        assert helper.classify(swapped).predictions[0][0].label in ELEPHANTS
        assert share(helper, swapped, ELEPHANTS) > 0.3
        assert share(helper, cat, CATS) > 0.5
        assert share(helper, swapped, CATS) < 0.05
    assert contours_left(cat, swapped) > 0.75


@pytest.fixture(scope="module")
def lecture(images, tmp_path_factory):
    """The committed notebook, and the same run again in a temporary copy of the project."""
    folder = tmp_path_factory.mktemp("lecture")
    root = images.parent
    for name in ("Interpretability_Intro.ipynb", "Latex_macros.ipynb", "cnn_helper.py"):
        shutil.copy(root / name, folder)
    shutil.copytree(images, folder / "images")
    for figure in FIGURES:
        (folder / "images" / f"{figure}.png").unlink()
    committed = nbformat.read(folder / "Interpretability_Intro.ipynb", as_version=4)
    executed = nbclient.NotebookClient(nbformat.from_dict(committed), timeout=600, resources={"metadata": {"path": folder}}).execute()
    return committed, executed, folder


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    """All text that a notebook's cells print or show as plain text."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.slow
def test_the_lecture_runs_to_its_end_without_red_output(lecture):
    _, executed, _ = lecture
    assert code_cells(executed)[-1].outputs[0].text == "Done\n"
    noise = [output for cell in code_cells(executed) for output in cell.outputs
             if output.output_type == "error" or output.get("name") == "stderr"]
    assert noise == []
    assert "\x1b" not in printed(executed)  # a terminal's cursor movements


@pytest.mark.slow
def test_the_lecture_writes_its_figures(lecture):
    for figure in FIGURES:
        path = lecture[2] / "images" / f"{figure}.png"
        assert path.stat().st_size < 1_000_000
        width, height = Image.open(path).size
        assert 800 <= width <= 1200 and 250 <= height <= 720


def test_the_lecture_is_committed_as_one_clean_run(images):
    path = images.parent / "Interpretability_Intro.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 2_000_000
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert all(output.output_type != "error" for cell in code_cells(notebook) for output in cell.outputs)


@pytest.mark.slow
def test_the_lectures_committed_answers_come_again(lecture):
    committed, executed, _ = lecture
    assert printed(committed).count("Egyptian cat") > 5
    first, second = (re.findall(r"[A-Z]?[a-z]+ cat \d\d %|\d+ of \d+", printed(notebook)) for notebook in (committed, executed))
    assert first[:6] == second[:6]


def test_the_headings_stand_in_their_order(images):
    notebook = nbformat.read(images.parent / "Interpretability_Intro.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    wanted = ["# How does a Deep Learning Classifier work ?", "# Models behaving badly (or at least, unexpectedly)",
              "## How does it work: parts ?", "## Which parts ?", "## Shape ?", "## Texture ?", "# Conclusion"]
    places = [re.search("^" + re.escape(heading) + "$", text, re.MULTILINE).start() for heading in wanted]
    assert places == sorted(places)


def test_the_macros_are_one_latex_object_and_legal_in_both_renderers(images):
    notebook = nbformat.read(images.parent / "Latex_macros.ipynb", as_version=4)
    source = "\n".join(cell.source for cell in code_cells(notebook))
    assert source.count("Latex(") == 1
    assert r"\def\idxspatial{" in source and r"\def\actspatial#1#2{" in source
    assert not re.search(r"\\(newcommand|gdef|require|newenvironment|DeclareMathOperator)", source)  # not in both, or not twice


def test_a_read_only_folder_is_no_obstacle(cnnh, cat, tmp_path, monkeypatch):
    folder = tmp_path / "read only"
    folder.mkdir()
    monkeypatch.chdir(folder)
    os.chmod(folder, 0o555)
    assert cnnh.classify(cat).predictions[0][0].label == "Egyptian cat"
    assert list(folder.iterdir()) == []
