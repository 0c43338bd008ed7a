"""The contract between the engine and one paper."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar, final

import optuna
import torch
from torch import Tensor, nn

from automl.core.cards import Paper, PluginCard
from automl.core.claims import Claim
from automl.core.data import Batch, DataInfo, ExampleScores, Outputs, Scores, Split
from automl.core.errors import ConfigError
from automl.core.run import Run
from automl.core.settings import Settings
from automl.core.train import Training, mean_scores, sgd

C = TypeVar("C", bound=Settings)
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Axis:
    """An axis of an exported input whose length is free within ``low`` and ``high``."""

    name: str
    low: int = 1
    high: int = 1024


@dataclass(frozen=True)
class Exportable:
    """What to write as one ONNX graph.

    ``module`` takes the named ``inputs`` and returns the ``outputs`` in that order; ``axes``
    names the free axes of each input; ``discrete`` outputs must agree exactly; ``parts`` are
    further graphs that go with it (an encoder and a step for search on the host). Verification
    draws rows from ``samples`` where given, else random numbers like the inputs. ``tolerance`` is
    the absolute and relative difference from PyTorch that is allowed; 0: single precision's.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, Mapping[int, Axis]]
    discrete: tuple[str, ...] = ()
    parts: Mapping[str, Exportable] = field(default_factory=dict)
    samples: Mapping[str, Tensor] = field(default_factory=dict)
    tolerance: float = 0.0


class Plugin(abc.ABC, Generic[C, M]):
    """One paper: what to build, how to fit it, how to score it, what to search.

    A plugin holds no state: everything that a trial needs is in ``config`` and ``model``.
    Subclasses are final. ``C`` is a frozen dataclass of settings, ``M`` the kind of model.
    """

    card: ClassVar[PluginCard]
    defaults: C  # the paper's recipe at a size that takes minutes on two cores; trial 0
    full: C  # the paper's own size; trial 0 under --full
    claims: ClassVar[tuple[Claim, ...]] = ()  # checked by `automl reproduce`
    waivers: ClassVar[Mapping[str, str]] = {}  # law -> why it does not hold here
    # why techniques have nothing to change: set it where ``fit`` does not descend by ``sgd``
    no_techniques: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The plugin's name on the command line."""
        return self.card.name

    @property
    def paper(self) -> Paper:
        """The paper behind the plugin."""
        return self.card.paper

    def check_data(self, data: DataInfo) -> None:
        """Refuse a dataset of the right problem that it cannot learn all the same (its size, …).

        Raises:
            DataError: saying why, before anything is recorded.
        """

    @abc.abstractmethod
    def space(self, trial: optuna.trial.BaseTrial, base: C, data: DataInfo) -> C:
        """Return ``base`` with the searched fields replaced by Optuna's suggestions."""

    @abc.abstractmethod
    def build(self, config: C, data: DataInfo) -> M:
        """Return an untrained model whose ``forward`` is the inference computation."""

    @abc.abstractmethod
    def fit(self, model: M, config: C, run: Run) -> None:
        """Fit ``model`` in place, calling ``run.report`` whenever it can be stopped."""

    @abc.abstractmethod
    def evaluate(self, model: M, config: C, split: Split) -> Scores:
        """Return exactly the metrics of the split's problem; finite on an unfitted model."""

    @abc.abstractmethod
    def example(self, config: C, data: DataInfo) -> dict[str, Tensor]:
        """Return named inputs that ``forward`` accepts (for export and profiling)."""

    def steps(self, config: C) -> int:
        """How many steps a whole fit takes, in the unit of ``run.report`` (for progress)."""
        return 1

    def export(self, model: M, config: C, data: DataInfo) -> Exportable:
        """Return what to export. Default: ``forward`` on ``example``, first axis free."""
        inputs = self.example(config, data)
        axes = {name: {0: Axis("batch")} for name in inputs}
        with torch.no_grad():
            outputs = model.eval()(**inputs)
        module = Named(model, tuple(inputs), tuple(outputs))
        return Exportable(module, inputs, tuple(outputs), axes)


class Named(nn.Module):
    """A model with named inputs and a dict of outputs, called by position: for export."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.inputs, self.outputs = inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Take the inputs and return the outputs in their declared orders."""
        found = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(found[name] for name in self.outputs)


T = TypeVar("T", bound=Training)


class Supervised(Plugin[T, M]):
    """Gradient descent on batches. Supply space and build; loss, score, optimizer if unusual.

    ``forward`` takes those keys of a batch that it names as arguments and returns a dict.
    """

    def predict(self, model: M, batch: Batch) -> Outputs:
        """Call ``forward`` with the keys of ``batch`` that it names."""
        wanted = inspect.signature(model.forward).parameters
        outputs: Outputs = model(**{key: batch[key] for key in wanted if key in batch})
        return outputs

    def loss(self, model: M, config: T, batch: Batch, data: DataInfo) -> Tensor:
        """The scalar to minimise on one batch. Default: the problem's own."""
        if data.problem.loss is None:
            raise ConfigError(f"problem {data.problem.name!r} has no default loss: override loss")
        return data.problem.loss(self.predict(model, batch), batch)

    def score(self, model: M, config: T, batch: Batch, data: DataInfo) -> ExampleScores:
        """Each metric per example, each ``(examples,)``. Default: the problem's own."""
        if data.problem.score is None:
            raise ConfigError(f"problem {data.problem.name!r} has no default score: override score")
        return data.problem.score(self.predict(model, batch), batch)

    def optimizer(self, model: M, config: T) -> torch.optim.Optimizer:
        """The optimizer of a fit. Default: Adam."""
        return torch.optim.Adam(model.parameters(), lr=config.lr)

    def steps(self, config: T) -> int:
        """One step per optimiser step."""
        return config.steps

    def prepare(self, model: M, config: T, train: Split) -> T:
        """Before the first step: take from the training data what the model must know of it.

        Fill buffers of ``model`` (scales of the inputs) and return the setting to descend by (a
        number of steps that depends on the number of examples). Default: ``config``.
        """
        return config

    @final
    def fit(self, model: M, config: T, run: Run) -> None:
        """Stochastic gradient descent with validation every ``config.eval_every`` steps."""
        train, valid = run.split("train"), run.split("valid")
        config = self.prepare(model, config, train)
        sgd(
            model,
            loss=lambda batch: self.loss(model, config, batch, train.info),
            train=train,
            optimizer=self.optimizer(model, config),
            config=config,
            run=run,
            validate=lambda: self.evaluate(model, config, valid),
        )

    def evaluate(self, model: M, config: T, split: Split) -> Scores:
        """Mean of the per-example scores over the split."""
        return mean_scores(model, lambda batch: self.score(model, config, batch, split.info), split)

    def example(self, config: T, data: DataInfo) -> dict[str, Tensor]:
        """Random inputs for the arguments of ``forward``, by the dataset's shapes."""
        wanted = inspect.signature(self.build(config, data).forward).parameters
        return {
            key: torch.rand(2, *(axis or 8 for axis in shape))
            for key, shape in data.shapes.items()
            if key in wanted
        }
