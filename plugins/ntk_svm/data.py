"""Pairs of handwritten digits, and two generated clouds of any size and dimension."""

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
    Metric,
    Problem,
    SplitName,
    setting,
)
from automl.core.digits import handwritten
from automl.plugins.ntk_svm import CERTIFIED

SHARES: dict[SplitName, tuple[float, float]] = {
    "train": (0.0, 0.7), "valid": (0.7, 0.8), "test": (0.8, 1.0)
}  # fmt: skip
CERTIFIED_CLASSIFICATION = Problem(
    CERTIFIED,
    (
        Metric("cert_radius_mean", "max", "input units", "certified radius of right answers, mean"),
        Metric("cert_radius_median", "max", "input units", "their median"),
        Metric("cert_radius_std", "min", "input units", "their standard deviation"),
        *IMAGE_CLASSIFICATION.metrics,
        Metric("hinge_loss", "min", "margin", "mean hinge loss, of one class against the rest"),
    ),
    IMAGE_CLASSIFICATION.batch,
    IMAGE_CLASSIFICATION.loss,
    IMAGE_CLASSIFICATION.score,
)


def part(count: int, split: SplitName) -> slice:
    """The positions of a split among ``count`` shuffled examples."""
    low, high = SHARES[split]
    return slice(int(low * count), int(high * count))


@dataclass(frozen=True)
class DigitPairs(Dataset):
    """Two of scikit-learn's digits, 8 x 8 pixels in [0, 1]: 70 / 10 / 20 % of a permutation.

    The first digit of ``pair`` is class 0.
    """

    problem: ClassVar[Problem] = IMAGE_CLASSIFICATION
    pair: str = setting("01", choices=("01", "49", "38"), doc="easy 01, medium 49 and hard 38")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the permutation")

    @property
    def info(self) -> DataInfo:
        """One channel, two classes."""
        count = int(np.isin(handwritten().target, [int(digit) for digit in self.pair]).sum())
        spans = {name: part(count, name) for name in SHARES}
        sizes: dict[str, int] = {name: span.stop - span.start for name, span in spans.items()}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (1, 8, 8), "target": ()}
        return DataInfo(
            self.name,
            self.problem,
            shapes,
            sizes,
            classes=2,
            licence="BSD-3-Clause (UCI digits)",
            facts={"class_names": list(self.pair)},
        )

    def load(self, split: SplitName) -> Batch:
        """Take the split's images."""
        found = handwritten()
        chosen = np.flatnonzero(np.isin(found.target, [int(digit) for digit in self.pair]))
        order = np.random.default_rng(self.seed).permutation(len(chosen))
        index = chosen[order[part(len(chosen), split)]]
        images = torch.from_numpy(found.images[index].astype(np.float32) / 16)
        target = torch.from_numpy((found.target[index] == int(self.pair[1])).astype(np.int64))
        return {"x": images[:, None], "target": target}


@dataclass(frozen=True)
class CertifiedDigitPairs(DigitPairs):
    """The same images; the objective is the mean certified radius of right answers."""

    problem: ClassVar[Problem] = CERTIFIED_CLASSIFICATION


@dataclass(frozen=True)
class Clouds(Dataset):
    """Two classes in R^d: Gaussians apart by ``distance``, or noisy spheres of radius 1 and 2."""

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    kind: str = setting("gaussians", choices=("gaussians", "spheres"), doc="the clouds' form")
    n: int = setting(1000, low=20, high=1_000_000, unit="points", doc="of all three splits")
    d: int = setting(20, low=2, high=10_000, unit="features", doc="dimension")
    distance: float = setting(3.0, low=0, high=100, doc="between the Gaussians' means")
    noise: float = setting(0.1, low=0, high=10, doc="standard deviation around a sphere")
    flip: float = setting(0.0, low=0, high=0.5, unit="share", doc="labels that are wrong")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Two classes."""
        spans = {name: part(self.n, name) for name in SHARES}
        sizes: dict[str, int] = {name: span.stop - span.start for name, span in spans.items()}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (self.d,), "target": ()}
        return DataInfo(self.name, self.problem, shapes, sizes, classes=2, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Generate all points and take the split's."""
        x, target = self.generate()
        span = part(self.n, split)
        return {"x": x[span], "target": target[span]}

    def generate(self) -> tuple[Tensor, Tensor]:
        """All points (n, d) and their classes (n,)."""
        generator = torch.Generator().manual_seed(self.seed)
        target = torch.randint(0, 2, (self.n,), generator=generator)
        x = torch.randn(self.n, self.d, generator=generator)
        if self.kind == "gaussians":
            x[:, 0] += self.distance * (target - 0.5)
        else:
            jitter = self.noise * torch.randn(x.shape, generator=generator)
            x = x / x.norm(dim=1, keepdim=True) * (1 + target)[:, None] + jitter
        wrong = torch.rand(self.n, generator=generator) < self.flip
        return x, torch.where(wrong, 1 - target, target)
