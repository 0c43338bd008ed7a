"""Exact labels and the heuristics that the paper compares with. NumPy and SciPy alone.

Sequences are 1-based positions into the points, as in the paper; 0 is the end symbol.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay, QhullError

from automl.core.api import DataError

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
DEGENERATE = "points are degenerate (collinear or duplicated)"
EXACT_LIMIT = 13  # cities: Held-Karp needs 2^n n^2 operations
CHUNK = 2000  # instances that share one Held-Karp table


def convex_hull(points: Floats, close_polygon: bool = False) -> list[int]:
    """The hull's vertices counter-clockwise from the lowest index, then 0 (Section 4.2).

    Args:
        points: ``(n, 2)``.
        close_polygon: repeat the first vertex before the end, as the paper's files do.

    Raises:
        DataError: if the points are collinear or duplicated.
    """
    try:
        vertices = ConvexHull(points).vertices  # counter-clockwise in the plane
    except QhullError as error:
        raise DataError(DEGENERATE) from error
    first = int(vertices.argmin())
    hull = [int(i) + 1 for i in np.roll(vertices, -first)]
    return [*hull, hull[0], 0] if close_polygon else [*hull, 0]


def delaunay(points: Floats) -> list[int]:
    """The triangulation as flat triples, then 0 (Section 4.3).

    Indices in a triangle ascend; triangles are ordered by their incentres, x before y.

    Raises:
        DataError: if the points are collinear or duplicated.
    """
    try:
        triangles = np.sort(Delaunay(points).simplices, axis=1)
    except QhullError as error:
        raise DataError(DEGENERATE) from error
    corner = points[triangles].astype(np.float64)  # (triangles, 3, 2)
    # the side opposite each corner
    side = np.linalg.norm(np.roll(corner, -1, 1) - np.roll(corner, -2, 1), axis=-1)
    centre = (side[..., None] * corner).sum(1) / side.sum(1)[:, None]
    order = np.lexsort((centre[:, 1], centre[:, 0]))
    return [*(int(i) + 1 for i in triangles[order].ravel()), 0]


def distances(points: Floats) -> Floats:
    """Euclidean distances: ``(batch, n, 2)`` to ``(batch, n, n)``, double precision."""
    wide = points.astype(np.float64)
    between: Floats = np.sqrt(((wide[:, :, None] - wide[:, None, :]) ** 2).sum(-1))
    return between


def tour_length(points: Floats, tours: Ints) -> Floats:
    """Length of closed tours of 0-based positions: ``(batch, n, 2)``, ``(batch, n)``."""
    visited = np.take_along_axis(points.astype(np.float64), tours[..., None], 1)
    length: Floats = np.linalg.norm(visited - np.roll(visited, -1, 1), axis=-1).sum(-1)
    return length


def held_karp(points: Floats) -> Ints:
    """Optimal tours from city 0 by dynamic programming over subsets, for a whole batch at once.

    Args:
        points: ``(batch, n, 2)`` with n up to 13.

    Returns:
        0-based tours ``(batch, n)``.

    Raises:
        DataError: if there are more cities than the exact method can do.
    """
    count = points.shape[1]
    if count > EXACT_LIMIT:
        raise DataError(
            f"teacher=optimal with n={count} would take too long (limit {EXACT_LIMIT}): "
            "use teacher=a3, or label with elkai (LKH) and load the file with path="
        )
    chunks = [held_karp_chunk(points[i : i + CHUNK]) for i in range(0, len(points), CHUNK)]
    return np.concatenate(chunks)


def held_karp_chunk(points: Floats) -> Ints:
    """``held_karp`` on a batch whose table fits into memory."""
    batch, count = points.shape[:2]
    last = count - 1  # cities 1..n-1 are bits of a subset
    if last == 1:
        return np.tile(np.arange(2), (batch, 1))
    between = distances(points).transpose(1, 2, 0)  # (n, n, batch)
    best = np.full((1 << last, last, batch), np.inf)
    before = np.zeros((1 << last, last, batch), dtype=np.int8)
    for j in range(last):
        best[1 << j, j] = between[0, j + 1]
    for subset in range(1, 1 << last):
        members = [j for j in range(last) if subset >> j & 1]
        if len(members) < 2:
            continue
        for j in members:
            rest = subset ^ (1 << j)
            others = [k for k in members if k != j]
            cost = best[rest, others] + between[[k + 1 for k in others], j + 1]
            choice = cost.argmin(0)
            best[subset, j] = np.take_along_axis(cost, choice[None], 0)[0]
            before[subset, j] = np.asarray(others, dtype=np.int8)[choice]
    everything, rows = (1 << last) - 1, np.arange(batch)
    j = (best[everything] + between[1:, 0]).argmin(0)
    tours = np.zeros((batch, count), dtype=np.int64)
    subset_of = np.full(batch, everything)
    for position in range(last, 0, -1):
        tours[:, position] = j + 1
        previous = before[subset_of, j, rows].astype(np.int64)
        subset_of = subset_of ^ (1 << j)
        j = previous
    return tours


def nearest_neighbour(points: Floats) -> Ints:
    """A1*: always go on to the nearest city not yet visited, from city 0. O(n^2)."""
    batch, count = points.shape[:2]
    between, rows = distances(points), np.arange(batch)
    tours = np.zeros((batch, count), dtype=np.int64)
    visited = np.zeros((batch, count), dtype=bool)
    visited[:, 0] = True
    for position in range(1, count):
        away = np.where(visited, np.inf, between[rows, tours[:, position - 1]])
        tours[:, position] = away.argmin(1)
        visited[rows, tours[:, position]] = True
    return tours


def two_opt(points: Floats) -> Ints:
    """A2*: nearest neighbour, then the best reversal of a stretch until none shortens the tour."""
    tours, between = nearest_neighbour(points), distances(points)
    batch, count = tours.shape
    if count < 4:
        return tours
    first, second = np.triu_indices(count, 2)
    keep = ~((first == 0) & (second == count - 1))  # these two edges share city 0
    first, second = first[keep], second[keep]
    active = np.arange(batch)
    while len(active):
        some, d = tours[active], between[active]
        after, rows = np.roll(some, -1, 1), np.arange(len(active))[:, None]
        a, b, c, e = some[:, first], after[:, first], some[:, second], after[:, second]
        gain = d[rows, a, b] + d[rows, c, e] - d[rows, a, c] - d[rows, b, e]
        choice = gain.argmax(1)
        better = gain[np.arange(len(active)), choice] > 1e-9
        for row, pair in zip(active[better], choice[better], strict=True):
            i, j = first[pair] + 1, second[pair] + 1
            tours[row, i:j] = tours[row, i:j][::-1]
        active = active[better]
    return tours


def christofides(points: Floats) -> Ints:
    """A3*: Christofides' method (at most 1.5 times the optimum), from city 0. O(n^3)."""
    tours = []
    for between in distances(points):
        graph = nx.from_numpy_array(between)
        tour = nx.approximation.christofides(graph, weight="weight")[:-1]
        start = tour.index(0)
        tours.append(tour[start:] + tour[:start])
    return np.asarray(tours, dtype=np.int64)


TEACHERS = {
    "optimal": held_karp,
    "a1": nearest_neighbour,
    "a2": two_opt,
    "a3": christofides,
}


def direct(points: Floats, tours: Ints, direction: str) -> Ints:
    """Give tours from city 0 one direction: ``ccw`` (signed area), ``index`` or ``none``."""
    if direction == "none":
        return tours
    if direction == "index":
        backward = tours[:, 1] > tours[:, -1]
    else:
        visited = np.take_along_axis(points.astype(np.float64), tours[..., None], 1)
        x, y = visited[..., 0], visited[..., 1]
        backward = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1) < 0
    turned = np.concatenate([tours[:, :1], tours[:, :0:-1]], 1)
    return np.where(backward[:, None], turned, tours)
