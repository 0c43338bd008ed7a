"""Generated sets: strokes at any size, two moons as latencies, and the XOR of spike times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from automl.core.api import (
    IMAGE_CLASSIFICATION,
    TABULAR_CLASSIFICATION,
    Batch,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    setting,
)

SEED_OFFSET: dict[SplitName, int] = {"train": 0, "valid": 10**6, "test": 2 * 10**6}
# Corners of each class's polyline in the unit square, x to the right and y down.
SHAPES = (
    ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)),
    ((0.5, 0.1), (0.5, 0.9), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5)),
    ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8), (0.8, 0.8)),
    ((0.5, 0.1), (0.9, 0.85), (0.1, 0.85), (0.5, 0.1), (0.5, 0.1)),
    ((0.1, 0.1), (0.9, 0.9), (0.5, 0.5), (0.9, 0.1), (0.1, 0.9)),
    ((0.2, 0.1), (0.2, 0.9), (0.8, 0.9), (0.8, 0.9), (0.8, 0.9)),
    ((0.1, 0.2), (0.9, 0.2), (0.5, 0.2), (0.5, 0.9), (0.5, 0.9)),
    ((0.1, 0.9), (0.3, 0.1), (0.5, 0.7), (0.7, 0.1), (0.9, 0.9)),
    ((0.2, 0.1), (0.2, 0.9), (0.2, 0.5), (0.8, 0.5), (0.8, 0.9)),
    ((0.1, 0.1), (0.5, 0.9), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1)),
)
CENTRES = 8  # receptive fields per coordinate


@dataclass(frozen=True)
class Strokes(Dataset):
    """Ten classes of polylines with affine jitter, drawn as soft lines; pixels in [0, 1]."""

    problem: ClassVar[Problem] = IMAGE_CLASSIFICATION
    size: int = setting(16, low=8, high=256, unit="pixels", doc="height and width")
    train_size: int = setting(2000, low=20, high=10_000_000, unit="images", doc="to train on")
    jitter: float = setting(0.15, low=0, high=1, doc="of the affine map's entries")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """One channel, ten classes."""
        sizes = {"train": self.train_size, "valid": 500, "test": 500}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (1, self.size, self.size), "target": ()}
        return DataInfo(self.name, self.problem, shapes, sizes, classes=10, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Draw one split; splits have seeds of their own."""
        draw = torch.Generator().manual_seed(self.seed + SEED_OFFSET[split])
        count = self.info.sizes[split]
        target = torch.randint(0, len(SHAPES), (count,), generator=draw)
        corners = torch.tensor(SHAPES)[target] - 0.5  # (N, 5, 2)
        turn = torch.eye(2) + self.jitter * torch.randn(count, 2, 2, generator=draw)
        shift = 0.3 * self.jitter * torch.randn(count, 1, 2, generator=draw)
        parts = torch.split(corners @ turn + shift + 0.5, 512)
        images = torch.cat([rasterise(part, self.size) for part in parts])
        return {"x": images[:, None], "target": target}


def rasterise(corners: Tensor, size: int) -> Tensor:
    """Polylines (N, points, 2) in the unit square to images (N, size, size) in [0, 1]."""
    axis = (torch.arange(size) + 0.5) / size
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
    start, along = corners[:, :-1, None], corners.diff(dim=1)[:, :, None]
    offset = pixels - start  # (N, segments, pixels, 2)
    length = along.square().sum(-1).clamp(min=1e-9)
    position = ((offset * along).sum(-1) / length).clamp(0, 1)
    distance = (offset - position[..., None] * along).norm(dim=-1).amin(1)
    images: Tensor = (1.5 - distance * size).clamp(0, 1)
    return images.reshape(-1, size, size)


@dataclass(frozen=True)
class MoonsLatency(Dataset):
    """Two moons; each coordinate excites eight Gaussian receptive fields, values in [0, 1]."""

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    train_size: int = setting(600, low=20, high=10_000_000, unit="points", doc="to train on")
    noise: float = setting(0.1, low=0, high=1, doc="standard deviation of the noise")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Sixteen features, two classes."""
        sizes = {"train": self.train_size, "valid": 300, "test": 300}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (2 * CENTRES,), "target": ()}
        return DataInfo(self.name, self.problem, shapes, sizes, classes=2, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Draw one split; splits have seeds of their own."""
        draw = np.random.default_rng(self.seed + SEED_OFFSET[split])
        count = self.info.sizes[split]
        target = draw.integers(0, 2, count)
        angle = np.pi * draw.random(count)
        x = np.where(target == 0, np.cos(angle), 1 - np.cos(angle))
        y = np.where(target == 0, np.sin(angle), 0.5 - np.sin(angle))
        points = np.stack([x, y], 1) + self.noise * draw.normal(size=(count, 2))
        unit = (points - [-1.5, -1.0]) / [4.0, 2.5]
        return {
            "x": population(torch.from_numpy(unit).float()),
            "target": torch.from_numpy(target).long(),
        }


def population(unit: Tensor) -> Tensor:
    """Coordinates (N, D) in [0, 1] to responses (N, 8 D) of Gaussian receptive fields."""
    centres = torch.linspace(0, 1, CENTRES)
    width = 1 / (1.5 * (CENTRES - 2))  # Bohte 2002
    return torch.exp(-0.5 * ((unit[..., None] - centres) / width).square()).flatten(1)


def xor_times() -> tuple[Tensor, Tensor]:
    """The four patterns as inputs (4, 2) in [0, 1], 1 the earlier spike, and times (4, 1) in ms.

    Both inputs spike at 0 or 6 ms; the output is to spike at 10 ms where they differ, else 16 ms.
    """
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, torch.tensor([[16.0], [10.0], [10.0], [16.0]])
