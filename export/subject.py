"""What is exported: a trained model with its data, its exportable and its answers in PyTorch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.data import Dataset, Deployment, Split
from automl.core.plugin import Exportable, Plugin
from automl.core.trial import TrialTask, load_model
from automl.export.deploy import Around, deployable

METRIC_EXAMPLES = 200
CALIBRATION_BATCHES = 64
Runtime = Callable[[dict[str, Tensor]], dict[str, Tensor]]  # named inputs to named outputs


@dataclass(frozen=True)
class Subject:
    """A trained model; ``deployment`` is what goes around a model of a user's own data."""

    plugin: Plugin[Any, Any]
    model: nn.Module
    config: Any
    dataset: Dataset
    deployment: Deployment | None
    exportable: Exportable

    @classmethod
    def load(cls, task: TrialTask) -> Subject:
        """Rebuild a trial's model from its weights.

        Raises:
            CheckpointError: if the weights are missing or damaged.
            ExportError: if the model cannot be exported.
        """
        return cls.of(*load_model(task))

    @classmethod
    def of(
        cls, plugin: Plugin[Any, Any], model: nn.Module, config: Any, dataset: Dataset
    ) -> Subject:
        """A model in evaluation mode on the CPU, perhaps of no finished trial yet.

        Raises:
            ExportError: if the model cannot be exported.
        """
        deployment = dataset.deployment()
        exportable = deployable(plugin.export(model, config, dataset.info), deployment)
        return cls(plugin, model, config, dataset, deployment, exportable)

    @property
    def metric(self) -> str:
        """The name of the objective that conversions are judged by."""
        return self.dataset.problem.objective.name

    def eager(self) -> Runtime:
        """The model's own ``forward`` in PyTorch, which every runtime must equal."""
        whole = self.model if self.deployment is None else Around(self.model, self.deployment)
        return eager_model(whole, self.exportable)

    @cached_property
    def scored(self) -> float:
        """The objective in PyTorch, on the examples that ``score`` takes by default."""
        split = self.dataset.split("valid").first(METRIC_EXAMPLES)
        return self.plugin.evaluate(self.model, self.config, split)[self.metric]

    def score(self, runtime: Runtime, examples: int = METRIC_EXAMPLES) -> float:
        """The objective on the first ``examples`` of the validation split, in a runtime."""
        split = self.dataset.split("valid").first(examples)
        stand_in = RuntimeModule(self.model, tuple(self.exportable.inputs), runtime)
        return self.plugin.evaluate(stand_in, self.config, self.raw(split))[self.metric]

    def calibration(self) -> list[dict[str, Tensor]]:
        """The inputs that the graph gets while the validation split is scored, batch by batch."""
        eager = self.eager()
        seen: list[dict[str, Tensor]] = []

        def recording(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            if len(seen) < CALIBRATION_BATCHES:
                seen.append(inputs)
            return eager(inputs)

        self.score(recording)
        return seen

    def raw(self, split: Split) -> Split:
        """The split as the exported graph takes it: a user's own data come raw."""
        if self.deployment is None:
            return split
        return replace(split, examples={**split.examples, "x": self.deployment.raw[: len(split)]})


def eager_model(model: nn.Module, exportable: Exportable) -> Runtime:
    """The model's own ``forward``: outputs by name."""

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            found = model(**inputs)
        return {name: found[name] for name in exportable.outputs}

    return call


def eager_part(exportable: Exportable) -> Runtime:
    """The module of a part: outputs by name."""

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            found = exportable.module(*inputs.values())
        return dict(zip(exportable.outputs, found, strict=True))

    return call


class RuntimeModule(nn.Module):
    """A model whose ``forward`` runs elsewhere; everything else is the original's."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], runtime: Runtime) -> None:
        super().__init__()
        self.original = model

        def forward(*args: Tensor, **kwargs: Tensor) -> dict[str, Tensor]:
            return runtime(dict(zip(inputs, args, strict=False)) | kwargs)

        # callers look at the arguments' names to choose the keys of a batch
        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)
