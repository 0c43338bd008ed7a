"""The browser application on 1,000 studies, 500,000 trials, and one study of 10,000 trials.

Measured are the questions behind each view, and in Chromium, of the whole application: the first
paint of the list of studies (warm: the browser has the scripts), another page of it, the views of
the large study, and how much memory the server keeps after a hundred page loads. The ratio is that
of the median first paint to its goal. STUDIES as an argument makes fewer
(``python benchmarks/ui_views.py 100``).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
from measure import finish, interleaved
from playwright.sync_api import Page, sync_playwright
from synthetic import fill, report

from automl.core.objectives import undominated
from automl.dataset_db import overview, query, ranking
from automl.ui.charts import NARROW
from automl.ui.http.address import listen

STUDIES, TRIALS_EACH, DATASETS = 1000, 500, 20
LARGE, STEPS = 10_000, 10  # trials of the large study, and points of a curve
PAGE = 25
ROUNDS, PAINTS = 9, 7
PAINT_GOAL, TURN_GOAL = 1.5, 0.7  # seconds
WARM_LOADS, LOADS, GROWTH_GOAL = 30, 100, 30.0  # pages; MB that the loads may add to the server
CHARTS = ".js-plotly-plot .main-svg"
VIEWS = {
    "Settings": CHARTS,
    "Trade-offs": CHARTS,
    "Timeline": CHARTS,
    "Trials": "[data-testid=stDataFrame] canvas",
    "Overview": CHARTS,
}


def questions(db: Path, large: int) -> dict[str, float]:
    """Median milliseconds of the questions behind each view."""
    first = [row["id"] for row in overview.study_page(db, limit=PAGE)["rows"]]
    points = list(range(0, LARGE, 10))
    calls: dict[str, Callable[[], Any]] = {
        "home: totals": lambda: overview.totals(db),
        "home: first page": lambda: overview.study_page(db, limit=PAGE),
        "home: last page": lambda: overview.study_page(
            db, limit=PAGE, offset=overview.study_page(db)["total"] - PAGE
        ),
        "home: filtered": lambda: overview.study_page(db, text="nothing-7 no-op", limit=PAGE),
        "home: sparklines": lambda: overview.progress(first, db),
        "study: columns": lambda: overview.trial_columns(large, NARROW, db),
        "study: curves": lambda: query.curves(large, db, metric="accuracy", numbers=points[:60]),
        "study: settings": lambda: overview.trials_numbered(large, points, db),
        "study: trade-off": lambda: front(db, large),
        "study: page of trials": lambda: overview.trial_page(
            large, db, order="objective", limit=PAGE, offset=LARGE // 2
        ),
        "compare: a trial": lambda: query.trial(f"{large}/5", db, code=True),
        "ranking: leaderboard": lambda: ranking.leaderboard("nothing-3", db),
    }
    times = interleaved(list(calls.values()), ROUNDS)
    return {f"{name}, ms": 1e3 * spent for name, spent in zip(calls, times, strict=True)}


def front(db: Path, study: int) -> Any:
    """The trials that no other one beats in objective and size."""
    import numpy as np

    found = overview.trial_columns(study, ("objective", "parameters"), db)
    known = [
        (-value, size)
        for value, size in zip(found["objective"], found["parameters"], strict=True)
        if value is not None and size is not None
    ]
    return undominated(np.array(known, float))


def painted(db: Path, large: int, studies: int) -> dict[str, float]:
    """Seconds until pages are there, in Chromium."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    listener.close()
    command = [sys.executable, "-m", "automl.ui.cli", "ui", "--port", str(port), "--no-browser"]
    environment = {**os.environ, "AUTOML_DB": str(db), "AUTOML_TOKEN": ""}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            time.sleep(0.2)
            try:
                urlopen(f"{url}/_stcore/health", timeout=1).read()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("the server ended by itself") from None
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--headless=new", "--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(60_000)
            figures = walk(page, url, large, studies)
            return figures | kept(page, url, large, psutil.Process(server.pid))
    finally:
        server.terminate()
        server.wait()


def walk(page: Page, url: str, large: int, studies: int) -> dict[str, float]:
    """Go through the application as a user does."""
    end = f"of {studies + 1:,}"

    def home() -> None:
        page.goto(url)
        page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
        page.get_by_text(f"1 to {PAGE} {end}").wait_for()

    home()
    paints = [took(home) for _ in range(PAINTS)]
    turns = [took(lambda number=number: turn(page, number)) for number in (2, 3, 2, 3, 2)]
    figures = {
        "home: first paint, s": statistics.median(paints),
        "home: slowest paint, s": max(paints),
        "home: another page, s": statistics.median(turns),
        "home: slowest other page, s": max(turns),
    }
    page.goto(f"{url}/study?study={large}")
    page.locator(CHARTS).nth(1).wait_for()
    for again in (False, True):  # the second time the scripts of charts are there
        for name, drawn in VIEWS.items():
            page.wait_for_timeout(1500)
            spent = took(lambda name=name, drawn=drawn: view(page, name, drawn))
            if again:
                figures[f"study of {LARGE:,}: {name}, s"] = spent
    return figures


def kept(page: Page, url: str, large: int, server: psutil.Process) -> dict[str, float]:
    """Memory of the server before and after page loads, the list and the large study in turn."""
    sizes = []
    for loads in (WARM_LOADS, LOADS):
        for number in range(loads):
            study = number % 2
            page.goto(f"{url}/study?study={large}" if study else url)
            page.locator(CHARTS if study else VIEWS["Trials"]).first.wait_for()
        sizes.append(server.memory_info().rss / 1e6)
    return {
        "server after the first loads, MB": sizes[0],
        f"server after {LOADS} more loads, MB": sizes[1],
    }


def took(call: Callable[[], None]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def turn(page: Page, number: int) -> None:
    """Another page of the list of studies."""
    page.get_by_role("button", name=f"Page {number}", exact=True).click()
    page.get_by_text(f"{PAGE * (number - 1) + 1} to {PAGE * number} of").wait_for()


def view(page: Page, name: str, drawn: str) -> None:
    """Another view of a study."""
    page.get_by_role("tab", name=name).click()
    page.locator(f"[role=tabpanel]:visible {drawn}").first.wait_for()


def main() -> None:
    """Measure and print."""
    given = [argument for argument in sys.argv[1:] if argument.isdecimal()]
    studies = int(given[0]) if given else STUDIES
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "models.db"
        fill(db, studies * TRIALS_EACH, studies, DATASETS)
        large = fill(db, LARGE, 1, 1)
        report(db, large, STEPS)
        figures = {**questions(db, large), **painted(db, large, studies)}
    paint, turned = figures["home: first paint, s"], figures["home: another page, s"]
    before, after = (size for name, size in figures.items() if name.startswith("server after"))
    grown = after - before
    finish(
        "browser: first paint of the studies / 1.5 s",
        paint / PAINT_GOAL,
        f"<= 1, another page <= {TURN_GOAL:g} s, {studies * TRIALS_EACH:,} trials, "
        f"{LOADS} loads <= {GROWTH_GOAL:g} MB",
        paint <= PAINT_GOAL and turned <= TURN_GOAL and grown <= GROWTH_GOAL,
        {key: round(value, 2) for key, value in figures.items()},
    )


if __name__ == "__main__":
    main()
