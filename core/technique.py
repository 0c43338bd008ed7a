"""Ways to change how any gradient-trained architecture is trained, and ways to measure it."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

import optuna
import torch
from torch import Tensor, nn

from automl.core.data import Batch, DataInfo, Dataset, Scores
from automl.core.settings import Settings

if TYPE_CHECKING:
    from automl.core.plugin import Plugin


class Technique(abc.ABC):
    """Hooks around a gradient-descent fit; one instance serves one fit and may hold state.

    Subclasses set ``name`` and ``defaults`` and override what they change. Parameters that
    ``space`` suggests are called ``NAME.field``.
    """

    name: ClassVar[str]
    defaults: ClassVar[Settings]

    def __init__(self, settings: Any, seed: int) -> None:
        self.settings = settings
        self.generator = torch.Generator().manual_seed(seed)

    @classmethod
    def refusal(cls, plugin: Plugin[Any, Any], data: DataInfo) -> str:
        """Why it cannot be combined with a plugin on a dataset; empty where it can."""
        return ""

    @classmethod
    def space(cls, trial: optuna.trial.BaseTrial, base: Any) -> Any:
        """Return ``base`` with the searched fields replaced by suggestions."""
        return base

    def started(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Called once before the first step."""

    def loss(self, loss: Tensor, model: nn.Module, batch: Batch, step: int) -> Tensor:
        """Return the loss to differentiate."""
        return loss

    def raw_gradients(self, model: nn.Module, step: int) -> None:
        """Change ``parameter.grad`` in place, before clipping."""

    def gradients(self, model: nn.Module, step: int) -> None:
        """Change ``parameter.grad`` in place, after clipping."""

    def stepped(self, model: nn.Module, step: int) -> None:
        """Called after each optimiser step."""

    def epoch_ended(self, model: nn.Module, epoch: int) -> None:
        """Called after each pass over the training data."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold for a resumed fit to equal an uninterrupted one."""
        return {"generator": self.generator.get_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.generator.set_state(state["generator"])


class Probe(abc.ABC):
    """Measures a fitted model beyond the metrics of its problem."""

    name: ClassVar[str]

    @abc.abstractmethod
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """Return named numbers.

        Raises:
            AutoMLError: if the probe does not apply, saying why.
        """
