"""Concentric rings: a class per ring."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from automl.core.api import (
    TABULAR_CLASSIFICATION,
    Batch,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    setting,
)

SIZES = {"train": 1000, "valid": 500, "test": 500}


@dataclass(frozen=True)
class Rings(Dataset):
    """Points in the plane; the class is the ring that a point was drawn from."""

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    rings: int = setting(3, low=2, high=10, doc="how many rings")
    noise: float = setting(0.05, low=0, high=1, doc="standard deviation across a ring")

    @property
    def info(self) -> DataInfo:
        """Two features, a class per ring."""
        shapes: dict[str, tuple[int | None, ...]] = {"x": (2,), "target": ()}
        return DataInfo(
            self.name, self.problem, shapes, SIZES, classes=self.rings, licence="generated"
        )

    def load(self, split: SplitName) -> Batch:
        """Draw a ring, an angle and a distance for each point."""
        generator = torch.Generator().manual_seed({"train": 0, "valid": 1, "test": 2}[split])
        count = SIZES[split]
        target = torch.randint(0, self.rings, (count,), generator=generator)
        angle = 2 * torch.pi * torch.rand(count, generator=generator)
        radius = (target + 1) / self.rings + self.noise * torch.randn(count, generator=generator)
        return {
            "x": radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1),
            "target": target,
        }
