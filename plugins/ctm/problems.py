"""The problem types that the paper's tasks add: what a batch holds and how answers count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import Batch, ExampleScores, Metric, Outputs, Problem
from automl.core.problems import CLASSIFICATION_METRICS, classification_scores, cross_entropy


def each_answer(outputs: Outputs, batch: Batch) -> Tensor:
    """Cross-entropy of every answer: logits (B, P, C), target (B, P) to (B, P)."""
    logits = outputs["logits"].transpose(1, 2)
    return functional.cross_entropy(logits, batch["target"], reduction="none")


def mean_answer(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean cross-entropy of all answers."""
    return each_answer(outputs, batch).mean()


def answers(name: str) -> tuple[Metric, Metric, Metric]:
    """The metrics of several answers per example, the first called ``name``."""
    return (
        Metric(name, "max", "share", "answers that are right"),
        Metric("exact_accuracy", "max", "share", "examples whose answers are all right"),
        Metric("nll", "min", "nats", "mean negative log-likelihood of an answer"),
    )


def scores_of(name: str, outputs: Outputs, batch: Batch) -> ExampleScores:
    """The same per example."""
    right = outputs["logits"].argmax(-1) == batch["target"]
    return {
        name: right.float().mean(1),
        "exact_accuracy": right.all(1).float(),
        "nll": each_answer(outputs, batch).mean(1),
    }


def decode(logits: Tensor) -> Tensor:
    """Greedy reading of ticks (B, T, N + 1), N being blank: (B, T) of -1 after the last symbol.

    Repeats at neighbouring ticks count once.
    """
    blank, best = logits.shape[-1] - 1, logits.argmax(-1)
    before = functional.pad(best[:, :-1], (1, 0), value=blank)
    kept = (best != blank) & (best != before)
    place = torch.where(kept, kept.cumsum(1) - 1, best.shape[1])
    found = torch.full((len(best), best.shape[1] + 1), -1, device=best.device)
    return found.scatter(1, place, torch.where(kept, best, -1))[:, :-1]


def ctc(outputs: Outputs, batch: Batch) -> Tensor:
    """Connectionist temporal classification, nats per example (B,)."""
    logs, target = outputs["logits"].log_softmax(-1).transpose(0, 1), batch["target"]
    rows, steps = target.shape
    return functional.ctc_loss(
        logs, target, torch.full((rows,), len(logs)), torch.full((rows,), steps),
        blank=logs.shape[-1] - 1, reduction="none",
    )  # fmt: skip


def sort_scores(outputs: Outputs, batch: Batch) -> ExampleScores:
    """Exact orders, and the loss."""
    target = batch["target"]
    read = functional.pad(decode(outputs["logits"]), (0, target.shape[1]), value=-1)
    right = (read[:, : target.shape[1]] == target).all(1) & (read[:, target.shape[1]] < 0)
    return {"exact_accuracy": right.float(), "nll": ctc(outputs, batch)}


def sort_loss(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean over examples."""
    return ctc(outputs, batch).mean()


PARITY = Problem(
    "cumulative-parity",
    answers("bit_accuracy"),
    {"x": "float32 (batch, n), -1 or 1", "target": "int64 (batch, n), parity of each prefix"},
    mean_answer,
    lambda outputs, batch: scores_of("bit_accuracy", outputs, batch),
)
MAZE = Problem(
    "maze-route",
    answers("step_accuracy"),
    {
        "x": "float32 (batch, 3, height, width), start red, goal green, walls black",
        "target": "int64 (batch, moves): up, down, left, right, wait",
    },
    mean_answer,
    lambda outputs, batch: scores_of("step_accuracy", outputs, batch),
)
SORT = Problem(
    "sort-numbers",
    (
        Metric("exact_accuracy", "max", "share", "orders that are right"),
        Metric("nll", "min", "nats", "negative log-likelihood of the order"),
    ),
    {"x": "float32 (batch, n)", "target": "int64 (batch, n), positions in ascending order"},
    sort_loss,
    sort_scores,
)
DIGIT_QUESTIONS = Problem(
    "digit-questions",
    CLASSIFICATION_METRICS,
    {
        "x": "float32 (batch, digits * 64 + parts), images then the question's parts",
        "target": "int64 (batch,), a digit",
    },
    cross_entropy,
    classification_scores,
)
