"""How policies are built, learnt, scored and exported, and what is searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automl.core.api import (
    Axis,
    ConfigError,
    DataError,
    DataInfo,
    Exportable,
    Plugin,
    Run,
    Scores,
    Split,
    Trial,
)
from automl.plugins.ncap import CARD
from automl.plugins.ncap.claims import CLAIMS
from automl.plugins.ncap.config import DEFAULTS, FULL, HIDDEN, MOST_WEIGHT, Config
from automl.plugins.ncap.data import body_of
from automl.plugins.ncap.ddpg import DDPG
from automl.plugins.ncap.es import Evolution
from automl.plugins.ncap.learner import Learner, learn
from automl.plugins.ncap.model import Circuit, Plain, Policy, Wiring
from automl.plugins.ncap.ppo import PPO
from automl.plugins.ncap.rollout import episodes, forwarded
from automl.plugins.ncap.simulator import EPISODE_STEPS

LEARNERS: dict[str, type[Learner]] = {"es": Evolution, "ppo": PPO, "ddpg": DDPG}
EXAMPLES = 32


class CircuitPriors(Plugin[Config, Policy]):
    """The circuit of the paper and plain networks, by evolution, PPO, DDPG or direct search."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS
    no_techniques = "its policies learn from simulated episodes, not from batches of a split"

    def check_data(self, data: DataInfo) -> None:
        """Refuse a control problem that is no swimmer."""
        missing = {"n_links", "task", "v_des"} - set(data.facts)
        if missing:
            raise DataError(
                f"{data.name!r} is no swimmer (it does not tell {', '.join(sorted(missing))}): "
                "use dataset swimmer"
            )

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges, those that matter for the chosen policy and algorithm.

        With ``algo=search_weights``, the circuit's four weights themselves.
        """
        if base.algo == "search_weights":
            names = ("prop", "osc", "ipsi", "contra")
            found: dict[str, Any] = {
                n: trial.suggest_float(n, -MOST_WEIGHT, MOST_WEIGHT) for n in names
            }
            return replace(base, **found)
        algo = trial.suggest_categorical("algo", ["es", "ppo", "ddpg"])
        policy = trial.suggest_categorical("policy", ["ncap", "mlp"])
        chosen: dict[str, Any] = {"algo": algo, "policy": policy}
        chosen |= circuit_space(trial) if policy == "ncap" else network_space(trial)
        chosen |= {"es": es_space, "ppo": ppo_space, "ddpg": ddpg_space}[algo](trial)
        return replace(base, **chosen)

    def build(self, config: Config, data: DataInfo) -> Policy:
        """An untrained policy for the dataset's body.

        Raises:
            ConfigError: for settings of navigation where there is no target.
        """
        self.check_data(data)
        body = body_of(data)
        if config.policy == "mlp":
            bounded = config.algo != "es"
            return Plain(body, config.layers, config.activation, bounded, config.normalise)
        if body.task == "swim":
            for name, usual in (("turn_joints", 1), ("controller", "rule")):
                value = getattr(config, name)
                if value != usual:
                    raise ConfigError(
                        f"{name}={value!r} steers to a target, but {data.name!r} has none: use "
                        "task=navigate"
                    )
        wiring = Wiring(
            shared=config.weight_sharing,
            constrained=config.sign_constraints,
            init=config.init,  # type: ignore[arg-type]
            period=config.oscillator_period,
            proprioception=config.proprioception,
            oscillator=config.oscillator,
            turn_joints=config.turn_joints,
            learned_controller=config.controller == "learned",
        )
        circuit = Circuit(body, wiring)
        if config.algo == "search_weights":
            given = [config.prop, config.osc, config.ipsi, config.contra]
            with torch.no_grad():
                circuit.weight[:4] = torch.tensor(given)
            circuit.remember_start()
        return circuit

    def steps(self, config: Config) -> int:
        """Rounds: generations or segments."""
        return 0 if config.algo == "search_weights" else config.steps

    def fit(self, model: Policy, config: Config, run: Run) -> None:
        """Learn by the chosen algorithm, reporting validation returns.

        ``search_weights`` only reports: the search is what learns.
        """
        valid, body = run.split("valid"), body_of(run.data.info)

        def validate() -> Scores:
            return self.evaluate(model, config, valid)

        if config.algo == "search_weights":
            run.report(0, validate())
            return
        learner = LEARNERS[config.algo](model, config, run, body)
        learn(learner, config, run, validate, run.data.info.problem.objective.name)

    def evaluate(self, model: Policy, config: Config, split: Split) -> Scores:
        """Mean return and energy of deterministic episodes on the split's own body.

        Raises:
            DataError: if the policy's weights do not fit that body.
        """
        self.check_data(split.info)
        seeds = split.examples["episode_seed"].tolist()
        body = body_of(split.info)
        if isinstance(model, Policy):
            played = episodes(model, body, seeds, model.weights())
        else:  # an exported graph that stands in for the policy
            played = forwarded(model, body, seeds)
        return {"return": float(played.returns.mean()), "energy": float(played.energy.mean())}

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Random angles within the joints' limits, steps of an episode, and what else is seen."""
        body, random = body_of(data), torch.Generator().manual_seed(0)
        limit = 2 * np.pi / body.n_links

        def drawn(width: int, low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(EXAMPLES, width, generator=random)

        found = {"joint_pos": drawn(body.joints, -limit, limit)}
        if config.policy == "mlp":
            found["body_velocities"] = drawn(3 * body.n_links, -0.2, 0.2)
            if body.targets:
                found["to_target"] = drawn(2, -2, 2)
            return found
        found["timestep"] = drawn(1, 0, EPISODE_STEPS - 1).round()
        if body.targets:
            found |= {name: drawn(1, 0, 1) for name in ("right", "left", "speed")}
        return found

    def export(self, model: Policy, config: Config, data: DataInfo) -> Exportable:
        """The policy; a circuit that navigates brings its controller as a graph of its own."""
        whole = super().export(model, config, data)
        if not isinstance(model, Circuit) or not model.commands:
            return whole
        target = self.example(replace(config, policy="mlp"), data)["to_target"]
        controller = Exportable(
            Controller(model), {"to_target": target}, ("right", "left", "speed"),
            {"to_target": {0: Axis("batch")}},
        )  # fmt: skip
        return replace(whole, parts={"controller": controller})


class Controller(nn.Module):
    """From the target (B, 2) in the head's frame to the circuit's commands."""

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit

    def forward(self, to_target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Commands right, left, speed, each (B, 1) in [0, 1]."""
        return self.circuit.command(to_target)


def circuit_space(trial: Trial) -> dict[str, Any]:
    """The paper's ablations and the rhythm."""
    constrained = trial.suggest_categorical("sign_constraints", [True, False])
    return {
        "oscillator_period": trial.suggest_int("oscillator_period", 20, 120, step=2),
        "weight_sharing": trial.suggest_categorical("weight_sharing", [True, False]),
        "sign_constraints": constrained,
        "init": trial.suggest_categorical("init", ["constant", "uniform"]),
        "proprioception": trial.suggest_categorical("proprioception", [True, False]),
        "oscillator": trial.suggest_categorical("oscillator", [True, False]),
    }


def network_space(trial: Trial) -> dict[str, Any]:
    """The plain network's size."""
    return {
        "hidden": trial.suggest_categorical("hidden", list(HIDDEN)),
        "activation": trial.suggest_categorical("activation", ["tanh", "relu"]),
    }


def es_space(trial: Trial) -> dict[str, Any]:
    """Of the evolution strategy."""
    return {
        "population": trial.suggest_int("population", 8, 64, step=2),
        "sigma": trial.suggest_float("sigma", 0.005, 0.3, log=True),
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "l2": trial.suggest_float("l2", 1e-5, 1e-2, log=True),
    }


def ppo_space(trial: Trial) -> dict[str, Any]:
    """Of PPO."""
    return {
        "lr_actor": trial.suggest_float("lr_actor", 1e-5, 1e-3, log=True),
        "lr_critic": trial.suggest_float("lr_critic", 1e-4, 1e-2, log=True),
        "clip": trial.suggest_float("clip", 0.1, 0.3),
        "segment": trial.suggest_categorical("segment", [1024, 2048, 4096]),
        "gamma": trial.suggest_float("gamma", 0.95, 0.999),
        "action_noise": trial.suggest_float("action_noise", 0.05, 0.3),
    }


def ddpg_space(trial: Trial) -> dict[str, Any]:
    """Of DDPG."""
    return {
        "lr_ddpg": trial.suggest_float("lr_ddpg", 1e-5, 1e-2, log=True),
        "batch_size": trial.suggest_categorical("batch_size", [64, 100, 256]),
        "action_noise": trial.suggest_float("action_noise", 0.05, 0.3),
    }
