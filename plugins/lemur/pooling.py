"""Adaptive pooling in operators that every runtime has, exact for any sizes known beforehand.

Output cell i of n pools the inputs from floor(i m / n) to ceil((i + 1) m / n) of m.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cells(length: int, count: int) -> list[tuple[int, int]]:
    """First and last (exclusive) input of each output."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def average_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    """As ``adaptive_avg_pool2d``: x (..., H, W) to (..., *size), by a matrix on either side."""
    height, width = (averaging(int(m), int(n)) for m, n in zip(x.shape[-2:], size, strict=True))
    return height.to(x) @ x @ width.to(x).T


def averaging(length: int, count: int) -> Tensor:
    """The matrix (count, length) that averages each cell."""
    rows = torch.zeros(count, length)
    for i, (first, last) in enumerate(cells(length, count)):
        rows[i, first:last] = 1 / (last - first)
    return rows


def max_pool(x: Tensor, size: Sequence[int]) -> tuple[Tensor, None]:
    """As ``adaptive_max_pool2d``, without its second output: x (..., H, W) to (..., *size)."""
    for axis, count in zip((-2, -1), size, strict=True):
        parts = [
            x.narrow(axis, first, last - first).amax(axis, keepdim=True)
            for first, last in cells(int(x.shape[axis]), int(count))
        ]
        x = torch.cat(parts, axis)
    return x, None
