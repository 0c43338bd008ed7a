"""kill -9 and Ctrl-C at random moments: nothing finished is lost or run twice, budgets are exact.

On SQLite and on PostgreSQL. AUTOML_KILLS says how many on each (8 by default, `make faults` does
200, and half as many Ctrl-C), AUTOML_KILLS_SEED which.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Connection, text

KILLS = int(os.environ.get("AUTOML_KILLS", "8"))
INTERRUPTS = max(1, KILLS // 2)
SEED = int(os.environ.get("AUTOML_KILLS_SEED", "0"))
TRIALS = 40
LONGEST_LEG = 1.2  # seconds from a driver's start to the shot
ORPHAN_SECONDS = 5.0
FINISHED = ("complete", "pruned", "failed")
TRIAL = "SELECT * FROM trial WHERE state IN ('complete', 'pruned', 'failed') ORDER BY id"
SCORE = "SELECT trial_id, split, step, metric, value FROM score"
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)


@dataclass
class Watched:
    """A study under attack and all that was ever seen of it."""

    place: Any  # fault_driving.Place
    fits: Path
    trials: dict[int, dict[str, Any]] = field(default_factory=dict)  # finished, by number
    scores: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)  # how many fits of it had ended
    pids: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Read what is finished, and hold it against what was seen before."""
        from fault_driving import looking

        with looking(self.place.db) as db:
            if db is None:
                return
            trials = {row["number"]: dict(row) for row in db.execute(text(TRIAL)).mappings()}
            scores: dict[int, list[tuple[Any, ...]]] = {row["id"]: [] for row in trials.values()}
            for trial, *score in db.execute(text(SCORE)):
                if trial in scores:
                    scores[trial].append(tuple(score))
            check_summary(db, trials)
        for row in trials.values():
            del row["macs"]  # counted for the winner, at the very end
        counted = Counter(int(line.split()[0]) for line in self.fits.read_text().splitlines())
        for number, row in self.trials.items():
            assert trials[number] == row, "a finished trial changed or was lost"
            assert sorted(scores[row["id"]]) == self.scores[number]
            assert counted[row["seed"]] == self.ends[number], "a finished trial was run again"
        for number, row in trials.items():
            self.trials[number] = row
            self.scores[number] = sorted(scores[row["id"]])
            self.ends[number] = counted[row["seed"]]

    def is_complete(self) -> bool:
        """Whether every trial of the budget is finished."""
        return len(self.trials) == self.place.trials

    def check_end(self, worker_kills: int) -> None:
        """The laws of a study whose budget is spent."""
        from fault_driving import looking

        self.look()
        states = Counter(row["state"] for row in self.trials.values())
        assert sorted(self.trials) == list(range(self.place.trials))
        assert states["failed"] <= worker_kills, "only a killed worker costs a trial"
        complete = [n for n, row in self.trials.items() if row["state"] == "complete"]
        # One value a step and metric. Reports that were not yet durable when the driver was killed
        # are missing where the fit went on from a checkpoint; the last one never is.
        for number in complete:
            steps = [score[:3] for score in self.scores[number]]
            assert len(steps) == len(set(steps)) <= 10
            assert {("valid", 5, "accuracy"), ("valid", 5, "nll")} <= set(steps)
        assert all(self.ends[number] >= 1 for number in complete)
        with looking(self.place.db) as db:
            assert db is not None
            state = db.execute(text("SELECT state, owner FROM study")).all()
            weights = text("SELECT path, sha256 FROM artifact WHERE kind='weights'")
            files = db.execute(weights).all()
        assert state == [("complete", "")]
        assert len(files) == len(complete)
        for path, digest in files:
            content = (self.place.artifacts / path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
        kept = {path.name for path in self.place.artifacts.glob("*/*")}
        assert kept == {Path(path).name for path, _ in files}, "something was left behind"

    def check_orphans(self) -> None:
        """No worker outlives its driver by more than a moment."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while alive := {pid for pid in self.pids if is_alive(pid)}:
            assert time.monotonic() < deadline, f"workers {alive} outlived their driver"
            time.sleep(0.05)
        self.pids.clear()
        while "://" in self.place.db and (left := self.sessions()):
            assert time.monotonic() < deadline, f"{left} of PostgreSQL's outlived their driver"
            time.sleep(0.05)

    def sessions(self) -> int:
        """How many of PostgreSQL's processes serve somebody else in this database."""
        from fault_driving import looking

        with looking(self.place.db) as db:
            return 0 if db is None else int(db.execute(text(SESSIONS)).scalar_one())


def check_summary(db: Connection, trials: dict[int, dict[str, Any]]) -> None:
    """The study's own row agrees with its trials."""
    study = db.execute(text("SELECT * FROM study")).mappings().one_or_none()
    if study is None:
        return
    states = Counter(row["state"] for row in trials.values())
    assert {s: study[f"n_{s}"] for s in FINISHED} == {s: states[s] for s in FINISHED}
    costs = [row["cost"] for row in trials.values() if row["state"] == "complete"]
    if costs:
        assert study["best_cost"] == min(costs)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(
    request: pytest.FixtureRequest, short_trials: str, fits: Path, tmp_path: Path
) -> Iterator[Callable[[str], Watched]]:
    """Makes the next study with a sampler: the same plugin, another database."""
    from fault_driving import Place

    made: list[Watched] = []

    def make(sampler: str) -> Watched:
        folder = tmp_path / f"study-{len(made)}"
        db = str(folder.with_suffix(".db"))
        if request.param == "postgresql":
            db = request.getfixturevalue("postgres_server").create()
        fits.write_text("")
        made.append(Watched(Place(short_trials, db, folder, TRIALS, sampler), fits))
        return made[-1]

    yield make
    if request.param == "postgresql":
        for study in made:
            request.getfixturevalue("postgres_server").drop(study.place.db)


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_random_kills_lose_nothing_run_nothing_twice_and_spend_the_budget(
    fresh: Callable[[str], Watched], capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    tally: Counter[str] = Counter()
    started = time.monotonic()
    while tally["driver"] + tally["worker"] < KILLS:
        tally["studies"] += 1
        study = fresh(chance.choice(["tpe", "random", "qmc"]))
        under_fire(study, chance, tally)
        tally["trials"] += len(study.trials)
        tally["fits that had to end again"] += sum(study.ends.values()) - sum(
            row["state"] == "complete" for row in study.trials.values()
        )
    with capsys.disabled():
        print(f"\n{dict(tally)} in {time.monotonic() - started:.0f} s, seed {SEED}")


def under_fire(study: Watched, chance: random.Random, tally: Counter[str]) -> None:
    """Run a study to its end, killing its driver or a worker as long as kills are left."""
    from fault_driving import start, workers_of

    worker_kills = 0
    while True:
        process, shots = start(study.place), 0
        while tally["driver"] + tally["worker"] < KILLS:
            process.join(chance.uniform(0, LONGEST_LEG))
            if process.exitcode is not None:
                break
            study.look()
            workers = workers_of(process)
            study.pids |= {worker.pid for worker in workers}
            shots += 1
            if workers and chance.random() < 0.5:
                with suppress(psutil.NoSuchProcess):
                    chance.choice(workers).kill()
                worker_kills += 1
                tally["worker"] += 1
                continue
            process.kill()
            tally["driver"] += 1
            break
        process.join()
        study.look()
        by_itself = process.exitcode not in (0, -signal.SIGKILL)
        tally["gave up"] += by_itself
        assert not by_itself or shots > 0, "a driver that nobody shot at ended with an error"
        if process.exitcode == 0:
            study.check_orphans()
            study.check_end(worker_kills)
            return


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_ctrl_c_at_random_moments_once_or_twice_costs_no_trial(
    fresh: Callable[[str], Watched], capsys: pytest.CaptureFixture[str]
) -> None:
    from fault_driving import start, workers_of

    chance = random.Random(SEED)
    tally: Counter[str] = Counter()
    started = time.monotonic()
    while tally["once"] + tally["twice"] < INTERRUPTS:
        tally["studies"] += 1
        study = fresh(chance.choice(["tpe", "random", "qmc"]))
        process = None
        while process is None or process.exitcode != 0 or not study.is_complete():
            process = start(study.place)
            if tally["once"] + tally["twice"] < INTERRUPTS:
                process.join(chance.uniform(0, LONGEST_LEG))
                study.pids |= {worker.pid for worker in workers_of(process)}
                tally[interrupt(process, chance)] += 1
            process.join()
            study.look()
            study.check_orphans()
        study.check_end(worker_kills=0)
        tally["trials"] += len(study.trials)
    with capsys.disabled():
        print(f"\n{dict(tally)} in {time.monotonic() - started:.0f} s, seed {SEED}")


def interrupt(process: BaseProcess, chance: random.Random) -> str:
    """Ctrl-C, perhaps again a moment later; how often."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGINT)
    if chance.random() < 0.5:
        return "once"
    process.join(chance.uniform(0, 0.05))
    if process.exitcode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
    return "twice"
