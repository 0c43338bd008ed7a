"""Which configuration comes next: Optuna's proposals, or a fixed list."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import optuna
from optuna.study import StudyDirection
from optuna.study._tell import _tell_with_warning
from optuna.trial import FixedTrial, TrialState, create_trial

from automl.core.cards import TechniqueCard
from automl.core.data import DataInfo
from automl.core.discovery import catalogue
from automl.core.errors import BrokenPlugin, ConfigError
from automl.core.objectives import Objectives
from automl.core.plugin import Plugin
from automl.core.projection import ProjectedTrial
from automl.core.pruning import MedianRule, Rungs, make_pruner
from automl.core.record import FINISHED, PastTrial, TrialEnd, TrialStart
from automl.core.run import Decision, Report
from automl.core.sampling import REPLAYED, derived_seed, make_sampler, pin
from automl.core.settings import Settings
from automl.core.study import SearchSettings
from automl.core.technique import Technique

optuna.logging.set_verbosity(optuna.logging.WARNING)
# A trial that goes on from its checkpoint repeats steps that it had reported.
warnings.filterwarnings("ignore", "The reported value is ignored", module="optuna")
MISLED = 2  # first configurations that are no better than trial 0
OPTUNA_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.RUNNING,
    "running": TrialState.RUNNING,
}


class Plan(Protocol):
    """Proposes trials and learns from them."""

    def restore(self, past: list[PastTrial]) -> None:
        """Take in the trials of earlier legs, by number, before the first ``propose``."""

    def propose(self) -> TrialStart | None:
        """The next trial; ``None`` when there are no more."""

    def promote(self, final: bool) -> TrialStart | None:
        """A paused trial that goes on; ``final`` when no new one will be proposed any more."""

    def paused(self) -> set[int]:
        """The trials that were interrupted to wait for others."""

    def judge(self, number: int, report: Report) -> Decision:
        """Note a report of a running trial: whether it goes on, is pruned, or pauses."""

    def learn(self, end: TrialEnd) -> None:
        """Note how a trial ended."""


class SearchPlan:
    """Optuna's ask and tell over a plugin's space, in memory. Trial 0 is the paper's setting."""

    def __init__(  # noqa: PLR0913  what a study has on record of one plugin's search
        self,
        plugin: Plugin[Any, Any],
        base: Settings,
        info: DataInfo,
        settings: SearchSettings,
        objectives: Objectives,
        *,
        pinned: dict[str, Any],
        techniques: tuple[str, ...],
        parallel: bool,
    ) -> None:
        self.plugin, self.base, self.info = plugin, base, info
        self.seed, self.pinned = settings.seed, pinned
        self.objectives = objectives
        self.several = len(objectives.metrics) > 1
        self.techniques: dict[str, type[Technique]] = {
            name: catalogue().card(TechniqueCard, name).load() for name in techniques
        }
        first = FixedTrial(self.first_params())
        self.configure(first)
        self.distributions = dict(first.distributions)
        steps = plugin.steps(base)
        earliest = max(1, round(steps * settings.warmup))
        self.study = optuna.create_study(
            study_name="search",  # hyperband chooses a trial's bracket by it
            directions=objectives.directions,
            sampler=make_sampler(settings.sampler, settings.seed, parallel),  # type: ignore[arg-type]
            pruner=make_pruner(settings.pruner, steps, earliest),  # type: ignore[arg-type]
        )
        self.beginnings = [dict(first.params)]  # what is tried before the sampler proposes
        self.waiting = [dict(first.params)]  # what of it is still to be handed out
        self.first: tuple[Mapping[str, Any], ...] = ()  # what of it came from elsewhere
        self._trials: dict[int, optuna.Trial] = {}
        self._starts: dict[int, TrialStart] = {}
        self._replays = settings.sampler in REPLAYED
        self._rungs = Rungs(earliest, steps) if settings.pruner == "asha" else None
        self._told_once = settings.sampler == "cmaes"
        self._median = MedianRule(earliest) if settings.pruner == "median" else None

    def begin_with(self, first: Iterable[Mapping[str, Any]]) -> None:
        """Try these next after trial 0, brought into the space: ``params`` by name, ``origin``.

        What the plugin refuses, and what then equals an earlier one, is left out. ``first`` has
        those that stay, as they will be tried. If the first two of them are no better than trial 0
        the others are not tried: they come from where something else is good.
        """
        for each in first:
            trial = ProjectedTrial(each["params"], self.first_params())
            try:
                self.configure(trial)
            except (BrokenPlugin, ConfigError):
                continue
            if trial.found not in self.beginnings:
                self.beginnings.append(trial.found)
                self.waiting.append(trial.found)
                self.first += ({"params": trial.found, "origin": each["origin"]},)

    def first_params(self) -> dict[str, Any]:
        """The parameters of trial 0 by name: the base setting and the techniques' defaults."""
        params = self.base.to_dict()
        for name, kind in self.techniques.items():
            params |= {f"{name}.{key}": v for key, v in kind.defaults.to_dict().items()}
        return params

    def configure(
        self, trial: optuna.trial.BaseTrial
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Ask the plugin and the techniques for a configuration.

        Raises:
            BrokenPlugin: if ``space`` raises, naming the plugin and the error.
        """
        trial = pin(trial, self.pinned)
        try:
            config = self.plugin.space(trial, self.base, self.info)
            chosen = {n: k.space(trial, k.defaults) for n, k in self.techniques.items()}
        except ConfigError:
            raise
        except Exception as error:
            raise BrokenPlugin(
                f"the space of plugin {self.plugin.name!r} raised {type(error).__name__}: {error}"
            ) from error
        return config.to_dict(), {name: settings.to_dict() for name, settings in chosen.items()}

    def restore(self, past: list[PastTrial]) -> None:
        """Rebuild the study from records; unfinished trials go on under their own numbers."""
        if not past:
            return
        fresh = optuna.create_study(
            study_name=self.study.study_name,
            directions=self.study.directions,
            sampler=self.study.sampler,
            pruner=self.study.pruner,
        )
        self.study = fresh
        given = [trial.start.params for trial in past]
        self.waiting = [params for params in self.waiting if params not in given]
        for trial in past:
            self._starts[trial.start.number] = trial.start
            self.restore_pruning(trial)
            if self._replays:
                self.tell_again(trial)
            else:
                fresh.add_trial(self.frozen(trial))
            if trial.state not in FINISHED and trial.start.number not in self.paused():
                # Optuna numbers its in-memory trials like their ids
                self._trials[trial.start.number] = optuna.Trial(fresh, trial.start.number)

    def restore_pruning(self, past: PastTrial) -> None:
        """Let a recorded trial report again; an unfinished one waits at the rung where it was."""
        number = past.start.number
        for step, scores in sorted(past.reports.items()):
            vector = self.objectives.vector(past.scores | scores)
            if vector is not None and self._rungs is not None:
                self._rungs.reach(number, step, vector)
            if vector is not None and self._median is not None:
                self._median.report(number, step, vector)
        reached = 0 if self._rungs is None else self._rungs.passed.get(number, 0)
        if self._rungs is not None and past.state not in FINISHED and reached:
            self._rungs.paused[number] = reached - 1

    def tell_again(self, past: PastTrial) -> None:
        """Have the sampler propose a recorded trial's parameters again, and tell its end."""
        frozen = self.frozen(past)
        self.study.enqueue_trial(past.start.params)
        trial = self.study.ask()
        if past.start.params not in self.beginnings:  # those were not the sampler's
            _ = trial.relative_params  # Optuna proposes at the first use, and none is needed here
        with suppress(ConfigError):
            self.configure(trial)
        for step, value in frozen.intermediate_values.items():
            trial.report(value, step)
        if frozen.state is not TrialState.RUNNING:
            self.study.tell(trial, frozen.values, state=frozen.state)

    def frozen(self, past: PastTrial) -> optuna.trial.FrozenTrial:
        """A recorded trial as Optuna's samplers and pruners see it."""
        state = OPTUNA_STATES[past.state]
        if past.start.number in self.paused():
            state = TrialState.PRUNED
        values = self.values(past.value, past.scores)
        if state is TrialState.COMPLETE and values is None:
            state = TrialState.FAIL
        first = self.objectives.first.name
        curve = {step: scores[first] for step, scores in past.reports.items() if first in scores}
        until = self.told_until(past.start.number)
        if until is not None:
            state = TrialState.PRUNED
            curve = {step: value for step, value in curve.items() if step <= until}
        return create_trial(
            state=state,
            values=values if state is TrialState.COMPLETE else None,
            params=past.start.params,
            distributions=self.known_distributions(past.start),
            intermediate_values={} if self.several else curve,
        )

    def told_until(self, number: int) -> int | None:
        """The step at a trial's first rung, if that is all that the sampler is told of it."""
        return self._rungs.arrived.get(number) if self._rungs and self._told_once else None

    def values(self, first: float | None, scores: Mapping[str, float]) -> list[float] | None:
        """What Optuna is told of a complete trial; ``None`` if an objective is not a number."""
        if not self.several:
            return None if first is None or math.isnan(first) else [first]
        known = self.objectives.vector(scores) is not None
        return [scores[name] for name in self.objectives.names] if known else None

    def known_distributions(
        self, start: TrialStart
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """The distributions of a recorded trial's parameters (conditional ones included)."""
        if not start.params.keys() <= self.distributions.keys():
            again = FixedTrial(start.params)
            self.configure(again)
            self.distributions |= again.distributions
        return {name: self.distributions[name] for name in start.params}

    def propose(self) -> TrialStart | None:
        """A paused trial that may go on, else what is tried first, else what Optuna proposes.

        A configuration that the plugin refuses counts as a failed trial.
        """
        promoted = self.promote(final=False)
        if promoted is not None:
            return promoted
        if self.waiting and self.misled():
            self.waiting = []
        if self.waiting:
            self.study.enqueue_trial(self.waiting.pop(0))
        trial = self.study.ask()
        self._trials[trial.number] = trial
        seed = derived_seed(self.seed, trial.number)
        try:
            config, techniques = self.configure(trial)
        except ConfigError:
            config, techniques = {**self.base.to_dict(), **trial.params}, {}
        asked = self.told(trial.number)
        self.distributions |= asked.distributions
        start = TrialStart(
            trial.number, self.plugin.name, seed, dict(asked.params), config, techniques
        )
        self._starts[trial.number] = start
        return start

    def promote(self, final: bool) -> TrialStart | None:
        """The next trial that asynchronous successive halving promotes."""
        number = None if self._rungs is None else self._rungs.promote(final)
        return None if number is None else self._starts[number]

    def paused(self) -> set[int]:
        """The trials that wait at a rung."""
        return set() if self._rungs is None else set(self._rungs.paused)

    def judge(self, number: int, report: Report) -> Decision:
        """Ask the rungs, the median rule or Optuna's pruner."""
        trial = self._trials.get(number)
        if not self.several:
            self.tell_report(number, report.step, report.scores[self.objectives.first.name])
        vector = self.objectives.vector(report.scores | report.costs)
        if self._rungs is not None:
            pauses = vector is not None and self._rungs.pauses(number, report.step, vector)
            if self.told_until(number) is not None:
                self.tell_end(number, TrialState.PRUNED, None)
            return "interrupt" if pauses else "continue"
        if self._median is not None and vector is not None:
            self._median.report(number, report.step, vector)
            hopeless = self._median.prunes(number, report.step)
        else:
            hopeless = trial is not None and not self.several and trial.should_prune()
        return "prune" if hopeless and not self.at_end(number, report.step) else "continue"

    def at_end(self, number: int, step: int) -> bool:
        """Whether a trial has done its last step, so that pruning it would save nothing."""
        return self.plugin.steps(type(self.base).from_dict(self._starts[number].config)) == step

    def misled(self) -> bool:
        """Whether two of the first configurations are done, and none beats trial 0 in anything."""
        own, *others = self.beginnings
        done = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished()]
        found = [known_values(trial) for trial in done if trial.params in others]
        start = next((known_values(trial) for trial in done if trial.params == own), None)
        signs = [1 if goal == StudyDirection.MINIMIZE else -1 for goal in self.study.directions]
        return len(found) >= MISLED and not any(
            start is None or any(s * a < s * b for s, a, b in zip(signs, each, start, strict=True))
            for each in found
            if each is not None
        )

    def learn(self, end: TrialEnd) -> None:
        """Tell Optuna how it ended; an interrupted trial stays open.

        A paused one is told as pruned at its rung, so that the sampler learns from it at once. If
        it is promoted, what it reports and how it ends take the place of that.
        """
        paused = end.state == "interrupted" and end.number in self.paused()
        if end.state == "interrupted" and not paused:
            return
        if self._rungs is not None and not paused:
            self._rungs.paused.pop(end.number, None)  # it failed on its way to the pause
        values = self.values(end.value, end.scores) if end.state == "complete" else None
        state = TrialState.PRUNED if paused else OPTUNA_STATES[end.state]
        if state is TrialState.COMPLETE and values is None:
            state = TrialState.FAIL
        self.tell_end(end.number, state, values)

    def tell_report(self, number: int, step: int, value: float) -> None:
        """Tell Optuna what a trial reported, also of one that was told as pruned and goes on."""
        if number in self._trials:
            self._trials[number].report(value, step)
        elif not self._told_once:
            self.told(number).intermediate_values[step] = value

    def tell_end(self, number: int, state: TrialState, values: list[float] | None) -> None:
        """Tell Optuna how a trial stands, also of one that was told as pruned and went on."""
        if number in self._trials:
            # Optuna's ``tell``, but for the copy of the trial that it returns: half of its time
            _tell_with_warning(self.study, self._trials.pop(number), values, state=state)
        elif not self._told_once:
            trial = self.told(number)
            trial.state, trial.values = state, values

    def told(self, number: int) -> optuna.trial.FrozenTrial:
        """What Optuna keeps of a trial: its own object, where its copies would take longer.

        It is also put right where Optuna cannot be told: for it a pruned trial has ended for good.
        Its storage in memory and its samplers all look at this object; a test compares what they
        propose with a study that is made anew.
        """
        return self.study.get_trials(deepcopy=False)[number]


def known_values(trial: optuna.trial.FrozenTrial) -> list[float] | None:
    """The values of a complete trial, the last report of a pruned one."""
    if trial.state is TrialState.COMPLETE:
        return list(trial.values)
    reports = trial.intermediate_values
    return [reports[max(reports)]] if reports and trial.state is TrialState.PRUNED else None


class ListPlan:
    """A fixed list of trials, none pruned: the runs of a claim."""

    def __init__(self, trials: list[TrialStart]) -> None:
        self._waiting = [replace(trial, number=i) for i, trial in enumerate(trials)]

    def restore(self, past: list[PastTrial]) -> None:
        """Skip what earlier legs handed out."""
        self._waiting = self._waiting[len(past) :]

    def propose(self) -> TrialStart | None:
        """The next one of the list."""
        return self._waiting.pop(0) if self._waiting else None

    def promote(self, final: bool) -> TrialStart | None:
        """None is ever paused."""
        return None

    def paused(self) -> set[int]:
        """None is ever paused."""
        return set()

    def judge(self, number: int, report: Report) -> Decision:
        """Go on: a claim compares whole fits."""
        return "continue"

    def learn(self, end: TrialEnd) -> None:
        """Nothing to learn."""
