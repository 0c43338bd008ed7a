"""What a node runs for a study: one worker process at a time, served call by call."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import psutil

from automl.core import checkpoint
from automl.core.executors import ProcessExecutor
from automl.core.record import Evaluation, TrialEnd
from automl.core.run import Decision, Report
from automl.core.trial import TrialTask

MEMORY_SHARE = 0.9  # of the node's memory, divided by cores
PREFIX, LOCK, MARK = "automl-slot-", "lock", ".driver"
Files = dict[str, bytes]  # contents by name, relative to a folder


@dataclass(frozen=True)
class Place:
    """What a slot is told of its study: where it writes, and how much a worker may take."""

    folder: str  # of the study's artifacts, as the driver sees it
    mark: str  # what the file MARK there says: by it a slot sees that it shares the folder
    artifacts: str  # the driver's artifact folder, where a user's own data lies
    device: str
    threads: int
    memory_bytes: int | None  # None: its share of the node


@dataclass(frozen=True)
class Parcel:
    """A task with the files that it needs and that the node may not have."""

    task: TrialTask
    files: Files  # checkpoint or weights
    plugin: Files  # an unpackaged plugin; empty for an installed one


@dataclass(frozen=True)
class News:
    """The next thing to tell of a trial; all empty when it has only begun."""

    report: Report | None = None
    end: TrialEnd | None = None
    files: Files = field(default_factory=dict)  # new checkpoint or weights, for a driver elsewhere


class Slot:
    """Runs tasks in a worker process of its own, like the driver's but on this node.

    An actor of the cluster. ``fit`` and ``go_on`` answer with the next news of the trial, so the
    driver has one call open for each slot and nobody polls. ``stop`` comes on a second thread.
    """

    def __init__(self, place: Place) -> None:
        os.environ["AUTOML_ARTIFACTS"] = place.artifacts  # the worker inherits it
        self.shares = read(Path(place.folder) / MARK) == place.mark
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.owner = locked(self.folder)
        share = int(MEMORY_SHARE * psutil.virtual_memory().total / (os.cpu_count() or 1))
        memory = place.memory_bytes or share * place.threads
        self.workers = ProcessExecutor(1, (place.device,), self.folder, memory, place.threads)
        self.task: TrialTask | None = None
        self.told: News | None = None
        self.shipped = 0  # when the checkpoint that the driver has was written
        self.lock = threading.Lock()
        self.closing = False

    def ready(self) -> bool:
        """Answer once the slot is there: whether it shares the study's folder with the driver."""
        return self.shares

    def fit(self, parcel: Parcel) -> News:
        """Hand a task to the worker; the answer comes when it has started on it."""
        with self.lock:
            task = self.unpack(parcel)
            self.shipped = written(task.checkpoint)
            self.workers.wait(0.0, self.on_report, self.on_end)  # one that died idle is replaced
            self.workers.start(task)
            self.task = task
            while not (self.workers.settled() or self.closing):
                self.workers.wait(1.0, self.on_report, self.on_end)
        return News()

    def go_on(self, decision: Decision | None) -> News:
        """Answer the last report, if that was the last news, and wait for the next."""
        with self.lock:
            if decision is not None and self.task is not None:
                self.workers.answer(self.task.number, decision)
            while True:
                if self.told is None:
                    self.workers.wait(1.0, self.on_report, self.on_end)
                files = self.changed()
                if self.told is not None:
                    told, self.told = self.told, None
                    return replace(told, files=files | told.files)
                if files or self.closing:
                    return News(files=files)

    def stop(self) -> None:
        """Kill the worker, so that the trial dies and the open call answers with its end."""
        if self.task is not None:
            for nursery in psutil.Process().children():
                for worker in nursery.children():
                    worker.kill()

    def examine(self, parcel: Parcel) -> tuple[tuple[Evaluation, ...], int | None]:
        """Score a finished model."""
        with self.lock:
            task = self.unpack(parcel)
            found = self.workers.examine(task)
            if not self.shares:
                task.weights.unlink(missing_ok=True)
            return found

    def close(self) -> None:
        """End the worker and delete what is left here."""
        self.closing = True
        with self.lock:
            self.workers.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- files

    def unpack(self, parcel: Parcel) -> TrialTask:
        """The task with its folder and its plugin on this node, the files written there."""
        task = parcel.task
        if not self.shares:
            task = replace(task, folder=str(self.folder))
            for name, content in parcel.files.items():
                checkpoint.replace(self.folder / name, content)
        if parcel.plugin:
            task = replace(task, plugin=str(self.plugin(Path(task.plugin).name, parcel.plugin)))
        return task

    def plugin(self, name: str, files: Files) -> Path:
        """The folder of an unpackaged plugin with the driver's code; one for each state of it."""
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
        folder = self.folder / digest / name
        if not folder.exists():
            for path, content in files.items():
                checkpoint.replace(folder / path, content)
        return folder

    def changed(self) -> Files:
        """The checkpoint, if it is newer than the driver's."""
        if self.shares or self.task is None:
            return {}
        path = self.task.checkpoint
        stamp = written(path)
        if stamp in (0, self.shipped):
            return {}
        with suppress(FileNotFoundError):  # the trial has just ended
            content = path.read_bytes()
            self.shipped = stamp
            return {path.name: content}
        return {}

    # ---------------------------------------------------------------- what the worker says

    def on_report(self, number: int, report: Report) -> Decision | None:
        """Keep a report for the driver, whose decision comes with its next call."""
        self.told = News(report=report)
        return None

    def on_end(self, end: TrialEnd) -> None:
        """Keep an end for the driver, with the files that it leaves."""
        files = self.changed()
        if not self.shares and self.task is not None:
            self.task.checkpoint.unlink(missing_ok=True)
            if end.weights is not None:
                files[end.weights.name] = end.weights.read_bytes()
                end.weights.unlink()
        self.told, self.task = News(end=end, files=files), None


def locked(folder: Path) -> IO[bytes]:
    """A file in the folder that is locked as long as this process lives."""
    fresh = folder / "unlocked"
    file = fresh.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    fresh.rename(folder / LOCK)  # whoever sees it finds it locked
    return file


def sweep() -> None:
    """Delete the folders of slots on this node that were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), lock.open("rb") as file:  # of a slot at work, or of another user
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def read(path: Path) -> str:
    """What a file says; nothing if there is none."""
    with suppress(OSError):
        return path.read_text()
    return ""


def written(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
