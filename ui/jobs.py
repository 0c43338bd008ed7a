"""A queue of searches: each a process of its own, on record in a folder beside the database.

A job is an ``automl search …`` or ``automl resume …``. It outlives the browser, the browser
application and the terminal that posted it. One job runs at a time: a runner, which lives only as
long as there is work, takes them in order. Nothing here imports torch.

The folder holds ``00001.json`` (the record), ``00001.log`` (what the job said) and ``00001.out``
(its result, JSON) for each job. Records are replaced whole, so a reader never sees half of one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from automl.core.errors import ConfigError, DatabaseError, StudyError, UnknownName
from automl.core.places import artifact_root
from automl.dataset_db import query
from automl.dataset_db.engine import database_url
from automl.dataset_db.owner import alive, owner, owner_of, parts

State = Literal["queued", "running", "done", "failed", "stopped"]
COMMANDS = ("search", "resume")
LOOK_SECONDS = 0.5  # between two looks at a running job
START_SECONDS = 15.0  # that a runner may take to start
STATES: dict[str, State] = {"interrupted": "stopped", "failed": "failed"}  # of the study
STOPPED = "stopped with its trials checkpointed: a resumed study goes on from there"
GONE = "its process is gone: it was killed, or the machine went down"
CALM_STOPS = 2  # SIGINT once: checkpoint; twice: stop now; after that it is killed


@dataclass(frozen=True)
class Job:
    """What is on record of a job.

    ``arguments`` are those of ``automl``; ``folder`` is where it runs. ``owner`` names its process
    and ``runner`` the one that waits for it, as ``dataset_db.owner`` does; times are ISO 8601.
    """

    number: int
    arguments: tuple[str, ...]
    folder: str
    state: State = "queued"
    posted: str = ""
    started: str = ""
    finished: str = ""
    owner: str = ""
    runner: str = ""
    study: int | None = None
    stops: int = 0  # how often it was asked to stop
    message: str = ""

    @property
    def command(self) -> str:
        """The command line that does the same."""
        return shlex.join(("automl", *self.arguments))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able copy with the command."""
        return {**asdict(self), "command": self.command}


class Queue:
    """The jobs of a model database, given as a file or a URL; by default AUTOML_DB's."""

    def __init__(self, db: str | None = None) -> None:
        url = database_url(db)
        if url.get_backend_name() == "sqlite":
            file = Path(str(url.database)).expanduser().resolve()
            self.db = str(file) if db is None or "://" not in db else db
            self.folder = file.with_name(f"{file.name}.jobs")
        else:
            self.db = url.render_as_string(hide_password=False)
            self.folder = artifact_root() / "jobs"

    # ------------------------------------------------------------ looking

    def jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        files = sorted(self.folder.glob("[0-9]*.json"), reverse=True)
        return [honest(found) for file in files if (found := read(file)) is not None]

    def job(self, number: int) -> Job:
        """One job.

        Raises:
            UnknownName: if there is none of that number.
        """
        found = read(self.path(number, "json"))
        if found is None:
            raise UnknownName(f"there is no job {number}; `automl jobs` lists them")
        return honest(found)

    def log(self, number: int, lines: int = 20) -> str:
        """The last lines that a job said."""
        self.job(number)
        try:
            with self.path(number, "log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 400 * lines))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def waiting(self) -> bool:
        """Whether jobs are queued, not only just now, and no runner is there to take them."""
        since = (datetime.now(UTC) - timedelta(seconds=START_SECONDS)).isoformat()
        if not any(job.state == "queued" and job.posted < since for job in self.jobs()):
            return False
        with self.lock("runner", wait=False) as mine:
            return mine

    # ------------------------------------------------------------ changing

    def post(self, arguments: Sequence[str]) -> Job:
        """Put ``automl`` with these arguments at the end of the queue, to run in this folder.

        Raises:
            ConfigError: if it is no search, or names a database of its own.
            DatabaseError: if the queue's folder cannot be written.
        """
        if not arguments or arguments[0] not in COMMANDS:
            raise ConfigError(
                f"a job is one of {', '.join(COMMANDS)}, such as search --plugin selu"
            )
        if any(text == "--db" or text.startswith("--db=") for text in arguments):
            raise ConfigError("leave --db to `automl jobs`: a queue belongs to one database")
        with self.lock("records"):
            last = max((int(file.stem) for file in self.folder.glob("[0-9]*.json")), default=0)
            job = Job(last + 1, tuple(arguments), str(Path().resolve()), posted=now())
            self.write(job)
        self.start()
        return job

    def stop(self, number: int) -> Job:
        """Ask a job to stop: once to checkpoint its trials, twice to stop now, then it is killed.

        A queued job is taken out of the queue.

        Raises:
            UnknownName: if there is no such job.
            StudyError: if it has ended already.
        """
        with self.lock("records"):
            job = self.job(number)
            if job.state == "queued":
                job = replace(job, state="stopped", finished=now(), message="never started")
            elif job.state == "running" and alive(job.owner):
                asked = signal.SIGINT if job.stops < CALM_STOPS else signal.SIGKILL
                os.kill(parts(job.owner)[1], asked)
                job = replace(job, stops=job.stops + 1)
            else:
                raise StudyError(f"job {number} is {job.state} and cannot be stopped")
            self.write(job)
        return job

    def clear(self) -> int:
        """Forget the jobs that have ended, with their logs; return how many."""
        with self.lock("records"):
            ended = [job for job in self.jobs() if job.state not in ("queued", "running")]
            for job in ended:
                for kind in ("json", "log", "out"):
                    self.path(job.number, kind).unlink(missing_ok=True)
        return len(ended)

    def start(self) -> None:
        """Have a runner at work in the background; it ends by itself when nothing is queued."""
        self.made()
        subprocess.Popen(
            [sys.executable, "-P", "-m", "automl.ui.cli", "jobs", "run"],
            env={**os.environ, "AUTOML_DB": self.db},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "runner.log").open("ab"),
            start_new_session=True,
        )

    # ------------------------------------------------------------ the runner

    def run(self) -> None:
        """Carry out the queued jobs, one after the other, until none is left.

        A second runner waits for the first, since that one may have looked for the last time; a
        third has nothing to do.
        """
        # A runner started in the background ignores Ctrl-C, and so would its jobs.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with self.lock("next", wait=False) as mine:
            if not mine:
                return
            running = self.lock("runner")
            running.__enter__()
        try:
            for left in self.jobs_on_record("running"):
                self.wait(self.note(left, runner=owner()), None)
            while taken := self.take():
                self.wait(*taken)
        finally:
            running.__exit__(None, None, None)

    def jobs_on_record(self, state: State) -> list[Job]:
        """The jobs whose record says so, the oldest first."""
        found = (read(file) for file in sorted(self.folder.glob("[0-9]*.json")))
        return [job for job in found if job is not None and job.state == state]

    def take(self) -> tuple[Job, subprocess.Popen[bytes]] | None:
        """Start the oldest queued job that can be started."""
        with self.lock("records"):
            for job in self.jobs_on_record("queued"):
                job = replace(job, started=now(), runner=owner())
                try:
                    process = self.launch(job)
                except OSError as error:  # its folder is gone
                    message = f"it cannot be started in {job.folder}: {error}"
                    self.write(replace(job, state="failed", finished=now(), message=message))
                    continue
                job = replace(job, state="running", owner=owner_of(process.pid))
                self.write(job)
                return job, process
        return None

    def launch(self, job: Job) -> subprocess.Popen[bytes]:
        """The process of a job, in a session of its own."""
        with (
            self.path(job.number, "log").open("ab") as log,
            self.path(job.number, "out").open("wb") as out,
        ):
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "automl.ui.cli", *job.arguments, "--json"],
                cwd=job.folder,
                env={**os.environ, "AUTOML_DB": self.db, "NO_COLOR": "1", "COLUMNS": "160"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        """Until a job has ended, noting its study; then what became of it.

        Without ``process`` it is one of a runner that died.
        """
        while alive(job.owner) if process is None else process.poll() is None:
            if job.study is None and (study := self.study_of(job)) is not None:
                job = self.note(job, study=study)
            time.sleep(LOOK_SECONDS)
        code = None if process is None else process.returncode
        with self.lock("records"):
            self.write(self.ended(read(self.path(job.number, "json")) or job, code))

    def note(self, job: Job, **facts: Any) -> Job:
        """Change a job's record."""
        with self.lock("records"):
            job = replace(read(self.path(job.number, "json")) or job, **facts)
            self.write(job)
        return job

    def study_of(self, job: Job) -> int | None:
        """The study that a job's process runs."""
        try:
            return query.study_of(job.owner, self.db)
        except DatabaseError:  # made by the job, a moment later
            return None

    def ended(self, job: Job, code: int | None) -> Job:
        """The record of a job that has ended with an exit code, which nobody may have seen."""
        try:
            result = json.loads(self.path(job.number, "out").read_text())
        except (OSError, ValueError):
            return replace(job, finished=now(), **self.without_result(job, code))
        state = STATES.get(result["state"], "done")
        message = STOPPED if state == "stopped" else result["message"]
        return replace(job, state=state, study=result["study"], message=message, finished=now())

    def without_result(self, job: Job, code: int | None) -> dict[str, Any]:
        """State and message of a job that has told no result."""
        if job.stops:
            return {"state": "stopped", "message": "stopped at once"}
        if code is None or code < 0:
            return {"state": "failed", "message": GONE}
        last = self.log(job.number, 1).removeprefix("Error: ")
        return {"state": "failed", "message": last or f"it ended with code {code}"}

    # ------------------------------------------------------------ files

    def path(self, number: int, kind: str) -> Path:
        """A file of a job."""
        return self.folder / f"{number:05d}.{kind}"

    def made(self) -> None:
        """Make the folder.

        Raises:
            DatabaseError: if that cannot be done.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"jobs are kept in {self.folder}, which cannot be made: {error}"
            ) from error

    def write(self, job: Job) -> None:
        """Replace a job's record; the lock must be held."""
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".part")
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(job), file, indent=1)
        os.replace(name, self.path(job.number, "json"))

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold one of the queue's locks; tells whether it is held, if it was not waited for."""
        self.made()
        with (self.folder / f"{name}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def read(file: Path) -> Job | None:
    """A record; ``None`` if there is none."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return Job(**{**found, "arguments": tuple(found["arguments"])})


def honest(job: Job) -> Job:
    """A job whose process and runner are both gone has failed, whatever its record says."""
    if job.state != "running" or alive(job.runner) or alive(job.owner) is not False:
        return job
    return replace(job, state="failed", message=GONE)


def now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
