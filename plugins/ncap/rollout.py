"""Whole episodes of many swimmers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from automl.plugins.ncap.model import Policy
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Floats, Swimmers

CHUNK = 64  # swimmers in memory at once
Act = Callable[[Floats, NDArray[np.int64]], Floats]  # observations and steps to actions


@dataclass(frozen=True)
class Episodes:
    """Per episode: the return, and the mean over its steps of the summed squared actions."""

    returns: Floats
    energy: Floats


def play(
    body: Body, act: Act, seeds: Sequence[int], watch: Callable[[Floats], None] | None = None
) -> Episodes:
    """One episode for each seed, side by side; ``watch`` is shown every observation."""
    swimmers = Swimmers(body, len(seeds))
    swimmers.reset(seeds)
    returns, energy = np.zeros(len(seeds)), np.zeros(len(seeds))
    for _ in range(EPISODE_STEPS):
        if watch is not None:
            watch(swimmers.observation)
        action = act(swimmers.observation, swimmers.clock)
        returns += swimmers.step(action)
        energy += np.square(action).sum(1)
    return Episodes(returns, energy / EPISODE_STEPS)


def episodes(policy: Policy, body: Body, seeds: Sequence[int], weights: Floats) -> Episodes:
    """Deterministic episodes of one policy with the weights (P,).

    Raises:
        DataError: if the policy does not fit the body, or its actions are not finite.
    """
    policy.check_body(body)
    parts = [
        play(body, lambda x, clock: policy.act(weights, x, clock), seeds[i : i + CHUNK])
        for i in range(0, len(seeds), CHUNK)
    ]
    return Episodes(
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.energy for part in parts]),
    )


def forwarded(policy: Policy, body: Body, seeds: Sequence[int]) -> Episodes:
    """Deterministic episodes by ``forward`` itself, for another runtime in its place.

    Such a stand-in lends its policy's methods; ``action`` must call the stand-in's ``forward``.
    """
    action = type(policy).action if isinstance(policy, Policy) else policy.action.__func__

    @torch.no_grad()
    def act(x: Floats, clock: NDArray[np.int64]) -> Floats:
        steps = torch.from_numpy(clock[:, None]).float()
        found: Floats = action(policy, torch.from_numpy(x).float(), steps).double().numpy()
        return found

    return play(body, act, seeds)


def population(
    policy: Policy, body: Body, weights: Floats, seeds: Sequence[int]
) -> tuple[Floats, Floats]:
    """Returns of members (B, P), an episode each, and every observation they met (N, size)."""
    found: list[Floats] = []
    seen: list[Floats] = []
    for i in range(0, len(seeds), CHUNK):
        mine = weights[i : i + CHUNK]

        def act(x: Floats, clock: NDArray[np.int64], mine: Floats = mine) -> Floats:
            return policy.act(mine, x, clock)

        found.append(play(body, act, seeds[i : i + CHUNK], seen.append).returns)
    return np.concatenate(found), np.concatenate(seen)
