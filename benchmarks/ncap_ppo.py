"""Control steps per second of ncap's PPO against Stable-Baselines3's, same swimmer and updates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from measure import finish, interleaved
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from automl.core.api import Run
from automl.core.discovery import catalogue
from automl.core.trial import seed_everything
from automl.plugins.ncap.config import DEFAULTS
from automl.plugins.ncap.plugin import CircuitPriors
from automl.plugins.ncap.ppo import PPO
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Swimmers

WORKERS, SEGMENT, UPDATES, ROUNDS = 4, 2048, 80, 5


class Environment(gymnasium.Env[Any, Any]):
    """One swimmer behind Gymnasium's interface."""

    def __init__(self, number: int) -> None:
        body = Body()
        self.swimmers, self.seed = Swimmers(body, 1), 1_000_000 * number
        size = (body.observation_size,)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, size, np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (body.joints,), np.float32)

    def seen(self) -> Any:
        """The observation in single precision."""
        return self.swimmers.observation[0].astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode."""
        self.seed += 1
        self.swimmers.reset([self.seed])
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One control step."""
        reward = float(self.swimmers.step(action[None].astype(np.float64))[0])
        return self.seen(), reward, False, bool(self.swimmers.clock[0] >= EPISODE_STEPS), {}


def theirs() -> stable_baselines3.PPO:
    """Networks of 64-64 tanh, full-batch updates that nothing stops, as ours."""
    environments = DummyVecEnv([lambda i=i: Monitor(Environment(i)) for i in range(WORKERS)])
    return stable_baselines3.PPO(
        "MlpPolicy", environments, n_steps=SEGMENT // WORKERS, batch_size=SEGMENT,
        n_epochs=UPDATES, gae_lambda=0.97, max_grad_norm=1e9, seed=0, device="cpu",
    )  # fmt: skip


def ours() -> PPO:
    """The plugin's learner of a plain network."""
    data = catalogue().dataset("swimmer")
    config = replace(
        DEFAULTS, algo="ppo", policy="mlp", workers=WORKERS, segment=SEGMENT, iterations=UPDATES,
        kl_stop=10.0,
    )  # fmt: skip
    seed_everything(0)
    plugin = CircuitPriors()
    return PPO(plugin.build(config, data.info), config, Run(data, 0), data.body)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    peer, mine = theirs(), ours()

    def their_round() -> None:
        peer.learn(SEGMENT, reset_num_timesteps=False)

    their_round(), mine.advance()
    one, two = interleaved([their_round, mine.advance], ROUNDS)
    finished = [info["r"] for info in peer.ep_info_buffer or ()]
    details = {
        "Stable-Baselines3": f"{SEGMENT / one:.0f} control steps a second",
        "ours": f"{SEGMENT / two:.0f} control steps a second",
        "training return": f"{np.mean(finished):.0f} theirs, {mine.advance()['return']:.0f} ours",
        "task": f"swimmer of 6 links, {WORKERS} side by side, {UPDATES} full-batch updates of two "
        f"64-64 networks per {SEGMENT} steps, one thread",
    }
    finish(
        "ncap PPO, control steps per second over Stable-Baselines3", one / two,
        "at least 1.0", one / two >= 1.0, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
