"""Which sampler suits a space and a budget, and which cannot work in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import CategoricalDistribution

from automl.core.errors import ConfigError
from automl.core.sampling import SamplerName, SeededRandomSampler

if TYPE_CHECKING:
    from automl.core.plan import SearchPlan

PROBES = 24  # random configurations that show which parameters are conditional
FEW, SOME, MANY = 5, 200, 1000  # trials
AHEAD = 20  # trials until which TPE is ahead of a Gaussian process by itself
FOR_SEVERAL = ("nsga2", "nsga3")
FOR_ONE_SAMPLERS = ("cmaes",)
FOR_ONE_PRUNERS = ("hyperband", "patience", "extrapolation")
FOR_CROWDING = 3  # objectives, beyond which NSGA-II's crowding tells little (Deb and Jain 2014)


@dataclass(frozen=True)
class Shape:
    """What a search space is made of."""

    numbers: int  # integer and real parameters
    choices: int  # categorical parameters
    conditional: tuple[str, ...]  # parameters that not every configuration has


def shape(plan: SearchPlan) -> Shape:
    """Look at a space through random configurations, the same ones for the same space."""
    study = optuna.create_study(sampler=SeededRandomSampler(0))
    seen: list[set[str]] = []
    found = dict(plan.distributions)
    for _ in range(PROBES):
        trial = study.ask()
        try:
            plan.configure(trial)
        except ConfigError:
            continue
        seen.append(set(trial.params))
        found |= trial.distributions
    everywhere = set.intersection(*seen) if seen else set(found)
    choices = sum(isinstance(d, CategoricalDistribution) for d in found.values())
    return Shape(len(found) - choices, choices, tuple(sorted(found.keys() - everywhere)))


def suited(space: Shape, trials: int | None, objectives: int = 1) -> tuple[SamplerName, str]:
    """The sampler for a space, a budget of trials and so many objectives; why in a few words."""
    many = trials is not None and trials >= MANY
    rules: tuple[tuple[bool, SamplerName, str], ...] = (
        (
            many and objectives > 1,
            "nsga2" if objectives <= FOR_CROWDING else "nsga3",
            f"{objectives} objectives and at least {MANY:,} trials",
        ),
        (bool(space.conditional), "tpe", "the space is conditional"),
        (
            trials is not None and trials <= FEW and space.numbers > space.choices,
            "qmc",
            f"{trials} trials are too few for a model of the space",
        ),
        (bool(space.choices), "tpe", "the space has categorical choices"),
        (
            trials is not None and AHEAD <= trials <= SOME,
            "gp",
            f"{space.numbers} numbers and {AHEAD} to {SOME} trials",
        ),
        (
            many and space.numbers > 1,
            "cmaes",
            f"{space.numbers} numbers and at least {MANY:,} trials",
        ),
    )
    default: tuple[SamplerName, str] = ("tpe", "no other one is ahead with such a budget")
    return next(((name, why) for holds, name, why in rules if holds), default)


def check_strategies(sampler: str, pruner: str, objectives: int) -> None:
    """Refuse a sampler or pruner that cannot work with so many objectives.

    Raises:
        ConfigError: naming it, the reason and what to use.
    """
    if objectives == 1 and sampler in FOR_SEVERAL:
        raise ConfigError(
            f"sampler {sampler!r} needs several objectives, and there is one: add another with "
            "--objective, or use --sampler tpe or auto"
        )
    if objectives > 1 and sampler in FOR_ONE_SAMPLERS:
        raise ConfigError(
            f"sampler {sampler!r} works with one objective, and there are {objectives}: use "
            "--sampler tpe, nsga2 or auto"
        )
    if objectives > 1 and pruner in FOR_ONE_PRUNERS:
        raise ConfigError(
            f"pruner {pruner!r} works with one objective, and there are {objectives}: use "
            "--pruner median, asha or none"
        )


def check(name: str, space: Shape, plugin: str) -> None:
    """Refuse a sampler that would only ever draw at random in this space.

    Raises:
        ConfigError: naming the sampler, the plugin and the reason.
    """
    reason = ""
    if name in ("gp", "cmaes") and space.conditional:
        names = ", ".join(space.conditional[:3])
        reason = f"a space without conditions, and {names} are not in every configuration"
    elif name == "cmaes" and space.numbers <= 1:
        reason = f"two numerical parameters or more, and the space has {space.numbers}"
    if reason:
        raise ConfigError(
            f"sampler {name!r} cannot search the space of plugin {plugin!r}: it needs {reason}; "
            "use --sampler tpe or auto"
        )
