"""How a LEMUR model is built, fitted, scored and searched through the sandbox."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from automl.core.api import (
    Axis,
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    ExampleScores,
    Exportable,
    Plugin,
    Run,
    Scores,
    Split,
    Trial,
    mean_scores,
    require_sandbox,
)
from automl.plugins.lemur import CARD
from automl.plugins.lemur.claims import CLAIMS
from automl.plugins.lemur.config import DEFAULTS, FULL, PREFIX, Config
from automl.plugins.lemur.model import SMALL_BATCH, SandboxedModel

LARGEST_BATCH_POWER = 12
SEARCHED_TRANSFORMS = ("norm_32", "echo_32", "norm_32_flip", "echo_32_flip")
MORE_EPOCHS = 2  # how many times the base's a search may take


class Lemur(Plugin[Config, SandboxedModel]):
    """Any model in LEMUR's format: ``Net``, ``train_setup``, ``learn``."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS
    no_techniques = "a LEMUR model brings its own training loop, which runs out of reach"

    def check_data(self, data: DataInfo) -> None:
        """Refuse what is no image of one size with one or three channels.

        Raises:
            SandboxError: on a machine that cannot confine a process.
        """
        require_sandbox()
        shape = data.shapes["x"]
        if len(shape) != 3 or None in shape or shape[0] not in (1, 3):
            raise DataError(
                f"{data.name!r} has images of shape {shape}: LEMUR's models take 1 or 3 channels "
                "and one height and width"
            )
        if data.classes is None or data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} classes: two at least are wanted")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """LEMUR's own ranges of what the model declares, and of batch, transform and epochs."""
        declared = base.source.declared
        powers = range(LARGEST_BATCH_POWER + 1)
        batches = [2**power for power in powers if 2**power <= data.sizes["train"]]
        transforms = list(dict.fromkeys((base.transform, *SEARCHED_TRANSFORMS)))
        if base.transform.startswith("complex"):
            transforms = ["complex_32", "complex_32_flip"]
        most = min(100, MORE_EPOCHS * base.epoch)
        found: dict[str, Any] = {
            "epoch": trial.suggest_int("epoch", 1, most),
            "batch": trial.suggest_categorical("batch", batches),
            "transform": trial.suggest_categorical("transform", transforms),
        }
        if "lr" in declared:
            found["lr"] = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if "momentum" in declared:
            found["momentum"] = trial.suggest_float("momentum", 0.0, 1.0)
        if "dropout" in declared:
            found["dropout"] = trial.suggest_float("dropout", 0.0, 0.5)
        further = {
            f"{PREFIX}{name}": trial.suggest_float(f"{PREFIX}{name}", 0.0, 1.0)
            for name in base.further
        }
        return Config.from_dict({**base.to_dict(), **found, **further})

    def build(self, config: Config, data: DataInfo) -> SandboxedModel:
        """The untrained model, constructed in a sandbox of its own with the trial's seed."""
        shape = tuple(int(axis or 0) for axis in data.shapes["x"])
        return SandboxedModel(config, shape, data.classes or 0, torch.initial_seed() % 2**63)

    def steps(self, config: Config) -> int:
        """A step is an epoch."""
        return config.epoch

    def fit(self, model: SandboxedModel, config: Config, run: Run) -> None:
        """Call the model's ``learn`` once an epoch, score its weights on the validation split.

        An interrupted fit starts over: what a model keeps beside its weights is its own affair.
        """
        train, valid = run.split("train"), run.split("valid")
        model.give_data(train)
        for epoch in range(1, config.epoch + 1):
            told = model.learn()
            run.report(epoch, self.evaluate(model, config, valid), train=told)

    def evaluate(self, model: SandboxedModel, config: Config, split: Split) -> Scores:
        """Means of the problem's own scores, computed outside the sandbox."""
        score = split.info.problem.score
        if score is None:
            raise ConfigError(f"problem {split.info.problem.name!r} has no score of its own")

        def each(batch: Batch) -> ExampleScores:
            return score(model(batch["x"]), batch)

        return mean_scores(model, each, split)

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two random images as the dataset has them."""
        shape = [axis or 0 for axis in data.shapes["x"]]
        generator = torch.Generator().manual_seed(0)
        return {"x": torch.rand(SMALL_BATCH, *shape, generator=generator)}

    def export(self, model: SandboxedModel, config: Config, data: DataInfo) -> Exportable:
        """The transform and the model's computation, which came out of the sandbox as data."""
        module, static = model.graph()
        axes: dict[str, dict[int, Axis]] = {"x": {0: Axis("batch")}}
        if static:
            warnings.warn(
                f"static batch: the graph takes {SMALL_BATCH} images at a time ({static})",
                stacklevel=2,
            )
            axes = {}
        return Exportable(module, self.example(config, data), ("logits",), axes, tolerance=1e-4)
