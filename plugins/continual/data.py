"""Streams: classification whose examples belong to tasks that are learnt one after another.

A split holds ``x`` float32 (n, features), ``target`` int64 (n,) and ``task`` int64 (n,), ordered by
task: a stream is read in the order of its rows. ``info.facts`` has ``tasks`` and, for each task,
``task_classes``.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import rotate, shift
from torch import Tensor

from automl.core.api import (
    TABULAR_CLASSIFICATION,
    Batch,
    ConfigError,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    setting,
)
from automl.core.digits import handwritten

PROBLEM = Problem(
    TABULAR_CLASSIFICATION.name,
    TABULAR_CLASSIFICATION.metrics,
    {**TABULAR_CLASSIFICATION.batch, "task": "int64 (batch,), which task, from 0, in order"},
    TABULAR_CLASSIFICATION.loss,
    TABULAR_CLASSIFICATION.score,
)
Floats = NDArray[np.float32]
SEEDS: dict[SplitName, int] = {"train": 0, "valid": 1, "test": 2}
KINDS = ("split", "permuted", "rotated", "noisy", "blurry")


@dataclass(frozen=True)
class Stream(Dataset):
    """What streams share: tasks, an order of classes drawn by the seed, sizes for each task."""

    problem: ClassVar[Problem] = PROBLEM
    licence: ClassVar[str] = "generated"
    kind: str = setting("permuted", choices=KINDS, doc="how tasks differ")
    tasks: int = setting(5, low=1, high=100, doc="number of tasks")
    size: int = setting(0, low=0, high=1_000_000, doc="training examples of a task; 0: all, once")
    big: int = setting(-1, low=-1, high=99, doc="the task that is ten times as large; -1: none")
    seed: int = setting(0, low=0, high=999_999, doc="seed of splits, order of classes and tasks")

    def class_count(self) -> int:
        """How many classes there are in all."""
        return 10

    @abc.abstractmethod
    def features(self) -> int:
        """How many numbers an example has."""

    @abc.abstractmethod
    def make(self, split: SplitName) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, classes and tasks of a split, ordered by task."""

    def check(self) -> None:
        """Refuse a split into tasks that it has no classes for."""
        if self.kind in ("split", "blurry") and self.class_count() // self.tasks < 2:
            raise ConfigError(
                f"tasks={self.tasks} leaves a task with one class of {self.class_count()}: at "
                f"most {self.class_count() // 2} tasks of two classes can be made"
            )
        if self.big >= self.tasks:
            raise ConfigError(f"big={self.big} names no task: there are {self.tasks}, from 0")
        if self.big >= 0 and not self.size:
            raise ConfigError("big needs size: the examples of the other tasks, e.g. size=200")

    def classes_of_tasks(self) -> list[list[int]]:
        """The classes of each task: disjoint where tasks are splits, else all of them."""
        every = np.random.default_rng(self.seed).permutation(self.class_count())
        if self.kind not in ("split", "blurry"):
            return [sorted(int(c) for c in every) for _ in range(self.tasks)]
        return [sorted(int(c) for c in part) for part in np.array_split(every, self.tasks)]

    @property
    def info(self) -> DataInfo:
        """Features, classes and tasks; sizes are counted."""
        sizes: dict[str, int] = {name: len(self.rows(name)[1]) for name in SEEDS}
        facts = {"tasks": self.tasks, "task_classes": self.classes_of_tasks()}
        shapes: dict[str, tuple[int | None, ...]] = {
            "x": (self.features(),), "target": (), "task": (),
        }  # fmt: skip
        return DataInfo(
            self.name, self.problem, shapes, sizes, classes=self.class_count(), facts=facts,
            licence=self.licence,
        )  # fmt: skip

    def load(self, split: SplitName) -> Batch:
        """All tasks of a split, one after another."""
        x, target, task = self.rows(split)
        return {"x": x, "target": target, "task": task}

    def rows(self, split: SplitName) -> tuple[Tensor, Tensor, Tensor]:
        """The split's tensors, made once per process."""
        return made(self, split)


@cache
def made(stream: Stream, split: SplitName) -> tuple[Tensor, Tensor, Tensor]:
    """The cache behind ``Stream.rows``."""
    return stream.make(split)


def augmented(pixels: Floats, shape: tuple[int, int], generator: np.random.Generator) -> Floats:
    """Shifts by a pixel and a little noise, so that no two drawn examples are equal."""
    images = pixels.reshape(-1, *shape)
    moves = generator.integers(-1, 2, (len(images), 2))
    found = np.empty_like(images)
    for move in np.unique(moves, axis=0):
        mine = (moves == move).all(1)
        found[mine] = shift(images[mine], (0, *move), order=0)
    noise = generator.normal(0, 0.1, found.shape)
    return (found + noise).reshape(len(found), -1).astype(np.float32)


def blurred(task: NDArray[Any], generator: np.random.Generator) -> NDArray[np.int64]:
    """An order in which a tenth of each task's rows comes from its neighbours' part."""
    order = np.arange(len(task))
    stray = np.flatnonzero(generator.random(len(task)) < 0.1)
    order[stray] = order[np.roll(stray, len(stray) // max(1, task.max() + 1))]
    return order


@dataclass(frozen=True)
class ImageStream(Stream):
    """Tasks that are made from a pool of images."""

    @abc.abstractmethod
    def pool(self, split: SplitName) -> tuple[Floats, NDArray[np.int64], tuple[int, int]]:
        """Pixels in [0, 1] (n, height * width), classes (n,) and the images' height and width."""

    def make(self, split: SplitName) -> tuple[Tensor, Tensor, Tensor]:
        """Draw each task from the pool, change it as the kind says, and order it."""
        pixels, labels, shape = self.pool(split)
        generator = np.random.default_rng([self.seed, SEEDS[split], 7])
        parts = []
        for task, classes in enumerate(self.classes_of_tasks()):
            mine = np.flatnonzero(np.isin(labels, classes))
            mine = generator.permutation(mine) if split == "train" else mine
            x = pixels[mine]
            if split == "train" and self.size:
                count = self.size * (10 if task == self.big else 1)
                mine = generator.choice(mine, count)
                x = augmented(pixels[mine], shape, generator)
            x = self.changed(x, shape, task)
            parts.append((x, labels[mine], np.full(len(mine), task)))
        x, y, t = (np.concatenate([part[i] for part in parts]) for i in range(3))
        if self.kind == "blurry" and split == "train":
            order = blurred(t, generator)
            x, y = x[order], y[order]
        return (
            torch.from_numpy(np.ascontiguousarray(x, np.float32)),
            torch.from_numpy(y.astype(np.int64)),
            torch.from_numpy(t.astype(np.int64)),
        )

    def changed(self, x: Floats, shape: tuple[int, int], task: int) -> Floats:
        """The inputs of a task: permuted, rotated or noisier from task to task."""
        if self.kind == "permuted" and task:
            order = np.random.default_rng([self.seed, 11, task]).permutation(x.shape[1])
            return x[:, order]
        if self.kind == "rotated" and task:
            images = x.reshape(-1, *shape)
            turned = rotate(images, 360 * task / self.tasks, axes=(1, 2), reshape=False, order=1)
            return turned.reshape(len(x), -1).clip(0, 1)
        if self.kind == "noisy" and task:
            noise = np.random.default_rng([self.seed, 13, task, len(x)]).normal(size=x.shape)
            return (x + 0.15 * task * noise).astype(np.float32)
        return x


@dataclass(frozen=True)
class DigitStream(ImageStream):
    """Scikit-learn's 1,797 digits, 8 x 8 pixels; 1,097 for training, 200, and 500 for the test."""

    licence: ClassVar[str] = "BSD-3-Clause (UCI digits)"

    def features(self) -> int:
        """8 x 8 pixels."""
        return 64

    def pool(self, split: SplitName) -> tuple[Floats, NDArray[np.int64], tuple[int, int]]:
        """The images of a split."""
        found = handwritten()
        order = np.random.default_rng(self.seed).permutation(len(found.target))
        parts = {"train": slice(0, 1097), "valid": slice(1097, 1297), "test": slice(1297, None)}
        mine = order[parts[split]]
        images = (found.images[mine].reshape(-1, 64) / 16).astype(np.float32)
        return images, found.target[mine], (8, 8)


FONT = {  # rows of 5 pixels, as numbers
    "0": (14, 17, 19, 21, 25, 17, 14), "1": (4, 12, 4, 4, 4, 4, 14), "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14), "4": (2, 6, 10, 18, 31, 2, 2), "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14), "7": (31, 1, 2, 4, 8, 8, 8), "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12), "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30), "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (28, 18, 17, 17, 17, 18, 28), "E": (31, 16, 16, 30, 16, 16, 31),
    "F": (31, 16, 16, 30, 16, 16, 16), "G": (14, 17, 16, 23, 17, 17, 15),
    "H": (17, 17, 17, 31, 17, 17, 17), "I": (14, 4, 4, 4, 4, 4, 14), "J": (7, 2, 2, 2, 2, 18, 12),
    "K": (17, 18, 20, 24, 20, 18, 17), "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17), "N": (17, 17, 25, 21, 19, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14), "P": (30, 17, 17, 30, 16, 16, 16),
    "Q": (14, 17, 17, 17, 21, 18, 13), "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30), "T": (31, 4, 4, 4, 4, 4, 4), "U": (17, 17, 17, 17, 17, 17, 14),
    "V": (17, 17, 17, 17, 17, 10, 4), "W": (17, 17, 17, 21, 21, 21, 10),
    "X": (17, 17, 10, 4, 10, 17, 17), "Y": (17, 17, 17, 10, 4, 4, 4), "Z": (31, 1, 2, 4, 8, 16, 31),
}  # fmt: skip


@dataclass(frozen=True)
class GlyphStream(ImageStream):
    """Figures and capital letters, 36 classes on 12 x 12 pixels, shifted, slanted and noisy."""

    kind: str = setting("split", choices=KINDS, doc="how tasks differ")
    tasks: int = setting(6, low=1, high=100, doc="number of tasks")
    train_size: int = setting(2000, low=100, high=1_000_000, unit="images", doc="in all")
    test_size: int = setting(1000, low=100, high=1_000_000, unit="images", doc="in all")

    def features(self) -> int:
        """12 x 12 pixels."""
        return 144

    def class_count(self) -> int:
        """Ten figures and 26 letters."""
        return len(FONT)

    def pool(self, split: SplitName) -> tuple[Floats, NDArray[np.int64], tuple[int, int]]:
        """Draw the images of a split."""
        count = self.train_size if split == "train" else self.test_size
        generator = np.random.default_rng([self.seed, SEEDS[split], 17])
        labels = generator.permutation(np.arange(count) % len(FONT))
        return drawn(labels, generator), labels.astype(np.int64), (12, 12)


def drawn(labels: NDArray[Any], generator: np.random.Generator) -> Floats:
    """Glyphs (n, 144) under random affine maps: each pixel looks up where it comes from."""
    rows = np.array([[f"{row:05b}" for row in FONT[name]] for name in FONT])
    bitmaps = np.array([[list(row) for row in glyph] for glyph in rows], dtype=np.float32)
    count = len(labels)
    y, x = np.meshgrid(np.arange(12) - 5.5, np.arange(12) - 5.5, indexing="ij")
    angle, slant = generator.normal(0, 0.12, (2, count, 1, 1))
    zoom = generator.uniform(0.55, 0.75, (count, 1, 1))
    dy, dx = generator.uniform(-1.2, 1.2, (2, count, 1, 1))
    u = zoom * (np.cos(angle) * (x - dx) + np.sin(angle + slant) * (y - dy)) + 2
    v = zoom * (np.cos(angle) * (y - dy) - np.sin(angle) * (x - dx)) + 3
    column, row = np.rint(u).astype(int), np.rint(v).astype(int)
    inside = (column >= 0) & (column < 5) & (row >= 0) & (row < 7)
    chosen = bitmaps[labels[:, None, None], row.clip(0, 6), column.clip(0, 4)] * inside
    noisy = chosen + generator.normal(0, 0.1, chosen.shape)
    found: Floats = noisy.reshape(count, -1).clip(0, 1).astype(np.float32)
    return found


@dataclass(frozen=True)
class RingStream(Stream):
    """Ten Gaussian clouds on a circle in two of eight dimensions, turned further in each task."""

    kind: str = setting("rotated", choices=("rotated",), doc="the means drift around the circle")
    train_size: int = setting(2000, low=100, high=1_000_000, unit="points", doc="of each task")
    test_size: int = setting(500, low=100, high=1_000_000, unit="points", doc="of each task")

    def features(self) -> int:
        """Two of eight tell the class."""
        return 8

    def make(self, split: SplitName) -> tuple[Tensor, Tensor, Tensor]:
        """Draw every task at its angle."""
        count = (self.size or self.train_size) if split == "train" else self.test_size
        generator = np.random.default_rng([self.seed, SEEDS[split], 19])
        counts = [
            count * (10 if split == "train" and t == self.big else 1) for t in range(self.tasks)
        ]
        task = np.repeat(np.arange(self.tasks), counts)
        target = generator.integers(0, 10, len(task))
        angle = 2 * np.pi * (target / 10 + task / (10 * max(1, self.tasks)))
        x = generator.normal(0, 0.15, (len(task), self.features()))
        x[:, 0] += np.cos(angle)
        x[:, 1] += np.sin(angle)
        return (
            torch.from_numpy(x.astype(np.float32)),
            torch.from_numpy(target.astype(np.int64)),
            torch.from_numpy(task.astype(np.int64)),
        )


@dataclass(frozen=True)
class MnistStream(ImageStream):
    """MNIST from the user's own files, 28 x 28 pixels."""

    path: str = setting("mnist.npz", doc="mnist.npz, or the folder of the four idx files")
    licence: ClassVar[str] = "the user's own"

    def features(self) -> int:
        """28 x 28 pixels."""
        return 784

    def pool(self, split: SplitName) -> tuple[Floats, NDArray[np.int64], tuple[int, int]]:
        """Read through the engine's MNIST."""
        from automl.core.mnist import Mnist

        batch = Mnist.from_dict({"name": "mnist", "path": self.path}).load(split)
        pixels = batch["x"].flatten(1).numpy()
        return pixels, batch["target"].numpy(), (28, 28)
