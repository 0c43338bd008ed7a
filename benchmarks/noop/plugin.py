"""Ten parameters, one report, no work."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from automl.core.api import DataInfo, Plugin, Run, Scores, Settings, Split, Trial, setting

from . import CARD

FLOATS, LOGS, INTS, CHOICES = "abcd", "ef", "gh", "ij"


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
    i: str = setting("x", choices=("x", "y", "z"))
    j: str = setting("x", choices=("x", "y", "z"))


class Model(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Two logits for each row."""
        return {"logits": self.bias.expand(len(x), 2)}


class Noop(Plugin[Config, Model]):
    """Reports a function of its parameters."""

    card = CARD
    defaults = Config()
    full = Config()

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """All ten."""
        return replace(base, **suggest(trial))

    def build(self, config: Config, data: DataInfo) -> Model:
        """One number."""
        return Model()

    def fit(self, model: Model, config: Config, run: Run) -> None:
        """Report at once."""
        run.report(1, {"accuracy": value(vars(config)), "nll": 0.0})

    def evaluate(self, model: Model, config: Config, split: Split) -> Scores:
        """The same function."""
        return {"accuracy": value(vars(config)), "nll": 0.0}

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two rows."""
        return {"x": torch.zeros(2, 2)}


def suggest(trial: Trial) -> dict[str, float | int | str]:
    """Ten suggestions."""
    found: dict[str, float | int | str] = {n: trial.suggest_float(n, 0, 1) for n in FLOATS}
    found |= {name: trial.suggest_float(name, 1e-5, 1, log=True) for name in LOGS}
    found |= {name: trial.suggest_int(name, 1, 10) for name in INTS}
    found |= {name: trial.suggest_categorical(name, ["x", "y", "z"]) for name in CHOICES}
    return found


def value(params: dict[str, float | int | str]) -> float:
    """Something to maximise."""
    return -sum((float(params[name]) - 0.3) ** 2 for name in FLOATS)
