"""How answers are measured, for whole batches at once (Section 4; Tables 1 and 2)."""

from __future__ import annotations

import torch
from torch import Tensor

FAIL_RATE = 0.01  # more invalid polygons than this, and the paper prints FAIL for the area


def answer_length(sequence: Tensor) -> Tensor:
    """Steps before the end: ``(B, T)`` 1-based with 0 from the end on, to ``(B,)``."""
    return (sequence > 0).long().cumprod(1).sum(1)


def canonical(sequence: Tensor, length: Tensor) -> Tensor:
    """Rotate each cycle so that its lowest position comes first; the rest is 0."""
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    inside = steps < length[:, None]
    first = sequence.masked_fill(~inside, torch.iinfo(torch.long).max).argmin(1)
    turn = (first[:, None] + steps) % length.clamp(min=1)[:, None]
    return sequence.gather(1, turn).masked_fill(~inside, 0)


def same_cycle(one: Tensor, two: Tensor) -> Tensor:
    """Whether two answers name the same directed cycle, whatever its start: ``(B,)`` bool."""
    width = max(one.shape[1], two.shape[1])
    one, two = (torch.nn.functional.pad(s, (0, width - s.shape[1])) for s in (one, two))
    lengths = answer_length(one), answer_length(two)
    turned = canonical(one, lengths[0]), canonical(two, lengths[1])
    return (lengths[0] == lengths[1]) & (turned[0] == turned[1]).all(1)


def opened(sequence: Tensor) -> Tensor:
    """Drop a last vertex that repeats the first (the closed polygons of the paper's files)."""
    length = answer_length(sequence)
    last = sequence.gather(1, (length - 1).clamp(min=0)[:, None])
    closed = (length > 3) & (last[:, 0] == sequence[:, 0])
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    return sequence.masked_fill(closed[:, None] & (steps >= (length - 1)[:, None]), 0)


def corners(points: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """Vertices ``(B, T, 2)`` in double precision and how many are real ``(B,)``.

    Beyond the last one, its copies follow: edges of length 0 that change no area.
    """
    length = answer_length(sequence)
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    index = torch.minimum(steps.expand_as(sequence), (length - 1).clamp(min=0)[:, None])
    chosen = (sequence.gather(1, index) - 1).clamp(min=0)
    return points.double().gather(1, chosen[..., None].expand(-1, -1, 2)), length


def area(points: Tensor, sequence: Tensor) -> Tensor:
    """Area of the polygons by the shoelace formula, ``(B,)``, whatever their direction."""
    vertices, _ = corners(points, sequence)
    x, y = vertices.unbind(-1)
    return 0.5 * (x * y.roll(-1, 1) - y * x.roll(-1, 1)).sum(1).abs()


def is_simple(points: Tensor, sequence: Tensor) -> Tensor:
    """Whether answers are simple polygons: three corners, none twice, no edges that cross."""
    vertices, length = corners(points, sequence)
    steps = torch.arange(sequence.shape[1], device=sequence.device)
    real = steps < length[:, None]
    equal = sequence[:, :, None] == sequence[:, None, :]
    pairs = real[:, :, None] & real[:, None, :] & ~torch.eye(len(steps), dtype=torch.bool)
    repeats = (equal & pairs.to(equal.device)).flatten(1).any(1)
    following = torch.where(steps == (length - 1)[:, None], 0, steps + 1).clamp(max=len(steps) - 1)
    ends = vertices.gather(1, following[..., None].expand_as(vertices))

    def side(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """The sign of the turn from a to b to c."""
        one, two = b - a, c - a
        return (one[..., 0] * two[..., 1] - one[..., 1] * two[..., 0]).sign()

    a, b = vertices[:, :, None], ends[:, :, None]
    c, d = vertices[:, None], ends[:, None]
    crossing = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    neighbours = (following[:, :, None] == steps) | (following[:, None, :] == steps[:, None])
    crossed = (crossing & pairs.to(crossing.device) & ~neighbours).flatten(1).any(1)
    return (length >= 3) & ~repeats & ~crossed


def polygons(points: Tensor, sequence: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Per answer: is it the hull, is it simple, and what share of the true area it covers."""
    sequence, target = opened(sequence), opened(target.clamp(min=0))
    simple = is_simple(points, sequence)
    share = area(points, sequence) / area(points, target).clamp(min=1e-12)
    return {"right": same_cycle(sequence, target) & simple, "simple": simple, "share": share}


def triangles(sequence: Tensor, count: int) -> Tensor:
    """Which triples an answer names: bool ``(B, (count + 1)^3)``, corners in ascending order."""
    length = answer_length(sequence) // 3 * 3
    whole = sequence.shape[1] // 3 * 3
    triples = sequence[:, :whole].reshape(len(sequence), -1, 3).sort(-1).values
    real = torch.arange(triples.shape[1], device=sequence.device) * 3 < length[:, None]
    base = count + 1
    code = (triples[..., 0] * base + triples[..., 1]) * base + triples[..., 2]
    named = torch.zeros(len(sequence), base**3, dtype=torch.bool, device=sequence.device)
    named.scatter_(1, code.masked_fill(~real, 0), True)
    named[:, 0] = False  # where the unreal ones went
    return named


def triangulations(sequence: Tensor, target: Tensor, count: int) -> dict[str, Tensor]:
    """Per answer: are exactly the true triangles named, and what share of them is."""
    mine, true = triangles(sequence, count), triangles(target.clamp(min=0), count)
    whole = answer_length(sequence) % 3 == 0
    return {
        "right": (mine == true).all(1) & whole,
        "coverage": (mine & true).sum(1) / true.sum(1).clamp(min=1),
    }


def tour_length(points: Tensor, tour: Tensor) -> Tensor:
    """Length of closed tours: points ``(B, n, 2)``, 1-based tours ``(B, n)`` to ``(B,)``."""
    visited = points.double().gather(1, (tour - 1)[..., None].expand(-1, -1, 2))
    length: Tensor = torch.linalg.vector_norm(visited - visited.roll(-1, 1), dim=-1).sum(1)
    return length


def is_tour(sequence: Tensor, count: int) -> Tensor:
    """Whether the first ``count`` steps visit every city once: ``(B,)`` bool."""
    wanted = torch.arange(1, count + 1, device=sequence.device)
    return (sequence[:, :count].sort(1).values == wanted).all(1)


def fails(scores: dict[str, float]) -> bool:
    """Whether the paper would print FAIL instead of the area (Section 4.2)."""
    return scores["invalid_rate"] > FAIL_RATE
