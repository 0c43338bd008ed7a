"""The swimmer of the DeepMind control suite on plain MuJoCo: no display, no further package.

The body is a chain of boxes in a dense fluid. It is described here as MJCF, so that nothing but
``mujoco`` is needed; the figures are those of the suite's ``swimmer``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from automl.core.api import DataError, MissingExtra

Floats = NDArray[np.float64]

EPISODE_STEPS = 1000  # 30 s of control steps of 0.03 s
SUBSTEPS = 15  # physics steps of 0.002 s in a control step
ROOT = 3  # the head's x, y and heading stand before the joints in qpos
NOSE = np.array([0.0, -0.06])  # m, in the head's frame
TARGET_SIZE = 0.1  # m
CLOSE_TARGET = 0.2  # chance of a target within CLOSE_BOX
CLOSE_BOX, FAR_BOX = 0.3, 2.0  # m
TAIL = 3.0  # the long tail's scale: sqrt(1 / 0.1 - 1), a reward of 0.1 at the margin


@dataclass(frozen=True)
class Body:
    """What is swum: ``n_links`` links, ``task`` swim or navigate, ``v_des`` in m/s."""

    n_links: int = 6
    task: str = "swim"
    v_des: float = 0.1

    @property
    def joints(self) -> int:
        """Number of joints and of actions, one less than links."""
        return self.n_links - 1

    @property
    def observation_size(self) -> int:
        """Joint angles, the target's place if there is one, three velocities per link."""
        return self.joints + self.targets + 3 * self.n_links

    @property
    def targets(self) -> int:
        """Numbers that tell where the target is."""
        return 2 if self.task == "navigate" else 0


def mujoco() -> Any:
    """The simulator.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return importlib.import_module("mujoco")
    except ImportError as error:
        raise MissingExtra(
            'the swimmer needs the MuJoCo simulator: pip install "automl-papers[mujoco]"'
        ) from error


def mjcf(n_links: int) -> str:
    """The body as MJCF text."""
    limit = 360 / n_links  # degrees
    opening, closing, motors = "", "", ""
    for link in range(n_links):
        if link == 0:
            joints = (
                '<joint name="x" class="free" type="slide" axis="1 0 0"/>'
                '<joint name="y" class="free" type="slide" axis="0 1 0"/>'
                '<joint name="heading" class="free" type="hinge" axis="0 0 1"/>'
            )
        else:
            joints = f'<joint name="joint{link}" type="hinge" range="{-limit} {limit}"/>'
            motors += f'<motor joint="joint{link}"/>'
        place = "0 0 0.05" if link == 0 else "0 0.1 0"
        opening += (
            f'<body name="link{link}" pos="{place}">{joints}'
            f'<geom type="box" size="0.001 0.05 0.01" mass="0.01"/><site name="site{link}"/>'
        )
        closing += "</body>"
    sensors = "".join(
        f'<velocimeter site="site{link}"/><gyro site="site{link}"/>' for link in range(n_links)
    )
    return f"""
<mujoco>
  <option timestep="0.002" density="3000"><flag contact="disable"/></option>
  <default>
    <joint axis="0 0 1" pos="0 -0.05 0" limited="true" solreflimit="0.05 1"
           solimplimit="0 0.8 0.1" armature="1e-6"/>
    <default class="free"><joint limited="false" armature="0"/></default>
    <motor gear="5e-4" ctrllimited="true" ctrlrange="-1 1"/>
  </default>
  <worldbody>{opening}{closing}</worldbody>
  <actuator>{motors}</actuator>
  <sensor>{sensors}</sensor>
</mujoco>"""


@cache
def compiled(n_links: int) -> Any:
    """MuJoCo's model of a body; it is never changed."""
    return mujoco().MjModel.from_xml_string(mjcf(n_links))


class Swimmers:
    """Several swimmers of one body, stepped together.

    ``observation`` float64 (swimmers, size) holds the joint angles in rad, the target in the
    head's frame in m (navigate), and each link's local vx, vy in m/s and wz in rad/s. ``clock``
    int64 (swimmers,) counts the control steps of each one's episode.
    """

    def __init__(self, body: Body, count: int) -> None:
        self.body, self.engine = body, mujoco()
        self.model = compiled(body.n_links)
        self.data = [self.engine.MjData(self.model) for _ in range(count)]
        self.target = np.zeros((count, 2))
        self.clock = np.zeros(count, dtype=np.int64)
        self.views = [(d.ctrl, d.qpos, d.sensordata) for d in self.data]
        self.read()

    def __len__(self) -> int:
        return len(self.data)

    def reset(self, seeds: Sequence[int], which: Sequence[int] | None = None) -> None:
        """Start an episode of each seed: heading and joints uniform, and where the target is."""
        chosen = range(len(self)) if which is None else which
        limit = 2 * np.pi / self.body.n_links
        for i, seed in zip(chosen, seeds, strict=True):
            generator = np.random.default_rng(int(seed))
            self.engine.mj_resetData(self.model, self.data[i])
            qpos = self.data[i].qpos
            qpos[2] = generator.uniform(-np.pi, np.pi)
            qpos[ROOT:] = generator.uniform(-limit, limit, self.body.joints)
            box = CLOSE_BOX if generator.random() < CLOSE_TARGET else FAR_BOX
            self.target[i] = generator.uniform(-box, box, 2)
            self.clock[i] = 0
            self.engine.mj_step1(self.model, self.data[i])
        self.read()

    def read(self) -> None:
        """Bring ``observation`` up to date."""
        self.positions = np.stack([qpos for _, qpos, _ in self.views])
        sensed = np.stack([sensors for _, _, sensors in self.views])
        self.sensed = sensed.reshape(len(self), self.body.n_links, 6)
        parts = [self.positions[:, ROOT:]]
        if self.body.targets:
            parts.append(self.to_target())
        parts.append(self.sensed[:, :, [0, 1, 5]].reshape(len(self), -1))
        self.observation: Floats = np.concatenate(parts, 1)

    def to_target(self) -> Floats:
        """From the nose to the target in the head's frame, m, (swimmers, 2)."""
        heading = self.positions[:, 2]
        cos, sin = np.cos(heading), np.sin(heading)
        # the head turns about its front end, 0.05 m before its origin
        pivot = np.array([0.0, -0.05])
        x, y = (self.target - self.positions[:, :2] - pivot).T
        ahead = NOSE - pivot
        found: Floats = np.stack([cos * x + sin * y, cos * y - sin * x], 1) - ahead
        return found

    def step(self, action: Floats) -> Floats:
        """Apply ``action`` (swimmers, joints) for one control step; return the rewards.

        Raises:
            DataError: if an action is not finite, naming the step.
        """
        if not np.isfinite(action).all():
            bad = int(np.flatnonzero(~np.isfinite(action).all(1))[0])
            raise DataError(
                f"the policy's action is not finite at step {self.clock[bad]} of the episode: "
                "its weights have diverged, use a lower learning rate"
            )
        step, first, second = self.engine.mj_step, self.engine.mj_step1, self.engine.mj_step2
        model = self.model
        for data, (control, _, _), row in zip(self.data, self.views, action, strict=True):
            control[:] = row
            second(model, data)  # the first half was taken at the end of the step before
            step(model, data, SUBSTEPS - 1)
            first(model, data)  # so that the sensors tell of the state as it is now
        self.clock += 1
        self.read()
        return self.rewards()

    def rewards(self) -> Floats:
        """Each swimmer's reward in its present state, in [0, 1]."""
        if self.body.targets:
            distance = np.linalg.norm(self.to_target(), axis=1)
            beyond = np.maximum(0, distance - TARGET_SIZE) / (5 * TARGET_SIZE)
            near: Floats = 1 / ((TAIL * beyond) ** 2 + 1)
            return near
        forward = -self.sensed[:, 0, 1]  # the head looks along minus y
        found: Floats = np.clip(forward / self.body.v_des, 0, 1)
        return found

    def state(self) -> dict[str, Any]:
        """What ``load_state`` needs to go on exactly, as arrays."""
        kind = self.engine.mjtState.mjSTATE_INTEGRATION
        size = self.engine.mj_stateSize(self.model, kind)
        physics = np.zeros((len(self), size))
        for row, data in zip(physics, self.data, strict=True):
            self.engine.mj_getState(self.model, data, row, kind)
        return {"physics": physics, "target": self.target.copy(), "clock": self.clock.copy()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        kind = self.engine.mjtState.mjSTATE_INTEGRATION
        for row, data in zip(state["physics"], self.data, strict=True):
            self.engine.mj_setState(self.model, data, row, kind)
            self.engine.mj_step1(self.model, data)
        self.target[:], self.clock[:] = state["target"], state["clock"]
        self.read()
