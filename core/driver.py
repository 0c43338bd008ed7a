"""The single-writer driver of a study: hands out trials, records what comes back, keeps budgets."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Literal

from automl.core import checkpoint
from automl.core.cards import Metric
from automl.core.costs import task_fields
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError
from automl.core.executors import Executor
from automl.core.objectives import Objectives, Vector, knee
from automl.core.observer import Observer, Silent
from automl.core.plan import Plan
from automl.core.record import (
    FINISHED,
    Evaluation,
    PastTrial,
    Recorder,
    StudySpec,
    StudyState,
    TrialEnd,
    TrialStart,
)
from automl.core.run import Decision, Report
from automl.core.study import (
    Best,
    Budget,
    Compromise,
    SearchSettings,
    Standing,
    StudyResult,
)
from automl.core.trial import TrialTask

FLUSH_SECONDS = 1.0  # reports of running trials become durable at least this often
GROUP_SECONDS = 0.05  # trials of several workers that begin and end within it are written together
IDLE_SECONDS = 0.5
LATE = 2.0  # turns that a trial among several plugins may take until it reports
GRACE_SHARE = 0.02  # of the wall-clock budget: how long fits may take to give up at its end


@dataclass
class Progress:
    """Where a study stands: counts, the best trial, why it is stopping."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    handed_out: int = 0
    front: dict[int, Vector] = field(default_factory=dict)  # complete trials that none dominates
    leaders: dict[str, tuple[int, float]] = field(default_factory=dict)  # the best of each plugin
    stopping: Literal["", "interrupted", "exhausted", "failed"] = ""
    message: str = ""
    signature: str = ""  # of the last failure
    repeats: int = 0  # how many times in a row

    def count(self, state: str, amount: int = 1) -> None:
        """Add to the count of a finished state."""
        if state in FINISHED:
            setattr(self, state, getattr(self, state) + amount)

    def consider(self, trial: TrialStart, vector: Vector | None) -> None:
        """Keep a complete trial if no other is as good in every objective; the earlier wins ties.

        Of one objective that is the best trial. ``leaders`` go by the first objective.
        """
        if vector is None:
            return
        leader = self.leaders.get(trial.plugin)
        if leader is None or vector[0] < leader[1]:
            self.leaders[trial.plugin] = (trial.number, vector[0])
        if not any(no_worse(other, vector) for other in self.front.values()):
            kept = {n: other for n, other in self.front.items() if not no_worse(vector, other)}
            self.front = kept | {trial.number: vector}


def no_worse(one: Vector, other: Vector) -> bool:
    """Whether a vector is as good as another in every objective, or better."""
    return all(a <= b for a, b in zip(one, other, strict=True))


class Driver:
    """Runs one study to its end: the only one that writes, the only one that decides."""

    def __init__(
        self,
        study: int,
        spec: StudySpec,
        plan: Plan,
        executor: Executor,
        recorder: Recorder,
        observer: Observer | None = None,
    ) -> None:
        self.study, self.spec, self.plan = study, spec, plan
        self.executor, self.recorder = executor, recorder
        self.observer: Observer = observer or Silent()
        self.settings = SearchSettings.from_dict(spec.settings["search"])
        self.budget = Budget(spec.trials, spec.timeout)
        metrics = (Metric(*metric) for metric in spec.metrics)  # type: ignore[arg-type]
        self.objectives = Objectives(tuple(metrics)[: len(spec.objectives)])
        self.metric = self.objectives.first
        self.cost_fields = task_fields(self.settings, self.objectives)
        self.progress = Progress()
        self.starts: dict[int, TrialStart] = {}
        self.queue: list[TrialStart] = []  # interrupted trials, to be continued first
        self.held: dict[int, TrialEnd] = {}  # paused trials, as they stood then
        self.tested: set[int] = set()
        self.began: dict[int, float] = {}
        self.started = time.monotonic()
        self.flushed = self.started
        self.urgent = False  # a trial has begun or ended that is not yet durable
        self.spent = 0.0

    # ---------------------------------------------------------------- the life of a study

    def restore(self, past: list[PastTrial], spent: float) -> None:
        """Take in what earlier legs recorded; ``spent`` is their wall-clock in seconds."""
        self.plan.restore(past)
        self.spent = spent
        for trial in past:
            self.starts[trial.start.number] = trial.start
            self.progress.handed_out += 1
            if any(e.dataset == self.spec.dataset for e in trial.evaluations):
                self.tested.add(trial.start.number)
            if trial.state in FINISHED:
                self.progress.count(trial.state)
                if trial.state == "complete":
                    self.progress.consider(trial.start, self.objectives.vector(trial.scores))
            elif trial.start.number in self.plan.paused():
                self.held[trial.start.number] = TrialEnd(
                    trial.start.number,
                    "interrupted",
                    stopped="rung",
                    value=trial.value,
                    scores=trial.scores | trial.reports[max(trial.reports)],
                    step=max(trial.reports),
                    seconds=trial.seconds,
                )
            else:
                self.queue.append(trial.start)

    def run(self) -> StudyResult:
        """Work until a budget is spent, the plan is empty, too much failed, or Ctrl-C.

        Raises:
            DatabaseError: if results can no longer be recorded.
            KeyboardInterrupt: at the second Ctrl-C, with everything reported on record.
        """
        facts = {"id": self.study, "name": self.spec.name}
        facts |= {"plugin": self.spec.plugin, "dataset": self.spec.dataset}
        self.tell_plugins("study_started", study=facts)
        state: StudyState = "failed"
        try:
            with self.signals():
                self.work()
                state = self.progress.stopping or "complete"
                if state == "complete":
                    self.let_go()
                best = self.winner() if state in ("complete", "exhausted") else self.best()
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self.abandon("interrupted" if interrupted else "failed", error)
            raise
        seconds = time.monotonic() - self.started
        result = StudyResult(
            self.study,
            state,
            self.progress.complete,
            self.progress.pruned,
            self.progress.failed,
            best,
            seconds,
            self.progress.message,
            self.spec.info["facts"].get("baselines", {}),
            self.standings(),
            self.front(),
        )
        number = best.trial if best else None
        self.recorder.close_study(
            self.study, state, number, self.spent + seconds, self.progress.message
        )
        self.observer.study_ended(result)
        best_facts = {"state": state, "best": None if best is None else vars(best)}
        self.tell_plugins("study_finished", study=facts | best_facts)
        return result

    def work(self) -> None:
        """Hand out, wait, watch, until nothing runs and nothing may be handed out."""
        while True:
            self.hand_out()
            if not self.executor.running():
                return
            self.flush(only_after=self.grouped() if self.urgent else FLUSH_SECONDS)
            self.executor.wait(self.patience(), self.on_report, self.on_end)
            self.watch()

    def abandon(self, state: StudyState, error: BaseException) -> None:
        """Leave the study in order after an error: running trials are given back."""
        for number in self.executor.running():
            self.recorder.finish_trial(self.study, TrialEnd(number, "interrupted"))
        seconds = self.spent + time.monotonic() - self.started
        best = self.chosen()
        # The first error is the one to tell, also when the database is what failed.
        try:
            self.recorder.close_study(self.study, state, best, seconds, str(error))
        except AutoMLError as second:
            self.observer.notice(str(second))

    # ---------------------------------------------------------------- handing out

    def hand_out(self) -> None:
        """Fill the free slots while the budget lasts."""
        busy = len(self.executor.running())
        while busy < self.executor.slots:
            trial = self.next_trial()
            if trial is None:
                return
            self.held.pop(trial.number, None)
            if trial.number not in self.starts:
                self.progress.handed_out += 1
            self.starts[trial.number] = trial
            self.began[trial.number] = time.monotonic()
            self.recorder.start_trial(self.study, trial)
            self.urgent = True
            self.executor.start(self.task(trial))
            busy += 1
            self.observer.trial_started(trial)

    def next_trial(self) -> TrialStart | None:
        """An interrupted trial, else a new one while the budget lasts, else a paused one."""
        if self.progress.stopping or self.remaining() <= 0:
            return None
        if self.queue:
            return self.queue.pop(0)
        if self.budget.trials is None or self.progress.handed_out < self.budget.trials:
            return self.plan.propose()
        return self.plan.promote(final=not self.executor.running())

    def let_go(self) -> None:
        """Record the trials that wait for a promotion as pruned: none will come."""
        for number, end in self.held.items():
            self.task(self.starts[number]).checkpoint.unlink(missing_ok=True)
            self.recorder.finish_trial(self.study, replace(end, state="pruned"))
            self.progress.count("pruned")
        self.held.clear()

    def task(self, trial: TrialStart) -> TrialTask:
        """What a worker needs to run ``trial``."""
        evaluate = self.spec.settings.get("evaluate", {}).get(trial.label, ())
        return TrialTask(
            plugin=self.spec.settings["plugins"][trial.plugin]["reference"],
            dataset=self.spec.dataset,
            config=trial.config,
            number=trial.number,
            seed=trial.seed,
            folder=str(self.recorder.folder(self.study)),
            techniques=trial.techniques,
            device=self.executor.devices[0],
            amp=self.settings.amp,  # type: ignore[arg-type]
            compile=self.settings.compile,
            objective=self.metric.name,
            **self.cost_fields,
            evaluate=tuple((name, "test") for name in evaluate),
            probes=tuple(self.spec.settings.get("probes", {}).get(trial.label, ())),
        )

    # ---------------------------------------------------------------- what comes back

    def on_report(self, number: int, report: Report) -> Decision:
        """Record a report and decide how its trial goes on."""
        self.recorder.report(self.study, number, report.step, "valid", report.scores)
        if report.train:
            self.recorder.report(self.study, number, report.step, "train", report.train)
        self.observer.trial_reported(number, report)
        if self.executor.slots > 1 or time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flush(only_after=FLUSH_SECONDS)
        if self.progress.stopping in ("interrupted", "failed"):
            return "interrupt"
        if self.remaining() <= 0 or self.overdue(number):
            return "stop"
        return self.plan.judge(number, report)

    def on_end(self, end: TrialEnd) -> None:
        """Record how a trial ended and draw the consequences."""
        if end.state == "interrupted" and end.number in self.plan.paused():
            end = self.held[end.number] = replace(end, stopped="rung")
        self.recorder.finish_trial(self.study, end)
        self.urgent = True
        self.plan.learn(end)
        self.began.pop(end.number, None)
        self.progress.count(end.state)
        if end.state == "failed":  # a killed worker could not tidy up
            task = self.task(self.starts[end.number])
            checkpoint.discard(task.checkpoint)
            checkpoint.discard(task.weights)
        if end.state == "complete":
            self.progress.consider(self.starts[end.number], self.objectives.vector(end.scores))
        self.watch_failures(end)
        best = end.number if end.number in self.progress.front else self.chosen()
        self.observer.trial_ended(end, best)
        trial = {
            "number": end.number,
            "plugin": self.starts[end.number].plugin,
            "state": end.state,
            "value": end.value,
            "config": self.starts[end.number].config,
        }
        facts = {"id": self.study, "name": self.spec.name}
        self.tell_plugins("trial_finished", study=facts, trial=trial)

    def watch_failures(self, end: TrialEnd) -> None:
        """Stop the study when trial after trial fails in the same way."""
        if end.failure is None:
            self.progress.signature, self.progress.repeats = "", 0
            return
        same = end.failure.signature == self.progress.signature
        self.progress.signature = end.failure.signature
        self.progress.repeats = self.progress.repeats + 1 if same else 1
        if self.progress.repeats >= self.settings.max_failures and not self.progress.stopping:
            self.progress.stopping = "failed"
            self.progress.message = (
                f"{self.progress.repeats} trials in a row failed alike: "
                f"{end.failure.kind}: {end.failure.message}"
            )
            self.observer.notice(self.progress.message)

    # ---------------------------------------------------------------- clocks

    def remaining(self) -> float:
        """Seconds of wall-clock budget that are left."""
        if self.budget.timeout is None:
            return float("inf")
        return self.budget.timeout - self.spent - (time.monotonic() - self.started)

    def overdue(self, number: int) -> bool:
        """Whether a trial has used up its own wall-clock, or its turn among several plugins."""
        limit = self.settings.trial_timeout or self.settings.turn
        return limit > 0 and time.monotonic() - self.began[number] > limit

    def patience(self) -> float:
        """How long to wait for something to happen, or until what did must be written."""
        if self.urgent:
            return max(0.0, self.flushed + GROUP_SECONDS - time.monotonic())
        return max(0.01, min(IDLE_SECONDS, self.remaining())) if self.remaining() > 0 else 0.05

    def grouped(self) -> float:
        """How soon after a write the next begin or end of a trial may be written."""
        return GROUP_SECONDS if self.executor.slots > 1 else 0.0  # one: nobody looks while it runs

    def watch(self) -> None:
        """Enforce the clocks on trials that do not report."""
        now = time.monotonic()
        out_of_time = self.remaining() <= 0
        if out_of_time and not self.progress.stopping and self.unfinished():
            self.progress.stopping = "exhausted"
            self.progress.message = "the wall-clock budget is spent"
        grace = GRACE_SHARE * (self.budget.timeout or 0.0)
        for number, heard in self.executor.running().items():
            limit = self.settings.trial_timeout
            late = LATE * self.settings.turn
            if out_of_time and -self.remaining() > grace:
                self.give_back(number)
            elif limit and now - self.began[number] > limit + max(1.0, 0.05 * limit):
                self.fail(number, "timeout", f"did not report within its {limit:g} seconds")
            elif late and not limit and now - self.began[number] > late:
                self.fail(number, "timeout", f"kept the others waiting for {late:.0f} seconds")
            elif 0 < self.settings.stall_timeout < now - heard:
                silence = self.settings.stall_timeout
                self.fail(number, "timeout", f"reported nothing for {silence:g} seconds")

    def unfinished(self) -> bool:
        """Whether the trial budget would have allowed more."""
        if self.queue or self.executor.running() or self.budget.trials is None:
            return True
        return self.progress.handed_out < self.budget.trials

    def fail(self, number: int, kind: str, message: str) -> None:
        """Kill a trial and record it as failed."""
        end = self.executor.kill(number, kind, message)
        if end is not None:
            self.on_end(end)

    def give_back(self, number: int) -> None:
        """Kill a trial that the study's clock ran out on; it can be continued by a resume."""
        end = self.executor.kill(number, "interrupted", "")
        if end is not None:
            self.on_end(replace(end, state="interrupted", failure=None))

    # ---------------------------------------------------------------- the winner

    def winner(self) -> Best | None:
        """The best trial, its model scored on the test split, once."""
        best = self.best()
        if best is None or self.spec.kind != "search" or best.trial in self.tested:
            return best
        self.flush()
        task = replace(self.task(self.starts[best.trial]), evaluate=((self.spec.dataset, "test"),))
        evaluations, macs = self.executor.examine(task)
        for evaluation in evaluations:
            self.recorder.evaluate_trial(self.study, best.trial, evaluation, macs)
            if evaluation.reason:
                self.observer.notice(f"no test scores: {evaluation.reason}")
        return replace(best, test=self.test_scores(evaluations))

    def test_scores(self, evaluations: tuple[Evaluation, ...]) -> dict[str, float]:
        """The scores on the study's own test split."""
        return next((e.scores for e in evaluations if e.dataset == self.spec.dataset), {})

    def best(self) -> Best | None:
        """The best complete trial so far, of several objectives the knee of the front."""
        number = self.chosen()
        if number is None:
            return None
        start, value = self.starts[number], self.values(self.progress.front[number])
        name = self.metric.name
        return Best(number, start.plugin, value[name], name, start.config)

    def chosen(self) -> int | None:
        """The number of the best complete trial so far."""
        numbers = list(self.progress.front)
        if len(numbers) < 2:
            return numbers[0] if numbers else None
        return numbers[knee(list(self.progress.front.values()), self.objectives.weights)]

    def values(self, vector: Vector) -> dict[str, float]:
        """A vector of objectives by name, as they were measured."""
        metrics = zip(self.objectives.metrics, vector, strict=True)
        return {m.name: -value if m.goal == "max" else value for m, value in metrics}

    def front(self) -> tuple[Compromise, ...]:
        """The models that no other one dominates, by the first objective; none of one objective."""
        if len(self.objectives.metrics) == 1:
            return ()
        found = sorted(self.progress.front.items(), key=lambda item: item[1])
        return tuple(Compromise(n, self.starts[n].plugin, self.values(v)) for n, v in found)

    def standings(self) -> tuple[Standing, ...]:
        """The plugins with what they made of their trials, the best first."""
        had = Counter(start.plugin for start in self.starts.values())
        found = []
        sign = -1 if self.metric.goal == "max" else 1
        for plugin in self.spec.plugins:
            trial, cost = self.progress.leaders.get(plugin.name, (None, None))
            value = None if cost is None else sign * cost
            found.append(Standing(plugin.name, had[plugin.name], trial, value))
        worst = float("inf")
        return tuple(sorted(found, key=lambda s: worst if s.value is None else sign * s.value))

    # ---------------------------------------------------------------- around

    def flush(self, only_after: float = 0.0) -> None:
        """Make everything durable, unless that was done less than ``only_after`` seconds ago."""
        now = time.monotonic()
        if now - self.flushed >= only_after:
            self.recorder.tick(self.study, self.spent + now - self.started)
            self.recorder.flush()
            self.flushed, self.urgent = now, False

    def tell_plugins(self, hook: str, **facts: Any) -> None:
        """Call an event hook; a listener that raises is named and otherwise ignored."""
        try:
            getattr(catalogue().manager.hook, hook)(**facts)
        except Exception as error:  # noqa: BLE001  foreign code
            warnings.warn(f"a {hook} hook raised {error!r}", stacklevel=2)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM once: checkpoint and stop. Twice: stop now."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.progress.stopping == "interrupted":
                raise KeyboardInterrupt
            self.progress.stopping = "interrupted"
            self.progress.message = "interrupted"
            self.observer.notice(
                "Stopping: running trials are checkpointed at their next report. "
                "Press Ctrl-C again to stop now."
            )

        before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
