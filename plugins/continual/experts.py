"""Expert Gate: how specialists and their autoencoders are trained, one task after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import Run
from automl.plugins.continual.config import Config
from automl.plugins.continual.distil import distillation
from automl.plugins.continual.learner import Item, Walk
from automl.plugins.continual.model import Experts

GATE_STEPS, GATE_LR, GATE_BATCH = 600, 3e-3, 128  # of an autoencoder, by Adam


class ExpertLearner(Walk):
    """Each task gets an expert that starts as the most related one, and a gate of its own."""

    def __init__(self, model: Experts, config: Config, run: Run) -> None:
        self.experts = model
        self.task, self.source = 0, -1  # the expert that is distilled from; -1: none
        super().__init__(model, config, run)

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """SGD over the current expert."""
        parameters = self.experts.experts[self.task].parameters()
        return torch.optim.SGD(parameters, lr=self.config.lr, momentum=self.config.momentum)

    def advance(self, item: Item) -> Tensor:
        """Learn one batch; a new task starts with its gate and the choice of a source."""
        if item.begins:
            self.open(item.task)
        batch = self.train.take(item.rows.to(self.run.device))
        loss = torch.zeros(())
        for _ in range(self.config.iterations):
            answer = self.experts.expert(batch["x"], self.task)
            value = functional.cross_entropy(answer, batch["target"])
            if self.source >= 0:
                with torch.no_grad():
                    known = self.experts.expert(batch["x"], self.source)
                value = value + distillation(answer, known, self.config.temperature)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            loss = value.detach()
        if item.ends:
            self.experts.ready[item.task] = True
            self.experts.remember(item.task)
        return loss

    def open(self, task: int) -> None:
        """Train the gate of a new task, then copy the most related expert."""
        self.task, self.source = task, -1
        x = self.train.examples["x"][self.train.examples["task"] == task]
        self.train_gate(task, x)
        if task:
            valid = self.run.split("valid").examples
            mine = valid["x"][valid["task"] == task]
            known = [self.relatedness(mine, task, other) for other in range(task)]
            best = max(range(task), key=known.__getitem__)
            weights = self.experts.experts[best].state_dict()
            self.experts.experts[task].load_state_dict(weights)
            self.source = best if known[best] > self.config.related else -1
        self.optimizer = self.fresh_optimizer()

    def train_gate(self, task: int, x: Tensor) -> None:
        """Fit a task's autoencoder to its inputs (rows, features)."""
        gate = self.experts.gate(task)
        gate.measure(x)
        adam = torch.optim.Adam(gate.parameters(), lr=GATE_LR)
        for _ in range(GATE_STEPS):
            rows = torch.randint(0, len(x), (GATE_BATCH,), generator=self.generator)
            adam.zero_grad(set_to_none=True)
            gate.errors(x[rows.to(x.device)]).mean().backward()  # type: ignore[no-untyped-call]
            adam.step()

    @torch.no_grad()
    def relatedness(self, x: Tensor, task: int, other: int) -> float:
        """1 - (Er_other - Er_own) / Er_own on a task's validation inputs; 1 for the same task."""
        own, theirs = (float(self.experts.gate(t).errors(x).mean()) for t in (task, other))
        return 1 - (theirs - own) / max(own, 1e-12)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {**super().state(), "task": self.task, "source": self.source}

    def restore_parts(self, state: dict[str, Any]) -> None:
        """Which expert is being trained."""
        self.task, self.source = state["task"], state["source"]
        self.optimizer = self.fresh_optimizer()
