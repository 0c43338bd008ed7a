"""Accuracy of every task after every task, and what follows from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings, Split
from automl.plugins.continual.model import Experts, Network, Sequence

QUIET = 1e-3  # mean activation below which a unit is free


class Forgetting(Probe):
    """What a network lost of each task while it learnt the others, on the test split."""

    name = "forgetting"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """Shares from 0 to 1, averaged over tasks.

        ``average_accuracy``, ``forgetting``, ``learning_accuracy``, ``backward_transfer``,
        ``forward_transfer``; ``mean_activation`` and ``free_units`` of the hidden layers; of
        experts ``gate_accuracy`` and ``oracle_accuracy``.

        Raises:
            DataError: if the model keeps no weights of earlier tasks.
        """
        if not isinstance(model, Sequence):
            raise DataError(
                "probe forgetting needs the weights after each task, which only the models of "
                "plugin 'continual' keep"
            )
        split = data.split("test")
        model.eval()
        found = summary(accuracies(model, split))
        found |= activity(model, split) if isinstance(model, Network) else gates(model, split)
        return found


@torch.no_grad()
def accuracies(model: Sequence, split: Split) -> Tensor:
    """A (tasks + 1, tasks): row 0 before learning, row t after task t."""
    now = parameters_to_vector(model.parameters()).clone()
    tasks = len(model.snapshots) - 1
    found = torch.zeros(tasks + 1, tasks)
    for row in range(tasks + 1):
        model.recall(row)
        found[row] = by_task(model, split, tasks)
    vector_to_parameters(now, model.parameters())
    model.recall_gates(tasks)
    return found


def by_task(model: Sequence, split: Split, tasks: int) -> Tensor:
    """The accuracy on each task (tasks,)."""
    batch = split.examples
    alone = isinstance(model, Experts)
    answer = model(batch["x"]) if alone else model(batch["x"], batch["task"])
    right = (answer["logits"].argmax(-1) == batch["target"]).double().cpu()
    task = batch["task"].cpu()
    return torch.stack([right[task == t].mean() for t in range(tasks)])


def summary(matrix: Tensor) -> Scores:
    """The field's numbers from A (tasks + 1, tasks)."""
    tasks = matrix.shape[1]
    last, own = matrix[-1], torch.stack([matrix[t + 1, t] for t in range(tasks)])
    found = {"average_accuracy": float(last.mean()), "learning_accuracy": float(own.mean())}
    earlier = slice(0, tasks - 1)
    lost = matrix[1:].max(0).values - last
    found["forgetting"] = float(lost[earlier].mean()) if tasks > 1 else 0.0
    found["backward_transfer"] = float((last - own)[earlier].mean()) if tasks > 1 else 0.0
    ahead = [float(matrix[t, t] - matrix[0, t]) for t in range(1, tasks)]
    found["forward_transfer"] = sum(ahead) / len(ahead) if ahead else 0.0
    return found


@torch.no_grad()
def activity(model: Network, split: Split) -> Scores:
    """How much hidden units are used."""
    means = torch.cat([h.mean(0) for h in model.activations(split.examples["x"])])
    return {
        "mean_activation": float(means.mean()),
        "free_units": float((means < QUIET).double().mean()),
    }


@torch.no_grad()
def gates(model: Sequence, split: Split) -> Scores:
    """How often the gate finds the task, and what a known task would give."""
    assert isinstance(model, Experts)
    batch = split.examples
    chosen = model(batch["x"])["task_pred"]
    answers = torch.stack([model.expert(batch["x"], t) for t in range(len(model.experts))], 1)
    told = answers[torch.arange(len(chosen)), batch["task"]].argmax(-1)
    right, oracle = chosen == batch["task"], told == batch["target"]
    tasks = int(batch["task"].max()) + 1
    known = torch.stack([oracle[batch["task"] == t].double().mean() for t in range(tasks)])
    return {
        "gate_accuracy": float(right.double().mean()),
        "oracle_accuracy": float(known.mean()),
    }
