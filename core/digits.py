"""Scikit-learn's handwritten digits: real images that come with a package, learnt in seconds."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from automl.core.data import Batch, DataInfo, Dataset, Problem, SplitName
from automl.core.problems import IMAGE_CLASSIFICATION
from automl.core.settings import setting
from automl.core.stratified import stratified

FILE = "datasets/data/digits.csv.gz"


class Handwritten(NamedTuple):
    """``images`` (1797, 8, 8) in [0, 16] and ``target`` (1797,)."""

    images: np.ndarray
    target: np.ndarray


@cache
def handwritten() -> Handwritten:
    """The file, shared by all callers.

    It is read where scikit-learn keeps it: to import that takes as long as to import PyTorch, in
    every worker and every export.
    """
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None  # automl requires it
    with gzip.open(Path(package.origin).parent / FILE, "rt") as file:
        rows = np.loadtxt(file, delimiter=",")
    return Handwritten(rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(int))


@dataclass(frozen=True)
class Digits(Dataset):
    """1,797 images of 8 x 8 pixels in [0, 1], ten classes; stratified splits drawn by ``seed``."""

    problem: ClassVar[Problem] = IMAGE_CLASSIFICATION
    seed: int = setting(0, low=0, high=999_999, doc="seed of the splits")
    test: float = setting(0.25, low=0.05, high=0.5, unit="share", doc="of all images, held out")
    valid: float = setting(0.2, low=0.05, high=0.5, unit="share", doc="of the rest")

    @property
    def info(self) -> DataInfo:
        """One channel, ten classes."""
        sizes: dict[str, int] = {name: len(index) for name, index in self.index().items()}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (1, 8, 8), "target": ()}
        return DataInfo(
            self.name, self.problem, shapes, sizes, classes=10, licence="BSD-3-Clause (UCI digits)"
        )

    def index(self) -> dict[SplitName, np.ndarray]:
        """Which images belong to each split."""
        return split_index(self.seed, self.test, self.valid)

    def load(self, split: SplitName) -> Batch:
        """Take the split's images."""
        found, index = handwritten(), self.index()[split]
        images = torch.from_numpy(found.images[index].astype(np.float32) / 16)
        return {"x": images[:, None], "target": torch.from_numpy(found.target[index]).long()}


@cache
def split_index(seed: int, test: float, valid: float) -> dict[SplitName, np.ndarray]:
    """Stratified positions of the three splits."""
    target = handwritten().target
    rest, held_out = stratified(target, test, seed)
    train, chosen = stratified(target[rest], valid, seed)
    return {"train": rest[train], "valid": rest[chosen], "test": held_out}
