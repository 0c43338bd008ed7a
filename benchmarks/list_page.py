"""What a list page costs over millions of trials: by the model API and as plain rows, on SQLite.

Synthetic trials are written straight into a database in a temporary folder, ``--trials`` of them.
The pages are first, middle and last ones of the best, with and without a dataset, each from the
mark of the page before. The ratio is the p95 CPU time of the deeper pages over that of the first;
the goal in milliseconds is wall-clock, which other work on the machine adds to.
Ten million take some minutes and about 4 GB; the default keeps a run short.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measure import finish

from automl.core.record import PluginRecord, StudySpec
from automl.dataset_db import models
from automl.dataset_db.pages import model_page
from automl.dataset_db.store import Store

GOAL_MS = 50
FLAT = 1.5
ROWS = 50  # of a page
REPEATS = 40
STUDIES, DATASETS, PLUGINS = 1000, 10, 100
# A multiplication modulo a prime scatters the objectives: no two trials in order are alike.
SCATTER, PRIME = 7_368_787, 2_147_483_647
FILL = """
INSERT INTO trial (id, study_id, dataset_id, plugin_id, number, state, seed, label, objective,
                   cost, step, seconds, parameters, stopped, failure_kind, started_at,
                   finished_at, config, params, techniques, scores)
WITH RECURSIVE counted(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM counted WHERE i < :last)
SELECT i, i % :studies + 1, i % :datasets + 1, i % :plugins + 1, i / :studies, 'complete', i, '',
       (i * :scatter % :prime) / (1.0 * :prime), -(i * :scatter % :prime) / (1.0 * :prime), 10,
       i % 997 / 10.0, 1000 + i % 5000, '', '', '2026-01-01 00:00:00', '2026-01-01 00:01:00',
       '{"lr":0.0' || (i % 9973) || ',"batch":64,"depth":' || (i % 7) || '}', '{}', '{}', '{}'
FROM counted
"""


def fill(path: Path, trials: int) -> None:
    """A database of that many complete trials in 1,000 studies on 10 datasets."""
    with Store(path, artifacts=path.parent) as store:
        for number in range(STUDIES):
            store.create_study(spec_of(number))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-500000")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'trial' AND type = 'index' "
            "AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        sizes = {"studies": STUDIES, "datasets": DATASETS, "plugins": PLUGINS}
        mixed = {**sizes, "scatter": SCATTER, "prime": PRIME}
        for first in range(1, trials + 1, 1_000_000):
            last = min(trials, first + 999_999)
            connection.execute(FILL, {**mixed, "first": first, "last": last})
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def spec_of(number: int) -> StudySpec:
    """A study on one of the datasets, by one of the plugins."""
    dataset, name = f"data-{number % DATASETS}", f"net-{number % PLUGINS}"
    paper = {"title": "No paper", "year": 2026, "arxiv": "", "authors": ""}
    return StudySpec(
        name=f"study-{number}",
        kind="search",
        plugins=(PluginRecord(name, 1, paper, {"model.py": f"x = {number % PLUGINS}\n"}),),
        dataset=dataset,
        info={"name": dataset, "problem": "none"},
        metrics=(("accuracy", "max", ""),),
        space={},
        settings={"search": {}},
        environment={},
        trials=None,
        timeout=None,
        seed=0,
    )


def mark_at(path: Path, share: float, dataset: str | None) -> str | None:
    """The mark of the page that a share of the trials lies before; None is the first page."""
    if share == 0:
        return None
    connection = sqlite3.connect(path)
    try:
        of = "" if dataset is None else f"dataset_id = {int(dataset.partition('-')[2]) + 1} AND "
        among = f"FROM trial WHERE {of}state = 'complete'"
        count = connection.execute(f"SELECT count(*) {among}").fetchone()[0]
        skipped = max(0, min(math.floor(share * count), count - ROWS) - 1)
        ordered = f"SELECT cost, id {among} ORDER BY cost, id LIMIT 1 OFFSET {skipped}"
        return json.dumps(["objective", *connection.execute(ordered).fetchone()])
    finally:
        connection.close()


def timed(call: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Wall and CPU milliseconds of each repeat."""
    wall, cpu = [], []
    for _ in range(REPEATS):
        began, started = time.process_time(), time.perf_counter()
        call()
        wall.append(1e3 * (time.perf_counter() - started))
        cpu.append(1e3 * (time.process_time() - began))
    return wall, cpu


def p95(times: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


def measured(path: Path) -> dict[str, float]:
    """The p95 of a page in milliseconds by face, filter and place."""
    found: dict[str, float] = {}
    faces: dict[str, Callable[..., Any]] = {"models": models, "rows": model_page}
    for dataset in (None, "data-3"):
        places = {"first": 0.0, "middle": 0.5, "last": 1.0}
        marks = {place: mark_at(path, share, dataset) for place, share in places.items()}
        for face, ask in faces.items():
            for place, mark in marks.items():
                call = partial(ask, str(path), dataset=dataset, limit=ROWS, after=mark)
                page = call()
                assert len(page if face == "models" else page["rows"]) == ROWS
                wall, cpu = timed(call)
                name = f"{face}_{dataset or 'all'}_{place}"
                found[f"{name}_p95_ms"], found[f"{name}_p95_cpu_ms"] = p95(wall), p95(cpu)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.db"
        started = time.perf_counter()
        fill(path, trials)
        filled = time.perf_counter() - started
        figures = measured(path)
        size = path.stat().st_size
    cpu = {name: value for name, value in figures.items() if name.endswith("_cpu_ms")}
    first = [value for name, value in cpu.items() if "_first_" in name]
    deeper = [value for name, value in cpu.items() if "_first_" not in name]
    ratio = max(deeper) / max(first)
    met = max(figures.values()) <= GOAL_MS and ratio <= FLAT
    details: dict[str, Any] = {"trials": trials, "fill_s": round(filled, 1), "bytes": size}
    details |= {name: round(value, 2) for name, value in figures.items()}
    name = f"list page over {trials:,} trials: p95 CPU of a deep page / of the first"
    finish(name, ratio, f"<= {FLAT}, each <= {GOAL_MS} ms", met, details)


if __name__ == "__main__":
    main()
