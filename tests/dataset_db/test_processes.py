"""Several processes: one driver per study, crashes, and readers beside a writer."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import func, select, update

from automl.core.errors import StudyError
from automl.dataset_db import models, query
from automl.dataset_db.engine import reading
from automl.dataset_db.owner import alive, owner
from automl.dataset_db.schema import SCORE, STUDY, TRIAL

CLAIM = """
import sys
from automl.core.errors import StudyError
from automl.dataset_db.store import Store
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    store.claim_study(int(sys.argv[2]))
    print("won", flush=True)
except StudyError as error:
    print(error, flush=True)
sys.stdin.readline()
"""
WRITE = """
import sys
from pathlib import Path
from automl.core.record import TrialEnd, TrialStart
from automl.dataset_db.store import Store
store, study = Store(sys.argv[1], artifacts=Path(sys.argv[2])), int(sys.argv[3])
store.claim_study(study)
first = len(store.past(study))
for number in range(first, first + 100_000):
    store.start_trial(study, TrialStart(number, "tested", number, {"x": 0.5}, {"x": 0.5}))
    for step in range(5):
        store.report(study, number, step, "valid", {"accuracy": step / 10, "nll": 1.0})
    store.finish_trial(study, TrialEnd(number, "complete", number / 1000, {}, 4))
    store.flush()
    print(number, flush=True)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(process: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    """Let a process go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_two_that_claim_a_study_one_gets_it(store, db, study) -> None:
    store.close_study(study, "interrupted", None, 1.0)
    claimers = [start(CLAIM, db, study) for _ in range(2)]
    try:
        assert [hear(process) for process in claimers] == ["ready", "ready"]
        for process in claimers:
            go(process)
        said = {process.pid: hear(process) for process in claimers}
        (winner,) = [pid for pid, text in said.items() if text == "won"]
        (refused,) = [text for text in said.values() if text != "won"]
        assert refused in (
            f"study {study} is being run by process {winner} on this machine; stop it or wait",
            f"study {study} was taken over by another process just now",
        )
        with pytest.raises(StudyError, match=f"run by process {winner} on this machine"):
            store.claim_study(study)
        row = query.study(study, db)
        assert (row["state"], row["message"]) == ("running", "")
    finally:
        for process in claimers:
            process.kill()
            process.wait()
    assert query.study(study, db)["state"] == "interrupted"  # as good as: its driver is gone
    store.claim_study(study)


def test_claiming_what_one_runs_oneself_is_no_offence(store, study, run_trial, start) -> None:
    run_trial(store, study, 0)
    store.start_trial(study, start(1))
    store.flush()
    store.claim_study(study)
    assert [trial.state for trial in store.past(study)] == ["complete", "interrupted"]


def test_a_study_that_was_taken_over_is_not_written_to(store, db, study, run_trial) -> None:
    run_trial(store, study, 0)
    with store.engine.begin() as connection:
        connection.execute(update(STUDY).values(owner="elsewhere:1:1"))
    with pytest.raises(StudyError, match=f"study {study} was taken over by another process"):
        store.flush()
    assert query.trials(study, db) == []
    with pytest.raises(StudyError, match="was taken over"):
        store.close_study(study, "complete", None, 1.0)


@pytest.mark.parametrize(("minutes", "taken"), [(0, False), (9, False), (11, True)])
def test_a_driver_on_another_machine_is_gone_when_it_is_silent(
    store, study, minutes: int, taken: bool
) -> None:
    silent = {"owner": "elsewhere:12:1", "active_at": then(60 * minutes)}
    with store.engine.begin() as connection:
        connection.execute(update(STUDY).values(**silent))
    if taken:
        store.claim_study(study)
        return
    with pytest.raises(StudyError, match="is being run by process 12 on elsewhere; stop it"):
        store.claim_study(study)


def then(seconds: float) -> Any:
    """A point in time so many seconds ago."""
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_who_is_alive() -> None:
    host, pid, started = owner().rsplit(":", 2)
    assert alive(owner()) is True
    assert alive("") is False
    assert alive(f"elsewhere:{pid}:{started}") is None
    assert alive(f"{host}:{pid}:{float(started) - 60:.0f}") is False  # the number was reused
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{host}:{child.pid}:{psutil.Process(child.pid).create_time():.0f}"
    assert alive(name) is True
    child.kill()
    for _ in range(100):  # a zombie, until we wait for it
        if alive(name) is False:
            break
        time.sleep(0.05)
    assert alive(name) is False
    child.wait()
    assert alive(name) is False


def test_kill_9_between_and_in_flushes_leaves_whole_trials(
    store, db, study, tmp_path: Path
) -> None:
    store.close_study(study, "interrupted", None, 0.0)
    for leg in range(3):
        process = start(WRITE, db, tmp_path, study)
        told = -1
        while told < 20 * (leg + 1):
            told = int(hear(process))
        process.send_signal(signal.SIGKILL)
        process.wait()
        past = store.past(study)
        assert len(past) >= told + 1
        assert [trial.start.number for trial in past] == list(range(len(past)))
        assert all(trial.state == "complete" for trial in past)
        assert all(len(trial.reports) == 5 for trial in past)
        row = query.study(study, db)
        assert (row["n_complete"], row["best_number"]) == (len(past), len(past) - 1)
        assert row["state"] == "interrupted"
    if "://" not in db:
        with sqlite3.connect(db) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    store.claim_study(study)


def test_eight_readers_beside_a_writer_see_whole_states(
    store, db, study, run_trial: Callable[..., None]
) -> None:
    stop, errors, reads = threading.Event(), [], [0] * 8

    def read(index: int) -> None:
        try:
            while not stop.is_set():
                with reading(db) as connection:
                    told = connection.execute(select(STUDY.c.n_complete)).scalar_one()
                    time.sleep(0.001)  # the writer goes on meanwhile
                    trials = connection.execute(select(func.count()).select_from(TRIAL))
                    scores = connection.execute(select(func.count()).select_from(SCORE))
                    assert (told, 2 * told) == (trials.scalar_one(), scores.scalar_one())
                frame = models(db, limit=5, curves=True)
                assert all(curve["valid"]["accuracy"] for curve in frame["curves"])
                reads[index] += 1
        except BaseException as error:  # noqa: BLE001  told to the test below
            errors.append(error)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    number = 0
    while min(reads) < 3 and not errors and number < 5000:
        run_trial(store, study, number)
        store.flush()
        number += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.past(study)) == number


def test_a_reader_cannot_write(db, store, study) -> None:
    from sqlalchemy.exc import DBAPIError

    with reading(db) as connection, pytest.raises(DBAPIError, match=r"read-?only"):
        connection.execute(update(STUDY).values(message="I was here"))
    assert query.study(study, db)["message"] == ""


def test_two_studies_are_written_from_two_processes(make_store, db, spec, tmp_path) -> None:
    store = make_store()
    studies = [store.create_study(spec) for _ in range(2)]
    for study in studies:
        store.close_study(study, "interrupted", None, 0.0)
    processes = [start(WRITE, db, tmp_path, study) for study in studies]
    try:
        for process in processes:
            while int(hear(process)) < 30:
                pass
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert all(len(store.past(study)) > 30 for study in studies)


READ = """
import sys, time
from sqlalchemy import func, select
from automl.dataset_db.engine import reading
from automl.dataset_db.schema import SCORE, STUDY, TRIAL
seen, last = 0, -1
while seen < int(sys.argv[2]):
    with reading(sys.argv[1]) as connection:
        told = connection.execute(select(STUDY.c.n_complete)).scalar_one()
        time.sleep(0.001)  # the writer goes on meanwhile
        trials = connection.execute(select(func.count()).select_from(TRIAL)).scalar_one()
        scores = connection.execute(select(func.count()).select_from(SCORE)).scalar_one()
        assert (trials, scores) == (told, 2 * told), (told, trials, scores)
        assert told >= last, "time went backwards"
    seen, last = seen + (told != last), told
print("done", flush=True)
"""


def test_eight_processes_read_beside_a_writer(store, db, study, run_trial) -> None:
    readers = [start(READ, db, 5) for _ in range(8)]
    number, deadline = 0, time.monotonic() + 120
    try:
        while any(reader.poll() is None for reader in readers) and time.monotonic() < deadline:
            run_trial(store, study, number)
            store.flush()
            number += 1
        assert [reader.wait(5) for reader in readers] == [0] * 8
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    assert len(store.past(study)) == number


INSERT = """
import sys
from sqlalchemy import select
from automl.dataset_db.bulk import insert_rows
from automl.dataset_db.engine import connect, transaction
from automl.dataset_db.schema import SCORE, TRIAL
engine = connect(sys.argv[1], write=True)
step = int(sys.argv[2])
while True:
    with transaction(engine) as connection:
        trial = connection.execute(select(TRIAL.c.id)).scalar_one()
        for part in range(10):
            rows = [(trial, "valid", step + n, "m", 0.5) for n in range(1000)]
            insert_rows(connection, SCORE, ("trial_id", "split", "step", "metric", "value"), rows)
            step += 1000
            print("inserted", flush=True)
    print("committed", flush=True)
"""


def test_kill_9_in_a_batch_insert_leaves_whole_batches(store, db, study, run_trial) -> None:
    run_trial(store, study, 0)
    store.flush()
    committed = 0
    for _ in range(3):
        process = start(INSERT, db, 100 + 10_000 * committed)
        for _ in range(16):  # one whole batch and half of the next
            committed += hear(process) == "committed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with reading(db) as connection:
            query_ = select(func.count()).select_from(SCORE).where(SCORE.c.metric == "m")
            count = connection.execute(query_).scalar_one()
            assert count % 10_000 == 0
            committed = count // 10_000
    assert committed >= 3
    if "://" not in db:
        with sqlite3.connect(db) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert len(store.past(study)) == 1
