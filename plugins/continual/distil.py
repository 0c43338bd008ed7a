"""Keeping what the network answered before: LwF, and EBLL's codes of informative features."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import Batch
from automl.plugins.continual.config import Config
from automl.plugins.continual.model import Network

CODE_STEPS, CODE_LR = 300, 1e-3  # of a task's autoencoder, by Adam
RECONSTRUCTION = 1.0  # its weight beside the task's own loss


def distillation(now: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softened answers (batch, classes) with softened earlier ones."""
    target = functional.softmax(before / temperature, 1)
    return -(target * functional.log_softmax(now / temperature, 1)).sum(1).mean()


class Teacher:
    """The network as it was when the current task began."""

    def __init__(self, model: Network, config: Config, generator: torch.Generator) -> None:
        self.model, self.config, self.generator = model, config, generator
        self.old = copy.deepcopy(model).requires_grad_(requires_grad=False)
        self.codes = nn.ModuleList()
        self.task = 0

    def begin(self, task: int) -> None:
        """A new task: what the network answers now is what it shall keep answering."""
        self.task = task
        self.old.load_state_dict(self.model.state_dict())

    def penalty(self, batch: Batch, features: Tensor) -> Tensor:
        """Distillation of every earlier head on new inputs; for EBLL also their codes."""
        value = torch.zeros((), device=features.device)
        if not self.task:
            return value
        with torch.no_grad():
            before = self.old.activations(batch["x"])[-1]
        heads = range(self.task) if self.model.heads > 1 else range(1)
        for head in heads:
            task = torch.full_like(batch["task"], head)
            with torch.no_grad():
                known = self.old.answer(before, task)
            answer = self.model.answer(features, task)
            value = value + distillation(answer, known, self.config.temperature)
        for encoder in self.codes:
            moved = torch.sigmoid(encoder(features)) - torch.sigmoid(encoder(before)).detach()
            value = value + self.config.alpha / 2 * moved.square().sum(1).mean()
        return value

    def finish(self, task: int, batch: Batch) -> None:
        """EBLL: learn a code of the features that this task's head can still read."""
        if self.config.method != "ebll":
            return
        width = self.config.hidden
        encoder = nn.Linear(width, self.config.code).to(batch["x"].device)
        decoder = nn.Linear(self.config.code, width).to(batch["x"].device)
        with torch.no_grad():
            features = self.model.activations(batch["x"])[-1]
        adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=CODE_LR)
        for _ in range(CODE_STEPS):
            rebuilt = decoder(torch.sigmoid(encoder(features)))
            logits = self.model.answer(rebuilt, batch["task"])
            loss = RECONSTRUCTION * functional.mse_loss(rebuilt, features)
            loss = loss + functional.cross_entropy(logits, batch["target"])
            gradients = torch.autograd.grad(loss, [*encoder.parameters(), *decoder.parameters()])
            for p, gradient in zip(
                [*encoder.parameters(), *decoder.parameters()], gradients, strict=True
            ):
                p.grad = gradient
            adam.step()
        self.codes.append(encoder.requires_grad_(requires_grad=False))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        codes = [encoder.state_dict() for encoder in self.codes]
        return {"old": self.old.state_dict(), "task": self.task, "codes": codes}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.old.load_state_dict(state["old"])
        self.task = state["task"]
        self.codes = nn.ModuleList()
        for saved in state["codes"]:
            encoder = nn.Linear(self.config.hidden, self.config.code)
            encoder.load_state_dict(saved)
            self.codes.append(encoder.to(self.model.head.weight.device))
