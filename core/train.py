"""Plain gradient descent, as functions that any plugin may compose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.data import Batch, ExampleScores, Scores, Split
from automl.core.run import Run
from automl.core.settings import Settings, setting

AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Training(Settings):
    """The settings of every gradient-trained plugin."""

    steps: int = setting(1000, low=0, unit="steps", doc="optimiser steps")
    batch_size: int = setting(128, low=1, unit="examples", doc="examples per step")
    lr: float = setting(1e-3, low=1e-8, high=100, doc="learning rate")
    lr_decay: str = setting("none", choices=("none", "linear", "cosine", "exp"), doc="schedule")
    clip_norm: float = setting(0.0, low=0, doc="largest gradient norm; 0 leaves gradients alone")
    eval_every: int = setting(100, low=1, unit="steps", doc="steps between two reports")
    keep: str = setting("last", choices=("last", "best"), doc="the weights kept: of which report")

    def rate(self, step: int, per_epoch: int) -> float:
        """The factor of the learning rate at a step; ``exp`` is 0.96 per epoch."""
        share = step / max(1, self.steps)
        if self.lr_decay == "linear":
            return max(0.0, 1 - share)
        if self.lr_decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        return 0.96 ** (step // per_epoch) if self.lr_decay == "exp" else 1.0


def sgd(
    model: nn.Module,
    *,
    loss: Callable[[Batch], Tensor],
    train: Split,
    optimizer: torch.optim.Optimizer,
    config: Training,
    run: Run,
    validate: Callable[[], Scores],
) -> None:
    """Take ``config.steps`` optimiser steps in place, reporting validation scores as it goes.

    Batches are drawn without replacement, in a new random order each epoch. Examples with a
    ``task`` are a stream: each task has an equal share of the steps, one after another. The run's
    techniques, mixed precision and compilation apply here. A resumed fit equals an
    uninterrupted one. Reports at every ``config.eval_every`` steps and at the last one.
    """
    fit = Descent(model, loss, train, optimizer, config, run)
    fit.restore()
    total, since, steps = torch.zeros((), device=run.device), 0, config.steps
    if fit.step == steps:
        run.report(steps, validate())
    model.train()
    while fit.step < steps:
        total += fit.advance()
        since += 1
        if fit.step % config.eval_every == 0 or fit.step == steps:
            mean = {"loss": total.item() / since}  # the only synchronisation with a device
            total, since = torch.zeros_like(total), 0
            run.report(fit.step, validate(), train=mean, state=fit.state)
            model.train()  # validation has switched to evaluation


class Descent:
    """The moving parts of one fit: model, optimizer, schedule, order of the examples."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Batch], Tensor],
        train: Split,
        optimizer: torch.optim.Optimizer,
        config: Training,
        run: Run,
    ) -> None:
        self.model, self.train, self.optimizer = model, train, optimizer
        self.config, self.run = config, run
        self.loss = torch.compile(loss) if run.compile else loss
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.parts = parts_of(train)
        self.per_epoch = max(1, min(map(len, self.parts)) // config.batch_size)
        self.schedule = schedule(optimizer, config, self.per_epoch)
        scaled = run.amp == "fp16" and run.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(run.device.type) if scaled else None
        self.order = run.generator()
        self.order_state = self.order.get_state()
        self.permutation = torch.empty(0, dtype=torch.long)
        self.step = 0
        for technique in run.techniques:
            technique.started(model, optimizer)

    def advance(self) -> Tensor:
        """Take one step and return its loss, detached."""
        position = self.step % self.per_epoch
        if position == 0:
            self.shuffle()
        size = self.config.batch_size
        batch = self.train.take(self.permutation[position * size : (position + 1) * size])
        value = self.forward(batch)
        self.optimizer.zero_grad(set_to_none=True)
        scaled = value if self.scaler is None else self.scaler.scale(value)
        scaled.backward()  # type: ignore[no-untyped-call]
        techniques = self.run.techniques
        if self.scaler is not None and (techniques or self.config.clip_norm > 0):
            self.scaler.unscale_(self.optimizer)  # techniques see gradients in their own units
        for technique in techniques:
            technique.raw_gradients(self.model, self.step + 1)
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.step += 1
        for technique in techniques:
            technique.gradients(self.model, self.step)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.schedule is not None:
            self.schedule.step()
        for technique in techniques:
            technique.stepped(self.model, self.step)
            if self.step % self.per_epoch == 0:
                technique.epoch_ended(self.model, self.step // self.per_epoch)
        return value.detach()

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, in the run's precision, as the techniques change it."""
        if self.run.amp == "off":
            value = self.loss(batch)
        else:
            with torch.autocast(self.run.device.type, AMP_TYPES[self.run.amp]):
                value = self.loss(batch)
        for technique in self.run.techniques:
            value = technique.loss(value, self.model, batch, self.step + 1)
        return value

    def shuffle(self) -> None:
        """Draw the order of the next epoch, remembering how to draw it again."""
        self.order_state = self.order.get_state()
        rows = self.part(self.step)
        permutation = rows[torch.randperm(len(rows), generator=self.order)]
        self.permutation = permutation.to(self.run.device)

    def part(self, step: int) -> Tensor:
        """The rows that are learnt in the epoch of a step, on the CPU."""
        began = step - step % self.per_epoch
        task = began * len(self.parts) // max(1, self.config.steps)
        return self.parts[min(task, len(self.parts) - 1)]

    def state(self) -> dict[str, Any]:
        """Everything a resumed fit needs to equal an uninterrupted one."""
        cuda = self.run.device.type == "cuda"
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "order": self.order_state,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self.run.device) if cuda else None,
            "techniques": {technique.name: technique.state() for technique in self.run.techniques},
        }

    def restore(self) -> None:
        """Continue from the run's checkpoint, if it has one."""
        state = self.run.restore()
        if state is None:
            return
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])
        self.order.set_state(state["order"])
        if self.step % self.per_epoch:
            self.shuffle()
        else:  # the epoch just ended: its order is used up
            torch.randperm(len(self.part(self.step - 1)), generator=self.order)
        torch.set_rng_state(state["random"])
        if state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"], self.run.device)
        for technique in self.run.techniques:
            technique.load_state(state["techniques"][technique.name])


def parts_of(train: Split) -> list[Tensor]:
    """Rows of each task in order where examples belong to tasks, else all rows at once."""
    task = train.examples.get("task")
    if task is None:
        return [torch.arange(len(train))]
    return [torch.nonzero(task.cpu() == t)[:, 0] for t in torch.unique(task.cpu())]


def schedule(
    optimizer: torch.optim.Optimizer, config: Training, per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR | None:
    """The learning-rate schedule that the settings give, if it is not constant."""
    if config.lr_decay == "none":
        return None
    factor = partial(config.rate, per_epoch=per_epoch)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


@torch.no_grad()
def mean_scores(
    model: nn.Module,
    score: Callable[[Batch], ExampleScores],
    split: Split,
    batch_size: int = 256,
) -> Scores:
    """Average per-example scores over a split, whatever the batch size."""
    model.eval()
    parts = [score(batch) for batch in split.batches(batch_size)]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {name: column.double().mean().item() for name, column in columns.items()}
