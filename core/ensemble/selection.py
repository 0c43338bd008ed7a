"""Which models make a good ensemble: forward selection with replacement (Caruana et al. 2004)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from automl.core.cards import Metric
from automl.core.data import Batch, Problem

Told = Callable[[int, int], None]  # hears of each addition, and of how many there may be


def chosen(
    problem: Problem,
    metric: Metric,
    predictions: Sequence[Tensor],
    batch: Batch,
    size: int,
    told: Told = lambda done, total: None,
) -> list[int]:
    """The models to average, in the order of their addition; one that is added twice counts twice.

    ``predictions`` are what ``Problem.averaging`` makes of each model's outputs on the validation
    split ``batch``, (examples, ...) each. Each addition is the model with which the metric becomes
    best; among equals the problem's other metrics decide, then the earlier model. After ``size``
    additions the best ensemble on the way is kept, so none is worse on this split than its best
    single model.
    """
    predictions = [prediction.double() for prediction in predictions]
    total = torch.zeros_like(predictions[0])
    order: list[int] = []
    best: tuple[float, ...] = (float("inf"),)
    best_size = 0
    for count in range(1, size + 1):
        values = [
            costs(problem, metric, (total + prediction) / count, batch)
            for prediction in predictions
        ]
        index = min(range(len(values)), key=values.__getitem__)
        order.append(index)
        total = total + predictions[index]
        if values[index] < best:
            best, best_size = values[index], count
        told(count, size)
    return order[:best_size]


def costs(problem: Problem, metric: Metric, averaged: Tensor, batch: Batch) -> tuple[float, ...]:
    """The metrics of averaged predictions, the chosen one first, signed so that less is better.

    To nine digits, or the mean of a model with itself could seem better than the model.
    """
    assert problem.averaging is not None
    assert problem.score is not None
    scores = problem.score(problem.averaging.outputs(averaged), batch)
    others = [other for other in problem.metrics if other.name != metric.name]
    return tuple(
        round((-1.0 if each.goal == "max" else 1.0) * float(scores[each.name].double().mean()), 9)
        for each in (metric, *others)
    )
