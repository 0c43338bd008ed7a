"""How the five systems are fitted and scored, what is searched and what is exported."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from automl.core.api import (
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    Exportable,
    Plugin,
    Run,
    Scores,
    Split,
    Trial,
    mean_scores,
    sgd,
)
from automl.plugins.spiking import CARD
from automl.plugins.spiking.claims import CLAIMS
from automl.plugins.spiking.config import (
    DEFAULTS,
    DENSE,
    FULL,
    SEARCHED,
    SURROGATES,
    Config,
)
from automl.plugins.spiking.events import DURATION, NEVER, FirstSpikeNetwork, SpikeProp, class_times
from automl.plugins.spiking.export import exportable
from automl.plugins.spiking.network import SpikingNetwork
from automl.plugins.spiking.stdp import Competition

Model = SpikingNetwork | FirstSpikeNetwork | SpikeProp | Competition
CLIP = 1.0  # gradient norm of exact spike times, which diverge without
SLACK = 1e-4  # beyond [0, 1] that rounding may cause


class Spiking(Plugin[Config, Any]):
    """The families of the review, behind one set of settings."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def check_data(self, data: DataInfo) -> None:
        """Refuse data with one class only, or inputs of unknown size."""
        if data.classes is None or data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} classes: there is nothing to learn")
        if None in data.shapes["x"]:
            raise DataError(f"{data.name!r} has inputs of varying size: spiking layers do not")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges, of the chosen system only."""
        mode = trial.suggest_categorical("mode", list(SEARCHED))
        config = replace(
            base,
            mode=mode,
            time_steps=trial.suggest_int("time_steps", 4, 128, log=True)
            if mode not in ("spikeprop", "ttfs_exact")
            else base.time_steps,
        )
        if mode == "stdp":
            return stdp_space(trial, config)
        config = replace(config, lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True))
        config = replace(config, hidden=trial.suggest_categorical("hidden", list(DENSE)))
        if mode in ("surrogate", "conversion") and convolves(data):
            # A choice of its own: Optuna's choices stay the same throughout a study.
            chosen = trial.suggest_categorical("convolutions", [False, True])
            config = replace(config, convolutions=chosen)
        if mode == "ttfs_exact":
            return replace(
                config,
                k_sum=trial.suggest_float("k_sum", 1.0, 1000.0, log=True),
                tau_s=trial.suggest_float("tau_s", 0.5, 2.0, log=True),
            )
        if mode == "spikeprop":
            return config
        encoding = trial.suggest_categorical("encoding", ["latency", "analog", "poisson"])
        config = replace(config, encoding=encoding)
        return surrogate_space(trial, config) if mode == "surrogate" else converted(trial, config)

    def build(self, config: Config, data: DataInfo) -> Model:
        """An untrained model for the dataset's inputs and classes."""
        self.check_data(data)
        shape = tuple(int(axis or 1) for axis in data.shapes["x"])
        classes = int(data.classes or 2)
        if config.mode == "stdp":
            return Competition(config, shape, classes)
        if config.mode == "ttfs_exact":
            return FirstSpikeNetwork(config, shape, classes)
        if config.mode == "spikeprop":
            return SpikeProp(config, shape, classes)
        return SpikingNetwork(config, shape, classes)

    def steps(self, config: Config) -> int:
        """Optimiser steps; examples shown in mode ``stdp``."""
        return config.steps

    def fit(self, model: Model, config: Config, run: Run) -> None:
        """Gradient descent, or competition in mode ``stdp``.

        Raises:
            DataError: if inputs leave [0, 1] and ``scaling`` does not allow it, or no output
                neuron spikes at all before training.
            ConfigError: if techniques are asked of a system without gradients.
        """
        train = run.split("train")
        scale_inputs(model, config, train)
        if isinstance(model, Competition):
            if run.techniques:
                raise ConfigError("mode='stdp' has no gradients for techniques to change")
            compete(self, model, config, run)
            return
        if isinstance(model, SpikeProp):
            require_spikes(model, train)
        descend(self, model, config, run)
        warn_of_silence(model, train)

    def loss(self, model: Model, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """What is minimised on a batch, without the penalty on spikes."""
        problem = data.problem
        assert problem.loss is not None
        if isinstance(model, SpikeProp):
            wanted = class_times(batch["target"], int(data.classes or 2))
            error = model.error(batch["x"], wanted)
            return (error * batch["weight"]).mean() if "weight" in batch else error.mean()
        if isinstance(model, SpikingNetwork) and config.mode in ("ann", "conversion"):
            return problem.loss({"logits": model.ann(batch["x"])}, batch)
        value = problem.loss(model(batch["x"]), batch)
        return value + model.penalty() if isinstance(model, FirstSpikeNetwork) else value

    def evaluate(self, model: Model, config: Config, split: Split) -> Scores:
        """Means over the examples.

        Raises:
            DataError: if inputs are outside [0, 1] and nothing scales them.
        """
        check_range(model, split)
        score = split.info.problem.score
        assert score is not None
        return mean_scores(model, lambda batch: score(model(batch["x"]), batch), split)

    def predict(self, model: Model, batch: Batch) -> dict[str, Tensor]:
        """``forward`` on a batch's inputs."""
        found: dict[str, Tensor] = model(batch["x"])
        return found

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two random inputs in [0, 1]."""
        return {"x": torch.rand(2, *(axis or 8 for axis in data.shapes["x"]))}

    def export(self, model: Model, config: Config, data: DataInfo) -> Exportable:
        """One graph from inputs to logits and spikes, and its parts; see ``export.py``."""
        return exportable(model, self.example(config, data)["x"])


def convolves(data: DataInfo) -> bool:
    """Whether inputs are images that two poolings do not use up."""
    shape = data.shapes["x"]
    return len(shape) == 3 and min(shape[1] or 0, shape[2] or 0) >= 8


def surrogate_space(trial: Trial, config: Config) -> Config:
    """The part of mode ``surrogate``."""
    return replace(
        config,
        beta=trial.suggest_float("beta", 0.5, 1.0),
        theta=trial.suggest_float("theta", 0.5, 2.0),
        surrogate=trial.suggest_categorical("surrogate", list(SURROGATES)),
        slope=trial.suggest_float("slope", 1.0, 50.0, log=True),
        target_rate=trial.suggest_float("target_rate", 0.05, 1.0),
        activity=trial.suggest_float("activity", 0.01, 10.0, log=True),
    )


def converted(trial: Trial, config: Config) -> Config:
    """The part of mode ``conversion``."""
    return replace(
        config,
        percentile=trial.suggest_categorical("percentile", [99.0, 99.9, 100.0]),
        reset=trial.suggest_categorical("reset", ["soft", "hard"]),
        v0=trial.suggest_categorical("v0", [0.0, 0.5]),
    )


def stdp_space(trial: Trial, config: Config) -> Config:
    """The part of mode ``stdp``."""
    return replace(
        config,
        neurons=trial.suggest_int("neurons", 25, 400, log=True),
        eta=trial.suggest_float("eta", 1e-3, 1e-1, log=True),
        theta_plus=trial.suggest_float("theta_plus", 0.01, 0.2),
        stdp_epochs=trial.suggest_int("stdp_epochs", 1, 5),
    )


def scale_inputs(model: Model, config: Config, train: Split) -> None:
    """Learn the inputs' range where the settings say so, then see that all is in [0, 1]."""
    x = train.examples["x"]
    if not bool(x.isfinite().all()):
        raise DataError(f"inputs of {train.info.name!r} hold NaN or infinity: clean them")
    inside = float(x.min()) >= -SLACK and float(x.max()) <= 1 + SLACK
    if config.scaling == "minmax" or (config.scaling == "auto" and not inside):
        model.rescale.learn(x)
    check_range(model, train)


def check_range(model: Model, split: Split) -> None:
    """Raise ``DataError`` with the range of inputs that no code can express."""
    if bool(model.rescale.limited):
        return
    x = split.examples["x"]
    low, high = float(x.min()), float(x.max())
    if low < -SLACK or high > 1 + SLACK:
        raise DataError(
            f"inputs of {split.info.name!r} range from {low:g} to {high:g}, but spike codes want "
            "[0, 1]: use scaling=minmax"
        )


def descend(plugin: Spiking, model: Any, config: Config, run: Run) -> None:
    """Stochastic gradient descent for every system that has gradients."""
    train, valid = run.split("train"), run.split("valid")
    per_epoch = max(1, len(train) // config.batch_size)
    if config.epochs:
        config = replace(config, steps=config.epochs * per_epoch, eval_every=per_epoch)
    if isinstance(model, FirstSpikeNetwork) and not config.clip_norm:
        config = replace(config, clip_norm=CLIP)
    optimizer = optimizer_of(model, config)
    penalised = config.mode == "surrogate" and config.activity > 0
    warmup, converts = config.activity_warmup * per_epoch, config.mode == "conversion"

    def loss(batch: Batch) -> Tensor:
        if not penalised:
            return plugin.loss(model, config, batch, train.info)
        trace = model.simulate(model.encode(batch["x"]))
        problem_loss = train.info.problem.loss
        assert problem_loss is not None
        value: Tensor = problem_loss(model.answer(trace), batch)
        # A penalty from the start silences the network.
        model.taken += 1
        weight: Tensor = config.activity * (model.taken > warmup)
        penalty: Tensor = model.penalty(trace, config.target_rate)
        return value + weight * penalty

    def validate() -> Scores:
        if converts:
            model.balance(train.examples["x"])
        return plugin.evaluate(model, config, valid)

    sgd(
        model, loss=loss, train=train, optimizer=optimizer, config=config, run=run,
        validate=validate,
    )  # fmt: skip


def optimizer_of(model: Any, config: Config) -> torch.optim.Optimizer:
    """Adam, or plain SGD, which for SpikeProp is the delta rule."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=config.lr)
    groups = model.groups(config.lr) if isinstance(model, SpikeProp) else model.parameters()
    return torch.optim.Adam(groups, lr=config.lr)


def compete(plugin: Spiking, model: Competition, config: Config, run: Run) -> None:
    """Show every training example ``stdp_epochs`` times, in a new order each time."""
    train, valid = run.split("train"), run.split("valid")
    order, x = run.generator(), train.examples["x"]
    total = config.stdp_epochs * len(train)
    every = max(1, len(train) // 2)
    seen, permutation, kept = 0, torch.empty(0, dtype=torch.long), run.restore()
    if kept is not None:
        seen, permutation = kept["seen"], kept["permutation"]
        model.load_state_dict(kept["model"])
        order.set_state(kept["order"])

    def state() -> dict[str, Any]:
        return {
            "seen": seen, "permutation": permutation, "order": order.get_state(),
            "model": model.state_dict(),
        }  # fmt: skip

    if seen == total:
        run.report(seen, plugin.evaluate(model, config, valid))
    while seen < total:
        if seen % len(train) == 0:
            permutation = torch.randperm(len(train), generator=order)
        here = int(permutation[seen % len(train)])
        model.learn(x[here : here + 1], order)
        seen += 1
        if seen % every == 0 or seen == total:
            model.read_out(x, train.examples["target"])
            run.report(seen, plugin.evaluate(model, config, valid), state=state)


@torch.no_grad()
def require_spikes(model: SpikeProp, train: Split) -> None:
    """Refuse to train a network in which no output ever spikes."""
    _, output = model.times(train.examples["x"][:64])
    if bool((output >= DURATION).all()):
        raise DataError(
            f"no output neuron reaches theta={model.config.theta:g} within {DURATION:g} ms, so "
            "there are no spike times to learn from: lower theta, or raise delays or tau"
        )


@torch.no_grad()
def warn_of_silence(model: Any, train: Split) -> None:
    """Warn of layers without a single spike, whose scores are no success."""
    x = train.examples["x"][:256]
    model.eval()
    if isinstance(model, SpikingNetwork) and model.config.mode != "ann":
        counts = [float(layer.sum()) for layer in model.simulate(model.encode(x)).spikes]
    elif isinstance(model, FirstSpikeNetwork):
        counts = [float((z < NEVER).sum()) for z in model.layers(x)[0]]
    else:
        return
    for number, count in enumerate(counts, start=1):
        if count == 0:
            warnings.warn(f"0 spikes in layer {number}: the network guesses", stacklevel=2)
