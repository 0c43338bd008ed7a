"""Where trials run: in the driver's own process, or in worker processes with hard limits."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch

from automl.core.errors import ConfigError, StudyError
from automl.core.nursery import Child, spawn
from automl.core.record import Evaluation, Failure, TrialEnd
from automl.core.run import Decision, Report
from automl.core.trial import TrialTask, examine, run_trial

LOG_LINES = 50
MEMORY_CHECK_SECONDS = 0.2
ReportHandler = Callable[[int, Report], Decision]
LaterHandler = Callable[[int, Report], Decision | None]  # None: the decision comes by ``answer``
EndHandler = Callable[[TrialEnd], None]


class Executor(Protocol):
    """Runs tasks and hands what happens to the two handlers, always in the driver's thread."""

    devices: tuple[str, ...]

    @property
    def slots(self) -> int:
        """How many trials it runs at once; on a cluster that can change."""

    def running(self) -> dict[int, float]:
        """Numbers of the trials under way, each with the time (monotonic) of its last sign."""

    def start(self, task: TrialTask) -> None:
        """Begin a task; never called with all slots busy."""

    def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        """Deal with what happens in the next ``seconds``; return early after something did."""

    def kill(self, number: int, kind: str, message: str) -> TrialEnd | None:
        """Stop a trial by force and return its failed end; ``None`` where that is impossible."""

    def examine(self, task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
        """Score a finished model; called with no trial running."""

    def close(self) -> None:
        """Give everything back. Trials still running are lost."""


class InlineExecutor:
    """One trial at a time in this process: no limits, no isolation, easy to debug."""

    slots = 1

    def __init__(self, device: str) -> None:
        self.devices: tuple[str, ...] = (device,)
        self._task: TrialTask | None = None

    def running(self) -> dict[int, float]:
        """The task that waits for ``wait``."""
        return {self._task.number: time.monotonic()} if self._task else {}

    def start(self, task: TrialTask) -> None:
        """Keep the task for ``wait``."""
        self._task = task

    def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        """Run the task to its end."""
        if self._task is not None:
            task, self._task = self._task, None
            on_end(run_trial(task, lambda report: on_report(task.number, report)))

    def kill(self, number: int, kind: str, message: str) -> TrialEnd | None:
        """Impossible: the trial has this process."""
        return None

    def examine(self, task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
        """Score a finished model here."""
        return examine(task)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Worker:
    """A worker process, its pipe and the task it works on."""

    process: Child
    pipe: Connection[Any, Any]
    log: Path
    device: str
    task: TrialTask | None = None
    started: float = 0.0
    heard: float = 0.0
    ready: bool = False
    last: Report | None = None


class ProcessExecutor:
    """Worker processes, forked once and reused; one per core or per CUDA device.

    A worker that dies costs its trial and is replaced. ``memory_bytes`` bounds each worker's
    resident memory (checked five times a second); ``threads`` are torch's in each.
    """

    def __init__(
        self,
        workers: int,
        devices: tuple[str, ...],
        folder: Path,
        memory_bytes: int | None,
        threads: int,
    ) -> None:
        self.slots = workers
        self.devices = tuple(devices[i % len(devices)] for i in range(workers))
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._threads = threads
        self._checked_memory = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._workers = [self._spawn(i) for i in range(workers)]

    def _spawn(self, index: int) -> Worker:
        ours, theirs = socket.socketpair()
        log = self._folder / f"worker-{index}.log"
        with theirs:
            process = spawn("automl.core.worker:main", [theirs.fileno()], str(log), self._threads)
        pipe: Connection[Any, Any] = Connection(ours.detach())
        return Worker(process, pipe, log, self.devices[index])

    def running(self) -> dict[int, float]:
        """Trials under way and when each was last heard of; a worker still starting is not late."""
        now = time.monotonic()
        busy = [(w, w.task.number) for w in self._workers if w.task is not None]
        return {number: worker.heard if worker.ready else now for worker, number in busy}

    def start(self, task: TrialTask) -> None:
        """Send the task to an idle worker."""
        worker = next(w for w in self._workers if w.task is None)
        worker.task = TrialTask(**{**vars(task), "device": worker.device})
        worker.started = worker.heard = time.monotonic()
        worker.last = None
        if worker.ready:
            with contextlib.suppress(OSError):  # whoever clears the artifact folder takes it along
                os.truncate(worker.log, 0)  # one trial's output at most
        with contextlib.suppress(OSError):  # a dead worker is noticed by ``wait``
            worker.pipe.send(("fit", worker.task))

    def settled(self) -> bool:
        """Whether every worker has started and takes tasks at once."""
        return all(worker.ready for worker in self._workers)

    def wait(self, seconds: float, on_report: LaterHandler, on_end: EndHandler) -> None:
        """Serve the pipes until something happened or ``seconds`` are over."""
        busy = {worker.pipe: worker for worker in self._workers}
        for ready in wait(list(busy), timeout=min(max(seconds, 0), MEMORY_CHECK_SECONDS)):
            worker = busy[ready]  # type: ignore[index]
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, OSError):
                self._died(worker, on_end)
                continue
            self._handle(worker, kind, content, on_report, on_end)
        self._check_memory(on_end)

    def answer(self, number: int, decision: Decision) -> None:
        """Tell a trial whose report was left unanswered how it goes on."""
        worker = next(w for w in self._workers if w.task and w.task.number == number)
        with contextlib.suppress(OSError):  # noticed by the next ``wait``
            worker.pipe.send(decision)

    def _handle(
        self, worker: Worker, kind: str, content: Any, on_report: LaterHandler, on_end: EndHandler
    ) -> None:
        worker.heard = time.monotonic()
        worker.ready = True
        if kind == "report" and worker.task is not None:
            worker.last = content
            decision = on_report(worker.task.number, content)
            if decision is not None:
                self.answer(worker.task.number, decision)
        elif kind == "end":
            end: TrialEnd = content
            if end.failure is not None:
                failure = Failure(**{**vars(end.failure), "log": self._log_tail(worker)})
                end = TrialEnd(**{**vars(end), "failure": failure})
            worker.task = None
            on_end(end)

    def _died(self, worker: Worker, on_end: EndHandler) -> None:
        code = worker.process.wait()
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not worker.ready:
            last = self._log_tail(worker).splitlines()[-1:] or [reason]
            raise StudyError(f"a worker process did not start ({reason}): {last[0]}")
        end = self._replace(worker, "died", f"the worker process ended with {reason}")
        if end is not None:
            on_end(end)

    def kill(self, number: int, kind: str, message: str) -> TrialEnd | None:
        """Kill the worker that has the trial and put a fresh one in its place."""
        worker = next(w for w in self._workers if w.task and w.task.number == number)
        return self._replace(worker, kind, message)

    def _replace(self, worker: Worker, kind: str, message: str) -> TrialEnd | None:
        worker.process.kill()
        worker.process.wait()
        worker.pipe.close()
        index = self._workers.index(worker)
        self._workers[index] = self._spawn(index)
        if worker.task is None:
            return None
        failure = Failure(kind, message, log=self._log_tail(worker))
        seconds = time.monotonic() - worker.started
        step = worker.last.step if worker.last else None
        return TrialEnd(worker.task.number, "failed", seconds=seconds, step=step, failure=failure)

    def _check_memory(self, on_end: EndHandler) -> None:
        now = time.monotonic()
        if self._memory_bytes is None or now - self._checked_memory < MEMORY_CHECK_SECONDS:
            return
        self._checked_memory = now
        for worker in list(self._workers):
            if worker.task is None or not worker.ready:
                continue
            try:
                used = psutil.Process(worker.process.pid).memory_info().rss
            except psutil.Error:
                continue  # it died: the next ``wait`` says so
            if used > self._memory_bytes:
                message = (
                    f"used {used / 1e6:,.0f} MB, more than its limit of "
                    f"{self._memory_bytes / 1e6:,.0f} MB"
                )
                end = self._replace(worker, "memory", message)
                if end is not None:
                    on_end(end)

    def _log_tail(self, worker: Worker) -> str:
        if not worker.log.exists():
            return ""
        with worker.log.open("rb") as file:
            file.seek(max(0, worker.log.stat().st_size - 20_000))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def examine(self, task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
        """Have an idle worker score a finished model; a worker that fails gives no scores."""
        worker = next(w for w in self._workers if w.task is None)
        try:
            worker.pipe.send(("examine", TrialTask(**{**vars(task), "device": worker.device})))
            while True:
                kind, content = worker.pipe.recv()
                if kind == "examined":
                    found: tuple[tuple[Evaluation, ...], int] = content
                    return found
                if kind == "refused":
                    reason = str(content)
                    break
        except (EOFError, OSError):
            reason = "the worker process died"
            self._replace(worker, "died", reason)
        return tuple(Evaluation(name, split, {}, reason) for name, split in task.evaluate), None

    def close(self) -> None:
        """End the workers and forget their logs."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.wait()
            worker.pipe.close()
            worker.log.unlink(missing_ok=True)


def cuda_or_cpu(device: str) -> tuple[str, ...]:
    """The devices that ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` stands for.

    Raises:
        ConfigError: if CUDA is asked for and there is none.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if count else "cpu"
    if device.startswith("cuda") and not count:
        raise ConfigError(f"device={device!r} but no CUDA device is present; use --device cpu")
    if device == "cuda":
        return tuple(f"cuda:{i}" for i in range(count))
    return (device,)
