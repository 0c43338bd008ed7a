"""Importance regularisation for any network that learns a stream by gradient descent."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import Batch, DataInfo, Plugin, Settings, Technique, Trial, setting


@dataclass(frozen=True)
class Strength(Settings):
    """How much is held, by which measure of importance."""

    importance: str = setting("mas", choices=("mas", "ewc"), doc="of the outputs, or of the labels")
    lam: float = setting(0.1, low=0, high=1e6, doc="strength of the penalty")
    samples: int = setting(64, low=1, high=10_000, doc="examples of a task that it is taken on")


class ImportanceRegularisation(Technique):
    """Holds what earlier tasks of a stream need: MAS, or EWC, around the plugin's own descent.

    Batches tell their task (``task`` int64); when it changes, the importance of each weight is
    taken on examples of the task that is over, one at a time, and a proximal step pulls towards
    the weights of that moment after every step (``importance.py`` in the plugin says why).
    """

    name = "continual"
    defaults = Strength()

    def __init__(self, settings: Any, seed: int) -> None:
        super().__init__(settings, seed)
        self.task = -1
        self.recent: list[Batch] = []  # the latest batches of the task
        self.omega: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}
        self.optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def refusal(cls, plugin: Plugin[Any, Any], data: DataInfo) -> str:
        """Without tasks there is nothing to forget."""
        if "tasks" in data.facts:
            return ""
        return (
            f"dataset {data.name!r} has no tasks that come one after another, so nothing is "
            "forgotten; use a stream, e.g. --dataset digit-stream"
        )

    @classmethod
    def space(cls, trial: Trial, base: Any) -> Any:
        """The strength."""
        return replace(base, lam=trial.suggest_float("continual.lam", 1e-2, 1e4, log=True))

    def started(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """The penalty moves weights as fast as the optimizer does."""
        self.optimizer = optimizer

    def loss(self, loss: Tensor, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """Keep examples of the task; when another begins, take the importance for the old one."""
        task = int(batch["task"][-1])
        if task != self.task and self.recent:
            self.consolidate(model)
            self.recent = []
        self.task = task
        wanted = -(-self.settings.samples // len(batch["task"]))
        self.recent = [*self.recent, batch][-wanted:]
        return loss

    def stepped(self, model: nn.Module, step: int) -> None:
        """The proximal step: theta <- (theta + w theta*) / (1 + w), w = 2 lr lam Omega."""
        if not self.omega:
            return
        assert self.optimizer is not None
        lr = float(self.optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for name, theta in model.named_parameters():
                if name in self.omega:
                    weight = 2 * lr * self.settings.lam * self.omega[name]
                    theta.copy_((theta + weight * self.start[name]) / (1 + weight))

    def consolidate(self, model: nn.Module) -> None:
        """Add the importance for the recent examples; hold the weights as they are now."""
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        training = model.training
        model.eval()
        last = slice(-self.settings.samples, None)
        examples = {
            key: torch.cat([batch[key] for batch in self.recent])[last] for key in self.recent[0]
        }
        count = len(examples["task"])
        for row in range(count):
            example = {key: column[row : row + 1] for key, column in examples.items()}
            gradients = torch.autograd.grad(
                self.objective(model, example), list(trainable.values()), allow_unused=True
            )
            for name, gradient in zip(trainable, gradients, strict=True):
                if gradient is not None:
                    part = (
                        gradient.square() if self.settings.importance == "ewc" else gradient.abs()
                    )
                    self.omega[name] = self.omega.get(name, torch.zeros_like(part)) + part / count
        model.train(training)
        self.start = {name: p.detach().clone() for name, p in trainable.items()}

    def objective(self, model: nn.Module, example: Batch) -> Tensor:
        """MAS: the squared norm of what the model answers; EWC: likelihood of a drawn label."""
        wanted = inspect.signature(model.forward).parameters
        outputs = model(**{key: example[key] for key in wanted if key in example})
        if self.settings.importance == "ewc" and "logits" in outputs:
            logits = outputs["logits"].log_softmax(-1)
            chances = logits.detach().exp().cpu().flatten(0, -2)
            label = torch.multinomial(chances, 1, generator=self.generator)[0, 0]
            drawn: Tensor = logits.flatten(0, -2)[0, label]
            return drawn
        numbers = [value for value in outputs.values() if value.is_floating_point()]
        return torch.stack([value.square().sum() for value in numbers]).sum()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        mine = {"task": self.task, "recent": self.recent, "omega": self.omega, "start": self.start}
        return {**super().state(), **mine}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        super().load_state(state)
        self.task, self.recent = state["task"], state["recent"]
        self.omega, self.start = state["omega"], state["start"]
