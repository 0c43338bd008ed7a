"""The neural tangent kernel of fully connected ReLU networks (NTK parameterisation, variance 1).

Shapes: A, B rows of inputs, D their dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EDGE = 1e-7  # cosines are kept this far from -1 and 1, where single precision ends


def profile(u: Tensor) -> Tensor:
    """h(u) = 2 u (pi - arccos u) + sqrt(1 - u^2): the kernel of one hidden layer on a sphere."""
    return 2 * u * (math.pi - torch.acos(u)) + torch.sqrt((1 - u * u).clamp(min=0))


def lowest_profile() -> tuple[float, float]:
    """Where h is least, and its value there, by Newton's method on h'."""
    u = -0.8
    for _ in range(30):
        root = math.sqrt(1 - u * u)
        slope = 2 * (math.pi - math.acos(u)) + u / root
        u -= slope / (2 / root + 1 / root**3)
    return u, 2 * u * (math.pi - math.acos(u)) + math.sqrt(1 - u * u)


LOWEST_AT, LOWEST = lowest_profile()


def cosines(x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines (A, B) between rows x (A, D) and other (B, D), and the products of their norms."""
    norms = torch.outer(row_norms(x), row_norms(other))
    return (x @ other.T / norms.clamp(min=1e-30)).clamp(-1 + EDGE, 1 - EDGE), norms


def row_norms(x: Tensor) -> Tensor:
    """Euclidean norms (A,) of rows x (A, D)."""
    return torch.sqrt((x * x).sum(-1))


def ntk(x: Tensor, other: Tensor, n_hidden: int = 1) -> Tensor:
    """The kernel (A, B) between x (A, D) and other (B, D) of ``n_hidden`` hidden layers.

    The recursion Theta' = Theta dSigma + Sigma in units of |x| |x'| / D, where a layer halves the
    variance because its weights have variance 1: Theta^0 = Sigma^0 = u.
    """
    u, norms = cosines(x, other)
    if n_hidden == 1:
        return norms * profile(u) * (1 / (2 * math.pi * x.shape[-1]))
    theta, variance = u, 1.0
    for _ in range(n_hidden):
        angle = math.pi - torch.acos(u)
        grown = torch.sqrt((1 - u * u).clamp(min=0)) + u * angle
        theta = theta * angle * (1 / (2 * math.pi)) + grown * (variance / (2 * math.pi))
        u, variance = (grown * (1 / math.pi)).clamp(-1 + EDGE, 1 - EDGE), variance / 2
    return theta * norms * (1 / x.shape[-1])


def gram(x: Tensor, n_hidden: int, block: int = 128) -> Tensor:
    """The kernel matrix (A, A) of x in double precision, its diagonal exact.

    One triangle is computed, in blocks of rows that fit a cache. On the diagonal u = 1: each
    layer halves the variance, and Theta' = Theta / 2 + Sigma.
    """
    x = x.double()
    found = x.new_empty(len(x), len(x))
    for start in range(0, len(x), block):
        stop = start + block
        part = ntk(x[start:stop], x[start:], n_hidden)
        found[start:stop, start:] = part
        found[stop:, start:stop] = part[:, block:].T
    diagonal = row_norms(x).square() * ((n_hidden + 1) * 0.5**n_hidden / x.shape[-1])
    found.diagonal().copy_(diagonal)
    return found
