"""The right answers to problems on a few points, to hold beside a model's (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from scipy.spatial import ConvexHull, Delaunay, QhullError

Points = Sequence[Sequence[float]]
FEWEST_CORNERS = 3
MOST_CITIES = 8  # of which every tour is tried


def hull(points: Points) -> list[int]:
    """The 0-based positions of the hull's corners in order; none if the points are on a line."""
    if len(points) < FEWEST_CORNERS:
        return []
    try:
        return [int(i) for i in ConvexHull(np.asarray(points)).vertices]
    except QhullError:
        return []


def triangles(points: Points) -> set[frozenset[int]]:
    """The Delaunay triangles as sets of 0-based positions; none if the points are on a line."""
    if len(points) < FEWEST_CORNERS:
        return set()
    try:
        return {frozenset(map(int, found)) for found in Delaunay(np.asarray(points)).simplices}
    except QhullError:
        return set()


def tour_length(points: Points, tour: Sequence[int]) -> float:
    """The length of a closed tour of 0-based positions."""
    places = np.asarray(points, dtype=np.float64)[list(tour)]
    return float(np.linalg.norm(places - np.roll(places, -1, axis=0), axis=1).sum())


def shortest(points: Points) -> list[int]:
    """The shortest closed tour; none for more cities than can be tried."""
    if not 2 <= len(points) <= MOST_CITIES:
        return []
    rest = range(1, len(points))
    return min(
        ([0, *order] for order in permutations(rest)), key=lambda tour: tour_length(points, tour)
    )


def same_cycle(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two closed lines are the same, wherever they start and whichever way they go."""
    if len(one) != len(other) or not one:
        return False
    doubled = [*other, *other]
    turned = [*reversed(other), *reversed(other)]
    width = len(one)
    return any(
        list(one) == line[at : at + width] for line in (doubled, turned) for at in range(width)
    )
