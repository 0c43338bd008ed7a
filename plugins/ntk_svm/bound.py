"""A bound on the hinge loss of a kernel machine by its norm (Section 4, Rademacher complexity)."""

from __future__ import annotations

import math

from torch import Tensor


def rkhs_norm(kernel: Tensor, alpha: Tensor) -> float:
    """B = sqrt(a K a), the norm of g."""
    return math.sqrt(max(float((alpha * (kernel @ alpha)).sum()), 0.0))


def bound(
    train_loss: float, kernel: Tensor, norm: float, confidence: float, stratified: bool = False
) -> float:
    """The Rademacher bound on the expected hinge loss of g with RKHS norm ``norm``.

    L_S + 2 B / n sqrt(tr K) + 3 sqrt(ln(2 / delta) / 2 n) for losses in [0, 1], B fixed in
    advance. ``stratified``: B is rounded up to a power of two whose share of delta is
    2^-(|j| + 2), which makes the bound hold for norms that depend on the data.
    """
    n, delta = len(kernel), 1 - confidence
    if stratified:
        exponent = math.ceil(math.log2(max(norm, 2.0**-30)))
        norm, delta = 2.0**exponent, delta * 2.0 ** -(abs(exponent) + 2)
    complexity = 2 * norm / n * math.sqrt(float(kernel.trace()))
    return train_loss + complexity + 3 * math.sqrt(math.log(2 / delta) / (2 * n))
