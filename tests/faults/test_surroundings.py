"""A full disk, a jumping clock, a slow database, a driver that is gone: the search around them."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from automl.core.entrants import Job
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db.store import Store

INLINE = SearchSettings(executor="inline", sampler="random", pruner="none")
SLOW = """
for step in range(1, 101):
    time.sleep(0.02)
    run.report(step, {"accuracy": config.x, "nll": 1.0})
"""


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as made:
        yield made


def test_a_clock_that_jumps_decides_nothing(make_plugin, store, monkeypatch) -> None:
    jumps = itertools.cycle([0.0, 1e9, -1.0, 4e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    settings = SearchSettings(
        executor="inline", sampler="random", pruner="none", trial_timeout=60.0
    )
    job = Job((make_plugin(),), Budget(trials=5, timeout=120), settings=settings)
    result = search(job, store)
    assert (result.state, result.complete) == ("complete", 5)
    assert 0 < result.seconds < 60
    assert 0 < store.spent(result.study) < 60
    assert all(0 <= trial.seconds < 60 for trial in store.past(result.study))


class SlowStore(Store):
    """Every write takes a fifth of a second."""

    def flush(self) -> None:
        time.sleep(0.2)
        super().flush()


def test_a_slow_database_costs_time_and_nothing_else(make_plugin) -> None:
    with SlowStore() as store:
        result = search(Job((make_plugin(),), Budget(trials=3), settings=INLINE), store)
        assert (result.state, result.complete) == ("complete", 3)
        assert [len(trial.reports) for trial in store.past(result.study)] == [3, 3, 3]


def test_a_slow_database_does_not_stretch_the_clock(make_plugin) -> None:
    with SlowStore() as store:
        started = time.monotonic()
        job = Job((make_plugin(fit=SLOW),), Budget(timeout=1.0), settings=INLINE)
        assert search(job, store).state == "exhausted"
    assert time.monotonic() - started < 1.0 + 10 * 0.2


def test_reports_wait_for_each_other_but_a_trials_end_for_nothing(make_plugin) -> None:
    """On a slow database a transaction a report would be all that a driver does."""
    writes: list[int] = []

    class Counting(Store):
        def flush(self) -> None:
            writes.append(len(self._batch.ends))
            super().flush()

    with Counting() as store:
        search(Job((make_plugin(fit=SLOW),), Budget(trials=1), settings=INLINE), store)
    assert sum(ends > 0 for ends in writes) == 1
    assert len(writes) < 15  # of 100 reports in two seconds


def wait_for(place: Any, number: int) -> None:
    """Until so many trials are complete."""
    deadline = time.monotonic() + 60
    while complete(place.db) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def complete(db: str) -> int:
    """How many trials are complete on record."""
    from fault_driving import looking

    with looking(db) as connection:
        if connection is None:
            return 0
        counted = text("SELECT count(*) FROM trial WHERE state='complete'")
        return int(connection.execute(counted).scalar_one())


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_the_search_and_a_resume_completes_it(
    short_trials: str, tmp_path: Path
) -> None:
    from fault_driving import Place, start

    place = Place(short_trials, str(tmp_path / "full.db"), tmp_path / "kept", 30, "random")
    first = start(place)
    wait_for(place, 3)
    first.kill()
    first.join()
    before = complete(place.db)
    size = Path(place.db).stat().st_size
    crowded = start(replace(place, file_limit=size + 4096))
    crowded.join(60)
    assert crowded.exitcode == 1
    assert 3 <= before <= complete(place.db) < 30
    last = start(place)
    last.join(60)
    assert (last.exitcode, complete(place.db)) == (0, 30)


@pytest.mark.slow
def test_a_server_that_is_started_anew_costs_time_and_nothing_else(
    short_trials: str, fits: Path, tmp_path: Path, postgres_server: Any, postgres: str
) -> None:
    from fault_driving import Place, start

    place = Place(short_trials, postgres, tmp_path / "kept", 30, "random")
    driver = start(place)
    for done, how in ((3, signal.SIGINT), (12, signal.SIGQUIT)):  # stopped, then crashed
        wait_for(place, done)
        postgres_server.stop(how)
        time.sleep(0.7)
        postgres_server.start()
    driver.join(60)
    assert (driver.exitcode, complete(postgres)) == (0, 30)
    seeds = check_whole(postgres, fits)
    assert len(seeds) == 30  # nothing was done twice


@pytest.mark.slow
def test_a_server_that_stays_away_ends_the_search_and_a_resume_completes_it(
    short_trials: str, fits: Path, tmp_path: Path, postgres_server: Any, postgres: str
) -> None:
    from fault_driving import Place, start

    place = Place(short_trials, postgres, tmp_path / "kept", 30, "random", busy=0.5)
    first = start(place)
    wait_for(place, 3)
    postgres_server.stop(signal.SIGQUIT)
    first.join(60)
    postgres_server.start()
    assert first.exitcode == 1
    assert 3 <= complete(postgres) < 30
    last = start(place)
    last.join(60)
    assert (last.exitcode, complete(postgres)) == (0, 30)
    seeds = check_whole(postgres, fits)
    assert len(seeds) <= 30 + 2  # of each worker the one that ended and could not be recorded


def check_whole(db: str, fits: Path) -> list[str]:
    """All trials are there with their last reports; the seeds of the fits that ended."""
    from fault_driving import looking

    with looking(db) as connection:
        assert connection is not None
        told = connection.execute(text("SELECT state, n_complete, n_failed FROM study")).one()
        last = text("SELECT trial_id, metric FROM score WHERE split = 'valid' AND step = 5")
        scores = connection.execute(last).all()
    assert told == ("complete", 30, 0)
    assert len(scores) == len(set(scores)) == 30 * 2
    seeds = [line.split()[0] for line in fits.read_text().splitlines()]
    assert len(set(seeds)) == 30
    return seeds


CHECKPOINTED = """
for step in range(1, 1000):
    time.sleep(0.01)
    run.checkpoint({"step": step})
    run.report(step, {"accuracy": config.x, "nll": 1.0})
"""


def test_checkpoints_outlive_a_driver_that_was_killed(make_plugin, tmp_path: Path) -> None:
    from fault_driving import Place, start, workers_of

    place = Place(make_plugin(fit=CHECKPOINTED), str(tmp_path / "gone.db"), tmp_path / "kept", 2)
    driver = start(place)
    deadline = time.monotonic() + 60
    while len(kept := list(place.artifacts.glob("*/trial-*.checkpoint.safetensors"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = workers_of(driver)
    driver.kill()
    driver.join()
    psutil.wait_procs(workers, timeout=10)
    assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)
    assert all(path.exists() for path in kept)
