"""What recording costs: CPU of a no-op trial on SQLite as a study grows, and reading it back.

The trial is told of as the engine does: started, one report of two metrics, finished, one flush.
The ratio is the CPU time of a trial at 3,000 over that at 100.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import finish

from automl.core.record import PluginRecord, StudySpec, TrialEnd, TrialStart
from automl.dataset_db import models
from automl.dataset_db.store import Store

GOAL = 1.3
TRIAL_GOAL_MS = 1.2
PAST_GOAL_S = 0.7
WINDOW = 100  # trials that a figure is the median of
AT = (100, 1000, 3000)
MANY = 10_000
SPEC = StudySpec(
    name="no-op",
    kind="search",
    plugins=(
        PluginRecord(
            "no-op",
            1,
            {"title": "No paper", "year": 2026, "arxiv": "", "authors": ""},
            {"__init__.py": "", "plugin.py": "x = 1\n"},
        ),
    ),
    dataset="nothing",
    info={"name": "nothing", "problem": "none"},
    metrics=(("accuracy", "max", ""), ("nll", "min", "nats")),
    space={},
    settings={"search": {}},
    environment={},
    trials=MANY,
    timeout=None,
    seed=0,
)


def tell(store: Store, study: int, number: int) -> None:
    """A whole trial, as the engine tells of it."""
    config = {f"setting_{i}": number / (i + 1) for i in range(10)}
    scores = {"accuracy": 1 - 1 / (number + 2), "nll": 1 / (number + 2)}
    store.start_trial(study, TrialStart(number, "no-op", number, config, config))
    store.report(study, number, 1, "valid", scores)
    end = TrialEnd(number, "complete", scores["accuracy"], scores, 1, 0.01, 1000)
    store.finish_trial(study, end)
    store.tick(study, 0.01 * number)


def figures_of(db: Path) -> dict[str, Any]:
    """CPU milliseconds of a trial at each size, and seconds to read everything back."""
    figures: dict[str, Any] = {}
    clock = time.process_time
    with Store(db, artifacts=db.parent) as store:
        study = store.create_study(SPEC)
        costs: list[float] = []
        for number in range(max(AT)):
            started = clock()
            tell(store, study, number)
            store.flush()
            costs.append(1e3 * (clock() - started))
        for size in AT:
            figures[f"cpu_ms_at_{size}"] = statistics.median(costs[size - WINDOW : size])
        for number in range(max(AT), MANY):
            tell(store, study, number)
        store.flush()
        started = clock()
        assert len(store.past(study)) == MANY
        figures[f"past_{MANY}_cpu_s"] = clock() - started
    figures["bytes_per_trial"] = round(db.stat().st_size / MANY)
    models(str(db), limit=1)  # imports pandas
    started = clock()
    models(str(db), limit=50)
    figures["first_page_cpu_ms"] = 1e3 * (clock() - started)
    started = clock()
    assert len(models(str(db), limit=None, curves=True)) == MANY
    figures[f"models_{MANY}_with_curves_cpu_s"] = clock() - started
    return figures


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        figures = figures_of(Path(folder) / "models.db")
    ratio = figures["cpu_ms_at_3000"] / figures["cpu_ms_at_100"]
    met = (
        ratio <= GOAL
        and figures["cpu_ms_at_3000"] <= TRIAL_GOAL_MS
        and figures[f"past_{MANY}_cpu_s"] <= PAST_GOAL_S
    )
    goal = f"<= {GOAL}, a trial <= {TRIAL_GOAL_MS} ms, past <= {PAST_GOAL_S} s"
    details = {key: round(value, 3) for key, value in figures.items()}
    finish("database: CPU of a no-op trial at 3000 / at 100", ratio, goal, met, details)


if __name__ == "__main__":
    main()
