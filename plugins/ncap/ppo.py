"""Proximal policy optimisation with full batches, as in Tonic, on swimmers side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Normal

from automl.core.api import Run, Scores
from automl.plugins.ncap.config import Config
from automl.plugins.ncap.learner import Critic, StepLearner
from automl.plugins.ncap.model import Policy
from automl.plugins.ncap.simulator import Body, Floats

CRITIC_WIDTH = 64


class Spread(nn.Module):
    """The standard deviation of actions: fixed for the circuit, learnt for plain networks."""

    def __init__(self, actions: int, learnt: bool, fixed: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.zeros(actions)) if learnt else None
        self.fixed = fixed

    def forward(self) -> Tensor | float:
        """Standard deviations (actions,), or the fixed number."""
        return self.fixed if self.log is None else self.log.exp().clamp(1e-3, 1.0)


@dataclass(frozen=True)
class Segment:
    """What was met, each with time first and then the swimmers flattened into one axis."""

    observation: Tensor
    timestep: Tensor
    action: Tensor
    advantage: Tensor
    target: Tensor  # of the critic


class PPO(StepLearner):
    """One round collects ``config.segment`` control steps and then updates on all of them."""

    def __init__(self, policy: Policy, config: Config, run: Run, body: Body) -> None:
        super().__init__(policy, config, run, body)
        learnt = policy.stochastic_scale
        self.spread = Spread(body.joints, learnt, config.action_noise).to(self.device)
        self.critic = Critic(body, CRITIC_WIDTH, nn.Tanh, 0).to(self.device)
        actor = [*policy.parameters(), *self.spread.parameters()]
        self.actor_adam = torch.optim.Adam(actor, lr=config.lr_actor)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=config.lr_critic)

    def modules(self) -> dict[str, Any]:
        """Spread, critic and both optimisers."""
        return {
            "spread": self.spread,
            "critic": self.critic,
            "actor_adam": self.actor_adam,
            "critic_adam": self.critic_adam,
        }

    def advance(self) -> Scores:
        """Collect, estimate advantages, update the policy until it has moved enough."""
        segment, reward, observed = self.collect()
        seen = self.seen(reward)
        updates = self.update_policy(segment)
        loss = self.update_critic(segment)
        self.policy.observe(observed)
        self.critic.normaliser.observe(observed)
        return {**seen, "critic_loss": loss, "policy_updates": float(updates)}

    def collect(self) -> tuple[Segment, float, Floats]:
        """Walk with noise; returns the segment, its mean reward and its observations."""
        weights = self.policy.weights()
        with torch.no_grad():
            scale = torch.as_tensor(self.spread()).cpu().double().numpy()
        columns: dict[str, list[NDArray[Any]]] = {
            name: [] for name in ("x", "t", "action", "reward", "after", "ended")
        }
        for _ in range(self.config.segment // self.config.workers):
            x, clock = self.swimmers.observation, self.swimmers.clock.copy()
            location = self.policy.act(weights, x, clock)
            action = location + scale * self.noise(*location.shape)
            reward, after, ended = self.walk(action)
            row = (x, clock[:, None], action, reward, after, ended)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
        arrays = {name: np.stack(column) for name, column in columns.items()}
        flat = {name: self.tensor(array).flatten(0, 1) for name, array in arrays.items()}
        with torch.no_grad():
            value = self.critic(flat["x"], flat["t"])
            following = self.critic(flat["after"], flat["t"] + 1)
        shape = arrays["reward"].shape
        advantage = advantages(
            arrays["reward"], arrays["ended"], value.view(shape).cpu().double().numpy(),
            following.view(shape).cpu().double().numpy(), self.config,
        )  # fmt: skip
        gain = self.tensor(advantage).flatten()
        segment = Segment(flat["x"], flat["t"], flat["action"], gain, gain + value)
        return (
            segment,
            float(arrays["reward"].mean()),
            arrays["x"].reshape(-1, arrays["x"].shape[2]),
        )

    def log_likelihood(self, segment: Segment) -> Tensor:
        """Of the segment's actions under the present policy, (steps,)."""
        location = self.policy.action(segment.observation, segment.timestep)
        each: Tensor = Normal(location, self.spread()).log_prob(segment.action)  # type: ignore[no-untyped-call]
        return each.sum(-1)

    def update_policy(self, segment: Segment) -> int:
        """Clipped steps until the policy has moved by ``kl_stop``; returns how many."""
        advantage = segment.advantage
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        with torch.no_grad():
            before = self.log_likelihood(segment)
        clip = self.config.clip
        for update in range(self.config.iterations):
            now = self.log_likelihood(segment)
            ratio = (now - before).exp()
            limited = ratio.clip(1 - clip, 1 + clip)
            loss = -torch.minimum(ratio * advantage, limited * advantage).mean()
            self.actor_adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.actor_adam.step()
            if (before - now).mean().item() > self.config.kl_stop:
                return update + 1
        return self.config.iterations

    def update_critic(self, segment: Segment) -> float:
        """Full-batch steps towards the segment's returns; returns the last loss."""
        loss = torch.zeros(())
        for _ in range(self.config.iterations):
            value = self.critic(segment.observation, segment.timestep)
            loss = nn.functional.mse_loss(value, segment.target)
            self.critic_adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.critic_adam.step()
        return loss.item()


def advantages(
    reward: Floats, ended: Floats, value: Floats, following: Floats, config: Config
) -> Floats:
    """Generalised advantage estimates, all (steps, swimmers).

    The time limit ends an estimate's sum but not the worth of the state it was reached in:
    ``following`` values that state.
    """
    surprise = reward + config.gamma * following - value
    found, ahead = np.zeros_like(reward), np.zeros(reward.shape[1])
    for t in reversed(range(len(reward))):
        ahead = surprise[t] + config.gamma * config.gae_lambda * (1 - ended[t]) * ahead
        found[t] = ahead
    return found
