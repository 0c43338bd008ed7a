"""The browser application, driven as a user drives it: real Streamlit, real Chromium."""

import json
import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

from tests.dataset_db.conftest import SPEC
from tests.ui.conftest import (
    DESK,
    LONG,
    TELEPHONE,
    Served,
    press_a_cell,
    settled,
    trial,
    violations,
)

TABLE, CHART = "[data-testid=stDataFrame] canvas", ".js-plotly-plot .main-svg"
HEADING = "[data-testid=stHeading]"
PAGES = {  # address -> what is there once it is drawn
    "": TABLE,
    "study?study=1": CHART,
    "study?study=1&view=Settings": CHART,
    "study?study=1&view=Trade-offs": CHART,
    "study?study=1&view=Timeline": CHART,
    "study?study=1&view=Trials": TABLE,
    "compare?trials=1/0,3/0,1/1": TABLE,
    "ranking": CHART,
    "model?trial=1/0": CHART,
    "start?plugin=selu": TABLE,
    "jobs": HEADING,
    "papers": HEADING,
    "papers?plugin=selu": HEADING,
    "data": HEADING,
    "data?dataset=digits": HEADING,
}
WARM, LOADS = 20, 100
GROWTH = 30e6  # bytes that these loads may add to the server: a page keeps some MB for a short time


def test_every_page_is_drawn_and_shuts_nobody_out(server: Served, page: Page, axe: str) -> None:
    """On a desk in light colours, then on a telephone in dark ones, each loaded once."""
    problems: dict[str, list[str]] = {}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    fits = (
        f"() => document.querySelector('[data-testid=stMain]').scrollWidth <= {TELEPHONE['width']}"
    )
    for address, drawn in PAGES.items():
        page.goto(f"{server.url}/{address}")
        page.locator(drawn).first.wait_for()
        settled(page)
        problems[address] = violations(page, axe)
        wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{address!r} is {wide} pixels too wide"
        page.set_viewport_size(TELEPHONE)
        page.emulate_media(color_scheme="dark")
        expect(page.get_by_test_id("stApp")).to_have_css("background-color", "rgb(17, 21, 26)")
        page.wait_for_function(fits)
        problems[address] += violations(page, axe)
        expect(page.get_by_text("Traceback")).to_have_count(0)
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="light")
    assert {address: found for address, found in problems.items() if found} == {}
    strangers = {url for url in asked if not url.startswith((server.url, "data:", "blob:"))}
    assert not strangers, "nothing is fetched from the internet"


def test_from_the_list_of_studies_to_an_exported_winner(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/?filter=selu")
    page.locator(TABLE).first.wait_for()
    settled(page)
    press_a_cell(page, 1)
    expect(page.get_by_text("Optimisation history")).to_be_visible()
    assert "study=1" in page.url
    page.get_by_role("link", name="Open the winner").click()
    expect(page.get_by_role("heading", name="Trial 1/")).to_be_visible()
    page.get_by_role("tab", name="Export").click()
    page.get_by_role("button", name="Export to cpu").click()
    expect(page.get_by_text("Compared with PyTorch at sizes")).to_be_visible(timeout=LONG)
    assert list(server.folder.glob("exports/1-*/cpu/model.onnx"))


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
    for go, said in ((page.go_back, "1 trial selected"), (page.go_forward, "2 trials selected")):
        go()
        expect(page.get_by_text(said)).to_be_visible()
    page.get_by_role("link", name="Compare them").click()
    expect(page.get_by_role("heading", name="Settings that differ")).to_be_visible()
    assert "trials=1%2F4%2C1%2F5" in page.url


def at_rest(page: Page, asked: str) -> str:
    """What a page answers once it has answered alike for a second: charts are drawn late."""
    deadline = time.monotonic() + LONG / 1000
    said, since = page.evaluate(asked), time.monotonic()
    while time.monotonic() - since < 1:
        assert time.monotonic() < deadline, "the page does not come to rest"
        page.wait_for_timeout(50)
        now = page.evaluate(asked)
        if now != said:
            said, since = now, time.monotonic()
    return str(said)


def test_a_running_study_is_redrawn_by_itself_and_nothing_jumps(server: Served, page: Page) -> None:
    parts = "[data-testid=stPlotlyChart], [role=tab], [data-testid=stMetric]"
    tops = f"""() => JSON.stringify([...document.querySelectorAll('{parts}')]
        .map(element => element.getBoundingClientRect())
        .map(place => place.height ? Math.round(place.top) : null))"""  # null: is just drawn anew
    with server.store() as store:
        study = store.create_study(SPEC)  # its driver is this process, which lives
        trial(store, study, 0)
        page.goto(f"{server.url}/study?study={study}")
        page.locator(CHART).first.wait_for()
        settled(page)
        before = at_rest(page, tops)
        trial(store, study, 1)
        seen = set()
        deadline = time.monotonic() + LONG / 1000
        while "2 of 10" not in page.get_by_test_id("stMetric").nth(1).inner_text():
            seen.add(page.evaluate(tops))
            assert time.monotonic() < deadline, "the page was not redrawn"
            page.wait_for_timeout(50)
        settled(page)
        assert page.evaluate(tops) == before
        for tops_then in map(json.loads, seen):  # with both, for a moment, where one takes a place
            moved = set(tops_then) - {*json.loads(before), None}
            assert not moved, f"{tops_then} for {before}"
        store.close_study(study, "complete", 0, 0.1)


def test_tables_and_charts_are_saved(server: Served, page: Page) -> None:
    page.goto(f"{server.url}/study?study=1&view=Trials")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save all 6 as CSV").click()
    lines = Path(saving.value.path()).read_text().splitlines()
    assert lines[0].startswith("trial,plugin,state,objective")
    assert len(lines) == 7
    page.get_by_role("tab", name="Overview").click()
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        page.get_by_role("radio", name=kind).click()
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


def test_an_exposed_server_asks_for_its_token(tmp_path: Path, page: Page, axe: str) -> None:
    token = "0123456789abcdef"
    served = Served(tmp_path, AUTOML_TOKEN=token, AUTOML_DB=str(tmp_path / "none.db"))
    try:
        page.goto(f"{served.url}/ranking")
        assert violations(page, axe) == []
        page.get_by_label("Token").fill("not the token at all")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_text("That is not the token")).to_be_visible()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_text("automl search --plugin ptrnet")).to_be_visible(timeout=LONG)
        assert token not in page.url
        page.reload()
        expect(page.get_by_text("automl search --plugin ptrnet")).to_be_visible(timeout=LONG)
    finally:
        served.stop()


def test_page_loads_leave_memory_flat(server: Served) -> None:
    """Each is a session of its own, as a browser's reload is; half of them draw charts.

    ``benchmarks/ui_views.py`` measures a hundred in Chromium.
    """
    process = psutil.Process(server.process.pid)
    loads(server.url, WARM)
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
