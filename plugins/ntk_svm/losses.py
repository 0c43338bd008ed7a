"""The five losses of Table 1: values, derivatives, and what the dual solvers need of them.

Shapes: any, elementwise. ``y`` is -1 or 1, or a number; ``z`` the output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def value(loss: str, z: Tensor, y: Tensor, eps: float) -> Tensor:
    """The loss of each output."""
    if loss == "hinge":
        return (1 - y * z).clamp(min=0)
    if loss == "sq_hinge":
        return (1 - y * z).clamp(min=0).square()
    if loss == "squared":
        return (y - z).square()
    if loss == "logistic":
        return functional.softplus(-y * z)
    return ((y - z).abs() - eps).clamp(min=0)


def slope(loss: str, z: Tensor, y: Tensor, eps: float) -> Tensor:
    """A subgradient by z; 0 at the kinks that touch zero loss."""
    if loss == "hinge":
        return -y * (y * z < 1)
    if loss == "sq_hinge":
        return -2 * y * (1 - y * z).clamp(min=0)
    if loss == "squared":
        return 2 * (z - y)
    if loss == "logistic":
        return -y * torch.sigmoid(-y * z)
    return torch.sign(z - y) * ((z - y).abs() > eps)


def curvature(loss: str, z: Tensor, y: Tensor) -> Tensor:
    """The (generalised) second derivative by z of the losses that have one."""
    if loss == "squared":
        return torch.full_like(z, 2.0)
    if loss == "sq_hinge":
        return 2.0 * (y * z < 1)
    share = torch.sigmoid(-y * z)
    return share * (1 - share)
