"""A page of a long list: 50 models of ten million, at the start, in the middle and at the end.

Synthetic trials of 40 studies on 20 datasets are written straight into a SQLite file. The ratio is
the 95th percentile of a page anywhere in the list over that of its first page; TRIALS as an
argument changes their number (``python benchmarks/list_page.py 1000000``).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import finish
from synthetic import fill

from automl.dataset_db.engine import connect
from automl.dataset_db.pages import model_page

TRIALS = 10_000_000
STUDIES, DATASETS = 40, 20
PAGE = 50
ROUNDS = 40
GOAL_MS = 50.0
FLAT = 2.0  # a page anywhere, over the first one


def mark(cost: float) -> str | None:
    """The mark of the page that begins beyond a cost; the list is -1 at its start, 0 at its end."""
    return None if cost == -1 else json.dumps(["objective", cost, 0])


def percentiles(call: Callable[[], Any]) -> tuple[float, float]:
    """Median and 95th percentile of a call, in milliseconds."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        assert len(call()["rows"]) == PAGE
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def main() -> None:
    """Measure and print."""
    given = [argument for argument in sys.argv[1:] if argument.isdecimal()]
    many = int(given[0]) if given else TRIALS
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "models.db"
        started = time.perf_counter()
        fill(db, many, STUDIES, DATASETS)
        figures["seconds to write"] = time.perf_counter() - started
        figures["bytes a trial"] = db.stat().st_size / many
        reader = connect(db, write=False)
        worst: dict[str, float] = {}
        last = -3 * PAGE * DATASETS / many  # a few pages of each dataset are left
        for dataset in (None, "nothing-3"):
            for place, cost in (("first", -1.0), ("middle", -0.5), ("last", last)):
                name = f"{place} page of {dataset or 'all'}"
                median, worst[name] = percentiles(
                    lambda dataset=dataset, cost=cost: model_page(
                        reader, dataset=dataset, limit=PAGE, after=mark(cost)
                    )
                )
                figures[f"{name}, median ms"] = median
                figures[f"{name}, p95 ms"] = worst[name]
        reader.dispose()
    first = max(worst["first page of all"], worst["first page of nothing-3"])
    ratio = max(worst.values()) / first
    goal = f"<= {FLAT}, p95 <= {GOAL_MS:g} ms of {many:,} trials"
    met = ratio <= FLAT and max(worst.values()) <= GOAL_MS
    finish(
        "list page: p95 anywhere / of the first page",
        ratio,
        goal,
        met,
        {key: round(value, 2) for key, value in figures.items()},
    )


if __name__ == "__main__":
    main()
