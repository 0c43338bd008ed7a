"""What a trial's model costs where it is to run, and whether that is more than the search allows.

Costs are measured before the fit: a model that is too large or too slow is not trained, and every
report can be judged by all objectives. A fit that changes the shapes of its model (a support
vector machine's, say) has it measured again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from automl.core.cards import TargetCard
from automl.core.data import Dataset, Scores
from automl.core.discovery import catalogue
from automl.core.errors import ConfigError
from automl.core.objectives import COSTS, EXPORTED, Objectives
from automl.core.plugin import Plugin
from automl.core.profile import parameter_count
from automl.core.study import SearchSettings

STOPPED = {"params": "size", "bytes": "size", "latency_ms": "latency"}


def exported(settings: SearchSettings, objectives: Objectives) -> bool:
    """Whether a search needs its models' exports measured."""
    return any(name in EXPORTED for name in (*objectives.names, *settings.limits))


def task_fields(settings: SearchSettings, objectives: Objectives) -> dict[str, Any]:
    """What the tasks of a search say of costs, as fields of ``TrialTask``."""
    return {
        "priced": bool(settings.limits) or any(name in COSTS for name in objectives.names),
        "runtime": settings.runtime if exported(settings, objectives) else "",
        "limits": settings.limits,
    }


def check(settings: SearchSettings, objectives: Objectives) -> None:
    """Refuse costs that cannot be measured, before anything is trained.

    Raises:
        UnknownName: if there is no such target.
        ConfigError: if the target measures nothing here, or nothing is to be measured on it.
        MissingExtra: if it lacks a program or package.
    """
    if exported(settings, objectives):
        catalogue().card(TargetCard, settings.runtime).load()().check_costs()
    elif settings.runtime != "cpu":
        catalogue().card(TargetCard, settings.runtime)
        raise ConfigError(
            f"target {settings.runtime!r} changes nothing in a search that measures nothing on it: "
            "add --objective latency_ms, --objective bytes, --max-latency-ms or --max-bytes"
        )


def measure(
    plugin: Plugin[Any, Any], model: nn.Module, config: Any, dataset: Dataset, runtime: str
) -> Scores:
    """``params``, and unless ``runtime`` is empty ``bytes`` and ``latency_ms`` of the export there.

    The random streams of the fit are left as they are.

    Raises:
        ExportError: if the model cannot be exported.
    """
    found = {"params": float(parameter_count(model))}
    if runtime:
        target = catalogue().card(TargetCard, runtime).load()()
        with random_streams_kept():
            found |= target.costs(plugin, model, config, dataset)
    return found


def exceeded(found: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Why a model is not trained: ``size`` or ``latency``; empty if it keeps the limits."""
    return next((STOPPED[n] for n, limit in limits.items() if found.get(n, 0.0) > limit), "")


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    """The shapes of a model's tensors by name."""
    return {
        name: tensor.shape for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }


@contextmanager
def random_streams_kept() -> Iterator[None]:
    """Give the global random generators back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)
