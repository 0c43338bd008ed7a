"""The browser application, driven as a user drives it: real Streamlit, real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from automl.ui import actions

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``automl ui`` over a database with one finished search."""
    monkeypatch.chdir(tmp_path)
    actions.search(
        "ptrnet",
        "sort:n=4,train_size=200",
        trials=6,
        overrides=["steps=20", "eval_every=5", "hidden=16", "arch=ptrnet"],
        executor="inline",
        pruner="none",
    )
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


@pytest.fixture
def browser_page() -> Iterator[Page]:
    assert CHROMIUM, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        yield page
        browser.close()


def settled(page: Page) -> None:
    """Wait until Streamlit has finished drawing."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=60_000)
    page.wait_for_timeout(800)


def test_from_the_list_of_studies_to_an_exported_winner(
    served: str, browser_page: Page, tmp_path: Path
) -> None:
    page, shots = browser_page, Path(os.environ.get("AUTOML_SCREENSHOTS", tmp_path))
    page.goto(served)
    expect(page.get_by_role("heading", name="Studies")).to_be_visible(timeout=60_000)
    settled(page)
    page.screenshot(path=shots / "home.png")

    page.goto(f"{served}/study?study=1")
    expect(page.get_by_text("Optimisation history")).to_be_visible(timeout=60_000)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=60_000)
    settled(page)
    expect(page.locator(".js-plotly-plot")).to_have_count(4, timeout=60_000)
    page.screenshot(path=shots / "study.png", full_page=True)

    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the winner").click()
    card = opened.value
    expect(card.get_by_role("heading", name="Trial 1/")).to_be_visible(timeout=60_000)
    card.get_by_role("tab", name="Export").click()
    card.get_by_role("button", name="Export to cpu").click()
    expect(card.get_by_text("Compared with PyTorch at sizes")).to_be_visible(timeout=180_000)
    settled(card)
    card.screenshot(path=shots / "model.png")
    assert list(tmp_path.glob("exports/1-*/cpu/model.onnx"))

    page.goto(f"{served}/claims")
    expect(page.get_by_text("No claim was checked yet")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("address", ["study?study=99", "study?study=x", "model?trial=7/7"])
def test_a_stale_address_is_a_sentence_not_a_traceback(
    served: str, browser_page: Page, address: str
) -> None:
    browser_page.goto(f"{served}/{address}")
    expect(browser_page.get_by_text("there is no")).to_be_visible(timeout=60_000)
    expect(browser_page.get_by_text("Traceback")).to_have_count(0)
