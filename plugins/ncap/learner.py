"""What evolution, PPO and DDPG have in common: rounds of experience, and a state to resume from."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automl.core.api import Run, Scores
from automl.plugins.ncap.config import Config
from automl.plugins.ncap.model import Normaliser, Policy, feature
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Floats, Swimmers

GOOD = 0.8  # share of the best return so far


class Learner(abc.ABC):
    """Changes a policy in place, round by round. ``taken`` counts control steps."""

    def __init__(self, policy: Policy, config: Config, run: Run, body: Body) -> None:
        self.policy, self.config, self.body, self.device = policy, config, body, run.device
        self.starts = run.split("train").examples["episode_seed"].cpu()
        self.random = run.generator()
        self.taken = 0

    @abc.abstractmethod
    def advance(self) -> Scores:
        """Learn for one round; return what is worth seeing of it."""

    @abc.abstractmethod
    def modules(self) -> dict[str, Any]:
        """Everything with a ``state_dict`` that a resumed fit needs."""

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "taken": self.taken,
            "random": self.random.get_state(),
            "modules": {name: part.state_dict() for name, part in self.modules().items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.taken = state["taken"]
        self.random.set_state(state["random"])
        for name, part in self.modules().items():
            part.load_state_dict(state["modules"][name])

    def seeds(self, count: int) -> list[int]:
        """Starts of training episodes, drawn with replacement."""
        rows = torch.randint(len(self.starts), (count,), generator=self.random)
        found: list[int] = self.starts[rows].tolist()
        return found

    def noise(self, *shape: int) -> Floats:
        """Standard normal numbers."""
        drawn = torch.randn(*shape, generator=self.random, dtype=torch.float64)
        return drawn.numpy()


class StepLearner(Learner):
    """A learner that walks with ``config.workers`` swimmers, whose episodes go on across rounds."""

    def __init__(self, policy: Policy, config: Config, run: Run, body: Body) -> None:
        super().__init__(policy, config, run, body)
        self.swimmers = Swimmers(body, config.workers)
        self.swimmers.reset(self.seeds(config.workers))
        self.returns = np.zeros(config.workers)  # of the running episodes
        self.finished: list[float] = []  # returns of this round's finished episodes

    def walk(self, action: Floats) -> tuple[Floats, Floats, Floats]:
        """One control step; returns rewards, next observations and who has ended (0 or 1).

        An episode only ends by its time limit, so what follows still has value.
        """
        rewards = self.swimmers.step(action)
        self.taken += len(rewards)
        after = self.swimmers.observation
        self.returns += rewards
        ended = self.swimmers.clock >= EPISODE_STEPS
        who = np.flatnonzero(ended).tolist()
        if who:
            self.finished += self.returns[who].tolist()
            self.returns[who] = 0
            self.swimmers.reset(self.seeds(len(who)), who)
        return rewards, after, ended.astype(np.float64)

    def seen(self, rewards: float) -> Scores:
        """The round's training return: of finished episodes, else by the mean reward."""
        finished, self.finished = self.finished, []
        return {"return": float(np.mean(finished)) if finished else EPISODE_STEPS * rewards}

    def state(self) -> dict[str, Any]:
        """Also where the swimmers are."""
        arrays = {**self.swimmers.state(), "returns": self.returns}
        # copies: what a checkpoint holds must not change with the next step
        kept = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return {**super().state(), "swimmers": kept}

    def load_state(self, state: dict[str, Any]) -> None:
        """Also put the swimmers back."""
        super().load_state(state)
        arrays = {name: value.numpy().copy() for name, value in state["swimmers"].items()}
        self.returns = arrays.pop("returns")
        self.swimmers.load_state(arrays)

    def tensor(self, array: Any) -> Tensor:
        """Single precision on the run's device."""
        return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=self.device)


class Critic(nn.Module):
    """A value of observation, step and, for DDPG, action: two hidden layers, inputs standardised.

    The step counts, for the circuit's rhythm depends on it.
    """

    def __init__(self, body: Body, width: int, bend: Callable[[], nn.Module], actions: int) -> None:
        super().__init__()
        size = body.observation_size
        self.normaliser = Normaliser(size)
        self.layers = nn.Sequential(
            nn.Linear(size + 1 + actions, width), bend(),
            nn.Linear(width, width), bend(),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, observation: Tensor, timestep: Tensor, *action: Tensor) -> Tensor:
        """Values (B,) of observations (B, size), steps (B, 1) and actions (B, n)."""
        x = torch.cat([self.normaliser(observation), feature(timestep), *action], -1)
        value: Tensor = self.layers(x)[:, 0]
        return value


def learn(
    learner: Learner, config: Config, run: Run, validate: Callable[[], Scores], metric: str
) -> None:
    """Report before the first round, every ``config.eval_every`` rounds and after the last.

    ``policy.learning`` is kept up to date: steps taken, and steps to 80 % of the best return.
    """
    policy, rounds = learner.policy, 0
    curve: list[list[float]] = []
    state = run.restore()
    if state is not None:
        rounds, curve = state["rounds"], state["curve"]
        policy.load_state_dict(state["policy"])
        learner.load_state(state["learner"])

    def report(seen: Scores) -> None:
        scores = validate()
        curve.append([float(learner.taken), scores[metric]])
        policy.learning.copy_(torch.tensor([learner.taken, steps_to_good(curve)]))
        run.report(rounds, scores, train=seen, state=snapshot)

    def snapshot() -> dict[str, Any]:
        return {
            "rounds": rounds, "curve": curve, "policy": policy.state_dict(),
            "learner": learner.state(),
        }  # fmt: skip

    if state is None:
        report({})
    elif rounds >= config.steps:  # it was interrupted at its very last report
        curve.pop()
        report({})
    while rounds < config.steps:
        seen = learner.advance()
        rounds += 1
        if rounds % config.eval_every == 0 or rounds == config.steps:
            report(seen)


def steps_to_good(curve: list[list[float]]) -> float:
    """Control steps until 80 % of the best return of a curve of (steps, return)."""
    best = max(value for _, value in curve)
    return next(steps for steps, value in curve if value >= GOOD * best)
