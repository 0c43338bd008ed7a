"""The map from the moments of one layer's inputs to those of its outputs, and its fixed points.

Equations 4 and 5 of the paper, written with the scaled function erfcx(z) = exp(z^2) erfc(z), so
that nothing overflows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import erf, erfc, erfcx

from automl.core.api import ConfigError

ALPHA = 1.6732632423543772848
SCALE = 1.0507009873554804935
Array = np.ndarray[Any, np.dtype[np.float64]]


def next_moments(
    mean: Array | float,
    variance: Array | float,
    omega: Array | float = 0.0,
    tau: Array | float = 1.0,
    alpha: float = ALPHA,
    scale: float = SCALE,
) -> tuple[Array, Array]:
    """Mean and variance of one layer's SELU outputs (Equations 4 and 5).

    ``mean`` and ``variance`` are those of its inputs, ``omega`` and ``tau`` the sum and the sum of
    squares of a unit's weights; all broadcast.
    """
    x = np.multiply(mean, omega, dtype=np.float64)
    s = np.multiply(variance, tau, dtype=np.float64)
    q = np.sqrt(2 * s)
    bell = np.exp(-(x**2) / (2 * s))
    # e^{x+s/2} erfc((x+s)/q) and e^{2(x+s)} erfc((x+2s)/q)
    once, twice = bell * erfcx((x + s) / q), bell * erfcx((x + 2 * s) / q)
    below, ridge = erfc(x / q), math.sqrt(2 / math.pi) * np.sqrt(s) * bell
    first = scale / 2 * (x * erf(x / q) + alpha * (once - below) + ridge + x)
    second = (x**2 + s) * (2 - below) + alpha**2 * (twice - 2 * once + below) + x * ridge
    second = scale**2 / 2 * second
    return first, second - first**2


def jacobian(mean: float = 0.0, variance: float = 1.0, step: float = 1e-5) -> Array:
    """Derivatives of ``next_moments`` by mean and variance at omega 0, tau 1; 2 x 2."""
    columns = []
    for change in ((step, 0.0), (0.0, step)):
        up = next_moments(mean + change[0], variance + change[1])
        down = next_moments(mean - change[0], variance - change[1])
        columns.append([(a - b) / (2 * step) for a, b in zip(up, down, strict=True)])
    return np.asarray(columns, dtype=np.float64).T


def selu_params(mean: float = 0.0, variance: float = 1.0) -> tuple[float, float]:
    """``(alpha, scale)`` for which a layer with omega 0, tau 1 keeps these moments.

    The mean is scale (p + alpha n) and the second moment scale^2 (v / 2 + alpha^2 m), with the
    moments p, n, m of the two halves of a Gaussian: a quadratic equation in the scale.

    Raises:
        ConfigError: if no SELU has that fixed point.
    """
    p = math.sqrt(variance / (2 * math.pi))
    root = math.sqrt(variance / 2)
    n = (float(erfcx(root)) - 1) / 2
    m = (float(erfcx(2 * root)) - 2 * float(erfcx(root)) + 1) / 2
    ratio = m / n**2
    a, b = variance / 2 + p**2 * ratio, -2 * mean * p * ratio
    c = mean**2 * ratio - variance - mean**2
    inside = b**2 - 4 * a * c
    scale = (-b + math.sqrt(inside)) / (2 * a) if inside >= 0 else 0.0
    alpha = (mean / scale - p) / n if scale > 0 else 0.0
    if alpha <= 0:
        raise ConfigError(
            f"target_mean={mean:g}, target_variance={variance:g}: no SELU has that fixed point; "
            "try values nearer to 0 and 1"
        )
    return alpha, scale


def dropout_affine(
    keep: float, dropped: float, mean: float = 0.0, variance: float = 1.0
) -> tuple[float, float]:
    """``(a, b)`` of a x + b after units were set to ``dropped``, restoring mean and variance."""
    a = math.sqrt(variance / (keep * ((1 - keep) * (dropped - mean) ** 2 + variance)))
    return a, mean - a * (keep * mean + (1 - keep) * dropped)
