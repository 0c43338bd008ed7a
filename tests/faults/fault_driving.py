"""A driver in a process of its own, forked from one that has imported torch already, and its study.

200 kills are 200 starts of a driver and more of its workers. Importing torch costs seconds, a fork
milliseconds. Everything else is as in a search: the driver, the executor, the pipes, the worker's
main loop, the database.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, inspect, text

from automl.dataset_db.engine import database_url, reader

HEAVY = ["automl.core.search", "automl.dataset_db.store", "automl.core.worker", "psycopg"]
NAME = "faults"


@dataclass(frozen=True)
class Place:
    """Where a study under attack lives, and what it is."""

    plugin: str
    db: str  # a file, or the URL of a PostgreSQL database
    artifacts: Path
    trials: int
    sampler: str = "tpe"
    file_limit: int = 0  # bytes that a file may have, as on a full disk; 0: any
    busy: float = 30.0  # seconds that an absent server is waited for


class Forked:
    """Stands in for a ``nursery.Child`` that is a worker: the driver, one thread yet, forks it."""

    def __init__(self, target: str, files: Sequence[int], log: str, threads: int, **_: Any) -> None:
        assert target == "automl.core.worker:main"
        self.pid = os.fork()
        if self.pid == 0:
            self.serve(*files, log, threads)
        self.code: int | None = None

    def serve(self, handle: int, log: str, threads: int) -> None:
        """What a forked worker is: its own session, one pipe, the worker's main."""
        from automl.core import worker

        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.closerange(3, handle)
            os.closerange(handle + 1, 1024)
            worker.main(handle, log, threads)
        finally:
            os._exit(0)

    def kill(self) -> None:
        """SIGKILL, unless it was waited for."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code


def start(place: Place) -> BaseProcess:
    """Start a driver that searches, or resumes what is there."""
    context = get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    process = context.Process(target=drive, args=(place,))
    process.start()
    return process


def drive(place: Place) -> None:
    """The whole life of a driver: to the end of the budget, or until it is killed."""
    import torch

    from automl.core import executors
    from automl.core.entrants import Job
    from automl.core.search import resume, search
    from automl.core.study import Budget, SearchSettings
    from automl.dataset_db.store import Store

    executors.spawn = Forked  # type: ignore[assignment]
    torch.set_num_threads(1)
    if place.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (place.file_limit, place.file_limit))
    with Store(place.db, artifacts=place.artifacts, busy=place.busy) as store:
        study = store.find_study(NAME)
        if study is not None:
            resume(study, store)
            return
        settings = SearchSettings(
            workers=2, threads=1, sampler=place.sampler, pruner="none", max_failures=10**6
        )
        job = Job((place.plugin,), Budget(trials=place.trials), settings=settings, name=NAME)
        search(job, store)


@contextmanager
def looking(db: str) -> Iterator[Connection | None]:
    """One state of a study's database, beside its driver; ``None`` as long as there are no trials.

    PostgreSQL checks its files by itself; of SQLite's that is done here.
    """
    if "://" not in db and not Path(db).exists():
        yield None
        return
    with reader(database_url(db)).connect() as connection:
        if not inspect(connection).has_table("trial"):
            yield None
            return
        if "://" not in db:
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
        yield connection


def workers_of(process: BaseProcess) -> list[psutil.Process]:
    """The workers of a driver just now."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children()
    return []
