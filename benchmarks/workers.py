"""Trials per minute with two worker processes against one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from measure import finish

from automl.core.entrants import Job
from automl.core.observer import Silent
from automl.core.record import TrialEnd, TrialStart
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

TRIALS, STEPS = 8, 150  # of each worker


def per_minute(workers: int, executor: str, folder: Path) -> float:
    """Trials per minute while every worker is at work."""
    settings = SearchSettings(
        executor=executor, workers=workers, threads=1, sampler="random", pruner="none"
    )
    fixed = ("arch=ptrnet", "hidden=128", "batch_size=128", "encoder=uni", "embed_dim=0")
    more = ("glimpse=false", "optimizer=adam", f"steps={STEPS}", f"eval_every={STEPS}")
    job = Job(
        ("ptrnet",),
        Budget(trials=TRIALS * workers),
        "convex-hull:train_size=2000",
        overrides=(*fixed, *more),
        settings=settings,
    )
    folder.mkdir()
    with Store(str(folder / "automl.db"), artifacts=folder / "artifacts") as store:
        watch = Watch()
        search(job, store, watch)
    return 60 * watch.rate(workers)


class Watch(Silent):
    """Notes when trials begin and end."""

    def __init__(self) -> None:
        self.began: dict[int, float] = {}
        self.ended: dict[int, float] = {}

    def trial_started(self, trial: TrialStart) -> None:
        """A trial was handed out."""
        self.began[trial.number] = time.monotonic()

    def trial_ended(self, trial: TrialEnd, best: int | None) -> None:
        """A trial ended."""
        self.ended[trial.number] = time.monotonic()

    def rate(self, workers: int) -> float:
        """Trials per second, from when every worker has started to when one has run out.

        A worker's first trial pays for its start. A trial that lies partly in that time counts
        with the share that does; whole ones alone would make the rate depend on who is ahead.
        """
        times = sorted(self.ended.values())
        first, last = times[workers - 1], times[-workers]
        shares = (
            max(0.0, min(end, last) - max(self.began[number], first)) / (end - self.began[number])
            for number, end in self.ended.items()
        )
        return sum(shares) / (last - first)


def main(executor: str = "processes", name: str = "workers") -> None:
    """Measure one worker before and after two, since the machine's speed drifts, and print."""
    with tempfile.TemporaryDirectory() as folder:
        rates = [
            per_minute(workers, executor, Path(folder) / str(turn))
            for turn, workers in enumerate((1, 2, 1))
        ]
    one, two = (rates[0] + rates[2]) / 2, rates[1]
    details = {
        "one worker": f"{rates[0]:.1f} and {rates[2]:.1f} trials/min",
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
