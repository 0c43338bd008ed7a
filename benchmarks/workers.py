"""Trials per minute with two worker processes against one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from measure import finish

from automl.core.entrants import Job
from automl.core.observer import Silent
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

TRIALS, STEPS = 12, 150


def per_minute(workers: int, executor: str, folder: Path) -> float:
    """Trials per minute while every worker has one.

    Counted from the end of the first trial, since each worker's first one pays for its start, to
    the last moment at which no worker has run out of trials: workers do not start in step, and
    what the last one does alone would count as waiting of the others.
    """
    settings = SearchSettings(
        executor=executor, workers=workers, threads=1, sampler="random", pruner="none"
    )
    fixed = ("arch=ptrnet", "hidden=128", "batch_size=128", "encoder=uni", "embed_dim=0")
    more = ("glimpse=false", "optimizer=adam", f"steps={STEPS}", f"eval_every={STEPS}")
    job = Job(
        ("ptrnet",),
        Budget(trials=TRIALS),
        "convex-hull:train_size=2000",
        overrides=(*fixed, *more),
        settings=settings,
    )
    with Store(str(folder / f"{workers}.db"), artifacts=folder / str(workers)) as store:
        watch = Watch()
        search(job, store, watch)
    return 60 * (TRIALS - workers) / (watch.ended[TRIALS - workers] - watch.ended[0])


class Watch(Silent):
    """Notes when trials end."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def trial_ended(self, trial: object, best: int | None) -> None:
        """A trial ended."""
        self.ended.append(time.monotonic())


def main(executor: str = "processes", name: str = "workers") -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (per_minute(count, executor, Path(folder)) for count in (1, 2))
    details = {
        "one worker": f"{one:.1f} trials/min",
        "two workers": f"{two:.1f} trials/min",
        "trial": f"ptrnet, {STEPS} steps",
        "threads": "one in each worker",
    }
    finish(
        f"trials per minute, two {name} over one", two / one, "at least 1.8",
        two / one >= 1.8, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
