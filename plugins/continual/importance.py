"""Which weights earlier tasks depend on, and a penalty that holds them (MAS, EWC, SI)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import Batch
from automl.plugins.continual.config import Config
from automl.plugins.continual.gradients import mean_over_samples, trainable
from automl.plugins.continual.model import Network

DAMPING = 1e-3  # SI: of the squared path


def squared_norm(logits: Tensor, target: Tensor) -> Tensor:
    """MAS: ||f(x)||^2 over the classes that the head has."""
    return logits.masked_fill(logits < -1e8, 0).square().sum()


def log_likelihood(logits: Tensor, target: Tensor) -> Tensor:
    """EWC: of a label, which the caller draws from the model."""
    return logits.log_softmax(-1).gather(-1, target[None])[0]


def memory_aware(model: nn.Module, batch: Batch, kind: str = "gradient") -> dict[str, Tensor]:
    """MAS: the mean over examples of |d ||f(x)||^2 / d theta|; ``vector``: over outputs too.

    ``hebbian`` is the local version: the mean product of a connection's two activations.
    """
    if kind == "hebbian":
        assert isinstance(model, Network)
        return hebbian(model, batch)
    if kind == "gradient":
        return mean_over_samples(model, batch, squared_norm, torch.abs)
    count = model(batch["x"][:1], batch["task"][:1])["logits"].shape[1]
    total: dict[str, Tensor] = {}
    for output in range(count):
        found = mean_over_samples(model, batch, one_output(output), torch.abs)
        total = {name: total.get(name, 0) + value / count for name, value in found.items()}
    return total


def one_output(output: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The objective that is one logit; a class that the head lacks is 0."""
    return lambda logits, target: logits.masked_fill(logits < -1e8, 0)[output]


@torch.no_grad()
def hebbian(model: Network, batch: Batch) -> dict[str, Tensor]:
    """The mean of y_i y_j for each connection of the hidden layers, of y_i for each bias."""
    found = {name: torch.zeros_like(value) for name, value in trainable(model).items()}
    before = batch["x"].abs()
    for index, after in enumerate(model.activations(batch["x"])):
        found[f"hidden.{index}.weight"] = after.T @ before / len(before)
        found[f"hidden.{index}.bias"] = after.mean(0)
        before = after
    return found


def fisher(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """EWC: the diagonal of the Fisher information, with labels drawn from the model."""
    with torch.no_grad():
        chances = model(batch["x"], batch["task"])["logits"].softmax(-1).cpu()
    drawn = torch.multinomial(chances, 1, generator=generator)[:, 0].to(batch["x"].device)
    return mean_over_samples(model, {**batch, "target": drawn}, log_likelihood, torch.square)


class Anchor:
    """The weights after the last task and how much each one matters: sum_i Omega_i (t_i - t*_i)^2.

    The heads of a multi-head network are left free.
    """

    def __init__(self, model: nn.Module, config: Config, generator: torch.Generator) -> None:
        self.model, self.config, self.generator = model, config, generator
        free = isinstance(model, Network) and model.heads > 1
        self.names = [n for n in trainable(model) if not (free and n.startswith("head."))]
        self.omega = {name: torch.zeros_like(p) for name, p in self.held().items()}
        self.start = {name: p.clone() for name, p in self.held().items()}
        self.path = {name: torch.zeros_like(p) for name, p in self.held().items()}
        self.before = {name: p.clone() for name, p in self.held().items()}
        self.times = 0

    def held(self) -> dict[str, Tensor]:
        """The weights that are held, as they are now."""
        every = trainable(self.model)
        return {name: every[name] for name in self.names}

    def about_to_step(self) -> None:
        """SI: where the step starts."""
        if self.config.method == "si":
            self.before = {name: p.clone() for name, p in self.held().items()}

    def stepped(self, gradients: dict[str, Tensor], lr: float) -> None:
        """SI: what the step did for the loss; then the proximal step of the penalty.

        Theta <- (theta + w theta*) / (1 + w) with w = 2 lr lam Omega is the exact minimiser of the
        penalty around the step; a plain gradient step diverges where w > 1.
        """
        now = self.held()
        if self.config.method == "si":
            for name in self.names:
                self.path[name] -= gradients[name] * (now[name] - self.before[name])
        if not self.times:
            return
        for name, theta in now.items():
            weight = 2 * lr * self.config.lam * self.omega[name]
            theta.copy_((theta + weight * self.start[name]) / (1 + weight))

    def consolidate(self, batch: Batch) -> None:
        """A task is over: what it needs is added, and held from here on."""
        found = self.measured(batch)
        how = self.config.accumulate
        for name in self.names:
            old, new = self.omega[name], found[name]
            if how == "mean" or self.config.method == "task_free":
                self.omega[name] = (old * self.times + new) / (self.times + 1)
            elif how == "decay":
                self.omega[name] = (old + new) / 2 if self.times else new
            else:
                self.omega[name] = old + new
        self.times += 1
        self.start = {name: p.clone() for name, p in self.held().items()}
        self.path = {name: torch.zeros_like(p) for name, p in self.path.items()}

    def measured(self, batch: Batch) -> dict[str, Tensor]:
        """The importance of each weight for the task that is over."""
        if self.config.method == "ewc":
            return fisher(self.model, batch, self.generator)
        if self.config.method == "si":
            now = self.held()
            return {
                name: self.path[name].clamp(min=0)
                / ((now[name] - self.start[name]).square() + DAMPING)
                for name in self.names
            }
        return memory_aware(self.model, batch, self.config.importance)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "omega": self.omega, "start": self.start, "path": self.path, "times": self.times,
        }  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.omega, self.start = state["omega"], state["start"]
        self.path, self.times = state["path"], state["times"]
