"""Scikit-learn's handwritten digits: real images that come with a package, learnt in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from automl.core.data import Batch, DataInfo, Dataset, Problem, SplitName
from automl.core.problems import IMAGE_CLASSIFICATION
from automl.core.settings import setting


@cache
def handwritten() -> Any:
    """The file: ``images`` (1797, 8, 8) in [0, 16] and ``target`` (1797,), shared by all callers.

    Scikit-learn takes seconds to import, in every worker: so those pay who need it.
    """
    from sklearn.datasets import load_digits

    return load_digits()


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
    from sklearn.model_selection import train_test_split

    target = handwritten().target
    rest, held_out = train_test_split(
        np.arange(len(target)), test_size=test, stratify=target, random_state=seed
    )
    train, chosen = train_test_split(
        rest, test_size=valid, stratify=target[rest], random_state=seed
    )
    return {"train": train, "valid": chosen, "test": held_out}
