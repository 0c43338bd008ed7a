"""The paper's tasks, generated: noisy digits, parity, sorting, mazes, questions about digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from automl.core.api import (
    IMAGE_CLASSIFICATION,
    Batch,
    DataError,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    setting,
)
from automl.core.digits import Digits
from automl.plugins.ctm.problems import DIGIT_QUESTIONS, MAZE, PARITY, SORT

OFFSET: dict[SplitName, int] = {"train": 0, "valid": 2 * 10**6, "test": 10**6}
Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class NoisyDigits(Dataset):
    """Handwritten digits with Gaussian noise; each training image comes with many draws of it."""

    problem: ClassVar[Problem] = IMAGE_CLASSIFICATION
    noise: float = setting(0.35, low=0, high=10, doc="standard deviation, of pixels in [0, 1]")
    draws: int = setting(100, low=1, high=1000, unit="draws", doc="of each training image's noise")
    test: float = setting(0.4, low=0.05, high=0.5, unit="share", doc="of all images, held out")
    valid: float = setting(0.1, low=0.05, high=0.5, unit="share", doc="of the rest")
    seed: int = setting(0, low=0, high=999_999, doc="seed of splits and noise")

    @property
    def clean(self) -> Digits:
        """The same splits without noise."""
        return Digits(seed=self.seed, test=self.test, valid=self.valid)

    @property
    def info(self) -> DataInfo:
        """Like the digits', with as many training examples as draws."""
        info = self.clean.info
        sizes = {**info.sizes, "train": info.sizes["train"] * self.draws}
        return DataInfo(self.name, self.problem, info.shapes, sizes, 10, info.licence)

    def load(self, split: SplitName) -> Batch:
        """Draw the noise of one split."""
        found, draw = self.clean.load(split), generator(self.seed, split)
        draws = self.draws if split == "train" else 1
        x, target = found["x"].repeat(draws, 1, 1, 1), found["target"].repeat(draws)
        return {"x": x + self.noise * torch.randn(x.shape, generator=draw), "target": target}


def generator(seed: int, split: SplitName) -> torch.Generator:
    """Random numbers of one split."""
    return torch.Generator().manual_seed(seed + OFFSET[split])


@dataclass(frozen=True)
class Parity(Dataset):
    """Random signs; the answers are the parities of the -1 in every prefix.

    Splits are random: where there are few patterns (n = 8 has 256) they share examples unless
    ``distinct`` deals every pattern to one split only.
    """

    problem: ClassVar[Problem] = PARITY
    n: int = setting(8, low=2, high=256, unit="signs", doc="length")
    train_size: int = setting(20_000, low=1, high=10_000_000, unit="rows", doc="to train on")
    distinct: bool = setting(False, doc="no pattern in two splits; wants n of 20 at most")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """N answers of two classes."""
        if self.distinct:
            tenth = 2**self.n // 10
            sizes = {"train": 2**self.n - 2 * tenth, "valid": tenth, "test": tenth}
        else:
            sizes = {"train": self.train_size, "valid": 512, "test": 2048}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (self.n,), "target": (self.n,)}
        return DataInfo(self.name, self.problem, shapes, sizes, 2, "generated")

    def load(self, split: SplitName) -> Batch:
        """Draw one split."""
        if self.distinct:
            x = self.dealt(split)
        else:
            size = (self.info.sizes[split], self.n)
            x = 1.0 - 2 * torch.randint(0, 2, size, generator=generator(self.seed, split))
        return {"x": x, "target": parity(x)}

    def dealt(self, split: SplitName) -> Tensor:
        """A split's share of all patterns."""
        if self.n > 20:
            raise DataError(f"distinct=true wants n of 20 at most, not n={self.n}")
        order = torch.randperm(2**self.n, generator=torch.Generator().manual_seed(self.seed))
        sizes = self.info.sizes
        mine = dict(zip(sizes, order.split(list(sizes.values())), strict=True))[split]  # type: ignore[no-untyped-call]
        bits: Tensor = mine[:, None] >> torch.arange(self.n) & 1
        return 1.0 - 2 * bits.float()


def parity(x: Tensor) -> Tensor:
    """1 where the number of -1 up to there is odd: (B, n) to int64 (B, n)."""
    count: Tensor = (x < 0).cumsum(1)
    return count % 2


@dataclass(frozen=True)
class SortNumbers(Dataset):
    """Standard normal numbers; the answer is their positions in ascending order."""

    problem: ClassVar[Problem] = SORT
    n: int = setting(5, low=2, high=128, unit="numbers", doc="length")
    train_size: int = setting(20_000, low=1, high=10_000_000, unit="rows", doc="to train on")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """N positions."""
        sizes = {"train": self.train_size, "valid": 512, "test": 2048}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (self.n,), "target": (self.n,)}
        return DataInfo(self.name, self.problem, shapes, sizes, self.n, "generated")

    def load(self, split: SplitName) -> Batch:
        """Draw one split."""
        size = (self.info.sizes[split], self.n)
        x = torch.randn(size, generator=generator(self.seed, split))
        return {"x": x, "target": x.argsort(1)}


MOVES: Ints = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])  # up, down, left, right
WAIT = 4
# Where a move goes after a quarter turn to the left, and after a mirror from left to right.
TURNED: Ints = np.array([2, 3, 1, 0, WAIT])
MIRRORED: Ints = np.array([0, 1, 3, 2, WAIT])


@dataclass(frozen=True)
class Maze(Dataset):
    """Perfect mazes of k x k cells as colour images; the answer is the route's first moves."""

    problem: ClassVar[Problem] = MAZE
    cells: int = setting(5, low=2, high=100, unit="cells", doc="per side: 2 k + 1 pixels")
    moves: int = setting(20, low=1, high=1000, unit="moves", doc="to predict, padded by waiting")
    train_size: int = setting(5000, low=1, high=10_000_000, unit="mazes", doc="to train on")
    augment: bool = setting(False, doc="turn and mirror the training mazes")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Five answers per move."""
        size = 2 * self.cells + 1
        sizes = {"train": self.train_size, "valid": 500, "test": 1000}
        shapes: dict[str, tuple[int | None, ...]] = {
            "x": (3, size, size),
            "target": (self.moves,),
        }
        return DataInfo(self.name, self.problem, shapes, sizes, WAIT + 1, "generated")

    def load(self, split: SplitName) -> Batch:
        """Dig one split."""
        draw = np.random.default_rng(self.seed + OFFSET[split])
        images = dig(self.info.sizes[split], self.cells, draw)
        target = routes(images, self.moves)
        if self.augment and split == "train":
            images, target = transformed(images, target, draw)
        return {"x": torch.from_numpy(images), "target": torch.from_numpy(target)}


def dig(count: int, cells: int, draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """Mazes by recursive backtracking, all in step: float32 (count, 3, size, size).

    Walls are black, ways white, the start red, the goal green.
    """
    size, every = 2 * cells + 1, np.arange(count)
    ways = np.zeros((count, size, size), bool)
    visited = np.ones((count, cells + 2, cells + 2), bool)  # a border that is never entered
    visited[:, 1:-1, 1:-1] = False
    here = draw.integers(0, cells, (count, 2))
    stack = np.zeros((count, cells * cells, 2), np.int64)
    depth = np.zeros(count, np.int64)
    visited[every, here[:, 0] + 1, here[:, 1] + 1] = True
    ways[every, 2 * here[:, 0] + 1, 2 * here[:, 1] + 1] = True
    for _ in range(2 * cells * cells):
        around = here[:, None] + MOVES + 1  # (count, 4, 2)
        free = ~visited[every[:, None], around[..., 0], around[..., 1]]
        choice = np.where(free, draw.random((count, 4)), -1).argmax(1)
        go = free.any(1)
        then = here + MOVES[choice]
        some, wall = every[go], (2 * here + 1 + MOVES[choice])[go]
        ways[some, wall[:, 0], wall[:, 1]] = True
        stack[some, depth[go]] = here[go]
        depth[go] += 1
        visited[some, then[go, 0] + 1, then[go, 1] + 1] = True
        ways[some, 2 * then[go, 0] + 1, 2 * then[go, 1] + 1] = True
        back = ~go & (depth > 0)
        depth[back] -= 1
        here = np.where(go[:, None], then, np.where(back[:, None], stack[every, depth], here))
    images = np.repeat(ways[:, None], 3, 1).astype(np.float32)
    ends = np.argsort(draw.random((count, cells * cells)), 1)[:, :2]
    for end, colour in zip(ends.T, ((1, 0, 0), (0, 1, 0)), strict=True):
        images[every, :, 2 * (end // cells) + 1, 2 * (end % cells) + 1] = colour
    return images


def routes(images: np.ndarray[Any, Any], moves: int) -> Ints:
    """The first moves of the shortest routes from red to green, int64 (count, moves).

    Raises:
        DataError: if a maze has not exactly one start and one goal, or no path between them.
    """
    red, green, blue = images[:, 0] > 0.5, images[:, 1] > 0.5, images[:, 2] > 0.5
    start, goal = red & ~green & ~blue, green & ~red & ~blue
    for name, ends in (("start (red)", start), ("goal (green)", goal)):
        counts = ends.sum((1, 2))
        if (counts != 1).any():
            worst = int((counts != 1).argmax())
            raise DataError(f"maze {worst} has {counts[worst]} pixels of the {name}: give one")
    open_ways = np.pad(red | green | blue, ((0, 0), (1, 1), (1, 1)))
    distance = np.where(np.pad(goal, ((0, 0), (1, 1), (1, 1))), 0, np.iinfo(np.int64).max // 2)
    before = None
    while before is None or (before != distance).any():
        before = distance
        near = [np.roll(distance, (-move[0], -move[1]), (1, 2)) for move in MOVES]
        distance = np.where(open_ways, np.minimum(distance, np.min(near, 0) + 1), distance)
    here = np.argwhere(start)[:, 1:] + 1
    every = np.arange(len(images))
    unreached = distance[every, here[:, 0], here[:, 1]] > images[0, 0].size
    if unreached.any():
        raise DataError(f"maze {int(unreached.argmax())} has no path from start to goal")
    found = np.full((len(images), moves), WAIT)
    for step in range(moves):
        around = here[:, None] + MOVES
        choice = distance[every[:, None], around[..., 0], around[..., 1]].argmin(1)
        going = distance[every, here[:, 0], here[:, 1]] > 0
        found[going, step] = choice[going]
        here = np.where(going[:, None], here + MOVES[choice], here)
    return found


def transformed(
    images: np.ndarray[Any, Any], target: Ints, draw: np.random.Generator
) -> tuple[np.ndarray[Any, Any], Ints]:
    """Each maze turned by a random number of quarters and perhaps mirrored, moves relabelled."""
    images, target = images.copy(), target.copy()
    turns, mirror = draw.integers(0, 4, len(images)), draw.random(len(images)) < 0.5
    for quarters in range(1, 4):
        some = turns == quarters
        images[some] = np.rot90(images[some], quarters, (2, 3))
        for _ in range(quarters):
            target[some] = TURNED[target[some]]
    images[mirror] = images[mirror][..., ::-1]
    target[mirror] = MIRRORED[target[mirror]]
    return images, target


@dataclass(frozen=True)
class DigitQuestions(Dataset):
    """Digits are shown; then positions and operators; the answer is the result modulo ten."""

    problem: ClassVar[Problem] = DIGIT_QUESTIONS
    digits: int = setting(3, low=1, high=20, unit="images", doc="that are shown")
    operations: int = setting(2, low=1, high=20, unit="operations", doc="of a question")
    repeats: int = setting(1, low=1, high=100, unit="ticks", doc="that each part is shown")
    train_size: int = setting(10_000, low=1, high=1_000_000, unit="rows", doc="to train on")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """Ten classes."""
        parts = 2 * self.operations + 1
        sizes = {"train": self.train_size, "valid": 500, "test": 2000}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (64 * self.digits + parts,), "target": ()}
        facts = {"digits": self.digits, "parts": parts, "repeats": self.repeats}
        return DataInfo(
            self.name, self.problem, shapes, sizes, 10, "BSD-3-Clause (UCI digits)", facts
        )

    def load(self, split: SplitName) -> Batch:
        """Draw images of the split's own digits, and questions."""
        found, draw = Digits(seed=self.seed).load(split), generator(self.seed, split)
        count = self.info.sizes[split]
        chosen = torch.randint(0, len(found["x"]), (count, self.digits), generator=draw)
        values = found["target"][chosen]
        places = torch.randint(0, self.digits, (count, self.operations + 1), generator=draw)
        minus = torch.randint(0, 2, (count, self.operations), generator=draw)
        terms = values.gather(1, places)
        signs = torch.cat([torch.ones_like(minus[:, :1]), 1 - 2 * minus], 1)
        parts = torch.zeros(count, 2 * self.operations + 1)
        parts[:, ::2], parts[:, 1::2] = places.float(), minus.float()
        x = torch.cat([found["x"][chosen].flatten(1), parts], 1)
        return {"x": x, "target": (terms * signs).sum(1) % 10}
