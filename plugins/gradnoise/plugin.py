"""How the networks are built, trained with noise, scored, searched and exported."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn

from automl.core.api import (
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    ExampleScores,
    Outputs,
    Plugin,
    Run,
    Scores,
    Split,
    Technique,
    Trial,
    mean_scores,
    sgd,
)
from automl.plugins.gradnoise import CARD
from automl.plugins.gradnoise.claims import CLAIMS
from automl.plugins.gradnoise.config import DEFAULTS, FULL, OPTIMIZERS, SCHEDULES, Config
from automl.plugins.gradnoise.model import DeepNetwork, MemoryNetwork, NeuralGpu
from automl.plugins.gradnoise.noise import GradientNoise, Halving, NoiseSettings

ARCHITECTURE = {"story-answering": "memn2n", "binary-multiplication": "neural_gpu"}
STREAM = 1_000_003  # between a trial's seed and that of its noise


class NoisyNetworks(Plugin[Config, nn.Module]):
    """Networks that are hard to train, trained with annealed gradient noise."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def check_data(self, data: DataInfo) -> None:
        """Refuse data with one class only."""
        if data.classes is not None and data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} class: there is nothing to learn")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges, of the architecture that the problem asks for."""
        config = replace(
            base,
            optimizer=trial.suggest_categorical("optimizer", list(OPTIMIZERS)),
            lr=trial.suggest_float("lr", 1e-3, 0.3, log=True),
            noise=trial.suggest_categorical("noise", list(SCHEDULES)),
            clip_norm=trial.suggest_categorical("clip_norm", [0.0, 10.0, 100.0]),
            batch_size=trial.suggest_categorical("batch_size", [20, 50, 100]),
            dropout=trial.suggest_float("dropout", 0.0, 0.5),
        )
        if config.noise != "none":
            config = replace(config, eta=trial.suggest_float("eta", 1e-3, 3.0, log=True))
        if config.noise == "annealed":
            config = replace(config, gamma=trial.suggest_float("gamma", 0.3, 1.0))
        kind = architecture(config, data)
        if kind == "memn2n":
            return replace(
                config,
                hops=trial.suggest_int("hops", 1, 4),
                d_mem=trial.suggest_int("d_mem", 16, 64),
                linear_start=trial.suggest_categorical("linear_start", [False, True]),
            )
        if kind == "neural_gpu":
            return replace(
                config,
                gpu_width=trial.suggest_int("gpu_width", 2, 4),
                gpu_maps=trial.suggest_int("gpu_maps", 8, 48),
            )
        inits = ["zero", "simple", "he", "sussillo_abbott", "orthogonal"]
        return replace(
            config,
            init=trial.suggest_categorical("init", inits),
            depth=trial.suggest_int("depth", 2, 40),
            width=trial.suggest_int("width", 16, 256, log=True),
            standardise=trial.suggest_categorical("standardise", [False, True]),
        )

    def build(self, config: Config, data: DataInfo) -> nn.Module:
        """An untrained network for the dataset."""
        kind = architecture(config, data)
        if kind == "memn2n":
            sentences, longest = data.shapes["story"]
            return MemoryNetwork(data.classes or 1, sentences or 1, longest or 1, config)
        if kind == "neural_gpu":
            return NeuralGpu(data.classes or 1, config)
        features = 1
        for axis in data.shapes["x"]:
            features *= axis or 1
        if config.init == "zero" and config.noise == "none":
            warnings.warn(
                "init='zero' with noise='none': no hidden weight can receive gradient", stacklevel=2
            )
        numeric = data.classes is None
        outputs = (data.shapes["target"][0] if numeric else data.classes) or 1
        return DeepNetwork(config, features, outputs, numeric)

    def steps(self, config: Config) -> int:
        """One step per optimiser step."""
        return config.steps

    def fit(self, model: nn.Module, config: Config, run: Run) -> None:
        """Gradient descent with the noise, and what else the architecture's recipe asks for."""
        train, valid = run.split("train"), run.split("valid")
        if isinstance(model, DeepNetwork):
            prepare(model, config, train)

        def validate() -> Scores:
            scores = self.evaluate(model, config, valid)
            if isinstance(model, MemoryNetwork):
                model.stalled(scores["nll"])
            return scores

        sgd(
            model,
            loss=lambda batch: self.loss(model, config, batch, train.info),
            train=train,
            optimizer=optimizer(model, config),
            config=config,
            run=replace(run, techniques=(*run.techniques, *recipe(model, config, run.seed))),
            validate=validate,
        )

    def loss(self, model: nn.Module, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """The problem's own loss; of numeric targets, in standard deviations."""
        if data.problem.loss is None:
            raise ConfigError(f"problem {data.problem.name!r} has no loss of its own")
        if isinstance(model, DeepNetwork) and model.numeric:
            error = self.predict(model, batch)["value"] - batch["target"]
            return (error / model.spread).square().mean()
        if not isinstance(model, NeuralGpu):
            return data.problem.loss(self.predict(model, batch), batch)
        found = data.problem.loss(self.predict(model, batch), lesson(model, config, batch))
        return found + config.pull * model.progress * model.distance()

    def predict(self, model: nn.Module, batch: Batch) -> Outputs:
        """Call ``forward`` with the keys of ``batch`` that it names."""
        wanted = inspect.signature(model.forward).parameters
        outputs: Outputs = model(**{key: batch[key] for key in wanted})
        return outputs

    def evaluate(self, model: nn.Module, config: Config, split: Split) -> Scores:
        """Means of the problem's scores; no noise takes part."""
        score = split.info.problem.score
        if score is None:
            raise ConfigError(f"problem {split.info.problem.name!r} has no score of its own")

        def each(batch: Batch) -> ExampleScores:
            return score(self.predict(model, batch), batch)

        return mean_scores(model, each, split)

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two random inputs."""
        generator = torch.Generator().manual_seed(0)
        keys = {"memn2n": ("story", "question"), "neural_gpu": ("tokens",)}
        found = {}
        for key in keys.get(architecture(config, data), ("x",)):
            shape = (2, *(axis or 1 for axis in data.shapes[key]))
            if key == "x":
                found[key] = torch.rand(shape, generator=generator)
            else:
                found[key] = torch.randint(data.classes or 1, shape, generator=generator)
        return found


def architecture(config: Config, data: DataInfo) -> str:
    """The architecture of a problem.

    Raises:
        ConfigError: if the settings name another.
    """
    kind = ARCHITECTURE.get(data.problem.name, "mlp20")
    if config.arch not in ("auto", kind):
        raise ConfigError(
            f"arch={config.arch!r} cannot learn {data.problem.name!r}: use arch={kind!r}"
        )
    return kind


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Plain SGD, SGD with momentum 0.9, or Adam, into whose both moments the noise enters."""
    if config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=config.lr)
    momentum = 0.9 if config.optimizer == "momentum" else 0.0
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=momentum)


class Progress(Technique):
    """Tells a neural GPU how far its training is, for its curriculum and its pull."""

    name = "progress"
    defaults = NoiseSettings()

    def __init__(self, steps: int) -> None:
        super().__init__(self.defaults, 0)
        self.steps = steps

    def stepped(self, model: nn.Module, step: int) -> None:
        """Set the share."""
        assert isinstance(model, NeuralGpu)
        model.progress.fill_(step / self.steps)


def recipe(model: nn.Module, config: Config, seed: int) -> tuple[Technique, ...]:
    """What changes the training: the noise, the halving of the rate, the curriculum."""
    found: list[Technique] = []
    if config.noise != "none":
        noise = NoiseSettings(config.eta, config.gamma, config.noise, config.noise_order)
        found.append(GradientNoise(noise, seed + STREAM))
    if config.halve_every:
        found.append(Halving(config.halve_every))
    if isinstance(model, NeuralGpu):
        found.append(Progress(max(1, config.steps)))
    return tuple(found)


def lesson(model: NeuralGpu, config: Config, batch: Batch) -> Batch:
    """The batch without targets that are too long for this point of the curriculum.

    The allowed length grows from 2 to all; the shortest examples of a batch always take part.
    """
    if not config.curriculum:
        return batch
    length = (batch["target"] >= 0).sum(1)
    share = (model.progress / config.curriculum).clamp(max=1)
    longest = batch["target"].shape[1]
    allowed = torch.maximum(2 + share * (longest - 2), length.min())
    target = batch["target"].masked_fill((length > allowed)[:, None], -1)
    return {**batch, "target": target}


def prepare(model: DeepNetwork, config: Config, train: Split) -> None:
    """Check the training data and set the scales of inputs and numeric targets by them.

    Raises:
        DataError: naming what is not finite, no class, or of the wrong width.
    """
    x, target, name = train.examples["x"].flatten(1), train.examples["target"], train.info.name
    if x.shape[1] != model.features:
        raise DataError(f"{name!r} has {x.shape[1]} features, the network takes {model.features}")
    bad = (~x.isfinite().all(0)).nonzero()[:, 0].tolist()
    if bad:
        raise DataError(f"features {bad[:8]} of {name!r} hold NaN or infinity: clean or drop them")
    classes = train.info.classes
    if classes is not None:
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= classes:
            raise DataError(f"classes must be 0 to {classes - 1}; {name!r} has {low} to {high}")
    elif not target.isfinite().all():
        raise DataError(f"targets of {name!r} hold NaN or infinity: drop these rows")
    else:
        model.offset.copy_(target.mean(0))
        model.spread.copy_(target.std(0, correction=0).clamp(min=1e-6))
    if config.standardise:
        scale = x.std(0, correction=0)
        constant = scale < 1e-6 * x.abs().amax(0).clamp(min=1e-6)
        model.mean.copy_(x.mean(0))
        model.scale.copy_(scale.masked_fill(constant, 1.0))
