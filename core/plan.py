"""Which configuration comes next: Optuna's proposals, or a fixed list."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import optuna
from optuna.trial import FixedTrial, TrialState, create_trial

from automl.core.cards import TechniqueCard
from automl.core.data import DataInfo
from automl.core.discovery import catalogue
from automl.core.errors import BrokenPlugin, ConfigError
from automl.core.plugin import Plugin
from automl.core.projection import ProjectedTrial
from automl.core.pruning import Rungs, make_pruner
from automl.core.record import FINISHED, PastTrial, TrialEnd, TrialStart
from automl.core.run import Decision, Report
from automl.core.sampling import derived_seed, make_sampler, pin
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

    def __init__(
        self,
        plugin: Plugin[Any, Any],
        base: Settings,
        info: DataInfo,
        settings: SearchSettings,
        pinned: dict[str, Any],
        techniques: tuple[str, ...],
        parallel: bool,
    ) -> None:
        self.plugin, self.base, self.info = plugin, base, info
        self.seed, self.pinned = settings.seed, pinned
        self.objective = info.problem.objective
        self.techniques: dict[str, type[Technique]] = {
            name: catalogue().card(TechniqueCard, name).load() for name in techniques
        }
        first = FixedTrial(self.first_params())
        self.configure(first)
        self.distributions = dict(first.distributions)
        steps = plugin.steps(base)
        self.study = optuna.create_study(
            study_name="search",  # hyperband chooses a trial's bracket by it
            direction="maximize" if self.objective.goal == "max" else "minimize",
            sampler=make_sampler(settings.sampler, settings.seed, parallel),  # type: ignore[arg-type]
            pruner=make_pruner(settings.pruner, steps, settings.warmup),  # type: ignore[arg-type]
        )
        self.beginnings = [dict(first.params)]  # what is tried before the sampler proposes
        self.waiting = [dict(first.params)]  # what of it is still to be handed out
        self.first: tuple[Mapping[str, Any], ...] = ()  # what of it came from elsewhere
        self._trials: dict[int, optuna.Trial] = {}
        self._starts: dict[int, TrialStart] = {}
        self._replays = settings.sampler == "cmaes"
        sign = 1.0 if self.objective.goal == "max" else -1.0
        lowest = max(1, round(steps * settings.warmup))
        self._rungs = Rungs(lowest, steps, sign) if settings.pruner == "asha" else None

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
            direction=self.study.direction,
            sampler=self.study.sampler,
            pruner=self.study.pruner,
        )
        self.study = fresh
        given = [trial.start.params for trial in past]
        self.waiting = [params for params in self.waiting if params not in given]
        for trial in past:
            self._starts[trial.start.number] = trial.start
            self.restore_rungs(trial)
            if self._replays:
                self.tell_again(trial)
            else:
                fresh.add_trial(self.frozen(trial))
            if trial.state not in FINISHED and trial.start.number not in self.paused():
                # Optuna numbers its in-memory trials like their ids
                self._trials[trial.start.number] = optuna.Trial(fresh, trial.start.number)

    def restore_rungs(self, past: PastTrial) -> None:
        """Let a recorded trial reach its rungs again; an unfinished one waits where it was."""
        if self._rungs is None:
            return
        number = past.start.number
        for step, value in sorted(past.reports.items()):
            self._rungs.reach(number, step, value)
        if past.state not in FINISHED and self._rungs.passed.get(number):
            self._rungs.paused[number] = self._rungs.passed[number] - 1

    def tell_again(self, past: PastTrial) -> None:
        """Have the sampler propose a recorded trial's parameters again, and tell its end."""
        frozen = self.frozen(past)
        self.study.enqueue_trial(past.start.params)
        trial = self.study.ask()
        if past.start.params not in self.beginnings:  # those were not the sampler's
            _ = trial.relative_params  # Optuna proposes at the first use, and none is needed here
        with suppress(ConfigError):
            self.configure(trial)
        for step, value in past.reports.items():
            trial.report(value, step)
        if frozen.state is not TrialState.RUNNING:
            self.study.tell(trial, frozen.value, state=frozen.state)

    def frozen(self, past: PastTrial) -> optuna.trial.FrozenTrial:
        """A recorded trial as Optuna's samplers and pruners see it."""
        state = OPTUNA_STATES[past.state]
        if past.start.number in self.paused():
            state = TrialState.PRUNED
        if past.state == "complete" and past.value is None:
            state = TrialState.FAIL
        return create_trial(
            state=state,
            value=past.value if state is TrialState.COMPLETE else None,
            params=past.start.params,
            distributions=self.known_distributions(past.start),
            intermediate_values=past.reports,
        )

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
        self.distributions |= trial.distributions
        start = TrialStart(
            trial.number, self.plugin.name, seed, dict(trial.params), config, techniques
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
        """Ask the rungs, or Optuna's pruner."""
        value = report.scores[self.objective.name]
        trial = self._trials.get(number)  # one that was paused before is Optuna's no more
        if trial is not None:
            trial.report(value, report.step)
        if self._rungs is not None:
            return "interrupt" if self._rungs.pauses(number, report.step, value) else "continue"
        return "prune" if trial is not None and trial.should_prune() else "continue"

    def misled(self) -> bool:
        """Whether two of the first configurations are done, and none is better than trial 0."""
        own, *others = self.beginnings
        done = [t for t in self.study.get_trials(deepcopy=False) if t.state.is_finished()]
        sign = 1 if self.objective.goal == "max" else -1
        values = [(sign * known_value(trial, -sign * math.inf), trial.params) for trial in done]
        start = max((value for value, params in values if params == own), default=-math.inf)
        found = [value for value, params in values if params in others]
        return len(found) >= MISLED and max(found) <= start

    def learn(self, end: TrialEnd) -> None:
        """Tell Optuna how it ended; an interrupted trial stays open.

        A paused one is told as pruned at its rung, so that the sampler learns from it at once; if
        it is promoted later, its place among the others of that rung has told the sampler enough.
        """
        paused = end.state == "interrupted" and end.number in self.paused()
        if end.state == "interrupted" and not paused:
            return
        if self._rungs is not None and not paused:
            self._rungs.paused.pop(end.number, None)  # it failed on its way to the pause
        trial = self._trials.pop(end.number, None)
        if trial is None:
            return
        value = end.value if end.state == "complete" else None
        state = TrialState.PRUNED if paused else OPTUNA_STATES[end.state]
        self.study.tell(trial, value, state=state)


def known_value(trial: optuna.trial.FrozenTrial, otherwise: float) -> float:
    """The value of a complete trial, the last report of a pruned one."""
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value
    reports = trial.intermediate_values
    return reports[max(reports)] if reports and trial.state is TrialState.PRUNED else otherwise


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
