"""Selfless sequential learning (SLNID): sparse, decorrelated codes that leave room."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap

from automl.core.api import Batch
from automl.plugins.continual.config import Config
from automl.plugins.continual.model import Network


class Inhibition:
    """Hidden units suppress their neighbours, but for those that earlier tasks need.

    R = 1/M sum_{i != j} e^{-(i - j)^2 / (2 s^2)} e^{-(a_i + a_j)} sum_m h_i h_j for each hidden
    layer, with s = units / scale and a_i the accumulated mean |d ||f||^2 / d h_i|.
    """

    def __init__(self, model: Network, config: Config) -> None:
        self.model, self.config = model, config
        device = model.head.weight.device
        self.needed = [torch.zeros(config.hidden, device=device) for _ in model.hidden]
        position = torch.arange(config.hidden, device=device, dtype=torch.float32)
        distance = (position[:, None] - position).square()
        radius = config.hidden / config.scale
        near = torch.exp(-distance / (2 * radius**2))
        self.near = torch.ones_like(near) if config.inhibition == "no_window" else near
        if config.inhibition == "window":
            self.near = (distance.sqrt() <= radius).float()
        self.near.fill_diagonal_(0)

    def penalty(self, activations: list[Tensor]) -> Tensor:
        """``lam_ssl`` R over the hidden layers' activations, each (batch, units)."""
        total = torch.zeros((), device=self.near.device)
        for needed, hidden in zip(self.needed, activations, strict=True):
            discount = torch.exp(-needed)
            if self.config.inhibition == "no_discount":
                discount = torch.ones_like(discount)
            weighted = hidden * discount
            total = total + ((weighted @ self.near) * weighted).sum() / len(hidden)
        return self.config.lam_ssl * total

    def consolidate(self, batch: Batch) -> None:
        """A task is over: add how much each unit matters for it."""
        for layer, found in enumerate(unit_importance(self.model, batch)):
            self.needed[layer] = self.needed[layer] + found

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"needed": self.needed}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.needed = state["needed"]


def unit_importance(model: Network, batch: Batch) -> list[Tensor]:
    """The mean over examples of |d ||f||^2 / d h| for each unit of each hidden layer."""
    with torch.no_grad():
        activations = model.activations(batch["x"])
    found = []
    for layer, hidden in enumerate(activations):

        def value(h: Tensor, task: Tensor, layer: int = layer) -> Tensor:
            x = h[None]
            for following in list(model.hidden)[layer + 1 :]:
                x = torch.relu(following(x))
            logits = model.answer(x, task[None])
            return logits.masked_fill(logits < -1e8, 0).square().sum()

        gradients: Any = vmap(grad(value))(hidden, batch["task"])
        found.append(gradients.detach().abs().mean(0))
    return found
