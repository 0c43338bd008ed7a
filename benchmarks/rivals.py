"""The methods of a contest: this engine, random search, Optuna, Ray Tune and Syne Tune.

Each is asked for one configuration after another and told each report, as its own runner would
with one worker: so what is compared is what they choose and when they stop it, not their overhead.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from contest import Arena
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from automl.core.entrants import Job
from automl.core.observer import Silent
from automl.core.run import Decision, Report
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

VALUE, ITERATION = "value", "training_iteration"


# ---------------------------------------------------------------- this engine


class Watching(Silent):
    """Tells a trace what a search reports."""

    def __init__(self, arena: Arena) -> None:
        self.arena, self.trace = arena, arena.trace
        self.steps: dict[int, int] = {}

    def trial_started(self, trial: Any) -> None:
        """Note how long its fit is."""
        config = type(self.arena.base).from_dict(trial.config)
        self.steps[trial.number] = self.arena.plugin.steps(config)

    def trial_reported(self, number: int, report: Report) -> None:
        """Take in what it cost."""
        value = report.scores[self.arena.plan.objectives.first.name]
        self.trace.report(number, report.step / self.steps[number], self.arena.sign * value)

    def trial_ended(self, trial: Any, best: int | None) -> None:
        """A trial that failed at once was not for nothing either."""
        if trial.state == "failed" and trial.step is None:
            self.trace.report(trial.number, 1 / self.arena.contest.iterations, float("inf"))


def automl(**settings: Any) -> Callable[[Arena], None]:
    """A search by this engine with these settings."""

    def method(arena: Arena) -> None:
        contest, folder = arena.contest, Path(arena.folder)
        chosen = SearchSettings(executor="inline", device="cpu", seed=arena.seed, **settings)
        budget = Budget(trials=TRIALS * contest.fits)
        job = Job((contest.plugin,), budget, contest.dataset, contest.overrides, settings=chosen)
        with Store(folder / "a.db", artifacts=folder / "files") as store:
            search(job, store, Watching(arena))

    return method


TRIALS = 3  # to a whole fit of the budget, as many are stopped early


# ---------------------------------------------------------------- peers


def by_optuna(make: Callable[[int], optuna.samplers.BaseSampler], prunes: bool) -> Any:
    """Optuna's ask and tell; with its default pruner or none."""

    def method(arena: Arena) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = None if prunes else optuna.pruners.NopPruner()
        study = optuna.create_study(
            direction=arena.direction, sampler=make(arena.seed), pruner=pruner
        )
        study.enqueue_trial(arena.first)
        while True:
            trial = study.ask()
            arena.plan.configure(trial)

            def tell(iteration: int, value: float, trial: optuna.Trial = trial) -> Decision:
                trial.report(value, iteration)
                return "prune" if trial.should_prune() else "continue"

            value = arena.train(trial.number, trial.params, tell)
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                stopped = study.pruner is not None and trial.should_prune()
                state = optuna.trial.TrialState.PRUNED if stopped else None
                study.tell(trial, None if stopped else value, state=state)

    return method


def ray_tune(arena: Arena) -> None:
    """Ray Tune's OptunaSearch and ASHAScheduler with their defaults."""
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def space(trial: optuna.Trial) -> None:
        arena.plan.configure(trial)

    mode = "max" if arena.sign < 0 else "min"
    searcher = OptunaSearch(
        space, metric=VALUE, mode=mode, points_to_evaluate=[arena.first], seed=arena.seed
    )
    scheduler = ASHAScheduler(metric=VALUE, mode=mode, max_t=arena.contest.iterations)
    number = 0
    while True:
        name = f"trial_{number}"
        params = searcher.suggest(name)
        trial = SimpleNamespace(trial_id=name)
        scheduler.on_trial_add(None, trial)
        last: dict[str, Any] = {}

        def tell(
            iteration: int, value: float, name: str = name, trial: Any = trial, last: Any = last
        ) -> Decision:
            last.update({VALUE: value, ITERATION: iteration})
            searcher.on_trial_result(name, last)
            return "prune" if scheduler.on_trial_result(None, trial, last) == "STOP" else "continue"

        value = arena.train(number, params, tell)
        searcher.on_trial_complete(name, last or None, error=value is None)
        if value is None:
            scheduler.on_trial_remove(None, trial)
        else:
            scheduler.on_trial_complete(None, trial, last)
        number += 1


def syne_tune(arena: Arena) -> None:
    """Syne Tune's ASHACQR (ASHA with conformal quantile regression) with its defaults."""
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.baselines import ASHACQR

    logging.getLogger("syne_tune").setLevel(logging.ERROR)
    space = {name: domain(d) for name, d in arena.distributions.items()}
    scheduler = ASHACQR(
        space, VALUE, ITERATION, arena.contest.iterations,
        do_minimize=arena.sign > 0, random_seed=arena.seed,
        points_to_evaluate=[complete(arena.first, arena.distributions)],
    )  # fmt: skip
    number = 0
    while True:
        params = scheduler.suggest().config
        trial = Trial(number, params, datetime.now())
        scheduler.on_trial_add(trial)
        last: dict[str, Any] = {}

        def tell(iteration: int, value: float, trial: Any = trial, last: Any = last) -> Decision:
            last.update({VALUE: value, ITERATION: iteration})
            stops = scheduler.on_trial_result(trial, dict(last)) == "STOP"
            return "prune" if stops and iteration < arena.contest.iterations else "continue"

        value = arena.train(number, params, tell)
        if value is None:
            scheduler.on_trial_error(trial)
        else:
            scheduler.on_trial_complete(trial, dict(last))
        number += 1


def domain(distribution: Any) -> Any:
    """An Optuna distribution in Syne Tune's terms."""
    from syne_tune import config_space as syne

    if isinstance(distribution, CategoricalDistribution):
        return syne.choice(list(distribution.choices))
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):
        return (syne.lograndint if distribution.log else syne.randint)(low, high)
    assert isinstance(distribution, FloatDistribution)
    return (syne.loguniform if distribution.log else syne.uniform)(low, high)


def complete(params: dict[str, Any], distributions: dict[str, Any]) -> dict[str, Any]:
    """The parameters with something for those that the condition leaves out."""
    return {
        name: params.get(name, d.choices[0] if hasattr(d, "choices") else d.low)
        for name, d in distributions.items()
    }


METHODS: dict[str, Callable[[Arena], None]] = {
    "automl": automl(),
    "tpe asha": automl(pruner="asha"),
    "tpe median .1": automl(warmup=0.1),
    "gp median": automl(sampler="gp"),
    "auto asha": automl(sampler="auto", pruner="asha"),
    "auto median": automl(sampler="auto", pruner="median"),
    "random": by_optuna(optuna.samplers.RandomSampler, prunes=False),
    "optuna": by_optuna(lambda seed: optuna.samplers.TPESampler(seed=seed), prunes=True),
    "ray tune": ray_tune,
    "syne tune": syne_tune,
}
warnings.filterwarnings("ignore")
