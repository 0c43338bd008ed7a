"""The browser application over small studies, in a process of its own, and a real Chromium."""

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
from playwright.sync_api import Browser, Page, expect, sync_playwright

from automl.core.record import TrialEnd, TrialStart
from automl.dataset_db import Store
from automl.export.web import npm
from automl.ui import actions
from tests.dataset_db.conftest import SPEC

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
AXE = "4.14.1"
LONG = 200_000  # ms, below pytest's limit; imports alone take a minute on a busy machine
DESK, TELEPHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
FAST = {"executor": "inline", "pruner": "none"}
DIGITS = ["steps=60", "eval_every=15", "depth=2", "width=64"]
HULLS = ["steps=20", "eval_every=10", "hidden=16", "arch=ptrnet"]


class Served:
    """``automl ui`` in a process of its own, over the database of ``folder``."""

    def __init__(self, folder: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "automl.ui.cli", "ui", "--port", str(port), "--no-browser"]
        self.folder, self.place, self.url = folder, environment, f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command, start_new_session=True, cwd=folder, env={**os.environ, **environment}
        )
        deadline = time.monotonic() + LONG / 1000
        while time.monotonic() < deadline:
            time.sleep(0.1)
            try:
                urlopen(f"{self.url}/_stcore/health", timeout=1).read()
                return
            except OSError:
                assert self.process.poll() is None, "the server ended by itself"

    def store(self) -> Store:
        """Its database, to write to."""
        return Store(self.folder / "models.db", artifacts=self.folder / "artifacts")

    def stop(self) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait(timeout=20)


def trial(store: Store, study: int, number: int) -> None:
    """Record a whole trial."""
    settings, scores = {"x": 0.1 * number}, {"accuracy": 0.5 + 0.1 * number, "nll": 1.0}
    store.start_trial(study, TrialStart(number, "tested", number, settings, settings))
    store.report(study, number, 1, "valid", scores)
    store.finish_trial(study, TrialEnd(number, "complete", scores["accuracy"], scores, 1, 0.1))
    store.flush()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Three studies: digits in six trials, hulls in two, and one of a plugin that is gone."""
    folder = tmp_path_factory.mktemp("served")
    place = {"AUTOML_DB": str(folder / "models.db"), "AUTOML_ARTIFACTS": str(folder / "artifacts")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.items():
            patch.setenv(name, value)
        actions.search("selu", "digits", trials=6, overrides=DIGITS, **FAST)
        actions.search(
            "ptrnet", "convex-hull:n=5,train_size=200", trials=2, overrides=HULLS, **FAST
        )
    with Store(folder / "models.db", artifacts=folder / "artifacts") as store:
        other = store.create_study(SPEC)
        trial(store, other, 0)
        store.close_study(other, "complete", 0, 0.1)
    served = Served(folder, **place)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Page:
    """A page that a module's tests share: its scripts are loaded once."""
    page = browser.new_page(viewport=DESK, color_scheme="light", accept_downloads=True)
    page.set_default_timeout(LONG)
    return page


@pytest.fixture
def page(window: Page) -> Page:
    """It, as large and light as at first."""
    window.set_viewport_size(DESK)
    window.emulate_media(color_scheme="light")
    return window


def settled(page: Page) -> None:
    """Wait until Streamlit has finished drawing."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


def press_a_cell(page: Page, row: int, column: int = 40) -> None:
    """Press a cell of the first table; its rows are 35 pixels high, below their heading."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + column, box["y"] + 35 * row + 17)


@pytest.fixture(scope="session")
def axe() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(npm.VERSIONS, "axe-core", AXE)
        return (npm.package("axe-core") / "axe.min.js").read_text()


MOVES = """() => document.getAnimations().some(
  (each) => each.playState === 'running' && each.effect.getComputedTiming().endTime < 1e9)"""


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds that shuts people out, once colours have stopped to change."""
    page.wait_for_function(f"() => !({MOVES})()")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
