"""Learning a stream: the order of batches, and what each method adds to plain descent."""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parameters_to_vector

from automl.core.api import Batch, Run, Scores, Split
from automl.plugins.continual.config import DISTILLING, REPLAY_METHODS, WEIGHT_METHODS, Config
from automl.plugins.continual.distil import Teacher
from automl.plugins.continual.importance import Anchor
from automl.plugins.continual.memory import HardBuffer, Memory, gradient_vector, projected
from automl.plugins.continual.model import Network, Sequence
from automl.plugins.continual.selfless import Inhibition

REPORTS = 20  # of a whole fit


@dataclass(frozen=True)
class Item:
    """One batch of the stream: whose it is, its rows, and whether its task begins or ends here."""

    task: int
    rows: Tensor
    begins: bool
    ends: bool


def order_of(train: Split, config: Config, generator: torch.Generator) -> list[Item]:
    """All batches in the order in which they are learnt.

    With ``joint`` the rows of all tasks are mixed; online there is one pass in the stream's order.
    """
    task = train.examples["task"].cpu()
    tasks = int(task.max()) + 1
    if config.method == "joint":
        rows_of = [torch.arange(len(task))]
    else:
        rows_of = [torch.nonzero(task == t)[:, 0] for t in range(tasks)]
    found = []
    for index, rows in enumerate(rows_of):
        batches: list[Tensor] = []
        for _ in range(1 if config.boundaries == "hidden" else config.epochs):
            shuffled = rows
            if config.boundaries != "hidden":
                shuffled = rows[torch.randperm(len(rows), generator=generator)]
            batches += torch.split(shuffled, config.batch_size)
        last = len(batches) - 1
        at = tasks - 1 if config.method == "joint" else index
        found += [Item(at, b, i == 0, i == last) for i, b in enumerate(batches)]
    return found


class Walk(abc.ABC):
    """One pass over a stream: batches in order, reports in between, checkpoints."""

    def __init__(self, model: Sequence, config: Config, run: Run) -> None:
        self.sequence, self.config, self.run = model, config, run
        self.train = run.split("train")
        self.generator = run.generator()
        self.items = order_of(self.train, config, self.generator)
        self.optimizer = self.fresh_optimizer()
        self.position = 0

    @abc.abstractmethod
    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """SGD whose momentum does not carry over from another task."""

    @abc.abstractmethod
    def advance(self, item: Item) -> Tensor:
        """Learn one batch and return its loss, detached."""

    def learn(self, validate: Callable[[], Scores]) -> None:
        """Go through the stream, reporting ``REPORTS`` times."""
        self.restore()
        total = len(self.items)
        marks = {round(total * (i + 1) / REPORTS): i + 1 for i in range(REPORTS)}
        if self.position == total:
            self.run.report(REPORTS, validate())
        while self.position < total:
            loss = self.advance(self.items[self.position])
            self.position += 1
            if self.position in marks:
                told = {"loss": float(loss)}
                report = marks[self.position]
                self.run.report(report, validate(), train=told, state=self.state)
                self.sequence.train()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "position": self.position,
            "model": self.sequence.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
        }

    def restore(self) -> None:
        """Continue from the run's checkpoint, if it has one."""
        state = self.run.restore()
        if state is None:
            return
        self.position = state["position"]
        self.sequence.load_state_dict(state["model"])
        self.restore_parts(state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])

    @abc.abstractmethod
    def restore_parts(self, state: dict[str, Any]) -> None:
        """Take back what a method has beside the network, before the optimizer's state."""


class Learner(Walk):
    """One network for all tasks, and what its method remembers of them."""

    def __init__(self, model: Network, config: Config, run: Run) -> None:
        self.model = model
        super().__init__(model, config, run)
        method = config.method
        self.anchor = Anchor(model, config, self.generator) if method in WEIGHT_METHODS else None
        self.memory = Memory(model, config, self.generator) if method in REPLAY_METHODS else None
        self.teacher = Teacher(model, config, self.generator) if method in DISTILLING else None
        self.inhibition = Inhibition(model, config) if method == "slnid" else None
        self.plateaus = Plateaus(config) if method == "task_free" else None

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """SGD over the whole network."""
        parameters = self.model.parameters()
        return torch.optim.SGD(parameters, lr=self.config.lr, momentum=self.config.momentum)

    def advance(self, item: Item) -> Tensor:
        """Learn one batch; before and after it, do what the borders of tasks ask for."""
        known = self.config.boundaries == "known"
        if item.begins and known:
            self.optimizer = self.fresh_optimizer()
            if self.teacher is not None:
                self.teacher.begin(item.task)
        batch = self.train.take(item.rows.to(self.run.device))
        loss = torch.zeros(())
        for _ in range(self.config.iterations):
            loss = self.descend(batch)
        if self.memory is not None:
            self.memory.offer(batch)
        if self.plateaus is not None and self.anchor is not None:
            self.plateaus.watch(batch, self.losses(batch), self.anchor)
        if item.ends:
            if known:
                self.finish(item.task)
            self.model.remember(item.task)
        return loss

    def finish(self, task: int) -> None:
        """A task is over: keep of it what the method keeps."""
        rows = torch.nonzero(self.train.examples["task"] == task)[:, 0][: self.config.samples]
        batch = self.train.take(rows)
        if self.anchor is not None:
            self.anchor.consolidate(batch)
        if self.inhibition is not None:
            self.inhibition.consolidate(batch)
        if self.teacher is not None:
            self.teacher.finish(task, batch)

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each example (batch,)."""
        with torch.no_grad():
            logits = self.model(batch["x"], batch["task"])["logits"]
            return functional.cross_entropy(logits, batch["target"], reduction="none")

    def descend(self, batch: Batch) -> Tensor:
        """A step on new examples, then one on replayed ones."""
        loss = self.step(self.loss(batch), batch)
        if self.memory is not None and len(self.memory) and self.config.method != "agem":
            again = self.memory.replayed(batch, self.config.lr)
            self.step(self.loss(again), again)
        elif self.plateaus is not None and self.plateaus.hard.examples:
            again = self.plateaus.hard.examples
            self.step(self.loss(again), again)
        return loss

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy and what the method adds to it."""
        activations = self.model.activations(batch["x"])
        logits = self.model.answer(activations[-1], batch["task"])
        value = functional.cross_entropy(logits, batch["target"])
        if self.inhibition is not None:
            value = value + self.inhibition.penalty(activations)
        if self.teacher is not None:
            value = value + self.teacher.penalty(batch, activations[-1])
        return value

    def step(self, loss: Tensor, batch: Batch) -> Tensor:
        """One step of SGD, with the method's own say on gradient and weights."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.method == "agem" and self.memory is not None and len(self.memory):
            self.project()
        if self.anchor is not None:
            self.anchor.about_to_step()
        self.optimizer.step()
        if self.anchor is not None:
            named = self.model.named_parameters()
            gradients = {name: p.grad for name, p in named if p.grad is not None}
            with torch.no_grad():
                self.anchor.stepped(gradients, self.config.lr)
        return loss.detach()

    def project(self) -> None:
        """A-GEM: change the gradients so that the buffer's loss does not rise."""
        assert self.memory is not None
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        mine = parameters_to_vector([p.grad for p in parameters if p.grad is not None])
        reference = gradient_vector(self.model, self.memory.drawn(self.config.replay))
        kept = projected(mine, reference)
        at = 0
        for p in parameters:
            p.grad = kept[at : at + p.numel()].view_as(p)
            at += p.numel()

    # ---------------------------------------------------------------- checkpoints

    def parts(self) -> dict[str, Any]:
        """What the method has beside the network."""
        named = {
            "anchor": self.anchor,
            "memory": self.memory,
            "teacher": self.teacher,
            "inhibition": self.inhibition,
            "plateaus": self.plateaus,
        }
        return {name: part for name, part in named.items() if part is not None}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        parts = {name: part.state() for name, part in self.parts().items()}
        return {**super().state(), "parts": parts}

    def restore_parts(self, state: dict[str, Any]) -> None:
        """What the method remembers."""
        for name, part in self.parts().items():
            part.load_state(on(self.run.device, state["parts"][name]))


def on(device: torch.device, value: Any) -> Any:
    """The same nested state with its tensors on ``device``."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: on(device, item) for key, item in value.items()}
    return [on(device, item) for item in value] if isinstance(value, list) else value


class Plateaus:
    """Task-free: a task is over, as far as weights go, when the loss has settled low.

    After a plateau the next one counts only when the loss has peaked in between.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.window: deque[float] = deque(maxlen=config.window)
        self.hard = HardBuffer(config.hard)
        self.armed, self.settled = True, (0.0, 0.0)  # mean and deviation of the last plateau

    def watch(self, batch: Batch, losses: Tensor, anchor: Anchor) -> None:
        """Note a batch's losses (batch,); consolidate on the hard buffer at a plateau."""
        self.hard.offer(batch, losses)
        self.window.append(float(losses.mean()))
        if len(self.window) < self.config.window:
            return
        values = torch.tensor(list(self.window))
        mean, deviation = float(values.mean()), float(values.std())
        if not self.armed:
            self.armed = mean > self.settled[0] + self.settled[1]
            return
        if mean < self.config.plateau_mean and deviation < self.config.plateau_std:
            anchor.consolidate(self.hard.examples)
            self.armed, self.settled = False, (mean, deviation)
            self.hard.clear()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "window": list(self.window),
            "hard": self.hard.state(),
            "armed": self.armed,
            "settled": list(self.settled),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.window.extend(state["window"])
        self.hard.load_state(state["hard"])
        self.armed, self.settled = state["armed"], (state["settled"][0], state["settled"][1])
