"""The swimming circuit and the plain network, in PyTorch and for whole populations in NumPy.

Both kinds of arrays go through the same few lines of arithmetic, so what evolution optimises is
what PyTorch computes and ONNX exports. ``act`` takes weights (P,), or (B, P) with a row for each
of B swimmers.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from automl.core.api import DataError
from automl.plugins.ncap.simulator import EPISODE_STEPS, Body, Floats

Init = Literal["constant", "uniform", "signs"]
Array = Any  # a tensor or a NumPy array
Join = Callable[[list[Any], int], Any]  # torch.cat or np.concatenate
TURN_X, SLOW_Y = 0.1, 0.12  # m, beyond which the rule turns and swims
EXCITATORY, INHIBITORY = 1.0, -1.0


class Policy(nn.Module, abc.ABC):
    """What swims. ``learning`` keeps control steps taken, steps to 80 % of the best return."""

    stochastic_scale = True  # whether PPO learns the width of its actions
    initial: Tensor
    learning: Tensor

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body

    def remember_start(self) -> None:
        """Keep the untrained weights, for the return before learning."""
        self.register_buffer("initial", nn.utils.parameters_to_vector(self.parameters()).detach())
        self.register_buffer("learning", torch.zeros(2, dtype=torch.float64))

    def weights(self) -> Floats:
        """All parameters as one vector, in double precision."""
        vector = nn.utils.parameters_to_vector(self.parameters())
        return vector.detach().cpu().double().numpy()

    def check_body(self, body: Body) -> None:
        """Refuse a body that the weights do not fit.

        Raises:
            DataError: saying what the policy was built for.
        """
        if body.n_links != self.body.n_links or body.task != self.body.task:
            raise DataError(
                f"this policy was built for {self.body.n_links} links and {self.body.task}, not "
                f"{body.n_links} and {body.task}: only the circuit with weight_sharing=true moves "
                "to other bodies"
            )

    @abc.abstractmethod
    def act(self, weights: Floats, observation: Floats, clock: NDArray[np.int64]) -> Floats:
        """Actions (B, joints) in [-1, 1] for observations (B, size) at the steps ``clock`` (B,)."""

    @abc.abstractmethod
    def action(self, observation: Tensor, timestep: Tensor) -> Tensor:
        """``forward`` on observations (B, size) and timesteps (B, 1)."""

    def observe(self, observation: Floats) -> None:
        """Learn the scale of observations (N, size), where the policy has one."""


def split(body: Body, observation: Array) -> tuple[Array, Array, Array]:
    """Joint angles (B, n), the target's place (B, 2 or 0) and velocities (B, 3 links).

    Raises:
        DataError: if the observation has another size.
    """
    size = body.observation_size
    if observation.shape[-1] != size:
        raise DataError(
            f"an observation of {body.n_links} links in task {body.task!r} has {size} numbers "
            f"(angles, target, velocities), not {observation.shape[-1]}"
        )
    joints, ahead = body.joints, body.joints + body.targets
    return observation[..., :joints], observation[..., joints:ahead], observation[..., ahead:]


# ---------------------------------------------------------------- the circuit


@cache
def synapses(joints: int, shared: bool, commands: bool) -> tuple[dict[str, Any], Floats]:
    """Where each synapse finds its weight, and the sign of every weight.

    The dictionary maps a kind of synapse to positions in the vector of weights, one per joint
    where there are several. Shared: prop, osc, ipsi, contra, then turn and speed.
    """
    counts = {
        "prop_d": joints - 1, "prop_v": joints - 1, "osc_d": 1, "osc_v": 1,
        "muscle_dd": joints, "muscle_vv": joints, "muscle_dv": joints, "muscle_vd": joints,
    }  # fmt: skip
    owner = {
        "prop_d": 0, "prop_v": 0, "osc_d": 1, "osc_v": 1,
        "muscle_dd": 2, "muscle_vv": 2, "muscle_dv": 3, "muscle_vd": 3,
        "turn": 4, "speed": 5,
    }  # fmt: skip
    if commands:
        counts |= {"turn": 1, "speed": 1}
    negative = ("muscle_dv", "muscle_vd", "speed")
    places: dict[str, Any] = {}
    signs: list[float] = []
    for kind, count in counts.items():
        sign = INHIBITORY if kind in negative else EXCITATORY
        if shared:
            places[kind] = np.full(count, owner[kind])
        else:
            places[kind] = len(signs) + np.arange(count)
            signs += [sign] * count
    if shared:
        signs = [EXCITATORY, EXCITATORY, EXCITATORY, INHIBITORY]
        signs += [EXCITATORY, INHIBITORY] if commands else []
    return places, np.array(signs)


@dataclass(frozen=True)
class Wiring:
    """The circuit's choices, all of them the paper's ablations; ``period`` is in control steps."""

    shared: bool = True
    constrained: bool = True
    init: Init = "constant"
    period: int = 60
    proprioception: bool = True
    oscillator: bool = True
    turn_joints: int = 1
    learned_controller: bool = False


class Circuit(Policy):
    """The forward-swimming circuit of C. elegans (Section 4 of the paper): 4 or 6n parameters."""

    stochastic_scale = False

    def __init__(self, body: Body, wiring: Wiring) -> None:
        super().__init__(body)
        self.wiring, self.commands = wiring, body.task == "navigate"
        places, signs = self.synapses(body.joints)
        sign = torch.from_numpy(signs).float()
        drawn = torch.rand(len(sign))
        if wiring.init == "uniform":
            sign = sign * drawn if wiring.constrained else 2 * drawn - 1
        elif wiring.init == "signs":
            sign = torch.where(drawn < 0.5, -1.0, 1.0)
        self.weight = nn.Parameter(sign)
        self.controller: nn.Linear | None = None
        if self.commands and wiring.learned_controller:
            self.controller = nn.Linear(2, 3)
        for kind, index in places.items():
            self.register_buffer(f"at_{kind}", torch.from_numpy(index), persistent=False)
        self.register_buffer("sign", torch.from_numpy(signs).float(), persistent=False)
        self.remember_start()

    def synapses(self, joints: int) -> tuple[dict[str, Any], Floats]:
        """Places and signs of the weights for a body."""
        return synapses(joints, self.wiring.shared, self.commands)

    def check_body(self, body: Body) -> None:
        """Shared weights fit every body; the task must be the same."""
        if not self.wiring.shared or body.task != self.body.task:
            super().check_body(body)

    def constrain(self, weight: Array, sign: Array) -> Array:
        """Excitatory weights without their negative part, inhibitory ones without the positive."""
        return sign * (sign * weight).clip(0, None) if self.wiring.constrained else weight

    def act(self, weights: Floats, observation: Floats, clock: NDArray[np.int64]) -> Floats:
        """See ``Policy.act``; the number of joints is the observation's."""
        if self.commands:
            joints = (observation.shape[-1] - 5) // 4
        else:
            joints = (observation.shape[-1] - 3) // 4
        angles = observation[:, :joints]
        places, signs = self.synapses(joints)
        circuit_weights = self.constrain(weights[..., : len(signs)], signs)
        at = {kind: circuit_weights[..., index] for kind, index in places.items()}
        commands = None
        if self.commands:
            target = observation[:, joints : joints + 2]
            commands = self.steer(target, weights[..., len(signs) :], np.stack)
        found: Floats = self.swim(at, angles, clock[:, None], commands, np.concatenate)
        return found

    def steer(self, target: Array, weights: Array, stack: Any) -> tuple[Array, Array, Array]:
        """Commands right, left, speed (B, 1) in [0, 1] towards a target (B, 2) in the head's frame.

        ``weights`` are the learned controller's: 3 x 2 and 3 biases, flat in the last axis.
        """
        x, y = target[..., :1], target[..., 1:]
        if self.controller is None:
            return 1.0 * (-x > TURN_X), 1.0 * (x > TURN_X), 1.0 * (abs(y) > SLOW_Y)
        place = (-x, abs(y))
        rows = [
            weights[..., 2 * i : 2 * i + 1] * place[0]
            + weights[..., 2 * i + 1 : 2 * i + 2] * place[1]
            + weights[..., 6 + i : 7 + i]
            for i in range(3)
        ]
        right, left, speed = (row.clip(0, 1) for row in rows)
        return right, left, speed

    def swim(
        self,
        weight: dict[str, Array],
        angles: Array,
        timestep: Array,
        commands: tuple[Array, Array, Array] | None,
        join: Join,
    ) -> Array:
        """Torques (B, n) in [-1, 1] from angles (B, n) in rad and the step (B, 1).

        ``weight`` holds each kind of synapse, constrained, (B or none, its count).
        """
        joints = angles.shape[-1]
        bend = (angles / (2 * np.pi / (joints + 1))).clip(-1, 1)  # the joint limit has n + 1
        dorsal, ventral = bend.clip(0, 1), (-bend).clip(0, 1)
        beat = 1.0 * ((timestep.round() % self.wiring.period) < self.wiring.period // 2)
        on, feels = float(self.wiring.oscillator), float(self.wiring.proprioception)
        neuron_d = join(
            [on * weight["osc_d"] * beat, feels * weight["prop_d"] * dorsal[..., :-1]], -1
        )
        neuron_v = join(
            [on * weight["osc_v"] * (1 - beat), feels * weight["prop_v"] * ventral[..., :-1]], -1
        )
        if commands is not None:
            right, left, speed = commands
            count = min(self.wiring.turn_joints, joints)
            straight = [0 * angles[..., count:]]
            brake = weight["speed"] * (1 - speed)
            turned = weight["turn"] * right, weight["turn"] * left
            neuron_d = neuron_d + brake + join([turned[0]] * count + straight, -1)
            neuron_v = neuron_v + brake + join([turned[1]] * count + straight, -1)
        neuron_d, neuron_v = neuron_d.clip(0, 1), neuron_v.clip(0, 1)
        muscle_d = weight["muscle_dd"] * neuron_d + weight["muscle_dv"] * neuron_v
        muscle_v = weight["muscle_vv"] * neuron_v + weight["muscle_vd"] * neuron_d
        return muscle_d.clip(0, 1) - muscle_v.clip(0, 1)

    def forward(
        self,
        joint_pos: Tensor,
        timestep: Tensor,
        right: Tensor | None = None,
        left: Tensor | None = None,
        speed: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Action (B, n) from angles (B, n), the step (B, 1) and, to navigate, commands (B, 1)."""
        weight = self.constrain(self.weight, self.sign)
        places, _ = self.synapses(self.body.joints)
        at = {kind: weight[getattr(self, f"at_{kind}")] for kind in places}
        commands = None
        if self.commands:
            if right is None or left is None or speed is None:
                raise DataError("a policy that navigates wants right, left and speed")
            commands = right, left, speed
        elif right is not None or left is not None or speed is not None:
            raise DataError("right, left and speed are for task=navigate, this policy swims")
        return {"action": self.swim(at, joint_pos, timestep, commands, torch.cat)}

    def action(self, observation: Tensor, timestep: Tensor) -> Tensor:
        """See ``Policy.action``."""
        angles, target, _ = split(self.body, observation)
        if not self.commands:
            found: Tensor = self(angles, timestep)["action"]
            return found
        action: Tensor = self(angles, timestep, *self.command(target))["action"]
        return action

    def command(self, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Commands right, left, speed (B, 1) from the target (B, 2)."""
        weights = target.new_zeros(9)
        if self.controller is not None:
            weights = torch.cat([self.controller.weight.flatten(), self.controller.bias])
        return self.steer(target, weights, torch.stack)


# ---------------------------------------------------------------- the plain network

ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Floats], Floats]]] = {
    "tanh": (torch.tanh, np.tanh),
    "relu": (torch.relu, lambda x: np.maximum(x, 0)),
}


class Normaliser(nn.Module):
    """Running mean and spread of observations; the identity until it has seen some."""

    mean: Tensor
    square: Tensor
    seen: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("square", torch.ones(size, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))

    def observe(self, observation: Floats) -> None:
        """Take in observations (N, size)."""
        rows = torch.as_tensor(observation, dtype=torch.float64, device=self.mean.device)
        self.seen += len(rows)
        share = len(rows) / self.seen
        self.mean += share * (rows.mean(0) - self.mean)
        self.square += share * (rows.square().mean(0) - self.square)

    def scale(self) -> Tensor:
        """Standard deviations, at least 0.01."""
        return (self.square - self.mean.square()).clamp(min=1e-4).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Standardised ``x`` (B, size)."""
        return (x - self.mean.to(x.dtype)) / self.scale().to(x.dtype)


class Plain(Policy):
    """A multilayer perceptron from the whole observation; its last layer is linear or tanh."""

    def __init__(
        self, body: Body, hidden: tuple[int, ...], activation: str, bounded: bool, normalise: bool
    ) -> None:
        super().__init__(body)
        sizes = (body.observation_size, *hidden, body.joints)
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.activation, self.bounded, self.normalise = activation, bounded, normalise
        self.normaliser = Normaliser(body.observation_size)
        self.remember_start()

    def observe(self, observation: Floats) -> None:
        """Learn the scale of the observations."""
        if self.normalise:
            self.normaliser.observe(observation)

    def act(self, weights: Floats, observation: Floats, clock: NDArray[np.int64]) -> Floats:
        """See ``Policy.act``."""
        mean, scale = self.normaliser.mean.cpu().numpy(), self.normaliser.scale().cpu().numpy()
        x = (observation - mean) / scale
        start, bend = 0, ACTIVATIONS[self.activation][1]
        for number, layer in enumerate(self.layers):
            rows, columns = next(layer.parameters()).shape
            middle, end = start + rows * columns, start + rows * columns + rows
            matrix = weights[..., start:middle].reshape(*weights.shape[:-1], rows, columns)
            if weights.ndim == 1:
                x = x @ matrix.T + weights[middle:end]
            else:
                x = np.matmul(matrix, x[..., None])[..., 0] + weights[:, middle:end]
            if number < len(self.layers) - 1:
                x = bend(x)
            start = end
        action: Floats = np.tanh(x) if self.bounded else np.clip(x, -1, 1)
        return action

    def forward(
        self, joint_pos: Tensor, body_velocities: Tensor, to_target: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Action (B, n) from angles (B, n), velocities (B, 3 links) and the target (B, 2)."""
        parts = [joint_pos, body_velocities] if to_target is None else [
            joint_pos, to_target, body_velocities,
        ]  # fmt: skip
        return {"action": self.limited(self.location(torch.cat(parts, -1)))}

    def location(self, observation: Tensor) -> Tensor:
        """The last layer's output for observations (B, size)."""
        x = self.normaliser(observation)
        bend = ACTIVATIONS[self.activation][0]
        for layer in list(self.layers)[:-1]:
            x = bend(layer(x))
        out: Tensor = self.layers[-1](x)
        return out

    def limited(self, location: Tensor) -> Tensor:
        """Actions in [-1, 1]."""
        return location.tanh() if self.bounded else location.clip(-1, 1)

    def action(self, observation: Tensor, timestep: Tensor) -> Tensor:
        """See ``Policy.action``; the step is not used."""
        angles, target, velocities = split(self.body, observation)
        given = (angles, velocities, target) if self.body.targets else (angles, velocities)
        action: Tensor = self(*given)["action"]
        return action


def feature(timestep: Array) -> Array:
    """The step of an episode as a number in [-1, 1], as critics see it."""
    return 2 * timestep / EPISODE_STEPS - 1
