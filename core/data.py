"""Datasets: what there is to learn, independent of any paper."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from automl.core.cards import DatasetCard, Metric
from automl.core.errors import ConfigError, DataError
from automl.core.settings import Settings, setting

SplitName = Literal["train", "valid", "test"]
Batch = dict[str, Tensor]  # first axis: examples; keys: forward's arguments and the targets
Outputs = dict[str, Tensor]  # what forward returns, by name
Scores = dict[str, float]
ExampleScores = dict[str, Tensor]  # each (examples,)


@dataclass(frozen=True)
class Averaging:
    """How the answers of several models become one: what is averaged, and the answer of it.

    ``prediction`` takes a model's outputs to a tensor (examples, ...) whose mean over models makes
    sense (probabilities, say); ``outputs`` takes that mean back to outputs.
    """

    prediction: Callable[[Outputs], Tensor]
    outputs: Callable[[Tensor], Outputs]


@dataclass(frozen=True)
class Problem:
    """A type of problem: its batch contract, its metrics and its default loss and score.

    The first metric is the objective. ``batch`` says, for each key of a batch, what it holds.
    ``loss`` maps outputs and batch to a scalar; ``score`` to each metric per example, shape
    ``(examples,)``, so that no result depends on the batch size. ``averaging`` is there if several
    models' answers can be averaged.
    """

    name: str
    metrics: tuple[Metric, ...]
    batch: Mapping[str, str]
    loss: Callable[[Outputs, Batch], Tensor] | None = None
    score: Callable[[Outputs, Batch], ExampleScores] | None = None
    averaging: Averaging | None = None

    @property
    def objective(self) -> Metric:
        """The metric that a search optimises."""
        return self.metrics[0]


@dataclass(frozen=True)
class DataInfo:
    """What is known of a dataset without loading it.

    ``shapes`` gives each key's shape per example, with ``None`` for an axis whose length varies;
    ``facts`` is whatever else models may build upon (class names, longest sequence, units).
    """

    name: str
    problem: Problem
    shapes: Mapping[str, tuple[int | None, ...]]
    sizes: Mapping[str, int]
    classes: int | None = None
    licence: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able copy; the problem by its name."""
        return {
            "name": self.name,
            "problem": self.problem.name,
            "shapes": {key: list(shape) for key, shape in self.shapes.items()},
            "sizes": dict(self.sizes),
            "classes": self.classes,
            "licence": self.licence,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset, in memory: tensors that share their first axis."""

    name: SplitName
    info: DataInfo
    examples: Batch

    def __len__(self) -> int:
        return len(next(iter(self.examples.values())))

    def take(self, index: Tensor | slice) -> Batch:
        """The examples at ``index``, as a batch."""
        return {key: column[index] for key, column in self.examples.items()}

    def first(self, count: int) -> Split:
        """The first ``count`` examples as a split."""
        return Split(self.name, self.info, self.take(slice(count)))

    def to(self, device: torch.device) -> Split:
        """The same split with its tensors on ``device``."""
        moved = {key: column.to(device) for key, column in self.examples.items()}
        return Split(self.name, self.info, moved)

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))


@dataclass(frozen=True, eq=False)
class Deployment:
    """What goes around a model that is shipped: raw inputs before it, plain answers after it.

    ``before`` maps a raw ``x`` to the model's; ``after`` maps the model's named outputs to the
    further ``outputs``; ``raw`` are the validation split's raw inputs; ``facts`` tell what they
    mean (columns, codes, class names) and travel in the exported file.
    """

    before: nn.Module
    after: nn.Module
    outputs: tuple[str, ...]
    raw: Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset(Settings, abc.ABC):
    """Something to learn. Options are fields declared with ``setting``; values are the identity.

    Subclasses set ``problem`` and give ``info`` and ``load``. Equal datasets give equal data.
    """

    problem: ClassVar[Problem]
    name: str = setting("", doc="canonical name, with the options that differ from the preset")

    @property
    @abc.abstractmethod
    def info(self) -> DataInfo:
        """What is known without loading."""

    @abc.abstractmethod
    def load(self, split: SplitName) -> Batch:
        """Read or generate one split; splits are disjoint and the same at every call."""

    def deployment(self) -> Deployment | None:
        """What an exported model needs around it; ``None`` where users have the model's inputs."""
        return None

    @classmethod
    def from_options(cls, card: DatasetCard, given: Mapping[str, str]) -> Self:
        """Build from a card's presets and option texts, and name it canonically.

        Raises:
            ConfigError: if an option is unknown or its value is not allowed.
        """
        preset = cls.from_dict({**card.options, "name": card.name})
        if "name" in given:
            raise ConfigError("a dataset's name is not an option")
        named = preset.updated(f"{key}={value}" for key, value in given.items())
        before = preset.to_dict()
        changed = {key: value for key, value in named.to_dict().items() if value != before[key]}
        options = ",".join(f"{key}={value}" for key, value in sorted(changed.items()))
        return cls.from_dict({**named.to_dict(), "name": f"{card.name}:{options}".rstrip(":")})

    def split(self, name: SplitName) -> Split:
        """Load one split, once per process.

        Raises:
            DataError: if the split does not exist or is empty.
        """
        if name not in get_args(SplitName):
            raise DataError(f"no split named {name!r}: use train, valid or test")
        return loaded(self, name)


@cache
def loaded(dataset: Dataset, name: SplitName) -> Split:
    """The cache behind ``Dataset.split``: generated once per process, kept on the CPU."""
    examples = dataset.load(name)
    split = Split(name, dataset.info, examples)
    if not examples or len(split) == 0:
        raise DataError(f"dataset {dataset.name!r} has no {name} examples")
    return split
