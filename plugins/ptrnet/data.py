"""The paper's three tasks on uniform random points, and sorting; or the official text files."""

from __future__ import annotations

import abc
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from automl.core.api import (
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    setting,
)
from automl.plugins.ptrnet import labels
from automl.plugins.ptrnet.labels import Floats
from automl.plugins.ptrnet.problems import CONVEX_HULL, DELAUNAY, SORT, TSP

SEED_OFFSET: dict[SplitName, int] = {"train": 0, "valid": 10**6, "test": 2 * 10**6}
HELD_OUT = 1000  # sets in the valid and in the test split
LONGEST = 1000
PADDING = -1  # of targets; points are padded with zeros
Rows = list[tuple[Floats, list[int]]]


@dataclass(frozen=True)
class PointSets(Dataset, abc.ABC):
    """Sets of ``n`` points, uniform in the unit square, with sequences of their positions.

    Examples: ``points`` float32 (sets, longest n, dimensions) padded with zeros; ``length``
    int64 (sets,); ``target`` int64 (sets, longest), 1-based, 0 at the end, then -1.
    """

    dimensions: ClassVar[int] = 2
    fewest: ClassVar[int] = 3
    n: str = setting("5-10", doc="points in a set: 10, or a range 5-10 (uniform)")
    train_size: int = setting(20_000, low=1, high=10_000_000, unit="sets", doc="training sets")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")
    path: str = setting("", doc="folder with train.txt, valid.txt, test.txt in the paper's format")

    def check(self) -> None:
        """Refuse lengths that the task does not allow."""
        low, high = self.lengths
        if low < self.fewest:
            raise ConfigError(f"n={self.n!r} must be at least {self.fewest}")
        if low > high:
            raise ConfigError(f"n={self.n!r} has its ends the wrong way round: use n={high}-{low}")
        if high > LONGEST:
            raise ConfigError(f"n={self.n!r} must be at most {LONGEST}")

    @property
    def lengths(self) -> tuple[int, int]:
        """The fewest and the most points in a set."""
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", self.n)
        if match is None:
            raise ConfigError(f"n={self.n!r} must be a number or a range such as 5-10")
        return int(match[1]), int(match[2] or match[1])

    @property
    def info(self) -> DataInfo:
        """Shapes and sizes; the facts hold the range of lengths."""
        low, high = self.lengths
        sizes = {"train": self.train_size, "valid": HELD_OUT, "test": HELD_OUT}
        shapes: dict[str, tuple[int | None, ...]] = {
            "points": (None, self.dimensions),
            "length": (),
            "target": (None,),
        }
        facts = {"n_min": low, "n_max": high}
        return DataInfo(self.name, self.problem, shapes, sizes, licence="generated", facts=facts)

    def load(self, split: SplitName) -> Batch:
        """Generate a split, or read its file if ``path`` is given."""
        if self.path:
            rows = read_file(Path(self.path) / f"{split}.txt", self.dimensions)
            return self.columns(rows)
        generator = np.random.default_rng(self.seed + SEED_OFFSET[split])
        low, high = self.lengths
        counts = generator.integers(low, high + 1, size=self.info.sizes[split])
        rows: Rows = [None] * len(counts)  # type: ignore[no-redef]
        for count in range(low, high + 1):
            index = np.flatnonzero(counts == count)
            for i, row in zip(index, self.draw(generator, len(index), count), strict=True):
                rows[i] = row
        return self.columns(rows)

    @abc.abstractmethod
    def draw(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """``sets`` sets of ``count`` points with their labels."""

    def points(self, generator: np.random.Generator, sets: int, count: int) -> Floats:
        """Uniform points in single precision, so that labels belong to what the model sees."""
        return generator.random((sets, count, self.dimensions), dtype=np.float32)

    def columns(self, rows: Rows) -> Batch:
        """Pad the rows and stack them."""
        longest = max(len(points) for points, _ in rows)
        points = np.zeros((len(rows), longest, self.dimensions), dtype=np.float32)
        width = max(len(target) for _, target in rows)
        target = np.full((len(rows), width), PADDING, dtype=np.int64)
        for i, (mine, sequence) in enumerate(rows):
            points[i, : len(mine)] = mine
            target[i, : len(sequence)] = sequence
        length = np.asarray([len(mine) for mine, _ in rows], dtype=np.int64)
        arrays: dict[str, Any] = {"points": points, "length": length, "target": target}
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def one_by_one(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """Label sets with ``label``; degenerate ones (a chance of 0) are drawn again."""
        rows: Rows = []
        while len(rows) < sets:
            for points in self.points(generator, sets - len(rows), count):
                try:
                    rows.append((points, self.label(points)))
                except DataError:
                    continue
        return rows

    def label(self, points: Floats) -> list[int]:
        """The target of one set."""
        raise DataError(f"{self.name!r} labels whole batches")


@dataclass(frozen=True)
class ConvexHull(PointSets):
    """Section 4.2: the hull's vertices, counter-clockwise from the lowest index."""

    problem: ClassVar[Problem] = CONVEX_HULL
    close_polygon: bool = setting(False, doc="repeat the first vertex before the end symbol")

    def draw(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """Labels by Qhull."""
        return self.one_by_one(generator, sets, count)

    def label(self, points: Floats) -> list[int]:
        """The hull of one set."""
        return labels.convex_hull(points, self.close_polygon)


@dataclass(frozen=True)
class Delaunay(PointSets):
    """Section 4.3: triangles as triples of ascending indices, ordered by incentre."""

    problem: ClassVar[Problem] = DELAUNAY
    n: str = setting("5", doc="points in a set: 5, or a range 5-10 (uniform)")
    sort_points: bool = setting(True, doc="present the points sorted by x: much easier to learn")

    def draw(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """Labels by Qhull."""
        return self.one_by_one(generator, sets, count)

    def points(self, generator: np.random.Generator, sets: int, count: int) -> Floats:
        """Uniform points, sorted by x if so asked."""
        drawn = super().points(generator, sets, count)
        if self.sort_points:
            drawn = np.take_along_axis(drawn, drawn[..., :1].argsort(1), 1)
        return drawn

    def label(self, points: Floats) -> list[int]:
        """The triangulation of one set."""
        return labels.delaunay(points)


@dataclass(frozen=True)
class Tsp(PointSets):
    """Section 4.4: a tour from the first city. ``reference`` is the best length known."""

    problem: ClassVar[Problem] = TSP
    fewest: ClassVar[int] = 2
    n: str = setting("5", doc="cities: 5, or a range 5-10 (uniform)")
    teacher: str = setting(
        "optimal", choices=tuple(labels.TEACHERS), doc="who labels: optimal, or heuristics a1-a3"
    )
    direction: str = setting(
        "ccw", choices=("ccw", "index", "none"), doc="rule for the direction of a tour"
    )

    def check(self) -> None:
        """Also refuse exact labels for more cities than the exact method can do."""
        super().check()
        high = self.lengths[1]
        if self.teacher == "optimal" and high > labels.EXACT_LIMIT:
            raise ConfigError(
                f"teacher='optimal' with n={self.n!r} would take too long (limit "
                f"{labels.EXACT_LIMIT} cities): use teacher=a3, or label with elkai (LKH) and "
                "load the files with path="
            )

    def draw(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """Labels by the teacher, in the direction of the rule."""
        points = self.points(generator, sets, count)
        tours = labels.direct(points, labels.TEACHERS[self.teacher](points), self.direction) + 1
        ended = np.pad(tours, ((0, 0), (0, 1)))
        return [(p, t.tolist()) for p, t in zip(points, ended, strict=True)]

    def columns(self, rows: Rows) -> Batch:
        """Add the best length known: optimal up to 13 cities, else the best heuristic."""
        batch = super().columns(rows)
        reference = np.zeros(len(rows))
        counts = np.asarray([len(points) for points, _ in rows])
        for count in np.unique(counts):
            index = np.flatnonzero(counts == count)
            points = np.stack([rows[i][0] for i in index])
            given = np.asarray([rows[i][1][:count] for i in index], dtype=np.int64) - 1
            known = [labels.tour_length(points, given)]
            if self.teacher != "optimal":
                better = labels.held_karp if count <= labels.EXACT_LIMIT else labels.two_opt
                known.append(labels.tour_length(points, better(points)))
            reference[index] = np.min(known, axis=0)
        batch["reference"] = torch.from_numpy(reference.astype(np.float32))
        return batch


@dataclass(frozen=True)
class Sort(PointSets):
    """Numbers in the unit interval; the target names them in ascending order."""

    problem: ClassVar[Problem] = SORT
    dimensions: ClassVar[int] = 1
    fewest: ClassVar[int] = 2
    n: str = setting("5", doc="numbers in a set: 5, or a range 5-10 (uniform)")
    train_size: int = setting(5000, low=1, high=10_000_000, unit="sets", doc="training sets")

    def draw(self, generator: np.random.Generator, sets: int, count: int) -> Rows:
        """Labels by sorting."""
        points = self.points(generator, sets, count)
        order = points[..., 0].argsort(1) + 1
        ended = np.pad(order, ((0, 0), (0, 1)))
        return [(p, t.tolist()) for p, t in zip(points, ended, strict=True)]


def read_file(path: Path, dimensions: int) -> Rows:
    """Read the paper's text format: ``x1 y1 x2 y2 ... output i1 i2 ...``, 1-based.

    The official hull files repeat the first vertex at the end; the copy is kept as it is.

    Raises:
        DataError: naming the file and the line that cannot be read.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}: path= wants train.txt, valid.txt and test.txt")
    rows: Rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        left, word, right = line.partition("output")
        try:
            points = np.asarray(left.split(), dtype=np.float32).reshape(-1, dimensions)
            sequence = [int(text) for text in right.split()]
        except ValueError as error:
            raise DataError(f"{path} line {number} cannot be read: {error}") from error
        inside = all(1 <= i <= len(points) for i in sequence)
        if not word or not sequence or not inside:
            raise DataError(
                f"{path} line {number} must be coordinates, the word output, then positions "
                f"from 1 to {len(points)}"
            )
        rows.append((points, [*sequence, 0]))
    return rows
