"""Which configuration comes next: Optuna's proposals, or a fixed list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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
from automl.core.record import FINISHED, PastTrial, TrialEnd, TrialStart
from automl.core.run import Report
from automl.core.sampling import derived_seed, make_pruner, make_sampler, pin
from automl.core.settings import Settings
from automl.core.study import SearchSettings
from automl.core.technique import Technique

optuna.logging.set_verbosity(optuna.logging.WARNING)
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

    def should_prune(self, number: int, report: Report) -> bool:
        """Note a report of a running trial and say whether to stop it as hopeless."""

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
        self.study = optuna.create_study(
            direction="maximize" if self.objective.goal == "max" else "minimize",
            sampler=make_sampler(settings.sampler, settings.seed, parallel),  # type: ignore[arg-type]
            pruner=make_pruner(settings.pruner, plugin.steps(base), settings.warmup),  # type: ignore[arg-type]
        )
        self.queue = [first.params]  # what is tried first
        self.waiting = [first.params]  # what of it is still to be handed out
        self.first: tuple[Mapping[str, Any], ...] = ()  # what of it came from elsewhere
        self._trials: dict[int, optuna.Trial] = {}

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
            except ConfigError:
                continue
            if trial.found not in self.queue:
                self.queue.append(trial.found)
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
            direction=self.study.direction, sampler=self.study.sampler, pruner=self.study.pruner
        )
        fresh.add_trials([self.frozen(trial) for trial in past])
        self.study = fresh
        given = [trial.start.params for trial in past]
        self.waiting = [params for params in self.waiting if params not in given]
        for trial in past:
            if trial.state not in FINISHED:
                # Optuna numbers its in-memory trials like their ids
                self._trials[trial.start.number] = optuna.Trial(fresh, trial.start.number)

    def frozen(self, past: PastTrial) -> optuna.trial.FrozenTrial:
        """A recorded trial as Optuna's samplers and pruners see it."""
        state = OPTUNA_STATES[past.state]
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
        """Ask Optuna; a configuration that the plugin refuses counts as a failed trial."""
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
        return TrialStart(
            trial.number, self.plugin.name, seed, dict(trial.params), config, techniques
        )

    def misled(self) -> bool:
        """Whether two of the first configurations are done, and none is better than trial 0."""
        own, *others = self.queue
        sign = 1 if self.objective.goal == "max" else -1
        start, found = -math.inf, []
        for trial in self.study.get_trials(deepcopy=False):
            if not trial.state.is_finished():
                continue
            complete = trial.state is TrialState.COMPLETE and trial.value is not None
            value = sign * trial.value if complete else -math.inf  # type: ignore[operator]
            if trial.params == own:
                start = max(start, value)
            elif trial.params in others:
                found.append(value)
        return len(found) >= MISLED and max(found) <= start

    def should_prune(self, number: int, report: Report) -> bool:
        """Tell Optuna the objective and ask its pruner."""
        trial = self._trials[number]
        trial.report(report.scores[self.objective.name], report.step)
        return trial.should_prune()

    def learn(self, end: TrialEnd) -> None:
        """Tell Optuna how it ended; an interrupted trial stays open."""
        if end.state == "interrupted":
            return
        value = end.value if end.state == "complete" else None
        self.study.tell(self._trials.pop(end.number), value, state=OPTUNA_STATES[end.state])


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

    def should_prune(self, number: int, report: Report) -> bool:
        """Never: a claim compares whole fits."""
        return False

    def learn(self, end: TrialEnd) -> None:
        """Nothing to learn."""
