"""Searches that are started and models that are run in real Chromium."""

import re

import pytest
from playwright.sync_api import Page, expect

from automl.dataset_db.evidence import ExportRecord
from automl.export import graph
from automl.export.subject import Subject
from automl.ui import actions
from tests.ui.conftest import LONG, Served, settled


def exported(reference: str, server: Served) -> None:
    """A trial with its graph in a file and on record; test_browser.py exports as users do."""
    folder = server.folder / "exported"
    folder.mkdir()
    file = folder / "model.onnx"
    row = actions.show(reference)
    graph.write(Subject.load(actions.task_of(row)).exportable, file, {})
    about = {"name": file.name, "sha256": "", "bytes": file.stat().st_size}
    with actions.opened(None) as store:
        store.record_export(row["id"], ExportRecord("cpu", "ok", str(folder), [about]), [])


def test_a_search_is_started_from_the_form_and_ends(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/start?plugin=ptrnet&dataset=sort:n=4,train_size=200")
    expect(page.get_by_role("heading", name="Start a search")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("settings are searched")).to_be_visible(timeout=LONG)
    fix = page.get_by_role("combobox", name="Settings of ptrnet to fix")
    for name in ("steps", "hidden"):
        fix.fill(name)
        page.get_by_role("option", name=name, exact=True).click()
    page.get_by_text("Limits, seed and machine").click()
    command = page.get_by_test_id("stCode").filter(has_text="automl search")
    for label, value, said in (
        ("steps [steps]", "20", "--dataset sort:n=4,train_size=200 --set steps=20"),
        ("Trials", "1", "--trials 1"),
        ("Workers", "1", "--trials 1 --workers 1"),
    ):
        page.get_by_label(label, exact=True).fill(value)
        page.keyboard.press("Enter")
        expect(command).to_contain_text(said)
    page.get_by_role("button", name="Start the search").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("● done")).to_be_visible(timeout=LONG)
    page.reload()
    expect(page.get_by_text("1 of 1 trials")).to_be_visible(timeout=LONG)
    page.get_by_role("link", name="Best model").click()
    expect(page.get_by_role("heading", name=re.compile(r"^Trial \d"))).to_be_visible(timeout=LONG)


def test_points_are_put_into_a_square_and_the_model_answers(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/model?trial=2/0")
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


def test_a_digit_is_drawn_and_recognised(
    server: Served, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.place.items():
        monkeypatch.setenv(name, value)
    exported("1/0", server)
    page.goto(f"{server.url}/model?trial=1/0")
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
    page.get_by_role("tab", name="Export").click()
    page.wait_for_function("() => location.search.includes('tab=Export')", timeout=LONG)
    settled(page)  # the tab is noted in the address: the page is drawn anew
    with page.expect_download(timeout=LONG) as saved:
        page.get_by_role("button", name="model.onnx").click()
    assert saved.value.path().stat().st_size > 1000


def test_layers_and_the_comparison_of_a_model(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/model?trial=2/0")
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
    assert saved.value.suggested_filename == "ptrnet-2-0-code.zip"
