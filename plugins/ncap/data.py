"""The problem of control, and the swimmer as a dataset whose examples are episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from automl.core.api import (
    Batch,
    ConfigError,
    DataInfo,
    Dataset,
    Metric,
    Problem,
    SplitName,
    setting,
)
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, mujoco

CONTROL = Problem(
    "control",
    (
        Metric("return", "max", "reward", "sum of an episode's rewards, mean over episodes"),
        Metric("energy", "min", "squared torque", "sum of the squared actions in a control step"),
    ),
    {"episode_seed": "int64 (batch,), the seed that an episode starts from"},
)
FIRST_SEED: dict[SplitName, int] = {"train": 100_000, "valid": 20_000, "test": 10_000}
TEST_EPISODES = 10


@dataclass(frozen=True)
class Swimmer(Dataset):
    """Episodes of 1000 control steps with one body; examples are the seeds they start from.

    The return is at most 1000. ``v_des`` m/s is the forward speed that earns the full reward of
    a step in ``task=swim``; ``task=navigate`` rewards being near a target.
    """

    problem: ClassVar[Problem] = CONTROL
    n_links: int = setting(6, low=1, high=64, unit="links", doc="links of the body")
    v_des: float = setting(0.1, low=0.001, high=10, unit="m/s", doc="speed of full reward")
    task: str = setting("swim", choices=("swim", "navigate"), doc="forward, or to a target")
    train_episodes: int = setting(
        10_000, low=1, high=1_000_000, unit="episodes", doc="starts to learn from"
    )
    valid_episodes: int = setting(
        5, low=1, high=1000, unit="episodes", doc="starts to validate with"
    )

    def check(self) -> None:
        """Refuse a body without two joints."""
        if self.n_links < 3:
            raise ConfigError(f"n_links={self.n_links}: the swimmer needs at least 3 links")

    @property
    def body(self) -> Body:
        """The body and its task."""
        return Body(self.n_links, self.task, self.v_des)

    @property
    def info(self) -> DataInfo:
        """Sizes; the facts describe the body, its observations and its actions."""
        body = self.body
        facts = {
            "n_links": self.n_links,
            "task": self.task,
            "v_des": self.v_des,
            "observations": body.observation_size,
            "actions": body.joints,
            "episode_steps": EPISODE_STEPS,
        }
        sizes = {
            "train": self.train_episodes,
            "valid": self.valid_episodes,
            "test": TEST_EPISODES,
        }
        shapes = {"episode_seed": ()}
        return DataInfo(
            self.name, self.problem, shapes, sizes, licence="simulated (MuJoCo, Apache-2.0)",
            facts=facts,
        )  # fmt: skip

    def load(self, split: SplitName) -> Batch:
        """The seeds of a split's episodes.

        Raises:
            MissingExtra: without the simulator, for there is nothing to do with seeds alone.
        """
        mujoco()
        first = FIRST_SEED[split]
        return {"episode_seed": torch.arange(first, first + self.info.sizes[split])}


def body_of(info: DataInfo) -> Body:
    """The body that a dataset's facts describe."""
    facts = info.facts
    return Body(int(facts["n_links"]), str(facts["task"]), float(facts["v_des"]))
