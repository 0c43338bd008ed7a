"""An evolution strategy: mirrored Gaussian perturbations, centred ranks, Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from automl.core.api import Run, Scores
from automl.plugins.ncap.config import Config
from automl.plugins.ncap.learner import Learner
from automl.plugins.ncap.model import Policy
from automl.plugins.ncap.rollout import population
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Floats


class Evolution(Learner):
    """One round is one generation, one episode for each of its members."""

    def __init__(self, policy: Policy, config: Config, run: Run, body: Body) -> None:
        super().__init__(policy, config, run, body)
        self.adam = torch.optim.Adam(policy.parameters(), lr=config.lr, weight_decay=config.l2)

    def modules(self) -> dict[str, Any]:
        """Adam; the policy is kept by the fit."""
        return {"adam": self.adam}

    def advance(self) -> Scores:
        """Evaluate a generation and take one step along its estimate of the gradient."""
        weights, sigma = self.policy.weights(), self.config.sigma
        half = self.noise(self.config.population // 2, len(weights))
        noise = np.concatenate([half, -half])
        seeds = self.seeds(self.config.population)
        returns, observed = population(self.policy, self.body, weights + sigma * noise, seeds)
        self.taken += len(returns) * EPISODE_STEPS
        ascent = gradient(noise, returns, sigma)
        self.adam.zero_grad()
        step = torch.from_numpy(-ascent).float().to(self.device)
        places = torch.split(step, [p.numel() for p in self.policy.parameters()])
        for parameter, part in zip(self.policy.parameters(), places, strict=True):
            parameter.grad = part.view_as(parameter)
        self.adam.step()
        self.policy.observe(observed)
        return {"return": float(returns.mean())}


def gradient(noise: Floats, returns: Floats, sigma: float) -> Floats:
    """The estimated gradient (P,) of the expected return's ranks, each entry within [-1, 1].

    ``noise`` (members, P) are standard normal, ``returns`` (members,) what each member earned.
    """
    estimate = centred_ranks(returns) @ noise / (len(noise) * sigma)
    return np.clip(estimate, -1, 1)


def centred_ranks(values: Floats) -> Floats:
    """Ranks spread evenly over [-0.5, 0.5]; equal values share the mean of their ranks."""
    order = values.argsort(kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    _, group = np.unique(values, return_inverse=True)
    shared = np.bincount(group, ranks) / np.bincount(group)
    return shared[group] / (len(values) - 1) - 0.5
