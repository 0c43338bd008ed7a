"""What to try while few trials are known: expected improvement under Gaussian processes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from threadpoolctl import ThreadpoolController

CANDIDATES, PROCESSES = 256, 32
SCALE, SPREAD = 0.5, 0.7  # median and logarithmic deviation of length scales; a range is 1 long
NOISE = 0.1  # variance of a normal score that no parameter explains

erf = np.frompyfunc(math.erf, 1, 1)


def propose(
    space: Mapping[str, BaseDistribution],
    known: Sequence[Mapping[str, Any]],
    worth: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The most promising of some random configurations.

    Args:
        space: the parameters.
        known: values of all of them that were tried.
        worth: what each came to; more is better.
        rng: draws the configurations and the processes.
    """
    transform = _SearchSpaceTransform(dict(space), transform_0_1=True)
    points = np.stack([transform.transform({name: one[name] for name in space}) for one in known])
    drawn = rng.random((CANDIDATES, points.shape[1]))
    for columns in transform.column_to_encoded_columns:
        if len(columns) > 1:  # a choice: one of its columns is 1
            drawn[:, columns] = drawn[:, columns] == drawn[:, columns].max(1, keepdims=True)
    with libraries().limit(limits=1, user_api="blas"):
        promise = expected_improvement(points, normal_scores(worth), drawn, rng)
    return transform.untransform(drawn[promise.argmax()])


@cache
def libraries() -> ThreadpoolController:
    """Those that compute NumPy's products, found once.

    On several threads products this small take longer, of cores that workers need, and the last
    bits depend on how many there are.
    """
    return ThreadpoolController()


def normal_scores(worth: Sequence[float]) -> np.ndarray:
    """Ranks as quantiles of a normal distribution: a trial that diverged is the last and no more.

    (Salinas et al. 2020, section 4.)
    """
    ranks = np.argsort(np.argsort(worth))
    scores = np.array([NormalDist().inv_cdf((rank + 0.5) / len(ranks)) for rank in ranks])
    deviation = float(scores.std())
    return scores / deviation if deviation else scores


def expected_improvement(
    points: np.ndarray, scores: np.ndarray, drawn: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """What each of ``drawn`` (C, d) promises, by the scores (n,) of ``points`` (n, d).

    No length scales are fitted: few points support many. They are drawn from a log-normal
    distribution, and each process counts by the likelihood that it gives the scores (Snoek et al.
    2012, equation 2 and section 3.2, there with a Markov chain).
    """
    spread = SPREAD * rng.standard_normal((PROCESSES, points.shape[1]))
    scales = SCALE * np.exp(spread)
    covariance = matern(points, points, scales) + NOISE * np.eye(len(points))
    inverse = np.linalg.inv(covariance)
    weighted = inverse @ scores  # (processes, n)
    likelihood = -(weighted @ scores + np.linalg.slogdet(covariance)[1]) / 2
    across = matern(drawn, points, scales)  # (processes, C, n)
    mean = (across @ weighted[:, :, None])[:, :, 0]
    variance = 1 - np.einsum("pcn,pcn->pc", across @ inverse, across)
    deviation = np.sqrt(np.maximum(variance, 1e-9))
    gain = (mean - scores.max()) / deviation
    below = (1 + erf(gain / math.sqrt(2)).astype(float)) / 2
    density = np.exp(-(gain**2) / 2) / math.sqrt(2 * math.pi)
    found: np.ndarray = np.exp(likelihood - likelihood.max()) @ (
        deviation * (gain * below + density)
    )
    return found


def matern(one: np.ndarray, other: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Covariances (p, a, b) of (a, d) and (b, d) under Matern's kernel 5/2 with scales (p, d)."""
    squares = ((one[:, None] - other) ** 2).reshape(-1, one.shape[1])
    distance = np.sqrt(5 * scales**-2 @ squares.T).reshape(-1, len(one), len(other))
    kernel: np.ndarray = distance / 3  # in place from here: new arrays of a megabyte take longer
    kernel += 1
    kernel *= distance
    kernel += 1
    kernel *= np.exp(np.negative(distance, out=distance), out=distance)
    return kernel
