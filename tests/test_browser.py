"""The lecture in a real browser: JupyterLab runs it, live controls answer, slides show whole figures.

Skipped where Chromium or playwright is missing. Screenshots are kept in pytest's temporary folder.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="these tests need the package playwright")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="these tests need Chromium (Debian: apt install chromium)")]
LAB_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells in the page, seen or not
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        yield chromium
        chromium.close()


def copy_project(images, folder):
    """The files that the lecture needs, in `folder`."""
    for name in ("Interpretability_Intro.ipynb", "Latex_macros.ipynb", "cnn_helper.py"):
        shutil.copy(images.parent / name, folder)
    shutil.copytree(images, folder / "images")
    return folder


@pytest.fixture(scope="module")
def project(images, tmp_path_factory):
    """A copy of the project, with a notebook of live controls beside the lecture."""
    folder = copy_project(images, tmp_path_factory.mktemp("project"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import cnn_helper\ncnnh = cnn_helper.CNN_Helper(device='cpu')\ncnnh.explore('images/cat.jpg')")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    nbformat.write(notebook, folder / "live.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """The address of a JupyterLab on a free port of this machine, without its token's page, and the token."""
    settings = tmp_path_factory.mktemp("settings")
    for name, values in LAB_SETTINGS.items():
        path = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces")}
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
         "--ServerApp.port_retries=0", "--IdentityProvider.token=a-token", f"--ServerApp.root_dir={project}"],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token=a-token")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token=a-token&reset"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address, seconds=90):
    """Return when a server answers at `address`."""
    stop = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > stop:
                raise
            time.sleep(0.5)


def open_notebook(browser, address):
    """A page with the notebook open and its kernel idle."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook-cell", timeout=90_000)
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=90_000)
    return page


def run_all(page):
    """Run > Run All Cells, again until cells wait for the kernel: a click that comes too early does nothing."""
    for _ in range(10):
        page.wait_for_timeout(1_000)
        if page.locator(".jp-Dialog").count():  # asks which kernel to take: the one it proposes
            page.click(".jp-Dialog .jp-mod-accept")
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-itemLabel:text-is("Run All Cells")')
        try:
            page.wait_for_selector('.jp-InputPrompt:text-is("[*]:")', state="attached", timeout=8_000)
            return
        except playwright_api.TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError("the notebook does not start to run")


def test_the_committed_lecture_shows_its_figures_before_it_is_run(browser, lab):
    page = open_notebook(browser, lab.format("Interpretability_Intro.ipynb"))
    # None is broken, though this notebook is not trusted: a broken picture has no width.
    page.wait_for_function("""() => {
        const widths = [...document.querySelectorAll('.jp-OutputArea img')].map(each => each.naturalWidth);
        return widths.length >= 8 && Math.min(...widths) >= 500;
    }""", timeout=60_000)
    page.close()


def test_the_lecture_runs_in_jupyterlab(browser, lab, tmp_path_factory):
    page = open_notebook(browser, lab.format("Interpretability_Intro.ipynb"))
    page.evaluate("document.querySelectorAll('.jp-OutputArea-output').forEach(each => each.classList.add('old'))")
    run_all(page)
    page.wait_for_selector(".jp-OutputArea-output:not(.old) >> text=/^Done\\s*$/", timeout=300_000)
    assert page.locator('[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]').count() == 0
    assert not re.search(r"\d+%\|", page.inner_text(".jp-Notebook"))  # no progress bar stayed
    page.screenshot(path=tmp_path_factory.mktemp("screenshots") / "lecture.png")
    page.close()


def test_a_slider_changes_the_answer(browser, lab, tmp_path_factory):
    page = open_notebook(browser, lab.format("live.ipynb"))
    run_all(page)
    answer = page.locator(".jupyter-widgets img[alt]").first
    answer.wait_for(timeout=120_000)
    page.click('.widget-toggle-button:text-is("shuffle")')
    page.wait_for_selector('.jupyter-widgets img[alt*="shuffle: "]', timeout=30_000)
    before = answer.get_attribute("alt")
    slider = page.locator('.widget-slider:visible [role="slider"]').first
    slider.focus()
    slider.press("ArrowRight")
    playwright_api.expect(answer).not_to_have_attribute("alt", before, timeout=30_000)
    assert "Egyptian cat" in answer.get_attribute("alt")
    page.screenshot(path=tmp_path_factory.mktemp("screenshots") / "explore.png")
    page.close()


@pytest.fixture(scope="module")
def exported(images, tmp_path_factory):
    """A folder with the committed lecture as slides and as a page, made by nbconvert."""
    folder = copy_project(images, tmp_path_factory.mktemp("exported"))
    for kind in ("slides", "html"):
        subprocess.run([sys.executable, "-m", "nbconvert", "--to", kind, "Interpretability_Intro.ipynb"], cwd=folder, check=True,
                       capture_output=True)
    return folder


def serve_reveal(page):
    """Answer the deck's requests for reveal.js from an installed package, and for the rest with nothing."""
    reveal = Path(pytest.importorskip("sphinx_revealjs").__file__).parent / "_static" / "revealjs"

    def answer(route):
        found = re.search(r"reveal\.js[^/]*/((dist|plugin)/.*)$", route.request.url)
        if found and (reveal / found[1]).exists():
            return route.fulfill(path=reveal / found[1])
        return route.fulfill(body="", content_type="text/javascript")

    page.route(re.compile("^https?://"), answer)
    # In place of require.js and MathJax, as far as the deck uses them.
    page.add_init_script("""
        window.MathJax = {Hub: {getAllJax: () => false, Config: () => {}, Queue: () => {}}};
        window.require = async (options, files, ready) => {
            for (const file of files) await new Promise(done => {
                const script = Object.assign(document.createElement('script'), {src: file, onload: done, onerror: done});
                document.head.append(script);
            });
            ready(window.Reveal, window.RevealNotes);
        };""")


def test_no_slide_overflows(browser, exported, tmp_path_factory):
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    serve_reveal(page)
    page.goto((exported / "Interpretability_Intro.slides.html").as_uri())
    page.wait_for_function("window.Reveal && Reveal.isReady && Reveal.isReady()", timeout=60_000)
    page.evaluate("Reveal.configure({transition: 'none', backgroundTransition: 'none'})")
    folder = tmp_path_factory.mktemp("slides")
    count, cut = 0, []
    while True:
        count += 1
        page.wait_for_timeout(100)
        page.screenshot(path=folder / f"{count:02d}.png")
        box = page.evaluate("""() => {
            const slide = Reveal.getCurrentSlide(), scale = Reveal.getScale(), bottoms = [], rights = [];
            for (const each of slide.querySelectorAll('img, p, pre, li, table, h1, h2, h3')) {
                const box = each.getBoundingClientRect();
                if (box.width) { bottoms.push(box.bottom); rights.push(box.right); }
            }
            return [Math.max(...bottoms), Math.max(...rights), slide.innerText.slice(0, 40)];
        }""")
        if box[0] > 722 or box[1] > 1282:
            cut.append((count, box))
        if page.evaluate("Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            break
        page.evaluate("Reveal.next()")
    assert cut == []
    assert count >= 12
    page.close()


def test_every_picture_of_the_exported_page_is_described(exported):
    page = (exported / "Interpretability_Intro.html").read_text()
    described = re.findall(r"<img\b[^>]*>", page)
    assert len(described) >= 8
    for picture in described:
        words = re.search(r'alt="([^"]*)"', picture)
        assert words and len(words[1]) > 20 and "No description" not in words[1]
