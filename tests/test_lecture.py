"""The lecture: run again in a read-only copy, its form, its claims as numbers, its facts with their sources."""

import ast
import os
import re
import shutil
import subprocess
import sys

import nbclient
import nbformat
import numpy as np
import pytest
from conftest import ROOT, needs_openvino
from PIL import Image

import cnn_helper

HEADINGS = ["# How does a Deep Learning Classifier work ?", "# Models behaving badly (or at least, unexpectedly)",
            "## How does it work: parts ?", "## Which parts ?", "## Shape ?", "## Texture ?", "# Conclusion"]
FILES = ["Interpretability_Intro.ipynb", "Latex_macros.ipynb", "cnn_helper.py"]
LECTURE = nbformat.read(ROOT / FILES[0], as_version=4)
PROSE, CODE = ([cell.source for cell in LECTURE.cells if cell.cell_type == kind] for kind in ("markdown", "code"))
WINNERS = {2010: 28.2, 2011: 25.8, 2012: 16.4, 2013: 11.7, 2014: 6.7, 2015: 3.57, 2016: 2.99, 2017: 2.25}
FACTS = [("about 14 million photographs, about 22,000 classes", "1409.0575"), ("about 1.28 million", "1409.0575"),
         ("**1,000 classes**, 118 of them dog breeds and 5 domestic cats", "1409.0575"), ("models of 2020", "Shankar"),
         ("1,500 pictures", "Russakovsky et al. 2015"), ("2020, 4.7 million parameters, 75.1 percent top-1", "authors"),
         ("33 x 33 patches, reach 87.6 percent top-5", "1904.00760"), ("6.25 percent", "16 everyday categories"),
         ("63.9 percent", "Geirhos et al. 2019, figure 1"), ("local shape", "2509.20234"), ("contour", "e1006613")]
ASIDE = re.compile(r"<(small|style)>.*?</\1>", re.DOTALL)  # lists of sources, and the slides' style
PUBLISHED = {  # Geirhos et al. 2019, arXiv 1811.12231, in percent
    cnn_helper.ShapeBias: {"people": 95.9, "AlexNet": 42.9, "GoogLeNet": 31.2, "VGG-16": 17.2, "ResNet-50": 22.1},
    cnn_helper.Accuracy: {"people": 75.3, "AlexNet": 44.4, "GoogLeNet": 48.8, "VGG-16": 48.1, "ResNet-50": 54.4}}


def texts(cell):
    return " ".join(each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.get("outputs", []))


def red(output):
    return output.output_type == "error" or output.get("name") == "stderr"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


@needs_openvino
@pytest.mark.slow
def test_the_lecture_runs_again_in_a_read_only_folder_and_changes_nothing(images, tmp_path):
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(images, tmp_path / "images")
    before, folders = contents(tmp_path), [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for folder in folders:
        os.chmod(folder, 0o555)
    try:
        notebook = nbformat.from_dict(LECTURE)
        nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
        assert contents(tmp_path) == before
    finally:
        for folder in folders:
            os.chmod(folder, 0o755)
    assert not [output for cell in notebook.cells for output in cell.get("outputs", []) if red(output)]
    assert texts(notebook.cells[-1]) == "Done\n"
    counts = [re.findall(r"\d+ of \d+", " ".join(map(texts, book.cells))) for book in (LECTURE, notebook)]
    assert counts[0] == counts[1] and len(counts[0]) > 20


def test_the_lecture_is_committed_as_one_clean_run_and_keeps_its_form():
    nbformat.validate(LECTURE)
    cells = [cell for cell in LECTURE.cells if cell.cell_type == "code"]
    assert (ROOT / FILES[0]).stat().st_size < 1_000_000 and len(LECTURE.cells) <= 45
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(red(output) for cell in cells for output in cell.outputs)
    assert not re.search(r"pictures/s|/tmp|PosixPath", " ".join(map(texts, cells)))
    assert [line for text in PROSE for line in text.splitlines() if line in HEADINGS] == HEADINGS
    assert max(len(ASIDE.sub("", text).split()) for text in PROSE) <= 60
    assert max(len(text.splitlines()) for text in CODE[1:]) <= 4  # the first sets up
    assert not re.search(r"\.save\(|tempfile|\[\d+, *\d+", "\n".join(CODE))
    assert "interpretability" in PROSE[0] and "interpretability" in PROSE[-1]
    assert CODE[-2].startswith("cnnh.explore(") and all("slideshow" in cell.metadata for cell in LECTURE.cells)


def test_prose_repeats_no_number_and_no_answer_from_above(cnnh):
    for above, cell in zip(LECTURE.cells, LECTURE.cells[1:]):
        if cell.cell_type == "markdown":
            printed, told = (re.findall(r"\d[\d.,]*", text) for text in (texts(above), ASIDE.sub("", cell.source)))
            assert not {*printed} & {*told}
    named = [label for label in cnnh.categories if re.search(rf"\b{re.escape(label)}\b", "\n".join(PROSE))]
    assert {*named} <= {"Indian elephant", "tusker"}


def test_facts_stand_beside_their_sources_and_macros_mean_what_the_course_means():
    assert [fact for fact, source in FACTS if not any(fact in text and source in text for text in PROSE)] == []
    contest = next(text for text in CODE if "draw_contest" in text)
    assert ast.literal_eval(re.search(r"\{.*\}", contest)[0]) == WINNERS and "human=5.1, deep_from=2012" in contest
    assert {measure: measure.PUBLISHED for measure in PUBLISHED} == PUBLISHED
    macros = nbformat.read(ROOT / FILES[1], as_version=4).cells[-1].source
    assert r"\def\idxspatial{{\text{idx}}}" in macros and r"\def\actspatial#1#2{\mathcal{a}_{(#1), #2}}" in macros
    assert not re.search(r"\\(def|newcommand|idxspatial|actspatial)", "\n".join(PROSE))  # a page may not share them


@pytest.mark.parametrize("grid, kept, mean", [(2, 20, 0.90), (4, 13, 0.39), (8, 0, 0.01)])
def test_of_twenty_shuffles_so_many_keep_the_name(cnnh, cats, grid, kept, mean):
    curve = cnnh.shuffle_curve(cats[0], [grid], seeds=range(20))
    assert curve.unchanged[0].sum() == pytest.approx(kept, abs=1)
    assert curve.probabilities[0].mean() == pytest.approx(mean, abs=0.03)


@needs_openvino
def test_the_name_the_squares_the_rival_and_the_silhouette(cnnh, cats):
    covered = [cnnh.classify(cats[0], cnnh.occlude(cats[0], size)).unchanged for size in (150, 187)]
    assert [(sum(kept), len(kept)) for kept in covered] == [(7, 9), (4, 9)]
    result = cnnh.classify(cats[0], cnnh.silhouette(cats[0]))
    assert (str(result.followed[0]), result.unchanged) == ("Egyptian cat 98 %", (False,))
    assert result.share("cat")[1] < 0.1
    own, rival = (cnnh.occlusion_map(cats[0], target, size=90).probabilities for target in (None, "dalmatian"))
    assert own.min() < 0.5 and rival.max() > 0.3 and np.argmin(own) == np.argmax(rival)


@pytest.mark.slow
def test_the_published_stimuli(cnnh, images):
    hits, bias = cnnh.accuracy(images / "stimuli/silhouettes"), cnnh.shape_bias(images / "stimuli/conflicts")
    assert (hits.total, bias.total, hits.accuracy, bias.shape_bias) == pytest.approx((160, 160, 0.519, 0.245), abs=.02)


@needs_openvino
@pytest.mark.slow
def test_one_command_draws_the_readmes_pictures(images, tmp_path):
    subprocess.run([sys.executable, ROOT / "tests" / "figures.py", tmp_path], check=True)
    for path in tmp_path.glob("*.png"):
        drawn, committed = (np.asarray(Image.open(each).convert("RGB"), float) for each in (path, images / path.name))
        assert drawn.shape == committed.shape and np.abs(drawn - committed).mean() < 1
        assert f"(images/{path.name})" in (ROOT / "README.md").read_text()
    assert len([*tmp_path.iterdir()]) == 2


def test_the_readme_lists_every_public_method():
    methods = [name for name, value in vars(cnn_helper.CNN_Helper).items() if callable(value) and name[0] != "_"]
    table = [line.split(" | ")[0] for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert [name for name in methods if not any(f".{name}(" in line for line in table)] == []
