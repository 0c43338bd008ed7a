"""The browser application, driven as a user drives it: real Streamlit, real Chromium.

AUTOML_SCREENSHOTS names a folder that keeps the pictures of the pages; the documentation's are
those of AUTOML_SCREENSHOTS_DB, a database that is there already.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

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
TINY = ["steps=20", "eval_every=5", "hidden=16", "arch=ptrnet"]
WIDTHS = {"wide": (1280, 1000, "light"), "narrow": (390, 844, "dark")}
PAGES = {  # name -> address, and what is there once it is drawn
    "home": ("", "[data-testid=stDataFrame] canvas"),
    "study": ("study?study=1", ".js-plotly-plot .main-svg"),
    "settings": ("study?study=1&view=Settings", ".js-plotly-plot .main-svg"),
    "trade-offs": ("study?study=1&view=Trade-offs", ".js-plotly-plot .main-svg"),
    "timeline": ("study?study=1&view=Timeline", ".js-plotly-plot .main-svg"),
    "trials": ("study?study=1&view=Trials", "[data-testid=stDataFrame] canvas"),
    "compare": ("compare?trials=1/0,2/0,1/1", "[data-testid=stDataFrame] canvas"),
    "ranking": ("ranking", ".js-plotly-plot .main-svg"),
    "model": ("model?trial=1/0", ".js-plotly-plot .main-svg"),
}
LOADS = 100
GROWTH = 30e6  # bytes that 100 loads may add to the server: a page keeps some MB for a short time


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """``automl ui`` in a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "automl.ui.cli", "ui", "--port", str(port), "--no-browser"]
        self.process = subprocess.Popen(
            command, start_new_session=True, cwd=folder, env={**os.environ, **environment}
        )
        self.url = f"http://127.0.0.1:{port}"
        for _ in range(150):
            time.sleep(0.2)
            try:
                urlopen(f"{self.url}/_stcore/health", timeout=1).read()
                return
            except OSError:
                assert self.process.poll() is None, "the server ended by itself"

    def stop(self) -> None:
        os.killpg(self.process.pid, 15)
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    """The application over a database with a finished search, and a study of another plugin."""
    place = {"AUTOML_DB": str(folder / "models.db"), "AUTOML_ARTIFACTS": str(folder / "artifacts")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.items():
            patch.setenv(name, value)
        settings = {"trials": 6, "overrides": TINY, "executor": "inline", "pruner": "none"}
        actions.search("ptrnet", "sort:n=4,train_size=200", **settings)
    with Store(folder / "models.db", artifacts=folder / "artifacts") as store:
        other = store.create_study(SPEC)
        trial(store, other, 0)
        store.close_study(other, "complete", 0, 0.1)
    kept = os.environ.get("AUTOML_SCREENSHOTS_DB")
    served = Served(folder, **place | ({"AUTOML_DB": kept} if kept else {}))
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "these tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def page_of(browser: Browser, size: str = "wide") -> Page:
    width, height, scheme = WIDTHS[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = page_of(browser)
    yield page
    page.context.close()


def settled(page: Page) -> None:
    """Wait until Streamlit has finished drawing."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=60_000)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=60_000)
    page.wait_for_timeout(500)


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds that shuts people out."""
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document)")["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def axe() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(npm.VERSIONS, "axe-core", AXE)
        return (npm.package("axe-core") / "axe.min.js").read_text()


@pytest.mark.parametrize("size", WIDTHS)
def test_every_page_is_drawn_and_shuts_nobody_out(
    server: Served, browser: Browser, axe: str, size: str, tmp_path: Path
) -> None:
    shots = Path(os.environ.get("AUTOML_SCREENSHOTS", tmp_path))
    page = page_of(browser, size)
    problems: dict[str, list[str]] = {}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name, (address, drawn) in PAGES.items():
        page.goto(f"{server.url}/{address}")
        page.locator(drawn).first.wait_for()
        settled(page)
        page.screenshot(path=shots / f"ui-{name}-{size}.png")
        problems[name] = violations(page, axe)
        across = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert across <= 0, f"{name} is {across} pixels too wide"
    assert {name: found for name, found in problems.items() if found} == {}
    strangers = {url for url in asked if not url.startswith((server.url, "data:", "blob:"))}
    assert not strangers, "nothing is fetched from the internet"
    page.context.close()


def test_from_the_list_of_studies_to_an_exported_winner(
    server: Served, folder: Path, page: Page
) -> None:
    page.goto(f"{server.url}/?filter=sort")
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    settled(page)
    press_a_cell(page, 1)
    expect(page.get_by_text("Optimisation history")).to_be_visible()
    assert "study=1" in page.url
    page.get_by_role("link", name="Open the winner").click()
    expect(page.get_by_role("heading", name="Trial 1/")).to_be_visible()
    page.get_by_role("tab", name="Export").click()
    page.get_by_role("button", name="Export to cpu").click()
    expect(page.get_by_text("Compared with PyTorch at sizes")).to_be_visible(timeout=180_000)
    assert list(folder.glob("exports/1-*/cpu/model.onnx"))


def press_a_cell(page: Page, row: int, column: int = 40) -> None:
    """Press a cell of the first table; its rows are 35 pixels high, below their heading."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + column, box["y"] + 35 * row + 17)


def test_what_is_selected_in_one_place_is_selected_in_all(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/study?study=1")
    history = page.locator(".js-plotly-plot").first
    history.locator("path.point").nth(2).wait_for()
    settled(page)
    history.locator("path.point").nth(2).click(force=True)
    expect(page.get_by_text("1 trial selected")).to_be_visible()
    faint = "() => document.querySelectorAll('.js-plotly-plot')[1].data.map(t => t.opacity)"
    page.wait_for_function(f"() => ({faint})().filter(o => o > 0.5).length == 1")
    assert "picked=" in page.url
    page.reload()  # as a bookmark is opened
    expect(page.get_by_text("1 trial selected")).to_be_visible()
    page.get_by_role("tab", name="Trials").click()
    expect(page.get_by_text("1 to 1 of 1", exact=True)).to_be_visible()
    assert "view=Trials" in page.url
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("1 to 6 of 6", exact=True)).to_be_visible()
    settled(page)
    for row, said in ((1, "1 trial selected"), (2, "2 trials selected")):
        press_a_cell(page, row, column=15)
        expect(page.get_by_text(said)).to_be_visible()
    page.get_by_role("link", name="Compare them").click()
    expect(page.get_by_role("heading", name="Settings that differ")).to_be_visible()
    assert "trials=1%2F4%2C1%2F5" in page.url


def test_a_running_study_is_redrawn_by_itself_and_nothing_jumps(
    server: Served, folder: Path, page: Page
) -> None:
    parts = "[data-testid=stPlotlyChart], [role=tab], [data-testid=stMetric]"
    tops = f"""() => JSON.stringify([...document.querySelectorAll('{parts}')]
        .map(element => Math.round(element.getBoundingClientRect().top)))"""
    with Store(folder / "models.db", artifacts=folder / "artifacts") as store:
        study = store.create_study(SPEC)  # its driver is this process, which lives
        trial(store, study, 0)
        page.goto(f"{server.url}/study?study={study}")
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        settled(page)
        before = page.evaluate(tops)
        trial(store, study, 1)
        seen = set()
        deadline = time.monotonic() + 30
        while "2 of 10" not in page.get_by_test_id("stMetric").nth(1).inner_text():
            seen.add(page.evaluate(tops))
            assert time.monotonic() < deadline, "the page was not redrawn"
            page.wait_for_timeout(50)
        settled(page)
        assert seen | {page.evaluate(tops)} == {before}


def trial(store: Store, study: int, number: int) -> None:
    """Record a whole trial."""
    settings, scores = {"x": 0.1 * number}, {"accuracy": 0.5 + 0.1 * number, "nll": 1.0}
    store.start_trial(study, TrialStart(number, "tested", number, settings, settings))
    store.report(study, number, 1, "valid", scores)
    store.finish_trial(study, TrialEnd(number, "complete", scores["accuracy"], scores, 1, 0.1))
    store.flush()


def test_tables_and_charts_are_saved(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/study?study=1&view=Trials")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save all 6 as CSV").click()
    lines = Path(saving.value.path()).read_text().splitlines()
    assert lines[0].startswith("trial,plugin,state,objective")
    assert len(lines) == 7
    page.get_by_role("tab", name="Overview").click()
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        page.get_by_role("radio", name=kind).or_(page.get_by_role("button", name=kind)).click()
        settled(page)
        page.locator(".js-plotly-plot").first.hover()
        with page.expect_download() as saving:
            page.locator(".modebar-btn[data-title*='ownload']").first.click()
        assert Path(saving.value.path()).read_bytes().startswith(start)


@pytest.mark.parametrize("address", ["study?study=99", "study?study=x", "model?trial=7/7"])
def test_a_stale_address_is_a_sentence_not_a_traceback(
    server: Served, page: Page, address: str
) -> None:
    page.goto(f"{server.url}/{address}")
    expect(page.get_by_text("there is no")).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_an_exposed_server_asks_for_its_token(folder: Path, page: Page, axe: str) -> None:
    token = "0123456789abcdef"
    served = Served(folder, AUTOML_TOKEN=token, AUTOML_DB=str(folder / "none.db"))
    try:
        page.goto(f"{served.url}/ranking")
        assert violations(page, axe) == []
        page.get_by_label("Token").fill("not the token at all")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_text("That is not the token")).to_be_visible()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_text("automl search --plugin ptrnet")).to_be_visible()
        assert token not in page.url
        page.reload()
        expect(page.get_by_text("automl search --plugin ptrnet")).to_be_visible()
    finally:
        served.stop()


def test_a_hundred_page_loads_leave_memory_flat(server: Served) -> None:
    """Each is a session of its own, as a browser's reload is; half of them draw charts."""
    process = psutil.Process(server.process.pid)
    loads(server.url, 30)
    before = process.memory_info().rss
    loads(server.url, LOADS)
    assert process.memory_info().rss - before < GROWTH


def loads(url: str, many: int) -> None:
    """Open pages as a browser does, one after the other, over the socket alone."""
    place = f"{url.replace('http', 'ws')}/_stcore/stream"
    for number in range(many):
        with connect(place, subprotocols=["streamlit"], max_size=None) as stream:
            message = BackMsg()
            message.rerun_script.query_string = "study=1" if number % 2 else ""
            message.rerun_script.page_name = "study" if number % 2 else ""
            stream.send(message.SerializeToString())
            drawn = 0
            for data in stream:
                answer = ForwardMsg.FromString(data)
                drawn += answer.WhichOneof("type") == "delta"
                if answer.WhichOneof("type") == "script_finished":
                    break
            assert drawn > 5
