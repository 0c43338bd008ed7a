"""Eighteen small tables: four that come with scikit-learn and fourteen recipes.

A recipe takes a number of rows and a ``RandomState`` and returns features (rows, F) and classes
(rows,) from 0. Rows may exceed its usual number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Table = tuple[Floats, Ints]
Random = np.random.RandomState

GLYPHS = (
    "01110 10001 10001 10001 11111 10001 10001",  # A
    "11110 10001 10001 11110 10001 10001 11110",  # B
    "01110 10001 10000 10000 10000 10001 01110",  # C
    "11110 10001 10001 10001 10001 10001 11110",  # D
    "11111 10000 10000 11110 10000 10000 11111",  # E
    "11111 10000 10000 11110 10000 10000 10000",  # F
    "01110 10001 10000 10111 10001 10001 01110",  # G
    "10001 10001 10001 11111 10001 10001 10001",  # H
    "01110 00100 00100 00100 00100 00100 01110",  # I
    "00111 00010 00010 00010 00010 10010 01100",  # J
)
MONKS_VALUES = (3, 3, 2, 3, 4, 2)  # of the six attributes: 432 rows in all


def spirals3(rows: int, random: Random) -> Table:
    """Three arms of a spiral in the plane, noise 0.35."""
    label = random.randint(0, 3, rows)
    t = 3 * np.pi * np.sqrt(random.uniform(size=rows))
    angle = t + 2 * np.pi * label / 3
    points = t[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return points + 0.35 * random.normal(size=points.shape), label


def bundled(name: str, *arguments: Any, **settings: Any) -> Any:
    """What scikit-learn's function of that name gives; imported late, it takes seconds."""
    from sklearn import datasets

    return getattr(datasets, name)(*arguments, **settings)


def parity(rows: int, random: Random) -> Table:
    """Six uniform features; whether an odd number of the first three exceeds one half."""
    x = random.uniform(size=(rows, 6))
    return x, (x[:, :3] > 0.5).sum(1) % 2


def hastie(rows: int, random: Random) -> Table:
    """Ten Gaussian features; whether their squares sum to more than 9.34."""
    x, label = bundled("make_hastie_10_2", rows, random_state=random)
    return x, (label > 0).astype(np.int64)


def gaussian_quantiles(rows: int, random: Random) -> Table:
    """Four shells of a Gaussian in eight dimensions."""
    found: Table = bundled(
        "make_gaussian_quantiles", n_samples=rows, n_features=8, n_classes=4, random_state=random
    )
    return found


def five_classes(rows: int, random: Random) -> Table:
    """Two clusters for each of five classes, 10 informative features of 20, 2 % flipped."""
    found: Table = bundled(
        "make_classification",
        rows,
        20,
        n_informative=10,
        n_classes=5,
        n_clusters_per_class=2,
        flip_y=0.02,
        random_state=random,
    )
    return found


def circles(rows: int, random: Random) -> Table:
    """Two circles, one within the other."""
    found: Table = bundled("make_circles", rows, noise=0.08, factor=0.6, random_state=random)
    return found


def moons(rows: int, random: Random) -> Table:
    """Two half moons, noise 0.25."""
    found: Table = bundled("make_moons", rows, noise=0.25, random_state=random)
    return found


def checkerboard(rows: int, random: Random) -> Table:
    """The colour of a field on a board of four by four."""
    x = random.uniform(0, 4, size=(rows, 2))
    return x, np.floor(x).astype(np.int64).sum(1) % 2


def friedman(rows: int, random: Random) -> Table:
    """Friedman's first regression function, its terciles as classes."""
    x, y = bundled("make_friedman1", rows, noise=1.0, random_state=random)
    return x, np.digitize(y, np.quantile(y, (1 / 3, 2 / 3))).astype(np.int64)


def madelon(rows: int, random: Random) -> Table:
    """Clusters on the corners of a five-dimensional cube, hidden among 100 features."""
    found: Table = bundled(
        "make_classification",
        rows,
        100,
        n_informative=5,
        n_redundant=15,
        n_clusters_per_class=8,
        hypercube=True,
        random_state=random,
    )
    return found


def sparse_linear(rows: int, random: Random) -> Table:
    """200 Gaussian features; the sign of a sum over ten of them."""
    x = random.normal(size=(rows, 200))
    weights = random.choice([-1.0, 1.0], 10)
    return x, (x[:, :10] @ weights > 0).astype(np.int64)


def xor_sines(rows: int, random: Random) -> Table:
    """Whether two sines of two features have unlike signs."""
    x = random.uniform(-1, 1, size=(rows, 2))
    positive = np.sin(2 * np.pi * x) > 0
    return x, (positive[:, 0] ^ positive[:, 1]).astype(np.int64)


def monks(rows: int, random: Random) -> Table:
    """All rows of the MONK's problems, one-hot; first problem: a1 = a2 or a5 = 1."""
    every = np.asarray(list(itertools.product(*(range(n) for n in MONKS_VALUES))))
    order = [random.permutation(len(every)) for _ in range(-(-rows // len(every)))]
    chosen = every[np.concatenate(order)[:rows]]
    x = np.concatenate([np.eye(n)[chosen[:, i]] for i, n in enumerate(MONKS_VALUES)], 1)
    return x, ((chosen[:, 0] == chosen[:, 1]) | (chosen[:, 4] == 0)).astype(np.int64)


def glyphs(rows: int, random: Random) -> Table:
    """Letters A to J as bitmaps of 7 x 5 dots, a tenth of the dots flipped."""
    label = random.randint(0, len(GLYPHS), rows)
    maps = np.asarray([[int(dot) for dot in glyph.replace(" ", "")] for glyph in GLYPHS])
    flipped = random.uniform(size=(rows, maps.shape[1])) < 0.1
    return np.abs(maps[label] - flipped).astype(np.float64), label


BUNDLED = {  # as scikit-learn calls them
    "iris": "load_iris",
    "wine": "load_wine",
    "breast_cancer": "load_breast_cancer",
    "digits": "load_digits",
}
# The usual number of rows, features and classes.
RECIPES: dict[str, tuple[Callable[[int, Random], Table], int, int, int]] = {
    "spirals3": (spirals3, 900, 2, 3),
    "parity": (parity, 900, 6, 2),
    "hastie": (hastie, 1000, 10, 2),
    "gaussian_quantiles": (gaussian_quantiles, 800, 8, 4),
    "five_classes": (five_classes, 800, 20, 5),
    "circles": (circles, 600, 2, 2),
    "moons": (moons, 600, 2, 2),
    "checkerboard": (checkerboard, 1000, 2, 2),
    "friedman": (friedman, 900, 10, 3),
    "madelon": (madelon, 1000, 100, 2),
    "sparse_linear": (sparse_linear, 800, 200, 2),
    "xor_sines": (xor_sines, 1000, 2, 2),
    "monks": (monks, 432, 17, 2),
    "glyphs": (glyphs, 1500, 35, 10),
}
TABLES = (*BUNDLED, *RECIPES)
REGRESSIONS = {
    "diabetes": "load_diabetes",
    "linnerud": "load_linnerud",
}
