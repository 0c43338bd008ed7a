"""When the driver writes: at once, but trials that begin and end within a moment together."""

from __future__ import annotations

import time
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from automl.core.driver import GROUP_SECONDS
from automl.core.entrants import Job
from automl.core.executors import EndHandler, InlineExecutor, ReportHandler
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.core.trial import TrialTask, run_trial
from automl.dataset_db.schema import TRIAL

SETTINGS = SearchSettings(sampler="random", pruner="none")


class Two(InlineExecutor):
    """Two trials at once as far as the driver can see, here one after the other."""

    slots = 2

    def __init__(self) -> None:
        super().__init__("cpu")
        self.tasks: list[TrialTask] = []

    def running(self) -> dict[int, float]:
        return {task.number: time.monotonic() for task in self.tasks}

    def start(self, task: TrialTask) -> None:
        self.tasks.append(task)

    def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        task = self.tasks.pop(0)
        on_end(run_trial(task, lambda report: on_report(task.number, report)))


@pytest.fixture
def run(make_plugin, recorder, monkeypatch):
    """A search on an executor, with the moments at which the driver wrote."""
    plugin = make_plugin()
    wrote: list[float] = []
    tick = recorder.tick

    def ticked(study: int, seconds: float) -> None:
        wrote.append(time.monotonic())
        tick(study, seconds)

    monkeypatch.setattr(recorder, "tick", ticked)

    def run(executor: InlineExecutor, trials: int) -> tuple[Any, list[float]]:
        place = "automl.core.search.executor_for"
        monkeypatch.setattr(place, lambda *settings: nullcontext(executor))
        job = Job((plugin,), Budget(trials=trials), settings=SETTINGS)
        return search(job, recorder), wrote

    return run


def test_quick_trials_of_several_workers_are_written_together(run, recorder) -> None:
    result, wrote = run(Two(), 40)
    assert [t.state for t in recorder.past(result.study)] == ["complete"] * 40
    *during, _winner = wrote  # which is written before it is tested, whenever that is
    gaps = [later - earlier for earlier, later in pairwise(during)]
    assert min(gaps, default=GROUP_SECONDS) >= 0.9 * GROUP_SECONDS


def test_with_one_worker_a_start_is_on_record_before_its_trial_runs(run, recorder) -> None:
    seen: list[list[str]] = []

    class One(InlineExecutor):
        def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
            seen.append(states(recorder))
            super().wait(seconds, on_report, on_end)

    run(One("cpu"), 3)
    assert seen == [["running"], ["complete", "running"], ["complete", "complete", "running"]]


def test_an_end_waits_a_moment_at_most(run, recorder) -> None:
    """The second trial takes long: the first one's end is on record meanwhile."""
    seen: list[list[str]] = []
    waited: list[float] = []

    class Slow(Two):
        def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
            if len(self.tasks) == 2:
                super().wait(seconds, on_report, on_end)
            elif len(waited) < 3:
                waited.append(seconds)
                time.sleep(seconds)
            else:
                seen.append(states(recorder))
                super().wait(seconds, on_report, on_end)

    run(Slow(), 2)
    assert waited[0] <= GROUP_SECONDS
    assert seen == [["complete", "running"]]


def states(recorder: Any) -> list[str]:
    """The states on record, by number."""
    with recorder.engine.connect() as connection:
        return list(connection.execute(select(TRIAL.c.state).order_by(TRIAL.c.number)).scalars())
