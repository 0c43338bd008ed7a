"""How the machine and its rivals are trained and scored, what is searched and what is exported."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import (
    Axis,
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    Exportable,
    Scores,
    Split,
    Supervised,
    Trial,
)
from automl.plugins.ctm import CARD
from automl.plugins.ctm.claims import CLAIMS
from automl.plugins.ctm.config import DEFAULTS, FULL, SELECTIONS, Config
from automl.plugins.ctm.export import Ticker, ticker
from automl.plugins.ctm.features import RawFeatures, SignFeatures, TableFeatures, features_for
from automl.plugins.ctm.model import KINDS, Machine, Thinker, certainty


class ContinuousThought(Supervised[Config, Thinker]):
    """The Continuous Thought Machine, an LSTM and a feed-forward network on the same inputs."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def check_data(self, data: DataInfo) -> None:
        """Refuse classification without classes, and inputs of unknown size."""
        if data.classes is None or data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} classes: there is nothing to learn")
        if None in data.shapes["x"]:
            raise DataError(f"{data.name!r} has inputs of varying size; positions are fixed here")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges up to twice the size of ``base``; the rival has fewer settings."""
        config = replace(
            base,
            iterations=trial.suggest_int("iterations", 1, max(50, base.iterations)),
            d_model=trial.suggest_int("d_model", 32, 2 * base.d_model, log=True),
            d_input=trial.suggest_categorical("d_input", sizes(base.d_input, base.heads)),
            lr=trial.suggest_float("lr", 1e-5, 5e-3, log=True),
            dropout=trial.suggest_float("dropout", 0.0, 0.2),
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        )
        if base.arch != "ctm":
            return config
        depth = trial.suggest_int("synapse_depth", 1, 4)
        nlm = trial.suggest_categorical("nlm", ["deep", "linear"])
        select = trial.suggest_categorical("neuron_select", list(SELECTIONS))
        most = max(4, min(2 * base.n_synch_out, config.d_model // 2))
        out, action = base.n_synch_out, base.n_synch_action
        if most > 4:
            out = trial.suggest_int("n_synch_out", 4, most, log=True)
            action = trial.suggest_int("n_synch_action", 4, most, log=True)
        config = replace(
            config,
            memory_length=trial.suggest_int(
                "memory_length", 1, max(2 * config.iterations, base.memory_length)
            ),
            synapse_depth=depth,
            nlm=nlm,
            neuron_select=select,
            n_synch_out=out,
            n_synch_action=action,
        )
        if nlm == "deep":
            most = max(32, base.nlm_hidden)
            hidden = trial.suggest_int("nlm_hidden", 2, most, log=True)
            config = replace(config, nlm_hidden=hidden)
        if select == "random-pairing":
            config = replace(config, n_self=trial.suggest_int("n_self", 0, min(out, action)))
        return config

    def build(self, config: Config, data: DataInfo) -> Thinker:
        """An untrained model for the dataset's inputs and answers.

        Raises:
            ConfigError: if there are fewer ticks than numbers to sort.
        """
        self.check_data(data)
        features, classes = features_for(config, data), int(data.classes or 2)
        answers = int((data.shapes["target"] or (1,))[0] or 1)
        if isinstance(features, RawFeatures):
            if config.arch == "ff":
                raise ConfigError("arch='ff' has one tick, but an order is read off many: use ctm")
            if config.iterations < answers:
                raise ConfigError(
                    f"iterations={config.iterations} must be at least n={answers}: each tick gives "
                    "one number of the order at most"
                )
            answers, classes = 1, classes + 1
        if config.arch == "ff" and features.ticks:
            raise ConfigError("arch='ff' has one tick, but digit-questions come in many: use ctm")
        return KINDS[config.arch](config, features, answers, classes)

    def optimizer(self, model: Thinker, config: Config) -> torch.optim.Optimizer:
        """AdamW without decay, with a warm-up."""
        return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.0)

    def prepare(self, model: Thinker, config: Config, train: Split) -> Config:
        """Look at the inputs; standardise tables by them."""
        check_inputs(model, train)
        if isinstance(model.features, TableFeatures):
            model.features.learn(train.examples["x"])
        return config

    def loss(self, model: Thinker, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """Half the loss at each example's best tick, half at its most certain one (Section 2.5)."""
        if model.features.streams:
            assert data.problem.loss is not None
            return data.problem.loss(self.predict(model, batch), batch)
        predictions = model.think(batch["x"])
        each = tick_losses(predictions, batch["target"], config, maze=data.problem.name == MAZES)
        chosen = choose_ticks(each, predictions, config.loss_ticks)
        return (chosen * batch["weight"]).mean() if "weight" in batch else chosen.mean()

    def evaluate(self, model: Thinker, config: Config, split: Split) -> Scores:
        """Scores of the most certain tick.

        Raises:
            DataError: for inputs that the model was not built for.
        """
        check_inputs(model, split)
        return super().evaluate(model, config, split)

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Inputs of the task's kind."""
        return {"x": example_inputs(data, 2, torch.Generator().manual_seed(0))}

    def export(self, model: Thinker, config: Config, data: DataInfo) -> Exportable:
        """All ticks as one graph; of a machine also a single tick, its state going in and out."""
        draw = torch.Generator().manual_seed(1)
        x, samples = self.example(config, data)["x"], example_inputs(data, 64, draw)
        batch = {0: Axis("batch")}
        parts = {}
        if isinstance(model, Machine) and not model.features.ticks:
            parts = ticker(model.eval(), x)
        return Exportable(
            Ticker(model), {"x": x}, Ticker.outputs, {"x": batch}, parts=parts,
            samples={"x": samples},
        )  # fmt: skip


MAZES = "maze-route"


def sizes(usual: int, heads: int) -> list[int]:
    """Widths to choose from that the heads divide."""
    found = {usual, *(size for size in (16, 32, 64, 128) if size % heads == 0)}
    return sorted(found)


def tick_losses(predictions: Tensor, target: Tensor, config: Config, *, maze: bool) -> Tensor:
    """Mean cross-entropy of each tick's answers: (B, T, P, C) and (B,) or (B, P) to (B, T).

    In mazes only moves up to ``lookahead`` beyond a tick's correct beginning count.
    """
    rows, ticks, answers, classes = predictions.shape
    wanted = target.reshape(rows, 1, answers).expand(-1, ticks, -1)
    each = functional.cross_entropy(
        predictions.reshape(-1, classes), wanted.reshape(-1), reduction="none"
    ).reshape(rows, ticks, answers)
    if not maze:
        return each.mean(2)
    right = (predictions.argmax(-1) == wanted).to(torch.int64)
    beginning = right.cumprod(2).sum(2, keepdim=True)
    counts = torch.arange(answers, device=target.device) < beginning + config.lookahead
    return (each * counts).sum(2) / counts.sum(2)


def choose_ticks(each: Tensor, predictions: Tensor, which: str) -> Tensor:
    """Losses of the ticks that are trained: (B, T) to (B,)."""
    if which == "mean":
        return each.mean(1)
    if which == "last":
        return each[:, -1]
    if which == "min+last":
        return 0.5 * (each.amin(1) + each[:, -1])
    sure = certainty(predictions.detach()).argmax(1, keepdim=True)
    return 0.5 * (each.amin(1) + each.gather(1, sure)[:, 0])


def check_inputs(model: Thinker, split: Split) -> None:
    """Refuse inputs that are not finite or not of the model's kind.

    Raises:
        DataError: saying what was found and what is wanted.
    """
    x, name = split.examples["x"], split.info.name
    if not bool(x.isfinite().all()):
        raise DataError(f"inputs of {name!r} hold NaN or infinity: clean them")
    features = model.features
    if isinstance(features, SignFeatures | RawFeatures) and x.shape[1] != features.count:
        raise DataError(
            f"{name!r} has n={x.shape[1]}, but this model was built for n={features.count} and "
            "answers no other length"
        )
    if isinstance(features, SignFeatures) and not bool((x.abs() == 1).all()):
        odd = float(x[x.abs() != 1][0])
        raise DataError(f"inputs of {name!r} must be -1 or 1, not {odd:g}")
    if isinstance(features, RawFeatures) and bool((x.sort(1).values.diff(dim=1) == 0).any()):
        raise DataError(f"{name!r} has equal numbers in a row, whose order is not defined")


def example_inputs(data: DataInfo, count: int, draw: torch.Generator) -> Tensor:
    """Random inputs (count, ...) such as the task has."""
    shape = (count, *(int(axis or 1) for axis in data.shapes["x"]))
    x = torch.rand(shape, generator=draw)
    if data.problem.name == "cumulative-parity":
        return 2 * (x > 0.5).float() - 1
    if data.problem.name == "digit-questions":
        parts = int(data.facts["parts"])
        most = torch.tensor(
            [1 if place % 2 else data.facts["digits"] - 1 for place in range(parts)]
        )
        x[:, -parts:] = (x[:, -parts:] * (most + 1)).floor()
    return x
