"""Two intertwined spirals: a generated classification set that learns in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from automl.core.data import Batch, DataInfo, Dataset, Problem, SplitName
from automl.core.problems import TABULAR_CLASSIFICATION
from automl.core.settings import setting

SEED_OFFSET: dict[SplitName, int] = {"train": 0, "valid": 10**6, "test": 2 * 10**6}


@dataclass(frozen=True)
class Spirals(Dataset):
    """Points in the plane on two spirals with Gaussian noise; the class is the spiral."""

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    train_size: int = setting(2000, low=2, high=10_000_000, unit="points", doc="training points")
    noise: float = setting(0.02, low=0, high=1, doc="standard deviation of the noise")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Two features, two classes."""
        sizes = {"train": self.train_size, "valid": 500, "test": 500}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (2,), "target": ()}
        return DataInfo(self.name, self.problem, shapes, sizes, classes=2, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Generate one split; splits have seeds of their own."""
        generator = torch.Generator().manual_seed(self.seed + SEED_OFFSET[split])
        count = self.info.sizes[split]
        target = torch.randint(0, 2, (count,), generator=generator)
        radius = torch.rand(count, generator=generator).sqrt()
        angle = 3 * torch.pi * radius + torch.pi * target
        x = radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
        return {"x": x + self.noise * torch.randn(x.shape, generator=generator), "target": target}
