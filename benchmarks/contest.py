"""What a contest of search methods is about: a space, a fit, a budget, and what it has cost so far.

The budget is counted in whole fits (a fit that is stopped half-way costs half), so that a result
does not depend on the machine or on what else it does. All methods start with the plugin's own
setting and get the same seed for the same trial number.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FixedTrial

from automl.core.choosing import PROBES
from automl.core.entrants import resolve
from automl.core.errors import ConfigError
from automl.core.objectives import Objectives
from automl.core.plan import SearchPlan
from automl.core.run import Decision, Report
from automl.core.sampling import derived_seed
from automl.core.study import SearchSettings
from automl.core.trial import TrialTask, run_trial

SURROGATE = str(Path(__file__).parent / "surrogate")
Tell = Callable[[int, float], Decision]  # hears of iteration and value, says how to go on


@dataclass(frozen=True)
class Contest:
    """A plugin on a dataset, with so many whole fits as budget."""

    name: str
    plugin: str
    dataset: str
    overrides: tuple[str, ...]
    fits: int
    iterations: int  # reports of a whole fit


CONTESTS = (
    *(
        Contest(f"surrogate {network}", SURROGATE, "spirals:train_size=2", (f"network={network}",),
                40, 5)
        for network in ("ResNet", "GoogLeNet", "MobileNetV2", "ComplexNet", "AlexNet", "RegNet")
    ),
    # Sizes that would make a fit slow are pinned: what is left to find is how to train.
    Contest(
        "selu on digits", "selu", "digits",
        ("epochs=0", "steps=60", "eval_every=6", "width=64", "shape=rectangular"), 20, 10,
    ),
    Contest(
        "ptrnet on hulls of 5", "ptrnet", "convex-hull:n=5,train_size=2000",
        ("steps=40", "eval_every=8", "hidden=32", "beam=1", "encoder=uni", "embed_dim=0"), 12, 5,
    ),
    Contest(
        "ctm on spirals", "ctm", "spirals:noise=0.1,train_size=500",
        ("steps=40", "eval_every=8", "d_model=32", "d_input=16", "warmup=4", "iterations=6",
         "memory_length=4"), 12, 5,
    ),
)  # fmt: skip


class Spent(BaseException):  # no Exception: nothing that catches a failed fit may catch it
    """The budget of a contest is spent."""


@dataclass
class Trace:
    """The best value (less is better) over what was spent, in whole fits."""

    contest: Contest
    spent: float = 0.0
    trials: set[int] = field(default_factory=set)
    reached: dict[int, float] = field(default_factory=dict)  # trial -> share of its fit
    points: list[tuple[float, float]] = field(default_factory=list)

    def report(self, number: int, share: float, cost: float) -> None:
        """Take in a report at ``share`` of a whole fit.

        Raises:
            Spent: after the last one that the budget allows.
        """
        self.trials.add(number)
        self.spent += max(0.0, share - self.reached.get(number, 0.0))
        self.reached[number] = share
        best = min(cost, self.points[-1][1]) if self.points else cost
        self.points.append((self.spent, best))
        if self.spent >= self.contest.fits - 1e-9:
            raise Spent


@dataclass
class Arena:
    """Runs one configuration of a contest after another."""

    contest: Contest
    seed: int
    trace: Trace
    folder: str

    def __post_init__(self) -> None:
        self.plugin, self.dataset = resolve(self.contest.plugin, self.contest.dataset)
        self.base = self.plugin.defaults.updated(self.contest.overrides)
        names = [text.partition("=")[0] for text in self.contest.overrides]
        self.plan = SearchPlan(
            self.plugin,
            self.base,
            self.dataset.info,
            SearchSettings(sampler="random"),
            Objectives.choose(self.dataset.problem, ()),
            pinned={name: self.base.to_dict()[name] for name in names},
            techniques=(),
            parallel=False,
        )
        self.sign = -1.0 if self.plan.objectives.first.goal == "max" else 1.0
        self.first = self.plan.waiting[0]

    @property
    def direction(self) -> str:
        """As Optuna calls it."""
        return "maximize" if self.sign < 0 else "minimize"

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every parameter of the space, the conditional ones included."""
        found = dict(self.plan.distributions)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        for _ in range(4 * PROBES):
            trial = study.ask()
            self.plan.configure(trial)
            found |= trial.distributions
        return found

    def train(self, number: int, params: dict[str, Any], tell: Tell) -> float | None:
        """Fit one configuration, reporting on the way; the final value, None if it failed.

        A flat space has configurations that the conditional one excludes: they fail.
        """
        try:
            config, _ = self.plan.configure(FixedTrial(params))
        except ConfigError:
            return self.fail(number)
        task = TrialTask(
            self.contest.plugin, self.contest.dataset, config, number,
            derived_seed(self.seed, number), self.folder,
        )  # fmt: skip
        heard: list[float] = []
        steps = self.plugin.steps(type(self.base).from_dict(config))

        def on_report(report: Report) -> Decision:
            heard.append(report.scores[self.plan.objectives.first.name])
            self.trace.report(number, report.step / steps, self.sign * heard[-1])
            return tell(len(heard), heard[-1])

        end = run_trial(task, on_report)
        if end.state == "failed":
            return None if heard else self.fail(number)
        return heard[-1]

    def fail(self, number: int) -> None:
        """Take in a fit that failed before its first report: not for nothing."""
        self.trace.report(number, 1 / self.contest.iterations, float("inf"))


def arena(contest: Contest, seed: int, folder: str) -> Arena:
    """An arena with nothing spent yet."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Arena(contest, seed, Trace(contest), folder)


def run(contest: Contest, method: Callable[[Arena], None], seed: int) -> dict[str, Any]:
    """One method on one contest until the budget is spent."""
    with tempfile.TemporaryDirectory(prefix="automl-contest-") as folder:
        made = arena(contest, seed, folder)
        with contextlib.suppress(Spent):
            method(made)
    return {"points": made.trace.points, "trials": len(made.trace.trials)}
