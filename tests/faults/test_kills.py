"""kill -9 and Ctrl-C at random moments: nothing finished is lost or run twice, budgets are exact.

AUTOML_KILLS says how many (20 by default, `make faults` does 200, and half as many Ctrl-C),
AUTOML_KILLS_SEED which.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

KILLS = int(os.environ.get("AUTOML_KILLS", "20"))
INTERRUPTS = max(1, KILLS // 2)
SEED = int(os.environ.get("AUTOML_KILLS_SEED", "0"))
TRIALS = 60
LONGEST_LEG = 1.2  # seconds from a driver's start to the shot
ORPHAN_SECONDS = 5.0
FINISHED = ("complete", "pruned", "failed")
TRIAL = "SELECT * FROM trial WHERE state IN ('complete', 'pruned', 'failed') ORDER BY id"
SCORE = "SELECT trial_id, split, step, metric, value FROM score"


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
        if not self.place.db.exists():
            return
        with closing(sqlite3.connect(f"file:{self.place.db}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN")
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name='trial'").fetchone():
                return
            trials = {row["number"]: dict(row) for row in db.execute(TRIAL)}
            scores: dict[int, list[tuple[Any, ...]]] = {row["id"]: [] for row in trials.values()}
            for trial, *score in db.execute(SCORE):
                if trial in scores:
                    scores[trial].append(tuple(score))
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            assert [row[0] for row in db.execute("PRAGMA integrity_check")] == ["ok"]
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
        with closing(sqlite3.connect(self.place.db)) as db:
            state = db.execute("SELECT state, owner FROM study").fetchall()
            files = db.execute("SELECT path, sha256 FROM artifact WHERE kind='weights'").fetchall()
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


def check_summary(db: sqlite3.Connection, trials: dict[int, dict[str, Any]]) -> None:
    """The study's own row agrees with its trials."""
    study = db.execute("SELECT * FROM study").fetchone()
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


@pytest.fixture
def watched(short_trials: str, fits: Path, tmp_path: Path) -> Watched:
    from fault_driving import Place

    return Watched(Place(short_trials, tmp_path / "killed.db", tmp_path / "kept", TRIALS), fits)


def fresh(watched: Watched, round_: int, sampler: str) -> Watched:
    """The next study: the same plugin, another database."""
    folder = watched.place.db.parent
    place = replace(
        watched.place,
        db=folder / f"killed-{round_}.db",
        artifacts=folder / f"kept-{round_}",
        sampler=sampler,
    )
    watched.fits.write_text("")
    return Watched(place, watched.fits)


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_random_kills_lose_nothing_run_nothing_twice_and_spend_the_budget(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    tally: Counter[str] = Counter()
    started = time.monotonic()
    while tally["driver"] + tally["worker"] < KILLS:
        tally["studies"] += 1
        study = fresh(watched, tally["studies"], chance.choice(["tpe", "random", "qmc"]))
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
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    from fault_driving import start, workers_of

    chance = random.Random(SEED)
    tally: Counter[str] = Counter()
    started = time.monotonic()
    while tally["once"] + tally["twice"] < INTERRUPTS:
        tally["studies"] += 1
        study = fresh(watched, tally["studies"], chance.choice(["tpe", "random", "qmc"]))
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
