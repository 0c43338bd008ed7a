"""A user's own data as a dataset: what ``ingest`` wrote once, read by workers and exports.

The prepared folder holds everything that training and deployment need, so a study can be resumed
and its winner exported when the source file has changed or is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from automl.core.cards import DatasetCard
from automl.core.data import Batch, DataInfo, Dataset, Deployment, Problem, SplitName
from automl.core.errors import ConfigError, DataError
from automl.core.own.encoding import TableEncoder
from automl.core.places import artifact_root
from automl.core.problems import (
    IMAGE_CLASSIFICATION,
    SEQUENCE_CLASSIFICATION,
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    balanced,
)
from automl.core.settings import setting


@dataclass(frozen=True)
class OwnData(Dataset):
    """A prepared folder below ``data/`` of the artifact folder, by its ``id``."""

    id: str = setting("", doc="the prepared folder's name, e.g. iris-1a2b3c4d")

    @classmethod
    def from_options(cls, card: DatasetCard, given: Mapping[str, str]) -> Self:
        """Open the folder; what there is to learn is written there.

        Raises:
            ConfigError: without an ``id``.
            DataError: if there is no such folder.
        """
        if set(given) != {"id"}:
            raise ConfigError(
                "dataset 'data' is a user's own: `automl search --data FILE` prepares one and "
                "names it data:id=…"
            )
        facts_of(given["id"])
        return cls(name=f"{card.name}:id={given['id']}", id=given["id"])

    @property
    def problem(self) -> Problem:  # type: ignore[override]  # known from the data, not the class
        """What there is to learn from it."""
        return PROBLEMS[self.meta["problem"], self.meta["balanced"]]

    @property
    def meta(self) -> dict[str, Any]:
        """What ``ingest`` found out."""
        return facts_of(self.id)

    @property
    def info(self) -> DataInfo:
        """Shapes, sizes and classes as prepared; the facts tell columns, classes and baselines."""
        meta = self.meta
        shapes = {key: tuple(shape) for key, shape in meta["shapes"].items()}
        return DataInfo(
            self.name,
            self.problem,
            shapes,
            meta["sizes"],
            classes=len(meta["classes"]) or None,
            licence="the user's own",
            facts=meta["facts"],
        )

    def load(self, split: SplitName) -> Batch:
        """Read a split; raw numbers of a table go through its encoder."""
        stored = self.stored(split)
        target = stored["target"]
        batch = {"x": self.features(stored["raw"]), "target": target}
        if self.meta["balanced"]:
            count = torch.bincount(target, minlength=len(self.meta["classes"])).clamp(min=1)
            present = (torch.bincount(target) > 0).sum()
            batch["weight"] = len(target) / (present * count[target])
        return batch

    def features(self, raw: Tensor) -> Tensor:
        """Raw inputs to what a network reads."""
        if raw.dtype == torch.uint8:
            return raw.float() / 255
        encoder = self.encoder()
        with torch.no_grad():
            encoded: Tensor = raw if encoder is None else encoder(raw)
        return encoded

    def stored(self, split: SplitName) -> Batch:
        """The tensors of a split as they lie on disk."""
        return read_tensors(folder_of(self.id) / f"{split}.safetensors")

    def encoder(self) -> TableEncoder | None:
        """The fitted transformers of a table."""
        path = folder_of(self.id) / "encoder.safetensors"
        return TableEncoder(read_tensors(path)) if path.exists() else None

    def deployment(self) -> Deployment:
        """Raw inputs in, answers in the user's own terms out."""
        facts = self.meta["facts"]
        raw = self.stored("valid")["raw"]
        raw = raw.float() / 255 if raw.dtype == torch.uint8 else raw
        if self.meta["classes"]:
            after: nn.Module = Classes()
            outputs: tuple[str, ...] = ("probability", "label")
        else:
            after, outputs = Rescale(facts["target_mean"], facts["target_std"]), ("prediction",)
        told = {key: facts[key] for key in ("columns", "class_names", "target") if key in facts}
        return Deployment(self.encoder() or nn.Identity(), after, outputs, raw, told)


class Classes(nn.Module):
    """Probabilities (batch, classes) and the likeliest class (batch,) from logits."""

    def forward(self, outputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Read ``logits``."""
        probability = outputs["logits"].softmax(-1)
        return probability, probability.argmax(-1)


class Rescale(nn.Module):
    """Predictions (batch, outputs) in the target's own unit."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, outputs: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Read ``value``."""
        return (outputs["value"] * self.std + self.mean,)


PROBLEMS: dict[tuple[str, bool], Problem] = {  # by name, and whether rare classes count alike
    (problem.name, rare): balanced(problem) if rare else problem
    for problem in (TABULAR_CLASSIFICATION, IMAGE_CLASSIFICATION, SEQUENCE_CLASSIFICATION)
    for rare in (False, True)
} | {(TABULAR_REGRESSION.name, False): TABULAR_REGRESSION}


def folder_of(name: str) -> Path:
    """Where a prepared dataset lies."""
    return artifact_root() / "data" / name


@cache
def read_meta(path: Path) -> dict[str, Any]:
    """The facts beside the tensors, read once per process."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def facts_of(name: str) -> dict[str, Any]:
    """What was found out about a prepared dataset.

    Raises:
        DataError: if it is not in the artifact folder, or damaged.
    """
    path = folder_of(name) / "meta.json"
    try:
        return read_meta(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"own data {name!r} is not in {path.parent.parent}: set AUTOML_ARTIFACTS to the folder "
            "of the search, or prepare it again with `automl search --data FILE`"
        ) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file of a prepared dataset.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        found: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): delete its folder and search again with --data"
        ) from error
    return found
