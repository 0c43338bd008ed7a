"""Gradients for each example by itself, all at once (``torch.func``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from automl.core.api import Batch

CHUNK = 128  # examples whose gradients are held at once
Objective = Callable[[Tensor, Tensor], Tensor]  # logits (classes,), target () -> scalar


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name, cut off from the graph."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def per_sample(model: nn.Module, batch: Batch, objective: Objective) -> dict[str, Tensor]:
    """Each parameter's gradient of ``objective`` for each example: (batch, *shape)."""
    buffers = dict(model.named_buffers())

    def value(parameters: dict[str, Tensor], x: Tensor, target: Tensor, task: Tensor) -> Tensor:
        inputs = {"x": x[None], "task": task[None]}
        out: dict[str, Tensor] = functional_call(model, (parameters, buffers), (), inputs)
        return objective(out["logits"][0], target)

    each: Any = vmap(grad(value), in_dims=(None, 0, 0, 0))
    found: dict[str, Tensor] = each(trainable(model), batch["x"], batch["target"], batch["task"])
    return found


def mean_over_samples(
    model: nn.Module, batch: Batch, objective: Objective, power: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The mean over examples of ``power`` (an absolute value, a square) of their gradients."""
    total: dict[str, Tensor] = {}
    count = len(batch["x"])
    for start in range(0, count, CHUNK):
        part = {key: column[start : start + CHUNK] for key, column in batch.items()}
        for name, gradient in per_sample(model, part, objective).items():
            total[name] = total.get(name, 0) + power(gradient).sum(0) / count
    return total


def flat(model: nn.Module, batch: Batch, objective: Objective) -> Tensor:
    """One gradient vector for each example: (batch, parameters)."""
    gradients = per_sample(model, batch, objective)
    return torch.cat([gradient.flatten(1) for gradient in gradients.values()], 1)
