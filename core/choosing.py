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
FEW, SOME, MANY = 12, 200, 1000  # trials


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


def suited(space: Shape, trials: int | None) -> tuple[SamplerName, str]:
    """The sampler for a space and a budget of trials, and why in a few words."""
    if space.conditional:
        return "tpe", "the space is conditional"
    if trials is not None and trials <= FEW and space.numbers > space.choices:
        return "qmc", f"{trials} trials are too few for a model of the space"
    if space.choices:
        return "tpe", "the space has categorical choices"
    if trials is not None and trials <= SOME:
        return "gp", f"{space.numbers} numbers and no more than {SOME} trials"
    if space.numbers > 1 and trials is not None and trials >= MANY:
        return "cmaes", f"{space.numbers} numbers and at least {MANY:,} trials"
    return "tpe", "the budget is neither small nor large"


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
