"""What a search improves: metrics of its problem, and what a model costs where it is to run.

Vectors of objectives are signed so that less is better; a front has those that no other vector
beats in one objective without being beaten in another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from automl.core.cards import Metric
from automl.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:  # a reader of fronts needs no torch
    from automl.core.data import Problem

Vector = tuple[float, ...]
COSTS = {
    "params": Metric("params", "min", "", "numbers that the model holds"),
    "bytes": Metric("bytes", "min", "bytes", "size of the exported model"),
    "latency_ms": Metric("latency_ms", "min", "ms", "one example in the exported model, median"),
}
EXPORTED = ("bytes", "latency_ms")  # are measured on the exported model


@dataclass(frozen=True)
class Objectives:
    """What a search improves, in the order of its vectors; the first is a metric."""

    metrics: tuple[Metric, ...]

    @classmethod
    def choose(cls, problem: Problem, names: Sequence[str]) -> Objectives:
        """The objectives of those names, the problem's metrics first; by default its first metric.

        Raises:
            ConfigError: if one does not exist, is named twice, or none says how good a model is.
        """
        known = {metric.name: metric for metric in problem.metrics}
        if not names:
            return cls((problem.objective,))
        for name in names:
            if name not in known and name not in COSTS:
                hint = did_you_mean(name, (*known, *COSTS))
                raise ConfigError(
                    f"there is no objective {name!r} for {problem.name!r}.{hint} "
                    f"Its metrics: {', '.join(known)}; costs: {', '.join(COSTS)}"
                )
            if names.count(name) > 1:
                raise ConfigError(f"objective {name!r} is named twice: name it once")
        metrics = [known[name] for name in names if name in known]
        if not metrics:
            raise ConfigError(
                f"objectives {', '.join(names)} are costs only, which an empty model wins: add "
                f"--objective {problem.objective.name}"
            )
        costs = [COSTS[name] for name in names if name not in known]
        return cls((*metrics, *costs))

    @property
    def first(self) -> Metric:
        """The metric that stands for the search where there is room for one."""
        return self.metrics[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(metric.name for metric in self.metrics)

    @property
    def weights(self) -> tuple[float, ...]:
        """What each counts for at the knee: all costs together as much as all metrics together."""
        costs = sum(name in COSTS for name in self.names)
        metrics = len(self.names) - costs
        return tuple(1 / (costs if name in COSTS else metrics) for name in self.names)

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """As Optuna calls them."""
        return ["maximize" if metric.goal == "max" else "minimize" for metric in self.metrics]

    def vector(self, scores: Mapping[str, float]) -> Vector | None:
        """The objectives among ``scores``, signed so that less is better; ``None`` if one lacks."""
        values = [float(scores.get(metric.name, math.nan)) for metric in self.metrics]
        if any(math.isnan(value) for value in values):
            return None
        signs = (-1.0 if metric.goal == "max" else 1.0 for metric in self.metrics)
        return tuple(sign * value for sign, value in zip(signs, values, strict=True))


def ranks(points: Sequence[Vector]) -> NDArray[np.int64]:
    """The front of each point, 0 for those that none dominates, 1 for those behind them, ...

    One objective gives the places in its order. The result has shape (points,); n points take
    O(n log n) for one objective and O(n^2) beyond.
    """
    costs = np.asarray(points, dtype=float)
    if len(costs) == 0:
        return np.zeros(0, np.int64)
    if costs.shape[1] == 1:
        return np.unique(costs[:, 0], return_inverse=True)[1].astype(np.int64)
    no_worse = np.ones((len(costs), len(costs)), bool)
    better = ~no_worse
    for column in costs.T:  # [i, j]: point i beside point j
        no_worse &= column[:, None] <= column
        better |= column[:, None] < column
    dominates = no_worse & better
    beaten_by = dominates.sum(0)
    found = np.full(len(costs), -1, np.int64)
    front = 0
    while (found < 0).any():
        mine = (found < 0) & (beaten_by == 0)
        found[mine] = front
        beaten_by = beaten_by - dominates[mine].sum(0)
        front += 1
    return found


def undominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other one dominates; ``costs`` has shape (points, objectives)."""
    order = np.lexsort(costs.T[::-1])
    kept = np.zeros(len(costs), bool)
    front = np.empty((0, costs.shape[1]))
    for index in order:  # a point can only be dominated by one before it
        point = costs[index]
        beaten = (front <= point).all(1) & (front < point).any(1)
        if not beaten.any():
            kept[index] = True
            front = np.vstack([front, point])
    return kept


def crowding(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart a point's neighbours on its front are; infinite at the ends.

    Deb et al. 2002 (NSGA-II), section III.B. ``points`` has shape (points, objectives).
    """
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        width = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = math.inf
        if width > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / width
    return distance


def order(points: Sequence[Vector]) -> list[int]:
    """The points' indices, the best first: by front, within one the least crowded first."""
    fronts = ranks(points)
    if not points or len(points[0]) == 1:
        return [int(index) for index in np.argsort(fronts, kind="stable")]
    costs, apart = np.asarray(points, dtype=float), np.zeros(len(points))
    for front in range(int(fronts.max()) + 1):
        apart[fronts == front] = crowding(costs[fronts == front])
    return [int(index) for index in np.lexsort((-apart, fronts))]


def knee(points: Sequence[Vector], weights: Sequence[float]) -> int:
    """The point of a front where giving up a little of one objective stops buying much of others.

    With every objective scaled to [0, 1] over the front it lies furthest below the plane through
    the ends (Das 1999), that is, has the least weighted sum; the first of equals.
    """
    costs = np.asarray(points, dtype=float)
    low, high = costs.min(0), costs.max(0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    return int((scaled @ np.asarray(weights)).argmin())


def front(vectors: Mapping[int, Vector]) -> list[int]:
    """The numbers whose vectors none dominates; of equal ones the first."""
    earliest: dict[Vector, int] = {}
    for number, vector in vectors.items():
        earliest.setdefault(vector, number)
    if not earliest:
        return []
    kept = undominated(np.array(list(earliest)))
    return [number for number, keeps in zip(earliest.values(), kept, strict=True) if keeps]
