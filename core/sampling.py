"""Optuna's samplers and pruners as this engine uses them."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Literal, cast

import numpy as np
import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from automl.core.early import propose

SamplerName = Literal["tpe", "gp", "cmaes", "nsga2", "nsga3", "qmc", "random"]
SAMPLERS: tuple[SamplerName | Literal["auto"], ...] = (
    "auto", "tpe", "gp", "cmaes", "nsga2", "nsga3", "qmc", "random",
)  # fmt: skip
POPULATION = 20  # of a generation; Optuna's 50 would leave most searches at random
FIRST, EARLY = 4, 40  # ended trials that processes need; trials that they propose among
REPLAYED = ("cmaes", "nsga2", "nsga3")  # keep their state in Optuna's trials as they are asked


def derived_seed(seed: int, *what: object) -> int:
    """A 31-bit seed for one purpose, from the study's seed."""
    text = ":".join(map(str, (seed, *what)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Seeded(optuna.samplers.BaseSampler):
    """A sampler whose random stream depends only on the study's seed and the trial's number.

    So a resumed search proposes what an uninterrupted one would have, and nothing about the
    sampler has to be stored.
    """

    name: ClassVar[str]

    def __init__(self, seed: int, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(seed=seed, **options)  # type: ignore[call-arg]  # Optuna's sampler
        self._study_seed = seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Reseed for this trial, then do as Optuna's does."""
        reseed(self, derived_seed(self._study_seed, self.name, trial.number))
        super().before_trial(study, trial)


class SeededTPESampler(Seeded, optuna.samplers.TPESampler):
    """TPE, seeded. Parameters are modelled in groups.

    Optuna's default falls back to independent sampling on conditional spaces, and draws the first
    ten trials at random. Here Gaussian processes propose those from the fifth on, and every other
    one of the next thirty: where one model errs the other goes on (benchmarks/peers.py).
    """

    name = "tpe"

    def __init__(self, seed: int, parallel: bool) -> None:
        super().__init__(seed, multivariate=True, group=True, constant_liar=parallel)
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        self._counted = (*states, TrialState.RUNNING) if parallel else states

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Propose by what the first trials reached, or as TPE does."""
        if len(study.directions) > 1 or not search_space or trial.number >= EARLY:
            return super().sample_relative(study, trial, search_space)
        past = study._get_trials(deepcopy=False, states=self._counted, use_cache=True)
        known = [
            t for t in past if t.number != trial.number and t.params.keys() >= search_space.keys()
        ]
        worth = [reached(each, study.direction) for each in known]
        enough = sum(map(math.isfinite, worth)) >= FIRST
        if not enough or (len(known) >= self._n_startup_trials and trial.number % 2):
            return super().sample_relative(study, trial, search_space)
        rng = np.random.default_rng(derived_seed(self._study_seed, "early", trial.number))
        return propose(search_space, [each.params for each in known], worth, rng)


def reached(trial: FrozenTrial, direction: StudyDirection) -> float:
    """The best that a trial has told, more being better; if nothing yet, the worst there is."""
    sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
    told = [*trial.intermediate_values.values(), *(trial.values or ())]
    return max((sign * value for value in told if not math.isnan(value)), default=-math.inf)


class SeededRandomSampler(Seeded, optuna.samplers.RandomSampler):
    """Random search, seeded. Draws what Optuna's does, with each range worked out once."""

    name = "random"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._ranges: dict[str, tuple[BaseDistribution, _SearchSpaceTransform]] = {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter."""
        known, transform = self._ranges.get(param_name, (None, None))
        if transform is None or known != param_distribution:
            transform = _SearchSpaceTransform({param_name: param_distribution})
            self._ranges[param_name] = param_distribution, transform
        low, high = transform.bounds.T
        return transform.untransform(self._rng.rng.uniform(low, high))[param_name]


class WithPruned:
    """A study in which a pruned trial counts as complete, with the value that it had reached.

    Optuna's Gaussian process sees complete trials only; where most are pruned it would learn
    nothing of what is bad and propose it again. It and CMA-ES take the space from complete trials,
    and would draw at random as long as there is none.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: tuple[TrialState, ...] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        pruned = TrialState.PRUNED
        asked = None if states is None else (*states, pruned)
        trials = self._study._get_trials(deepcopy, asked, use_cache)
        found = [completed(trial) if trial.state is pruned else trial for trial in trials]
        return [trial for trial in found if trial.state is not pruned]


def completed(trial: FrozenTrial) -> FrozenTrial:
    """A pruned trial with its last report as its value; itself if it never reported."""
    if not trial.intermediate_values:
        return trial
    found = copy(trial)
    found.state = TrialState.COMPLETE
    found.values = [trial.intermediate_values[max(trial.intermediate_values)]]
    return found


class SeededGPSampler(Seeded, optuna.samplers.GPSampler):
    """A Gaussian process, seeded."""

    name = "gp"

    def __init__(self, seed: int) -> None:
        super().__init__(seed, warn_independent_sampling=False)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Fit the process without a start from the last fit, which a resumed search has not."""
        self._gprs_cache_list = None
        super().before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The space of all that ended, the pruned ones included."""
        return super().infer_relative_search_space(cast("optuna.Study", WithPruned(study)), trial)

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Propose by all that ended, the pruned ones included."""
        return super().sample_relative(cast("optuna.Study", WithPruned(study)), trial, search_space)


class SeededCmaEsSampler(Seeded, optuna.samplers.CmaEsSampler):
    """CMA-ES, seeded.

    Its distribution is kept by Optuna in the trials' attributes; ``SearchPlan.restore`` gets it
    back by asking and telling again. A generation that has shaped the distribution cannot be told
    better values later. So with ``asha`` it is told what each trial reached at the first rung,
    where all can be compared, and nothing of what a promoted one reaches afterwards.
    """

    name = "cmaes"

    def __init__(self, seed: int) -> None:
        super().__init__(seed, warn_independent_sampling=False, consider_pruned_trials=True)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The space of all that ended, the pruned ones included."""
        return super().infer_relative_search_space(cast("optuna.Study", WithPruned(study)), trial)


class SeededNSGAIISampler(Seeded, optuna.samplers.NSGAIISampler):
    """NSGA-II (Deb et al. 2002), seeded.

    It breeds from complete trials only. With ``asha`` one that was paused counts from when it is
    complete; that order is not on record, so that a resumed search may breed others than an
    uninterrupted one.
    """

    name = "nsga2"

    def __init__(self, seed: int) -> None:
        super().__init__(seed, population_size=POPULATION)


class SeededNSGAIIISampler(Seeded, optuna.samplers.NSGAIIISampler):
    """NSGA-III (Deb and Jain 2014), seeded, and with ``asha``, as ``SeededNSGAIISampler``."""

    name = "nsga3"

    def __init__(self, seed: int) -> None:
        super().__init__(seed, population_size=POPULATION)


class NumberedQMCSampler(optuna.samplers.QMCSampler):
    """Quasi-random search whose point is chosen by the trial's number: parallel and resumable.

    Optuna counts points in the study's attributes, which a rebuilt study does not have.
    """

    def __init__(self, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                scramble=True,
                seed=seed,
                independent_sampler=SeededRandomSampler(seed),
                warn_independent_sampling=False,
            )
        self._number = 0

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Remember the number."""
        self._number = trial.number
        super().before_trial(study, trial)

    def _find_sample_id(self, *args: Any, **kwargs: Any) -> int:
        return self._number


def reseed(sampler: Any, seed: int) -> None:
    """Seed a sampler's generators in place.

    Optuna offers ``reseed_rng()`` without a seed only; a test pins the attribute names.
    """
    for name in ("_rng", "_cma_rng"):
        if hasattr(sampler, name):
            getattr(sampler, name).rng.seed(seed)
    for name in ("_random_sampler", "_independent_sampler"):
        if hasattr(sampler, name):
            getattr(sampler, name)._rng.rng.seed(seed ^ 0x5EED)


SEEDED: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "gp": SeededGPSampler,
    "cmaes": SeededCmaEsSampler,
    "nsga2": SeededNSGAIISampler,
    "nsga3": SeededNSGAIIISampler,
    "qmc": NumberedQMCSampler,
    "random": SeededRandomSampler,
}


def make_sampler(name: SamplerName, seed: int, parallel: bool) -> optuna.samplers.BaseSampler:
    """The sampler of that name; ``parallel`` lets TPE account for trials still running."""
    return SeededTPESampler(seed, parallel) if name == "tpe" else SEEDED[name](seed)


class PinnedTrial:
    """A trial whose ``pinned`` parameters have the user's values and leave the search space."""

    def __init__(self, trial: BaseTrial, pinned: dict[str, Any]) -> None:
        self._trial = trial
        self._pinned = pinned

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._trial, name)
        if not name.startswith("suggest_"):
            return found

        def suggest(parameter: str, *args: Any, **kwargs: Any) -> Any:
            if parameter in self._pinned:
                return self._pinned[parameter]
            return found(parameter, *args, **kwargs)

        return suggest


def pin(trial: BaseTrial, pinned: dict[str, Any]) -> BaseTrial:
    """``trial`` itself, or a ``PinnedTrial`` around it if anything is pinned."""
    return cast("BaseTrial", PinnedTrial(trial, pinned)) if pinned else trial
