"""The noise: after clipping, before the optimiser, for any network that descends by gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from automl.core.api import DataInfo, Plugin, Settings, Technique, Trial, setting
from automl.plugins.gradnoise.config import ORDERS, SCHEDULES


@dataclass(frozen=True)
class NoiseSettings(Settings):
    """How much noise, and when."""

    eta: float = setting(0.3, low=0, high=1e6, doc="variance of the noise at the first step")
    gamma: float = setting(0.55, low=0, high=10, doc="exponent of the variance's decay")
    schedule: str = setting("annealed", choices=SCHEDULES, doc="variance over steps")
    order: str = setting("after_clip", choices=ORDERS, doc="before: noise is clipped too")


def deviation(settings: NoiseSettings, t: int) -> float:
    """The standard deviation sigma_t at step t = 0, 1, 2, ... (Equation 1).

    sigma_t^2 = eta / (1 + t)^gamma; constant: eta at every step.
    """
    if settings.schedule == "none":
        return 0.0
    decay = (1 + t) ** settings.gamma if settings.schedule == "annealed" else 1.0
    return float((settings.eta / decay) ** 0.5)


class GradientNoise(Technique):
    """Adds N(0, sigma_t^2) to every entry of every gradient, from a random stream of its own.

    Parameters that took no part in the loss have no gradient and get no noise.
    """

    name = "gradnoise"
    defaults = NoiseSettings()

    @classmethod
    def refusal(cls, plugin: Plugin[Any, Any], data: DataInfo) -> str:
        """The plugin of the same name has the noise among its settings."""
        if plugin.name == cls.name:
            return "the noise is among its settings: noise, eta, gamma, noise_order"
        return ""

    @classmethod
    def space(cls, trial: Trial, base: NoiseSettings) -> NoiseSettings:
        """Strength and decay; the paper tries eta of 0.01, 0.3 and 1 at gamma 0.55."""
        low, high = min(1e-3, base.eta or 1e-3), max(3.0, base.eta)
        if base.schedule == "none":
            return base
        found = replace(base, eta=trial.suggest_float("gradnoise.eta", low, high, log=True))
        if base.schedule == "annealed":
            low, high = min(0.3, base.gamma), max(1.0, base.gamma)
            gamma = trial.suggest_float("gradnoise.gamma", low, high)
            found = replace(found, gamma=gamma)
        return found

    def started(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Remember the parameters; on an accelerator, draw there."""
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        device = self.parameters[0].device
        if device.type != "cpu":
            seed = self.generator.initial_seed()
            self.generator = torch.Generator(device).manual_seed(seed)

    def raw_gradients(self, model: nn.Module, step: int) -> None:
        """Add before clipping, where the settings say so."""
        if self.settings.order == "before_clip":
            self.add(step)

    def gradients(self, model: nn.Module, step: int) -> None:
        """Add after clipping."""
        if self.settings.order == "after_clip":
            self.add(step)

    def add(self, step: int) -> None:
        """Add the noise of the ``step``-th step, counted from 1: one draw for all parameters."""
        sigma = deviation(self.settings, step - 1)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not sigma or not gradients:
            return
        sizes = [gradient.numel() for gradient in gradients]
        drawn = torch.empty(sum(sizes), device=gradients[0].device)
        drawn.normal_(0, sigma, generator=self.generator)
        pairs = zip(gradients, torch.split(drawn, sizes), strict=True)
        parts = [part.view(gradient.shape).to(gradient.dtype) for gradient, part in pairs]
        torch._foreach_add_(gradients, parts)  # as torch's optimizers do: one call for all


class Halving(Technique):
    """Halves the learning rate every so many epochs, as memory networks are trained."""

    name = "halving"
    defaults = Settings()

    def __init__(self, epochs: int) -> None:
        super().__init__(self.defaults, 0)
        self.epochs = epochs

    def started(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Remember the optimizer, whose state keeps the rate."""
        self.optimizer = optimizer

    def epoch_ended(self, model: nn.Module, epoch: int) -> None:
        """Halve where it is due."""
        if epoch % self.epochs == 0:
            for group in self.optimizer.param_groups:
                group["lr"] /= 2
