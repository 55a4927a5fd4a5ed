"""The lecture in a real browser: JupyterLab, the explorer at its real size, an exported page, slides.

Screenshots are kept in pytest's temporary folder."""

import io
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import urllib3
from conftest import needs_openvino
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="these tests need the package playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [pytest.mark.slow, needs_openvino,
              pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="these tests need Chromium")]
LAB_SETTINGS = {"notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells in the page, seen or not
                "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}'}
EXPLORER = """import cnn_helper
cnn_helper.CNN_Helper(device="cpu").explore("images/cat.jpg", "images/elephant_skin.png",
                                            experiments={"failing": lambda picture: 1 / 0})"""
# The parts of the explorer: where they lie, are they seen and whole, their letters' sizes, their brightness (0 to 255).
MEASURE = r"""() => {
    const brightness = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + part / 3, 0);
    const ground = (each) => {
        const colour = getComputedStyle(each).backgroundColor;
        return colour === 'rgba(0, 0, 0, 0)' ? ground(each.parentElement) : brightness(colour);
    };
    const screen = document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer').getBoundingClientRect();
    const measure = (each) => {
        const {left, top, right, bottom} = each.getBoundingClientRect(), style = getComputedStyle(each);
        return {left, top, right, bottom, words: each.textContent, size: parseFloat(style.fontSize),
                ink: brightness(style.color), ground: ground(each), cut: each.scrollWidth > each.clientWidth + 1,
                outside: left < screen.left || right > screen.right || top < screen.top || bottom > screen.bottom};
    };
    const written = (each) => [...each.childNodes].some(node => node.nodeName === '#text' && node.data.trim());
    const shown = (selector, wanted = () => true) => [...document.querySelectorAll(selector)].filter(
        each => each.offsetWidth && wanted(each)).map(measure);
    return {picture: shown('.stage img')[0], sections: shown('.stage section'),
            controls: shown('.explorer .widget-hbox > *'),
            texts: [...shown('.explorer select'), ...shown('.explorer :not(option)', written)]};
}"""
# In place of require.js and MathJax, as far as a deck of slides uses them.
REQUIRE = """window.MathJax = {Hub: {getAllJax: () => false, Config: () => {}, Queue: () => {}}};
window.require = async (options, files, ready) => {
    for (const file of files) await new Promise(done => document.head.append(
        Object.assign(document.createElement('script'), {src: file, onload: done, onerror: done})));
    ready(window.Reveal, window.RevealNotes);
};"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def project(images, tmp_path_factory):
    """A copy of the files that the lecture needs, with a notebook of the explorer beside it, not yet run."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Interpretability_Intro.ipynb", "Latex_macros.ipynb", "cnn_helper.py"):
        shutil.copy(images.parent / name, folder)
    shutil.copytree(images, folder / "images")
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(EXPLORER)], metadata=python)
    nbformat.write(notebook, folder / "explorer.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """The address of a JupyterLab on a free port of this machine, with a place for the notebook's name."""
    settings = tmp_path_factory.mktemp("settings")
    for name, values in LAB_SETTINGS.items():
        path = settings / "lab" / "user-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(values)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
         "--ServerApp.port_retries=0", "--IdentityProvider.token=a-token", f"--ServerApp.root_dir={project}",
         "--expose-app-in-browser"], env=os.environ | {"JUPYTER_CONFIG_DIR": str(settings)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        patient = urllib3.PoolManager(retries=urllib3.Retry(total=90, backoff_factor=1, backoff_max=1))
        patient.request("GET", f"http://127.0.0.1:{port}/api/status?token=a-token")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=a-token&reset"
    finally:
        server.terminate()
        server.wait(30)


def open_notebook(browser, address):
    """A page with the notebook open and its kernel idle."""
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(address, wait_until="domcontentloaded")
    # Cells that run before the notebook has its kernel would open a dialog that asks for one.
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
                           timeout=90_000)
    return page


def command(page, name, **options):
    """Start a command of JupyterLab, and give it time."""
    page.evaluate("([name, options]) => void jupyterapp.commands.execute(name, options)", [name, options])
    page.wait_for_timeout(1_000)


@pytest.fixture(scope="module")
def live(browser, lab):
    """A page with the explorer, run in JupyterLab."""
    page = open_notebook(browser, lab.format("explorer.ipynb"))
    command(page, "notebook:run-all-cells")
    page.wait_for_selector(".stage section", timeout=120_000)
    yield page
    page.close()


def choose(page, experiment, second="no second"):
    """Choose an experiment and a second network, wait for the answers, and scroll to the top of the explorer."""
    page.locator(".explorer select").nth(2).select_option(second)
    page.locator(".explorer select").nth(0).select_option(experiment)
    mapped = experiment == "occlusion map"
    words, networks = ("largest change", 0) if mapped else (f"{experiment}:", 1 + (second != "no second"))
    page.wait_for_function("""([words, networks]) => document.querySelectorAll('.stage section').length >= networks
        && document.querySelector('.stage img').alt.toLowerCase().includes(words)
        && !document.querySelector('.stage').textContent.includes('at work')""", arg=[words, networks])
    page.locator(".explorer").evaluate("each => each.closest('.jp-OutputArea-output').scrollIntoView({block: 'start'})")


def wait_for_square(page, column, row, tolerance=0.02):
    """Return when the square is seen at its place, in 0..1 of the stage's picture: the median of all grey pixels."""
    for _ in range(200):
        seen = np.asarray(Image.open(io.BytesIO(page.locator(".stage img").screenshot())).convert("RGB"), int)
        grey = np.argwhere((abs(seen - 128) < 4).all(axis=2)) / seen.shape[:2]
        if len(grey) and np.allclose(np.median(grey, axis=0), (row, column), rtol=0, atol=tolerance):
            return
    raise AssertionError(f"the square is not at {column, row}, but at {np.median(grey, axis=0)[::-1]}")


def test_the_committed_lecture_shows_its_figures_before_it_is_run(browser, lab):
    page = open_notebook(browser, lab.format("Interpretability_Intro.ipynb"))
    playwright.expect(page.locator(".jp-OutputArea img").nth(8)).to_be_attached(timeout=60_000)
    command(page, "apputils:change-theme", theme="JupyterLab Dark")
    for figure in page.locator(".jp-OutputArea img[src*=webp]:not([alt*=outline])").all():
        assert len(figure.get_attribute("alt")) > 20 and figure.evaluate("each => each.naturalWidth") > 500
        assert min(Image.open(io.BytesIO(figure.screenshot())).convert("RGB").getpixel((2, 2))) > 250  # a white card
    page.close()


@pytest.mark.parametrize("screen", ["sidebar", "no sidebar", "800 pixels", "dark"])
def test_the_explorer_is_seen_at_once_and_legible(live, tmp_path, screen):
    live.set_viewport_size({"width": 1280, "height": 720})
    if live.locator("#jp-left-stack").is_visible() != (screen != "no sidebar"):
        command(live, "application:toggle-left-area")
    command(live, "apputils:change-theme", theme=f"JupyterLab {'Dark' if screen == 'dark' else 'Light'}")
    output = live.locator(".jp-OutputArea-output:has(.explorer)")
    if screen == "800 pixels":
        live.set_viewport_size({"width": 2080 - round(output.bounding_box()["width"]), "height": 720})
        assert output.bounding_box()["width"] == pytest.approx(800, abs=2)
    kinds = ["occlude", "shuffle", "texture everywhere", "occlusion map"]
    for second, experiment in itertools.product(["no second", "efficientnet_lite1"], kinds):
        choose(live, experiment, second)
        live.screenshot(path=tmp_path / f"{experiment}, {second}.png")
        seen = live.evaluate(MEASURE)
        picture, sections, controls, texts = (seen[name] for name in ("picture", "sections", "controls", "texts"))
        assert [part for part in (picture, *sections, *controls, *texts) if part["outside"]] == []
        assert [text for text in texts if text["cut"] or text["size"] < 18 or text["ground"] < text["ink"] + 120] == []
        assert len(controls) >= 5 and len({round(control["top"]) for control in controls}) <= 2
        assert picture["ground"] == 255 and picture["right"] - picture["left"] >= 350
        assert all(picture["right"] < section["left"] for section in sections)


def test_the_square_is_dragged_over_the_picture(live):
    choose(live, "occlude")
    box = (picture := live.locator(".stage img")).bounding_box()

    def move(column, row):
        live.mouse.move(box["x"] + column * box["width"], box["y"] + row * box["height"])

    picture.evaluate("each => { window.drawn = 0; each.addEventListener('load', () => { window.drawn += 1; }); }")
    move(0.3, 0.3)
    live.mouse.down()
    start = time.monotonic()
    while (passed := time.monotonic() - start) < 3:
        move(0.3 + 0.4 * abs(1 - passed % 2), 0.3 + 0.1 * passed)
    frames = live.evaluate("window.drawn") / passed
    move(0.25, 0.7)
    live.mouse.up()
    wait_for_square(live, 0.25, 0.7)
    print(f"{frames:.1f} frames a second while the square is dragged")
    assert frames > 2
    for place in ((0.6, 0.3), (0.6, 0.3), (0.4, 0.5)):  # held still, and pressed twice at one place
        move(*place)
        live.mouse.down()
        live.wait_for_timeout(1_000)
        wait_for_square(live, *place)
        live.mouse.up()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        picture.press(key)  # with the focus
        live.wait_for_timeout(500)
    wait_for_square(live, 0.5, 0.4, tolerance=0.07)
    choose(live, "occlusion map")
    picture.click(position={"x": 0.7 * box["width"], "y": 0.6 * box["height"]})
    wait_for_square(live, 0.7, 0.6)


def test_an_error_is_told_in_words_and_the_picture_stays(live, images, tmp_path):
    choose(live, "occlude")
    stage = live.locator(".stage")
    before = stage.locator("img").screenshot()
    live.locator(".explorer select").nth(0).select_option("failing")
    playwright.expect(stage).to_contain_text("division by zero", timeout=20_000)
    assert stage.locator("img").screenshot() == before
    choose(live, "whole picture")
    (tmp_path / "notes.png").write_text("no picture")
    for file, words in ((tmp_path / "notes.png", "notes.png"), *[(images / "elephant_skin.png", "elephant")] * 2):
        with live.expect_file_chooser() as chooser:
            live.click(".explorer button:has-text('your picture')")
        chooser.value.set_files(file)
        playwright.expect(stage).to_contain_text(words, timeout=20_000)
        assert stage.locator("img").evaluate("each => each.naturalWidth") > 0
        live.click(".explorer button:has-text('first picture')")
        playwright.expect(stage).to_contain_text("✓ Egyptian cat", timeout=20_000)


def test_the_still_figure_is_seen_where_the_stage_is_not(browser, project, live, tmp_path):
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "explorer.ipynb",
                    f"--output-dir={tmp_path}"], cwd=project, check=True, capture_output=True)
    page = browser.new_page()
    page.route(re.compile("^https?://"), lambda route: route.abort())  # no widget manager can be fetched
    page.goto((tmp_path / "explorer.html").as_uri())
    still = page.locator(".jp-OutputArea img")
    assert still.count() == 1 and "Egyptian cat" in still.get_attribute("alt")
    assert still.bounding_box()["height"] > 200 and still.evaluate("each => each.naturalWidth") > 500
    assert live.locator(".jp-OutputArea img:visible").count() == 1  # in JupyterLab the stage's alone


def test_every_slide_lies_inside_its_box(browser, project, tmp_path):
    reveal = Path(pytest.importorskip("sphinx_revealjs").__file__).parent / "_static" / "revealjs"

    def answer(route):  # reveal.js from the installed package, nothing else
        found = re.search(r"reveal\.js[^/]*/((dist|plugin)/.*)$", route.request.url)
        route.fulfill(**{"path": reveal / found[1]} if found else {"body": ""})

    options = [f"--SlidesExporter.reveal_{option}" for option in ("width=1280", "height=720", "transition=none")]
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "slides", "--no-input", *options,
                    "Interpretability_Intro.ipynb"], cwd=project, check=True, capture_output=True)
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.route(re.compile("^https?://"), answer)
    page.add_init_script(REQUIRE)
    page.goto((project / "Interpretability_Intro.slides.html").as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady && Reveal.isReady()", timeout=60_000)
    outside = []
    for number in itertools.count(1):
        page.wait_for_timeout(100)
        page.screenshot(path=tmp_path / f"slide {number:02d}.png")
        outside += page.evaluate("""(number) => {
            const parts = [...Reveal.getCurrentSlide().querySelectorAll('img, p, pre, li, table, h1, h2, h3')];
            return parts.map(each => [number, each.outerHTML.slice(0, 60), each.getBoundingClientRect()]).filter(
                ([,, {left, top, right, bottom}]) => left < -1 || top < -1 || right > 1281 || bottom > 721);
        }""", number)
        if page.evaluate("Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            break
        page.evaluate("Reveal.next()")
    assert outside == [] and number >= 12
