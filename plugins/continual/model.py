"""The networks: one that all tasks share, and a specialist for each task behind a gate."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from automl.plugins.continual.config import Config

OUT = -1e9  # the logit of a class that a task does not have


class Sequence(nn.Module):
    """A model that remembers its weights after every task, so that forgetting can be measured.

    ``snapshots`` float32 (tasks + 1, parameters): row 0 before learning, row t + 1 after task t.
    ``learnt`` int64 (): how many tasks are over.
    """

    snapshots: Tensor
    learnt: Tensor

    def remember_for(self, tasks: int) -> None:
        """Make room; the weights that were drawn are the first row."""
        start = parameters_to_vector(self.parameters()).detach()
        self.register_buffer("snapshots", start.repeat(tasks + 1, 1))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))

    def remember(self, task: int) -> None:
        """Keep the weights as they are after ``task``."""
        now = parameters_to_vector(self.parameters()).detach()
        self.snapshots[task + 1 :] = now
        self.learnt.fill_(task + 1)

    def recall(self, row: int) -> None:
        """Put the weights of a row of ``snapshots`` back, the last one to have the model again."""
        vector_to_parameters(self.snapshots[row].clone(), self.parameters())
        self.recall_gates(row)

    def recall_gates(self, row: int) -> None:
        """Whatever else is different after ``row`` tasks; nothing in a single network."""


class Network(Sequence):
    """Fully connected ReLU layers and one head, or one for each task.

    Args:
        classes: For each task those that it has; logits of others are -1e9 where ``multi``.
    """

    allowed: Tensor

    def __init__(
        self, features: int, classes: list[list[int]], count: int, config: Config, multi: bool
    ) -> None:
        super().__init__()
        widths = [features] + [config.hidden] * config.layers
        self.hidden = nn.ModuleList(
            nn.Linear(before, after) for before, after in itertools.pairwise(widths)
        )
        self.heads = len(classes) if multi else 1
        self.count = count
        self.head = nn.Linear(config.hidden, count * self.heads)
        for layer in (*self.hidden, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        allowed = torch.ones(self.heads, count, dtype=torch.bool)
        if multi:
            for task, mine in enumerate(classes):
                allowed[task] = False
                allowed[task, mine] = True
        self.register_buffer("allowed", allowed, persistent=False)

    def forward(self, x: Tensor, task: Tensor | None = None) -> dict[str, Tensor]:
        """Inputs (batch, features) and tasks int64 (batch,) to ``logits`` (batch, classes).

        A single head needs no task.
        """
        return {"logits": self.answer(self.activations(x)[-1], task)}

    def activations(self, x: Tensor) -> list[Tensor]:
        """What every hidden layer answers, the last one being the features F(x)."""
        found = []
        for layer in self.hidden:
            x = functional.relu(layer(x))
            found.append(x)
        return found

    def answer(self, features: Tensor, task: Tensor | None) -> Tensor:
        """Features (batch, hidden) to the logits of each example's own head."""
        logits = self.head(features).unflatten(1, (self.heads, self.count))
        if task is None or self.heads == 1:
            only: Tensor = logits[:, 0]
            return only
        index = task[:, None, None].expand(-1, 1, self.count)
        own: Tensor = logits.gather(1, index)[:, 0]
        return own.masked_fill(~self.allowed[task], OUT)


class Autoencoder(nn.Module):
    """Undercomplete, one hidden layer: how well it knows an input says whose input it is."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, code: int) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(features, code), nn.Linear(code, features)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def measure(self, x: Tensor) -> None:
        """Standardise by these training inputs (rows, features) from now on."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0).clamp(min=1e-3))

    def errors(self, x: Tensor) -> Tensor:
        """Binary cross-entropy of each reconstruction (batch,), summed over squashed features.

        Less the features' own entropy, which no reconstruction can undercut and which depends on
        the gate's scales: gates could not be compared with it.
        """
        squashed = torch.sigmoid((x - self.mean) / self.std)
        rebuilt = self.decoder(functional.relu(self.encoder(squashed)))
        each = functional.binary_cross_entropy_with_logits(rebuilt, squashed, reduction="none")
        certain = squashed.clamp(1e-6, 1 - 1e-6)
        entropy = -certain * certain.log() - (1 - certain) * (1 - certain).log()
        return (each - entropy).sum(1)


class Experts(Sequence):
    """A network and an autoencoder for each task; the best reconstruction chooses the network.

    Tasks that are not learnt yet cannot be chosen.
    """

    ready: Tensor

    def __init__(self, features: int, classes: list[list[int]], count: int, config: Config) -> None:
        super().__init__()
        everything = [list(range(count))]
        self.experts = nn.ModuleList(
            Network(features, everything, count, config, multi=False) for _ in classes
        )
        self.gates = nn.ModuleList(Autoencoder(features, config.gate) for _ in classes)
        self.temperature = config.gate_temperature
        self.register_buffer("ready", torch.tensor([True] + [False] * (len(classes) - 1)))

    def recall_gates(self, row: int) -> None:
        """Only the tasks of the time can be chosen."""
        self.ready[:] = torch.arange(len(self.ready), device=self.ready.device) < max(1, row)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Inputs (batch, features) to ``logits`` and the chosen ``task_pred`` int64 (batch,)."""
        task = self.probabilities(x).argmax(1)
        answers = torch.stack([each(x)["logits"] for each in self.experts], 1)
        index = task[:, None, None].expand(-1, 1, answers.shape[2])
        return {"logits": answers.gather(1, index)[:, 0], "task_pred": task}

    def probabilities(self, x: Tensor) -> Tensor:
        """How likely each task is (batch, tasks): softmax of errors / -temperature."""
        errors = torch.stack([self.gate(t).errors(x) for t in range(len(self.gates))], 1)
        errors = errors.masked_fill(~self.ready, torch.inf)
        return torch.softmax(-errors / self.temperature, 1)

    def gate(self, task: int) -> Autoencoder:
        """The autoencoder of a task."""
        found = self.gates[task]
        assert isinstance(found, Autoencoder)
        return found

    def expert(self, x: Tensor, task: int) -> Tensor:
        """The logits of one expert."""
        logits: Tensor = self.experts[task](x)["logits"]
        return logits
