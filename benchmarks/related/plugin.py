"""Ten parameters, one report: the nearer to the dataset's own optimum, the better.

A dataset ``spirals:seed=1000 * F + M,noise=S`` is member M of family F. Its optimum is the
family's, each coordinate moved by a normal number of standard deviation S; from member 900 on it is
the opposite of the family's, so that what is best for one is worst for the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy
import torch
from torch import Tensor, nn

from automl.core.api import DataInfo, Plugin, Run, Scores, Settings, Split, Trial, setting

from . import CARD

FLOATS, LOGS, INTS, CHOICES = "abcd", "ef", "gh", "ij"
LETTERS = ("x", "y", "z")
FAMILY, OPPOSITE = 1000, 900


@dataclass(frozen=True)
class Config(Settings):
    """Four floats, two on a log scale, two integers, two choices."""

    a: float = setting(0.5, low=0, high=1)
    b: float = setting(0.5, low=0, high=1)
    c: float = setting(0.5, low=0, high=1)
    d: float = setting(0.5, low=0, high=1)
    e: float = setting(1e-3, low=1e-5, high=1)
    f: float = setting(1e-3, low=1e-5, high=1)
    g: int = setting(5, low=1, high=10)
    h: int = setting(5, low=1, high=10)
    i: str = setting("y", choices=LETTERS)
    j: str = setting("y", choices=LETTERS)

    @property
    def place(self) -> numpy.ndarray:
        """The configuration in the unit cube."""
        logs = [1 + math.log10(value) / 5 for value in (self.e, self.f)]
        whole = [(value - 1) / 9 for value in (self.g, self.h)]
        letters = [LETTERS.index(value) / 2 for value in (self.i, self.j)]
        return numpy.array([self.a, self.b, self.c, self.d, *logs, *whole, *letters])


def optimum(dataset: str) -> numpy.ndarray:
    """Where a dataset is learnt best."""
    options = dict(pair.split("=") for pair in dataset.partition(":")[2].split(","))
    family, member = divmod(int(options.get("seed", 0)), FAMILY)
    best = numpy.random.default_rng(family).random(10)
    if member >= OPPOSITE:
        return 1 - best
    moved = numpy.random.default_rng((family, member)).standard_normal(10)
    return numpy.clip(best + float(options["noise"]) * moved, 0, 1)


def value(config: Config, dataset: str) -> float:
    """From 1 at the optimum down to 0 at the far corners."""
    return 1 - float(numpy.mean((config.place - optimum(dataset)) ** 2))


class Model(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Two logits for each row."""
        return {"logits": self.bias * x}


class Related(Plugin[Config, Model]):
    """Reports how near a configuration is to the dataset's optimum."""

    card = CARD
    defaults = Config()
    full = Config()

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """All ten."""
        found: dict[str, float | int | str] = {n: trial.suggest_float(n, 0, 1) for n in FLOATS}
        found |= {name: trial.suggest_float(name, 1e-5, 1, log=True) for name in LOGS}
        found |= {name: trial.suggest_int(name, 1, 10) for name in INTS}
        found |= {name: trial.suggest_categorical(name, LETTERS) for name in CHOICES}
        return replace(base, **found)

    def build(self, config: Config, data: DataInfo) -> Model:
        """One number."""
        return Model()

    def fit(self, model: Model, config: Config, run: Run) -> None:
        """Report at once."""
        run.report(1, self.evaluate(model, config, run.split("valid")))

    def evaluate(self, model: Model, config: Config, split: Split) -> Scores:
        """The configuration's value on this dataset."""
        return {"accuracy": value(config, split.info.name), "nll": 0.0}

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two rows."""
        return {"x": torch.zeros(2, 2)}
