"""A configuration from elsewhere, brought into a search space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial


class ProjectedTrial(FixedTrial):
    """Answers with what a configuration of another study says, as near as this space allows.

    Numbers are clipped to the range and its steps. What ``wanted`` does not say, and a choice that
    this space does not have, is as in ``base``; ``found`` has the answers by parameter.
    """

    def __init__(self, wanted: Mapping[str, Any], base: Mapping[str, Any]) -> None:
        super().__init__({})
        self.sources = (wanted, base)
        self.found: dict[str, Any] = {}

    def suggest_float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
    ) -> float:
        """The number within the range."""
        return float(self.answer(name, FloatDistribution(low, high, log, step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """The integer within the range."""
        return int(self.answer(name, IntDistribution(low, high, log, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The choice, if there is one like it."""
        return self.answer(name, CategoricalDistribution(choices))

    def answer(self, name: str, distribution: BaseDistribution) -> Any:
        """The value for a parameter; the first one allowed if no source has any."""
        told = (source[name] for source in self.sources if name in source)
        near = (nearest(value, distribution) for value in told)
        first = getattr(distribution, "choices", None) or (getattr(distribution, "low", None),)
        self.found[name] = next((value for value in near if value is not None), first[0])
        return self.found[name]


def nearest(value: Any, distribution: BaseDistribution) -> Any:
    """The allowed value that is nearest to one; ``None`` if it is of another kind."""
    if isinstance(distribution, CategoricalDistribution):
        same = (c for c in distribution.choices if c == value)
        return next((c for c in same if isinstance(c, bool) == isinstance(value, bool)), None)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    clipped = min(max(value, low), high)
    if step is None:
        return float(clipped)
    on_grid = min(low + round((clipped - low) / step) * step, high)
    return int(on_grid) if isinstance(distribution, IntDistribution) else on_grid
