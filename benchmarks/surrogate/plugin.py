"""Accuracy by epoch of a network on CIFAR-10, as a forest learnt it from the imported records.

``tables.py`` beside the benchmarks makes the forests; AUTOML_SURROGATES names their file.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from automl.core.api import DataInfo, Plugin, Run, Scores, Settings, Split, Trial, setting

from . import CARD

EPOCHS = 5  # most records end here at the latest


@dataclass(frozen=True)
class Config(Settings):
    """LEMUR's settings of a training: what a user would try first, and the ranges on record."""

    network: str = setting("ResNet", doc="whose records")
    lr: float = setting(1e-2, low=1e-5, high=1, doc="learning rate")
    momentum: float = setting(0.9, low=0, high=1, doc="of SGD")
    batch: int = setting(6, low=0, high=12, doc="logarithm to base 2 of the batch size")
    dropout: float = setting(0.2, low=0, high=1, doc="rate, of networks that have it")

    def curve(self) -> np.ndarray:
        """The accuracy after each epoch: (EPOCHS,).

        The mean of the forest's trees, asked without what ``predict`` does around each of them,
        which takes twenty times as long.
        """
        own = [math.log10(self.lr), self.momentum, float(self.batch), self.dropout]
        rows = np.array([[*own, epoch] for epoch in range(1, EPOCHS + 1)], dtype=np.float32)
        trees = forests()[self.network]["forest"].estimators_
        return np.mean([tree.tree_.predict(rows)[:, 0] for tree in trees], axis=0)


@cache
def forests() -> dict[str, Any]:
    """Network -> ``{forest, dropout}``."""
    found: dict[str, Any] = joblib.load(Path(os.environ["AUTOML_SURROGATES"]))
    return found


class Model(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Two logits for each row."""
        return {"logits": self.bias * x}


class Surrogate(Plugin[Config, Model]):
    """Reports the accuracies on record."""

    card = CARD
    defaults = Config()
    full = Config()

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """What LEMUR searched."""
        found = replace(
            base,
            lr=trial.suggest_float("lr", 1e-5, 1, log=True),
            momentum=trial.suggest_float("momentum", 0, 1),
            batch=trial.suggest_int("batch", 0, 12),
        )
        if forests()[base.network]["dropout"]:
            found = replace(found, dropout=trial.suggest_float("dropout", 0, 1))
        return found

    def build(self, config: Config, data: DataInfo) -> Model:
        """One number."""
        return Model()

    def steps(self, config: Config) -> int:
        """Epochs."""
        return EPOCHS

    def fit(self, model: Model, config: Config, run: Run) -> None:
        """Report epoch by epoch, from where it was paused."""
        kept = run.restore() or {"epoch": 0}
        curve = config.curve()
        for epoch in range(kept["epoch"] + 1, EPOCHS + 1):
            accuracy = float(curve[epoch - 1])
            run.report(
                epoch,
                {"accuracy": accuracy, "nll": 1 - accuracy},
                state=lambda epoch=epoch: {"epoch": epoch},  # type: ignore[misc]
            )

    def evaluate(self, model: Model, config: Config, split: Split) -> Scores:
        """The accuracy of the last epoch."""
        curve = config.curve()
        return {"accuracy": float(curve[-1]), "nll": 1 - float(curve[-1])}

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two rows."""
        return {"x": torch.zeros(2, 2)}
