"""The pages of searches, models, papers and data in real Chromium, on a desk and on a telephone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from automl.dataset_db.evidence import ExportRecord
from automl.export import graph
from automl.export.subject import Subject
from automl.ui import actions
from tests.ui.test_browser import CHROMIUM, FLAGS, free_port, settled

FAST = {"executor": "inline", "pruner": "none"}
LONG = 60_000  # ms; the helper imports torch at its first answer
NAMELESS = """() => [...document.querySelectorAll(
  '[data-testid=stMain] :is(input, textarea, button, [role=combobox])')]
  .filter((e) => e.offsetParent && e.type !== 'file')
  .filter((e) => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') ||
    e.textContent.trim() || e.labels?.length || e.title))
  .map((e) => e.outerHTML.slice(0, 200))"""


def exported(reference: str, folder: Path) -> None:
    """A trial with its graph in a file and on record; test_browser.py exports as users do."""
    row = actions.show(reference)
    folder.mkdir()
    file = folder / "model.onnx"
    graph.write(Subject.load(actions.task_of(row)).exportable, file, {})
    about = {"name": file.name, "sha256": "", "bytes": file.stat().st_size}
    with actions.opened(None) as store:
        store.record_export(row["id"], ExportRecord("cpu", "ok", str(folder), [about]), [])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``automl ui`` over two small searches: a hull, not exported, and digits, exported."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AUTOML_DB", str(folder / "models.db"))
        patch.setenv("AUTOML_ARTIFACTS", str(folder / "artifacts"))
        small = ["steps=20", "eval_every=10", "hidden=16", "arch=ptrnet"]
        hulls = "convex-hull:n=5,train_size=200"
        actions.search("ptrnet", hulls, trials=2, overrides=small, **FAST)
        small = ["steps=60", "eval_every=30", "depth=2", "width=64"]
        actions.search("selu", "digits", trials=1, overrides=small, **FAST)
        exported("2/0", folder / "exports")
        port = free_port()
        command = [sys.executable, "-m", "automl.ui.cli", "ui", "--port", str(port), "--no-browser"]
        server = subprocess.Popen(command, start_new_session=True, env=dict(os.environ))
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(150):
                time.sleep(0.2)
                try:
                    urlopen(f"{url}/_stcore/health", timeout=1).read()
                    break
                except OSError:
                    assert server.poll() is None, "the server ended by itself"
            yield url
        finally:
            os.killpg(server.pid, 15)
            server.wait(timeout=20)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    assert CHROMIUM, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        made = browser.new_page(viewport={"width": 1280, "height": 1000})
        yield made
        browser.close()


def shot(page: Page, name: str) -> None:
    """Keep a picture where somebody wants to look at it."""
    if folder := os.environ.get("AUTOML_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_search_is_started_from_the_form_and_ends(served: str, page: Page) -> None:
    page.goto(f"{served}/start?plugin=ptrnet&dataset=sort:n=4,train_size=200")
    expect(page.get_by_role("heading", name="Start a search")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("settings are searched")).to_be_visible(timeout=LONG)
    fix = page.get_by_role("combobox", name="Settings of ptrnet to fix")
    for name in ("steps", "hidden"):
        fix.fill(name)
        page.get_by_role("option", name=name, exact=True).click()
    for label, value in (("steps [steps]", "20"), ("Trials", "1")):
        page.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Enter")
        settled(page)
    page.get_by_text("Limits, seed and machine").click()
    page.get_by_label("Workers", exact=True).fill("1")
    page.keyboard.press("Enter")
    settled(page)
    command = page.get_by_test_id("stCode").filter(has_text="automl search")
    expect(command).to_contain_text(
        "--plugin ptrnet --dataset sort:n=4,train_size=200 --set steps=20"
    )
    expect(command).to_contain_text("--trials 1 --workers 1")
    assert page.evaluate(NAMELESS) == []
    shot(page, "start")
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("● done")).to_be_visible(timeout=LONG)
    page.reload()
    expect(page.get_by_text("1 of 1 trials")).to_be_visible(timeout=LONG)
    shot(page, "jobs")
    page.get_by_role("link", name="Best model").click()
    expect(page.get_by_role("heading", name="Trial 3/0")).to_be_visible(timeout=LONG)


def test_points_are_put_into_a_square_and_the_model_answers(served: str, page: Page) -> None:
    page.goto(f"{served}/model?trial=1/0")
    page.get_by_role("tab", name="Run it").click()
    expect(page.get_by_text("Runs in PyTorch")).to_be_visible(timeout=LONG)
    typed = page.get_by_label("Points: x and y from 0 to 1")
    pad = page.get_by_role("application")
    expect(pad.locator("circle")).to_have_count(5)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("Click 3 points or more")).to_be_visible(timeout=LONG)
    box = pad.bounding_box()
    assert box is not None
    for count, (x, y) in enumerate(((0.2, 0.2), (0.8, 0.2), (0.5, 0.8)), 1):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        expect(pad.locator("circle")).to_have_count(count)
        settled(page)
    expect(page.get_by_text("the hull has 3 corners")).to_be_visible(timeout=LONG)
    assert len(typed.input_value().splitlines()) == 3
    pad.focus()
    page.keyboard.press("Enter")  # a point in the middle, without a mouse
    expect(pad.locator("circle")).to_have_count(4)
    settled(page)
    typed.fill("0 0\n1 0\n1 one")
    typed.blur()
    expect(page.get_by_text("line 3: '1 one' is not two numbers")).to_be_visible(timeout=LONG)
    shot(page, "run-points")


def test_a_digit_is_drawn_and_recognised(served: str, page: Page) -> None:
    page.goto(f"{served}/model?trial=2/0")
    page.get_by_role("tab", name="Run it").click()
    expect(page.get_by_text("Runs in onnxruntime")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("The data say 2.")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    settled(page)
    pad = page.get_by_role("application")
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=12)
    page.mouse.up()
    expect(page.get_by_text("The data say")).to_have_count(0, timeout=LONG)  # no example any more
    expect(page.get_by_test_id("stMetricValue").last).to_have_text("1", timeout=LONG)
    shot(page, "run-digit")


def test_layers_and_the_comparison_of_a_model(served: str, page: Page) -> None:
    page.goto(f"{served}/model?trial=1/0")
    page.get_by_role("tab", name="Layers").click()
    expect(page.get_by_test_id("stGraphVizChart").locator("svg")).to_contain_text(
        "encoder", timeout=LONG
    )
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_text("None: both ran the same code.")).to_be_visible(timeout=LONG)
    page.get_by_role("tab", name="Code").click()
    settled(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download the code (ZIP)").click()
    assert saved.value.suggested_filename == "ptrnet-1-0-code.zip"
    page.goto(f"{served}/model?trial=2/0")
    page.get_by_role("tab", name="Export").click()
    settled(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="model.onnx").click()
    assert saved.value.path().stat().st_size > 1000


PLACES = ("start?plugin=selu", "jobs", "model?trial=1/0", "papers", "papers?plugin=selu", "data",
          "data?dataset=digits")  # fmt: skip


def test_every_page_fits_a_telephone_and_names_its_widgets(served: str, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for address in PLACES:
        page.goto(f"{served}/{address}")
        expect(page.get_by_test_id("stHeading").first).to_be_visible(timeout=LONG)
        settled(page)
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= 390, f"{address} is {wide} pixels wide"
        assert page.evaluate(NAMELESS) == [], address
        expect(page.get_by_text("Traceback")).to_have_count(0)
        shot(page, "telephone-" + address.replace("/", "-").replace("?", "-"))
