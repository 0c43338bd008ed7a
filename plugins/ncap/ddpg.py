"""Deep deterministic policy gradients with replayed experience, as in Tonic."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.core.api import Run, Scores
from automl.plugins.ncap.config import Config
from automl.plugins.ncap.learner import Critic, StepLearner
from automl.plugins.ncap.model import Policy
from automl.plugins.ncap.simulator import Body, Floats

CRITIC_WIDTH = 256
LEAST_ROOM = 1024  # rows that a replay starts with; it doubles as it fills


class Replay:
    """The last ``capacity`` transitions, in single precision on the CPU.

    A row holds the observation, the step, the action, the reward and the next observation.
    """

    def __init__(self, observation: int, actions: int, capacity: int) -> None:
        self.sizes = [observation, 1, actions, 1, observation]
        self.capacity, self.count = capacity, 0
        self.rows = torch.zeros(min(capacity, LEAST_ROOM), sum(self.sizes))

    def __len__(self) -> int:
        return min(self.count, self.capacity)

    def add(self, *parts: NDArray[Any]) -> None:
        """Append rows (B, each size), over the oldest ones once it is full."""
        new = torch.from_numpy(np.concatenate(parts, 1)).float()
        while len(self.rows) < min(self.capacity, self.count + len(new)):
            more = min(len(self.rows), self.capacity - len(self.rows))
            self.rows = torch.cat([self.rows, self.rows.new_zeros(more, self.rows.shape[1])])
        places = (self.count + torch.arange(len(new))) % self.capacity
        self.rows[places] = new
        self.count += len(new)

    def draw(self, count: int, random: torch.Generator) -> tuple[Tensor, ...]:
        """``count`` transitions with replacement, in parts."""
        index = torch.randint(len(self), (count,), generator=random)
        return torch.split(self.rows[index], self.sizes, 1)

    def state(self) -> dict[str, Any]:
        """What is filled."""
        return {"count": self.count, "rows": self.rows[: len(self)]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.count, self.rows = state["count"], state["rows"].clone()


class DDPG(StepLearner):
    """One round takes ``config.segment`` control steps, with updates as it goes."""

    def __init__(self, policy: Policy, config: Config, run: Run, body: Body) -> None:
        super().__init__(policy, config, run, body)
        self.critic = Critic(body, CRITIC_WIDTH, nn.ReLU, body.joints).to(self.device)
        self.target_critic = copy.deepcopy(self.critic)
        self.target_policy = copy.deepcopy(policy)
        self.actor_adam = torch.optim.Adam(policy.parameters(), lr=config.lr_ddpg)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=config.lr_ddpg)
        self.replay = Replay(body.observation_size, body.joints, config.buffer)
        self.since_update = 0

    def modules(self) -> dict[str, Any]:
        """Critic, both targets and both optimisers."""
        return {
            "critic": self.critic,
            "target_critic": self.target_critic,
            "target_policy": self.target_policy,
            "actor_adam": self.actor_adam,
            "critic_adam": self.critic_adam,
        }

    def state(self) -> dict[str, Any]:
        """Also the replay."""
        more = {"replay": self.replay.state(), "since_update": self.since_update}
        return {**super().state(), **more}

    def load_state(self, state: dict[str, Any]) -> None:
        """Also the replay."""
        super().load_state(state)
        self.replay.load_state(state["replay"])
        self.since_update = state["since_update"]

    def advance(self) -> Scores:
        """Walk for a segment, learning after every ``update_every`` steps."""
        rewards: list[float] = []
        losses: list[float] = []
        weights = self.policy.weights()
        for _ in range(self.config.segment // self.config.workers):
            x, clock = self.swimmers.observation, self.swimmers.clock.copy()
            action = self.explore(weights, x, clock)
            reward, after, _ = self.walk(action)
            self.replay.add(x, clock[:, None], action, reward[:, None], after)
            self.policy.observe(x)
            self.critic.normaliser.observe(x)
            rewards.append(float(reward.mean()))
            self.since_update += len(reward)
            if self.due():
                losses += [self.update() for _ in range(self.config.update_every)]
                self.since_update -= self.config.update_every
                weights = self.policy.weights()
        seen = self.seen(float(np.mean(rewards)))
        return {**seen, "critic_loss": float(np.mean(losses))} if losses else seen

    def due(self) -> bool:
        """Whether to learn now; steps before the first update owe none."""
        if self.taken < self.config.start_learning:
            self.since_update = 0
        return self.since_update >= self.config.update_every

    def explore(self, weights: Floats, x: Floats, clock: Any) -> Floats:
        """Uniform actions at first, then the policy's with noise, all within [-1, 1]."""
        shape = len(x), self.body.joints
        if self.taken < self.config.start_steps:
            drawn = torch.rand(*shape, generator=self.random, dtype=torch.float64).numpy()
            return 2 * drawn - 1
        noise = self.config.action_noise * self.noise(*shape)
        return np.clip(self.policy.act(weights, x, clock) + noise, -1, 1)

    def update(self) -> float:
        """One step of the critic, the policy and their targets; returns the critic's loss."""
        drawn = self.replay.draw(self.config.batch_size, self.random)
        x, clock, action, reward, after = (part.to(self.device) for part in drawn)
        with torch.no_grad():  # time limits are no ends: every next state has its worth
            best = self.target_policy.action(after, clock + 1)
            worth = self.target_critic(after, clock + 1, best)
            target = reward[:, 0] + self.config.gamma * worth
        loss = nn.functional.mse_loss(self.critic(x, clock, action), target)
        self.critic_adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.critic_adam.step()
        gain = self.critic(x, clock, self.policy.action(x, clock)).mean()
        self.actor_adam.zero_grad()
        (-gain).backward()
        self.actor_adam.step()
        follow(self.target_policy, self.policy, self.config.target_rate)
        follow(self.target_critic, self.critic, self.config.target_rate)
        return loss.item()


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move ``target``'s parameters towards ``source``'s; copy its buffers."""
    for mine, other in zip(target.parameters(), source.parameters(), strict=True):
        mine.lerp_(other, rate)
    for held, given in zip(target.buffers(), source.buffers(), strict=True):
        held.copy_(given)
