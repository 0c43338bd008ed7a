"""When a trial is stopped as hopeless, or paused until others have shown how good it is."""

from __future__ import annotations

import warnings
from bisect import bisect_left, insort
from typing import Literal

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from automl.core.objectives import Vector, order, ranks

PrunerName = Literal["none", "median", "asha", "hyperband", "patience", "extrapolation"]
PRUNERS: tuple[PrunerName, ...] = (
    "median", "asha", "hyperband", "patience", "extrapolation", "none",
)  # fmt: skip
REDUCTION = 3  # the best third of a rung goes on (Li et al. 2020, eta)
# Among few others at a step most were drawn at random: the share of them that may be better.
FEW, FEW_KEPT, KEPT = 6, 1 / 3, 1 / 2
PATIENCE = 3  # reports without improvement that the patient pruner waits for
STARTUP = 4  # complete trials before Optuna's median or a forecast prunes any
SHORTEST_CURVE = 4  # points that a power law is fitted to
DECAYS = np.linspace(0.1, 2.0, 20)  # exponents that are tried
DOUBT = 2.0  # standard deviations that a forecast may be wrong by


def make_pruner(name: PrunerName, steps: int, first: int) -> optuna.pruners.BasePruner:
    """The pruner of that name for one objective; no trial is pruned before step ``first``.

    ``asha`` pauses instead of pruning: see ``Rungs``; for ``median`` see ``MedianRule``.
    """
    if name == "patience":
        median = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.PatientPruner(median, patience=PATIENCE)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(first, max(first, steps), REDUCTION)
    if name == "extrapolation":
        return ExtrapolationPruner(steps, first)
    return optuna.pruners.NopPruner()


class ExtrapolationPruner(optuna.pruners.BasePruner):
    """Prunes a trial whose learning curve will not reach the best finished trial's value.

    A power law a + b * step^-c is fitted to the curve so far and read off at the last step
    (Domhan et al. 2015 average eleven such families; one is enough to tell the hopeless). The
    forecast may be wrong by twice the fit's residual deviation in the trial's favour.
    """

    def __init__(self, steps: int, first: int) -> None:
        self.steps, self.first = steps, first

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether even the hopeful forecast is worse than the best complete trial."""
        curve = trial.intermediate_values
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < STARTUP or len(curve) < SHORTEST_CURVE or max(curve) < self.first:
            return False
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        best = max(sign * float(other.value or 0.0) for other in done)
        steps = np.array(sorted(curve), dtype=float)
        values = sign * np.array([curve[int(step)] for step in steps])
        forecast, deviation = power_law(steps, values, max(self.steps, steps[-1]))
        # A curve that forgets is kept at its best report at least.
        return max(forecast, float(values.max())) + DOUBT * deviation < best


def power_law(steps: np.ndarray, values: np.ndarray, last: float) -> tuple[float, float]:
    """The value at step ``last`` of the best fit of a + b * step^-c, and its residual deviation."""
    found = (float("inf"), float(values[-1]))
    for decay in DECAYS:
        design = np.stack([np.ones_like(steps), (steps / last) ** -decay], axis=1)
        solution, *_ = np.linalg.lstsq(design, values, rcond=None)
        error = float(((design @ solution - values) ** 2).sum())
        if error < found[0]:
            found = (error, float(solution.sum()))
    return found[1], float(np.sqrt(found[0] / max(1, len(steps) - 2)))


class MedianRule:
    """Prunes a trial of the worse half of those that reached its step, or of the worse two thirds.

    As long as few have reached it only the best third goes on: those are drawn at random, most of
    them are bad, and what is saved on them is tried elsewhere. Later proposals are close to each
    other, and the better half goes on. A trial is known by the best that it had until a step. Of
    several objectives the better fronts come first.

    Optuna's rule waits for four complete trials and compares with complete ones alone, so that it
    prunes late, and in the end even what is better than most (benchmarks/peers.py).
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.best: dict[int, Vector] = {}  # trial -> the best of each objective so far
        self.heard: dict[int, int] = {}  # trial -> its latest step
        self.at: dict[int, list[Vector]] = {}  # step -> the best until then of each trial, sorted

    def report(self, number: int, step: int, vector: Vector) -> None:
        """Note what a trial has reached; a step that it repeats after a pause counts once."""
        if step > self.heard.get(number, -1):
            self.heard[number] = step
            self.best[number] = tuple(map(min, self.best.get(number, vector), vector))
            insort(self.at.setdefault(step, []), self.best[number])

    def prunes(self, number: int, step: int) -> bool:
        """Whether a trial is stopped at the step that it has just reported."""
        others = len(self.at.get(step, ())) - 1
        if step < self.first or others < 1 or self.heard.get(number) != step:
            return False
        mine, known = self.best[number], self.at[step]
        if len(mine) == 1:
            better = bisect_left(known, mine)
        else:
            fronts = ranks([mine, *known])
            better = int((fronts[1:] < fronts[0]).sum())
        return better > (FEW_KEPT if others < FEW else KEPT) * others


class Rungs:
    """Asynchronous successive halving by promotion (Li et al. 2020): trials are paused at rungs.

    A trial that is not among the best third of those that reached its rung is paused there, and
    goes on from its checkpoint as soon as it is: nothing that later proves good was thrown away.
    Of several objectives the better fronts come first (Schmucker et al. 2021).
    """

    def __init__(self, first: int, steps: int) -> None:
        self.levels: list[int] = []
        while first < steps:
            self.levels.append(first)
            first *= REDUCTION
        self.scores: list[dict[int, Vector]] = [{} for _ in self.levels]
        self.passed: dict[int, int] = {}  # trial -> rungs that it has reached
        self.arrived: dict[int, int] = {}  # trial -> step at which it reached the first rung
        self.paused: dict[int, int] = {}  # trial -> rung that it waits at

    def reach(self, number: int, step: int, vector: Vector) -> int | None:
        """Note a report; the rung that the trial has just reached, if it has."""
        before = self.passed.get(number, 0)
        rung = before
        while rung < len(self.levels) and step >= self.levels[rung]:
            self.scores[rung][number] = vector
            rung += 1
        self.passed[number] = rung
        if rung > before == 0:
            self.arrived[number] = step
        return rung - 1 if rung > before else None

    def pauses(self, number: int, step: int, vector: Vector) -> bool:
        """Note a report and say whether the trial has to wait at the rung that it reached."""
        rung = self.reach(number, step, vector)
        if rung is None or number in self.best(rung):
            return False
        self.paused[number] = rung
        return True

    def best(self, rung: int) -> list[int]:
        """The best third of the trials that reached a rung, the best first."""
        return self.placed(rung)[: len(self.scores[rung]) // REDUCTION]

    def placed(self, rung: int) -> list[int]:
        """The trials that reached a rung, the best first."""
        numbers = list(self.scores[rung])
        return [numbers[index] for index in order(list(self.scores[rung].values()))]

    def promote(self, final: bool) -> int | None:
        """A paused trial that goes on, from the highest rung that has one.

        ``final``: no trial will be added; then the best of the highest rung goes on as long as
        no trial has passed every rung, since a search has to end with a model.
        """
        for rung in reversed(range(len(self.levels))):
            for number in self.best(rung):
                if self.paused.get(number) == rung:
                    del self.paused[number]
                    return number
        if not final or not self.paused or self.through():
            return None
        top = max(self.paused.values())
        chosen = next(n for n in self.placed(top) if self.paused.get(n) == top)
        del self.paused[chosen]
        return chosen

    def through(self) -> set[int]:
        """The trials that wait at no rung any more: all are behind them."""
        done = {number for number, rung in self.passed.items() if rung == len(self.levels)}
        return done - self.paused.keys()
