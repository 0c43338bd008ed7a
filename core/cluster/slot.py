"""What a node runs for a study: one worker process at a time, served call by call."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from automl.core import checkpoint
from automl.core.executors import ProcessExecutor
from automl.core.record import Evaluation, TrialEnd
from automl.core.run import Decision, Report
from automl.core.trial import TrialTask

MEMORY_SHARE = 0.9  # of the node's memory, divided by cores
Files = dict[str, bytes]  # contents by name, relative to a folder


@dataclass(frozen=True)
class Place:
    """What a slot is told of its study: where it writes, and how much a worker may take."""

    folder: str  # of the study's artifacts, as the driver sees it
    mark: str  # a file there, by which a slot sees that it shares the folder with the driver
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

    An actor of the cluster. Each call but ``stop`` answers with the next news of the trial, so the
    driver has one call open for each slot and nobody polls. ``stop`` comes on a second thread.
    """

    def __init__(self, place: Place) -> None:
        os.environ["AUTOML_ARTIFACTS"] = place.artifacts  # the worker inherits it
        self.shares = (Path(place.folder) / place.mark).exists()
        self.folder = Path(tempfile.mkdtemp(prefix="automl-slot-"))
        share = int(MEMORY_SHARE * psutil.virtual_memory().total / (os.cpu_count() or 1))
        memory = place.memory_bytes or share * place.threads
        self.workers = ProcessExecutor(1, (place.device,), self.folder, memory, place.threads)
        self.task: TrialTask | None = None
        self.told: News | None = None
        self.shipped = 0  # when the checkpoint that the driver has was written
        self.lock = threading.Lock()
        self.stopping = False

    def ready(self) -> News:
        """Answer once the slot is there."""
        return News()

    def fit(self, parcel: Parcel) -> News:
        """Hand a task to the worker; the answer comes when it has started on it."""
        with self.lock:
            task = self.task = self.unpack(parcel)
            self.told = None
            self.shipped = written(task.checkpoint)
            self.workers.start(task)
            while not (self.workers.settled() or self.stopping):
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
                if files or self.stopping:
                    return News(files=files)

    def stop(self, kind: str, message: str) -> TrialEnd | None:
        """Kill the trial and return its failed end; ``None`` if it has just ended by itself."""
        self.stopping = True
        with self.lock:
            self.stopping = False
            if self.task is None or self.task.number not in self.workers.running():
                return None
            return self.workers.kill(self.task.number, kind, message)

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
        self.stopping = True
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
        """Keep an end for the driver, with the weights."""
        files: Files = {}
        if end.weights is not None and not self.shares:
            files[end.weights.name] = end.weights.read_bytes()
            end.weights.unlink()
        self.told = News(end=end, files=files)


def written(path: Path) -> int:
    """When a file was written, in nanoseconds; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
