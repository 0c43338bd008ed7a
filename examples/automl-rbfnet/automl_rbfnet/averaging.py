"""Weight averaging: the model that is kept is an exponential average over the steps."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from automl.core.api import Settings, Technique, Trial, setting


@dataclass(frozen=True)
class Averaging(Settings):
    """The settings of the average."""

    decay: float = setting(0.9, low=0, high=0.9999, doc="share of the old average that is kept")
    every: int = setting(10, low=1, high=10_000, unit="steps", doc="steps between two averages")


class WeightAveraging(Technique):
    """Pull the weights to their running average every few steps (after Polyak and Juditsky)."""

    name = "averaging"
    defaults = Averaging()

    def __init__(self, settings: Averaging, seed: int) -> None:
        super().__init__(settings, seed)
        self.average: list[torch.Tensor] = []

    @classmethod
    def space(cls, trial: Trial, base: Averaging) -> Averaging:
        """How slow the average is."""
        return replace(base, decay=trial.suggest_float("averaging.decay", 0.0, 0.99))

    def started(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Start the average at the first weights."""
        self.average = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def stepped(self, model: nn.Module, step: int) -> None:
        """Mix the weights into the average and continue from it."""
        if step % self.settings.every:
            return
        for mean, parameter in zip(self.average, model.parameters(), strict=True):
            mean.lerp_(parameter, 1 - self.settings.decay)
            parameter.copy_(mean)

    def state(self) -> dict[str, Any]:
        """The average, beside what every technique keeps."""
        return {**super().state(), "average": self.average}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take the average back."""
        super().load_state(state)
        self.average = state["average"]
