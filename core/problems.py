"""The common types of problem. A plugin may bring its own beside these."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.cards import Metric
from automl.core.data import Averaging, Batch, ExampleScores, Outputs, Problem


def cross_entropy(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean cross-entropy of ``outputs["logits"]`` (batch, classes) with ``batch["target"]``."""
    return functional.cross_entropy(outputs["logits"], batch["target"])


def classification_scores(outputs: Outputs, batch: Batch) -> ExampleScores:
    """Accuracy and negative log-likelihood per example."""
    logits, target = outputs["logits"], batch["target"]
    return {
        "accuracy": (logits.argmax(-1) == target).float(),
        "nll": functional.cross_entropy(logits, target, reduction="none"),
    }


def probabilities(outputs: Outputs) -> Tensor:
    """The classes' probabilities (batch, classes)."""
    return functional.softmax(outputs["logits"], dim=-1)


def logits(mean: Tensor) -> Outputs:
    """Logits whose softmax is ``mean`` (batch, classes)."""
    return {"logits": mean.clamp(min=SMALLEST).log()}


def values(outputs: Outputs) -> Tensor:
    """The answer itself."""
    return outputs["value"]


def valued(mean: Tensor) -> Outputs:
    """A mean answer as an output."""
    return {"value": mean}


SMALLEST = 1e-30  # probability, so that its logarithm is finite in single precision
MEAN_PROBABILITY = Averaging(probabilities, logits)
MEAN_VALUE = Averaging(values, valued)


def balanced(problem: Problem) -> Problem:
    """A classification problem whose classes count alike, however rare they are.

    Its batches have a ``weight`` float32 (batch,) that is inversely proportional to the class's
    frequency, 1 on average. The objective is the balanced accuracy, the mean of the classes'
    recalls, and the loss is weighted in the same way.
    """

    def loss(outputs: Outputs, batch: Batch) -> Tensor:
        each = functional.cross_entropy(outputs["logits"], batch["target"], reduction="none")
        return (each * batch["weight"]).mean()

    def score(outputs: Outputs, batch: Batch) -> ExampleScores:
        plain = classification_scores(outputs, batch)
        return {"balanced_accuracy": plain["accuracy"] * batch["weight"], **plain}

    keys = {**problem.batch, "weight": "float32 (batch,), rare classes count more"}
    metrics = (BALANCED_ACCURACY, *problem.metrics)
    return Problem(problem.name, metrics, keys, loss, score, problem.averaging)


def squared_error(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean squared error of ``outputs["value"]`` against ``batch["target"]``, same shape."""
    return functional.mse_loss(outputs["value"], batch["target"])


def regression_scores(outputs: Outputs, batch: Batch) -> ExampleScores:
    """Squared and absolute error per example, averaged over its components."""
    error = (outputs["value"] - batch["target"]).flatten(1)
    return {"mse": error.square().mean(-1), "mae": error.abs().mean(-1)}


CLASSIFICATION_METRICS = (
    Metric("accuracy", "max", "share", "predictions that are right"),
    Metric("nll", "min", "nats", "mean negative log-likelihood of the right class"),
)
BALANCED_ACCURACY = Metric("balanced_accuracy", "max", "share", "mean of the classes' recalls")
OPERATOR_METRICS = (
    Metric("rel_l2", "min", "share", "L2 norm of the error over that of the target"),
    Metric("rel_h1", "min", "share", "the same of values and first derivatives together"),
)
REGRESSION_METRICS = (
    Metric("mse", "min", "target unit squared", "mean squared error"),
    Metric("mae", "min", "target unit", "mean absolute error"),
)


def relative_l2(value: Tensor, target: Tensor) -> Tensor:
    """Root of the squared error over the target's squares, per example (batch,)."""
    error = torch.linalg.vector_norm((value - target).flatten(1), dim=1)
    answer: Tensor = error / torch.linalg.vector_norm(target.flatten(1), dim=1).clamp(min=1e-12)
    return answer


def relative_h1(
    value: Tensor, target: Tensor, lengths: tuple[float, float] = (1.0, 1.0), periodic: bool = False
) -> Tensor:
    """As ``relative_l2`` with first derivatives, (batch,), of fields (batch, channels, H, W).

    ``lengths`` are the sides of the domain along H and W. Derivatives are differences between
    neighbours, around the edges too where the domain is periodic.
    """
    error = value - target
    wrong = h1_squares(error, lengths, periodic)
    return torch.sqrt(wrong / h1_squares(target, lengths, periodic))


def h1_squares(field: Tensor, lengths: tuple[float, float], periodic: bool) -> Tensor:
    """Mean squares of a field and of its differences over their distances, summed, (batch,)."""
    total = field.square().flatten(1).mean(1)
    for axis, length in zip((-2, -1), lengths, strict=True):
        if not periodic and field.shape[axis] < 2:
            continue
        step = field.roll(-1, axis) - field if periodic else field.diff(dim=axis)
        slope = step * (field.shape[axis] / length)
        total = total + slope.square().flatten(1).mean(1)
    return total.clamp(min=1e-24)


def operator_learning(lengths: tuple[float, float] = (1.0, 1.0), periodic: bool = False) -> Problem:
    """Functions in, functions out: fields sampled on a regular grid of a rectangle.

    ``lengths`` are the rectangle's sides along the axes of height and width, in the data's unit.
    The loss is the mean relative L2 error; a model answers under ``value``.
    """

    def loss(outputs: Outputs, batch: Batch) -> Tensor:
        return relative_l2(outputs["value"], batch["target"]).mean()

    def score(outputs: Outputs, batch: Batch) -> ExampleScores:
        value, target = outputs["value"], batch["target"]
        return {
            "rel_l2": relative_l2(value, target),
            "rel_h1": relative_h1(value, target, lengths, periodic),
        }

    keys = {
        "x": "float32 (batch, channels, height, width), the input functions on a grid",
        "target": "float32 (batch, channels, height, width), the output functions",
    }
    return Problem("operator-learning", OPERATOR_METRICS, keys, loss, score, MEAN_VALUE)


def classification(name: str, inputs: str) -> Problem:
    """A classification problem whose batch holds ``inputs`` under ``x``."""
    batch = {"x": inputs, "target": "int64 (batch,), a class from 0"}
    return Problem(
        name,
        CLASSIFICATION_METRICS,
        batch,
        cross_entropy,
        classification_scores,
        MEAN_PROBABILITY,
    )


def regression(name: str, inputs: str, target: str) -> Problem:
    """A regression problem whose batch holds ``inputs`` under ``x``."""
    batch = {"x": inputs, "target": target}
    return Problem(name, REGRESSION_METRICS, batch, squared_error, regression_scores, MEAN_VALUE)


TABULAR_CLASSIFICATION = classification("tabular-classification", "float32 (batch, features)")
IMAGE_CLASSIFICATION = classification(
    "image-classification", "float32 (batch, channels, height, width)"
)
SEQUENCE_CLASSIFICATION = classification(
    "sequence-classification", "float32 (batch, steps, features)"
)
TABULAR_REGRESSION = regression(
    "tabular-regression", "float32 (batch, features)", "float32 (batch, outputs)"
)
FORECASTING = regression(
    "forecasting", "float32 (batch, steps, series)", "float32 (batch, horizon, series)"
)
OPERATOR_LEARNING = operator_learning()
