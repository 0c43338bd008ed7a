"""Trials in the slots of a Ray cluster: what is lost with a node goes on elsewhere."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from automl.core import checkpoint
from automl.core.cluster.slot import MARK, Files, News, Parcel, Place, Slot
from automl.core.errors import StudyError
from automl.core.executors import EndHandler, ReportHandler
from automl.core.places import artifact_root
from automl.core.record import Evaluation, Failure, TrialEnd
from automl.core.run import Decision, Report
from automl.core.trial import TrialTask

LOSSES = 3  # times that a trial is handed out again after its slot was lost
FALSE_STARTS = 3  # slots in a row that are lost before they were there
EMPTY_SECONDS = 120.0  # that a study waits for a first slot: a busy machine takes one to start it
STOP_SECONDS = 10.0  # that a slot has to kill its trial
CLOSE_SECONDS = 3.0


@dataclass(eq=False)
class Seat:
    """A slot as the driver sees it: the call that is open there, and the trial."""

    actor: Any
    call: Any  # ray.ObjectRef; None: it has nothing to do
    there: bool = False
    shares: bool = False  # the study's folder with the driver
    task: TrialTask | None = None
    started: float = 0.0
    heard: float | None = None  # None: its worker is still starting
    last: Report | None = None


class RayExecutor:
    """Slots on a cluster, as many as have room; each is an actor with CPUs or a GPU of its own.

    A worker process that dies costs its trial, as on the driver's own machine. A slot that is lost,
    with its node or alone, does not: the trial goes on from its checkpoint in another one, up to
    ``LOSSES`` times. Slots that find no room wait, and join when there is some.

    Raises:
        StudyError: if no slot starts within a minute, or slots fail to start.
    """

    def __init__(
        self,
        workers: int,
        devices: tuple[str, ...],
        folder: Path,
        memory_bytes: int | None,
        threads: int,
    ) -> None:
        self.devices = devices[:1] * workers
        folder.mkdir(parents=True, exist_ok=True)
        self._mark, mark = folder / MARK, secrets.token_hex(16)
        self._mark.write_text(mark)
        self._place = Place(
            str(folder), mark, str(artifact_root()), devices[0], threads, memory_bytes
        )
        self._waiting: deque[TrialTask] = deque()
        self._losses: Counter[int] = Counter()
        self._plugins: dict[str, Files] = {}  # unpackaged ones as they are now, by folder
        self._actors: Any = ray.remote(Slot)
        self._false_starts = 0
        self._inhabited = time.monotonic()
        self._seats = [self._seat() for _ in range(workers)]
        try:
            while not any(seat.there for seat in self._seats):
                self._hear(1.0, _nobody_reports, _nobody_ends)
        except BaseException:
            self.close()
            raise

    def _seat(self) -> Seat:
        gpus = 0 if self._place.device == "cpu" else 1
        # a second thread, so that a trial can be stopped during a call
        options = {"num_cpus": self._place.threads, "num_gpus": gpus, "max_concurrency": 2}
        actor = self._actors.options(**options).remote(self._place)
        return Seat(actor, actor.ready.remote())

    @property
    def slots(self) -> int:
        """How many trials there is room for just now."""
        return max(1, sum(seat.there for seat in self._seats))

    def running(self) -> dict[int, float]:
        """Trials under way and when each was last heard of; one that waits for room is not late."""
        now = time.monotonic()
        busy = {s.task.number: s.heard or now for s in self._seats if s.task is not None}
        return busy | {task.number: now for task in self._waiting}

    def start(self, task: TrialTask) -> None:
        """Send the task to an idle slot."""
        self._waiting.append(task)
        self._deal()

    def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        """Serve the open calls until one is answered or ``seconds`` are over."""
        self._hear(max(seconds, 0.0), on_report, on_end)
        self._deal()

    def _deal(self) -> None:
        """Hand what waits to idle slots."""
        idle = (seat for seat in self._seats if seat.there and seat.task is None)
        for seat in list(idle)[: len(self._waiting)]:
            task = self._waiting.popleft()
            seat.task = replace(task, device=self._place.device)
            seat.started, seat.heard, seat.last = time.monotonic(), None, None
            seat.call = seat.actor.fit.remote(self._parcel(seat, seat.task, seat.task.checkpoint))

    def _parcel(self, seat: Seat, task: TrialTask, path: Path) -> Any:
        files = {} if seat.shares or not path.exists() else {path.name: path.read_bytes()}
        if os.sep in task.plugin and task.plugin not in self._plugins:
            self._plugins[task.plugin] = contents(Path(task.plugin))
        return ray.put(Parcel(task, files, self._plugins.get(task.plugin, {})))

    # ---------------------------------------------------------------- what slots say

    def _hear(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        calls = {seat.call: seat for seat in self._seats if seat.call is not None}
        if not calls:
            return
        answered, _ = ray.wait(list(calls), timeout=seconds)
        if answered:  # by now there may be more
            answered, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in answered:
            seat = calls[call]
            seat.call = None
            try:
                news = ray.get(call)
            except RayTaskError as error:
                raise StudyError(f"a Ray worker failed: {last_line(error)}") from error
            except RayError as error:
                self._lost(seat, error, on_end)
            else:
                if seat.task is None:
                    seat.there, seat.shares, self._false_starts = True, news, 0
                else:
                    self._tell(seat, seat.task, news, on_report, on_end)
        self._check_room()

    def _tell(
        self, seat: Seat, task: TrialTask, news: News, on_report: ReportHandler, on_end: EndHandler
    ) -> None:
        seat.heard = time.monotonic()
        keep(task, news.files)
        if news.end is not None:
            seat.task = None
            on_end(arrived(task, news.end))
            return
        decision: Decision | None = None
        if news.report is not None:
            seat.last = news.report
            decision = on_report(task.number, news.report)
        seat.call = seat.actor.go_on.remote(decision)

    def _lost(self, seat: Seat, error: RayError, on_end: EndHandler) -> None:
        """A slot is gone: open another, and hand its trial out again."""
        if not seat.there:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS:
                raise StudyError(f"Ray workers do not start: {last_line(error)}") from error
        task = seat.task
        self._replace(seat)
        if task is None:
            return
        self._losses[task.number] += 1
        if self._losses[task.number] <= LOSSES:
            self._waiting.appendleft(task)
            return
        message = f"its Ray worker or node was lost {self._losses[task.number]} times"
        on_end(failed(seat, task, Failure("died", message)))

    def _replace(self, seat: Seat) -> None:
        with suppress(RayError):
            ray.kill(seat.actor)
        self._seats[self._seats.index(seat)] = self._seat()

    def _check_room(self) -> None:
        now = time.monotonic()
        if any(seat.there for seat in self._seats):
            self._inhabited = now
        elif now - self._inhabited > EMPTY_SECONDS:
            wanted = f"{self._place.threads} CPUs"
            wanted += "" if self._place.device == "cpu" else " and a GPU"
            raise StudyError(
                f"the Ray cluster has had no room for a worker with {wanted} for "
                f"{EMPTY_SECONDS:.0f} seconds; it has {resources()}"
            )

    # ---------------------------------------------------------------- the rest of an executor

    def kill(self, number: int, kind: str, message: str) -> TrialEnd | None:
        """Have its slot kill the trial; a slot that does not answer is replaced."""
        for waiting in self._waiting:
            if waiting.number == number:
                self._waiting.remove(waiting)
                return TrialEnd(number, "failed", failure=Failure(kind, message))
        seat = next(s for s in self._seats if s.task is not None and s.task.number == number)
        task = seat.task
        assert task is not None
        try:
            ray.get(seat.actor.stop.remote(), timeout=STOP_SECONDS)
            while True:
                news: News = ray.get(seat.call, timeout=STOP_SECONDS)
                keep(task, news.files)
                if news.end is not None:
                    break
                seat.call = seat.actor.go_on.remote(None)
        except RayError:
            self._replace(seat)
            return failed(seat, task, Failure(kind, message))
        failure = news.end.failure
        if failure is None or failure.kind != "died":
            return None  # it had ended by itself, which the next ``wait`` hears
        seat.task = seat.call = None
        return replace(news.end, failure=replace(failure, kind=kind, message=message))

    def examine(self, task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
        """Have an idle slot score a finished model; one that is lost gives no scores."""
        while not (idle := [s for s in self._seats if s.there and s.task is None]):
            self._hear(1.0, _nobody_reports, _nobody_ends)
        task = replace(task, device=self._place.device)
        try:
            found: tuple[tuple[Evaluation, ...], int | None] = ray.get(
                idle[0].actor.examine.remote(self._parcel(idle[0], task, task.weights))
            )
            return found
        except RayError as error:
            self._replace(idle[0])
            reason = f"the Ray worker was lost: {last_line(error)}"
        return tuple(Evaluation(name, split, {}, reason) for name, split in task.evaluate), None

    def close(self) -> None:
        """End the slots; the cluster is left by who joined it."""
        closed = [seat.actor.close.remote() for seat in self._seats if seat.there]
        if closed:
            ray.wait(closed, num_returns=len(closed), timeout=CLOSE_SECONDS)
        for seat in self._seats:
            with suppress(RayError):
                ray.kill(seat.actor)
        self._mark.unlink(missing_ok=True)


def contents(folder: Path) -> Files:
    """Every file below a folder but compiled ones, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def keep(task: TrialTask, files: Files) -> None:
    """Write what a slot elsewhere has sent into the study's folder."""
    for name, content in files.items():
        checkpoint.replace(Path(task.folder) / name, content)


def arrived(task: TrialTask, end: TrialEnd) -> TrialEnd:
    """An end as it is on the driver's side: the weights here, no checkpoint left."""
    if end.state != "interrupted":
        task.checkpoint.unlink(missing_ok=True)
    return end if end.weights is None else replace(end, weights=task.weights)


def failed(seat: Seat, task: TrialTask, failure: Failure) -> TrialEnd:
    """The end of a trial whose slot can tell nothing any more."""
    step = seat.last.step if seat.last else None
    seconds = time.monotonic() - seat.started
    return TrialEnd(task.number, "failed", seconds=seconds, step=step, failure=failure)


def last_line(error: RayError) -> str:
    """The last line of what an error says, which names the cause."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def resources() -> str:
    """The CPUs and GPUs of the cluster in words."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return ", ".join(f"{found.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))


def _nobody_reports(number: int, report: Report) -> Decision:
    raise AssertionError("a report while no trial runs")


def _nobody_ends(end: TrialEnd) -> None:
    raise AssertionError("an end while no trial runs")
