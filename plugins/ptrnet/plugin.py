"""What Pointer Networks predict, how they are trained, and what is searched."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import (
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
from automl.plugins.ptrnet import CARD, metrics
from automl.plugins.ptrnet.claims import CLAIMS
from automl.plugins.ptrnet.config import ARCHITECTURES, DEFAULTS, FULL, Config
from automl.plugins.ptrnet.model import PointerNetwork, Rule

CHUNK = 4_000_000  # numbers in one attention tensor while evaluating; 16 MB
MILD_EXTRAPOLATION = 2  # times the trained length, beyond which users are warned


class PointerNetworks(Supervised[Config, PointerNetwork]):
    """Pointer Networks with the paper's two baselines, on its three tasks and sorting."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges; widths up to twice the base's keep a small search small."""
        config = replace(
            base,
            arch=trial.suggest_categorical("arch", list(ARCHITECTURES)),
            hidden=trial.suggest_int("hidden", 32, min(512, 2 * base.hidden), log=True),
            encoder=trial.suggest_categorical("encoder", ["uni", "bi"]),
            embed_dim=trial.suggest_categorical("embed_dim", [0, 16, 32, 64, 128, 256]),
            optimizer=trial.suggest_categorical("optimizer", ["adam", "sgd"]),
            lr_decay=trial.suggest_categorical("lr_decay", ["none", "linear", "exp"]),
            clip_norm=trial.suggest_float("clip_norm", 0.5, 10, log=True),
            init_scale=trial.suggest_float("init_scale", 0.04, 0.2),
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128, 256]),
            dropout=trial.suggest_float("dropout", 0.0, 0.3),
        )
        if config.optimizer == "sgd":
            config = replace(config, lr_sgd=trial.suggest_float("lr_sgd", 0.1, 1.0, log=True))
        else:
            config = replace(config, lr=trial.suggest_float("lr", 3e-4, 5e-3, log=True))
        if config.arch == "ptrnet":
            config = replace(
                config,
                glimpse=trial.suggest_categorical("glimpse", [False, True]),
                logit_clip=trial.suggest_categorical("logit_clip", [0.0, 10.0]),
            )
        return config

    def build(self, config: Config, data: DataInfo) -> PointerNetwork:
        """An untrained network for the dataset's task and longest set."""
        task = data.problem.name
        if config.mask_training and task not in ("convex-hull", "tsp", "sort"):
            raise ConfigError(f"mask_training=True makes no sense for {task}: points are repeated")
        rules: dict[str, Rule] = {"tsp": "tour"}
        rule: Rule = "polygon" if config.constrain and task == "convex-hull" else "free"
        return PointerNetwork(
            config.arch,  # type: ignore[arg-type]
            data.shapes["points"][-1] or 2,
            config.hidden,
            longest=data.facts["n_max"],
            rule=rules.get(task, rule),
            # 2n - 5 triangles at most, three corners each, and the end
            steps_per_point=(6, -14) if task == "delaunay" else (1, 2) if closes(data) else (1, 1),
            bidirectional=config.encoder == "bi",
            glimpse=config.glimpse,
            embed_dim=config.embed_dim,
            dropout=config.dropout,
            logit_clip=config.logit_clip,
            mask_training=config.mask_training,
            init_scale=config.init_scale,
        )

    def optimizer(self, model: PointerNetwork, config: Config) -> torch.optim.Optimizer:
        """Adam, or plain SGD as in the paper."""
        if config.optimizer == "sgd":
            return torch.optim.SGD(model.parameters(), lr=config.lr_sgd)
        return torch.optim.Adam(model.parameters(), lr=config.lr)

    def loss(self, model: PointerNetwork, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """Mean cross-entropy of the steps, the end symbol included (Equation 2)."""
        logits, target = model.teacher_forced(batch["points"], batch["length"], batch["target"])
        return functional.cross_entropy(logits, target)

    @torch.no_grad()
    def evaluate(self, model: PointerNetwork, config: Config, split: Split) -> Scores:
        """Decode every set and measure; sets of one length go through the network together.

        Raises:
            DataError: if a network with a fixed dictionary is given longer sets.
        """
        longest = int(split.examples["length"].max())
        check_length(model, longest)
        model.eval()
        measure = MEASURES[split.info.problem.name]
        columns: dict[str, list[Tensor]] = defaultdict(list)
        for batch in by_length(split, model):
            for name, values in measure(model, config, batch).items():
                columns[name].append(values.double())
            for name, values in tokens(model, batch).items():
                columns[name].append(values.double())
        return reduce({name: torch.cat(parts) for name, parts in columns.items()})

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two sets of the longest trained length."""
        count, dimensions = data.facts["n_max"], data.shapes["points"][-1] or 2
        generator = torch.Generator().manual_seed(0)
        return {"points": torch.rand(2, count, dimensions, generator=generator)}

    def export(self, model: PointerNetwork, config: Config, data: DataInfo) -> Exportable:
        """One graph with the decoding loop inside, and its encoder and step for beam search."""
        from automl.plugins.ptrnet.export import exportable

        return exportable(model, self.example(config, data))

    def solve(
        self, model: PointerNetwork, config: Config, points: Tensor, rescale: bool = False
    ) -> Tensor:
        """Answer sets of points (B, n, D): int64 (B, T), 1-based, 0 from the end on.

        With ``rescale``, coordinates outside the unit square are moved into it.

        Raises:
            DataError: for anything that is no such set, saying what was seen.
        """
        points = checked(points, model, rescale)
        model.eval()
        with torch.no_grad():
            return decode(model, config, points)


def closes(data: DataInfo) -> bool:
    """Whether the hulls of a dataset repeat their first vertex."""
    return "close_polygon=True" in data.name


def check_length(model: PointerNetwork, count: int) -> None:
    """Refuse more points than a fixed dictionary has classes."""
    if model.architecture != "ptrnet" and count > model.longest:
        raise DataError(
            f"{count} points, but {model.architecture} has a fixed output dictionary of size "
            f"{model.longest}; use arch=ptrnet"
        )


def checked(points: Tensor, model: PointerNetwork, rescale: bool) -> Tensor:
    """Points fit for ``solve``; see there."""
    dimensions = model.dimensions
    if points.ndim != 3 or points.shape[-1] != dimensions:
        raise DataError(f"points must be (batch, n, {dimensions}), not {tuple(points.shape)}")
    count, fewest = points.shape[1], 2 if model.rule == "tour" or dimensions == 1 else 3
    if count < fewest:
        raise DataError(
            f"{count} points in a set of shape {tuple(points.shape)}: {fewest} at least"
        )
    if not points.isfinite().all():
        raise DataError(f"points of shape {tuple(points.shape)} contain NaN or infinity")
    check_length(model, count)
    if fewest == 3 and bool(
        (torch.linalg.matrix_rank(points - points[:, :1], atol=1e-9) < 2).any()
    ):
        raise DataError("points are degenerate (collinear or duplicated)")
    if count > MILD_EXTRAPOLATION * model.longest:
        warnings.warn(
            f"{count} points are outside the trained lengths (up to {model.longest})", stacklevel=3
        )
    if points.min() >= 0 and points.max() <= 1:
        return points
    if not rescale:
        warnings.warn("coordinates outside [0, 1]: use rescale=True", stacklevel=3)
        return points
    low = points.amin(1, keepdim=True)
    return (points - low) / (points - low).amax((1, 2), keepdim=True).clamp(min=1e-12)


def decode(model: PointerNetwork, config: Config, points: Tensor) -> Tensor:
    """Greedy answers through ``forward``, or by beam search."""
    if config.beam == 1:
        sequence: Tensor = model(points)["sequence"]
        return sequence
    return model.beam_search(points, config.beam, model.rule)


def by_length(split: Split, model: PointerNetwork) -> Iterator[Batch]:
    """The sets of a split in batches of one length each, small enough for memory."""
    lengths = split.examples["length"]
    width = model.end.shape[0]
    for count in torch.unique(lengths).tolist():
        index = (lengths == count).nonzero()[:, 0]
        steps = split.examples["target"].shape[1]
        size = max(1, CHUNK // ((count + 1) * width * max(1, steps // 4)))
        for start in range(0, len(index), size):
            batch = split.take(index[start : start + size])
            yield {**batch, "points": batch["points"][:, :count]}


def tokens(model: PointerNetwork, batch: Batch) -> dict[str, Tensor]:
    """Per real step of the targets: was it predicted right, and its log-likelihood."""
    logits, target = model.teacher_forced(batch["points"], None, batch["target"])
    return {
        "token_accuracy": (logits.argmax(-1) == target).float(),
        "nll": functional.cross_entropy(logits, target, reduction="none"),
    }


def measure_hulls(model: PointerNetwork, config: Config, batch: Batch) -> dict[str, Tensor]:
    """Per set; ``share`` counts simple polygons only."""
    found = metrics.polygons(
        batch["points"], decode(model, config, batch["points"]), batch["target"]
    )
    return {
        "polygon_accuracy": found["right"],
        "area_coverage": torch.where(found["simple"], found["share"], math.nan),
        "invalid_rate": ~found["simple"],
    }


def measure_triangulations(
    model: PointerNetwork, config: Config, batch: Batch
) -> dict[str, Tensor]:
    """Per set."""
    count = batch["points"].shape[1]
    sequence = decode(model, config, batch["points"])
    found = metrics.triangulations(sequence, batch["target"], count)
    return {"triangulation_accuracy": found["right"], "triangle_coverage": found["coverage"]}


def measure_tours(model: PointerNetwork, config: Config, batch: Batch) -> dict[str, Tensor]:
    """Per set; what the network says without enforcement is looked at too."""
    points = batch["points"]
    length = metrics.tour_length(points, decode(model, config, points))
    free = model.greedy(points, "free")["sequence"]
    return {
        "tour_length": length,
        "optimality_gap": length / batch["reference"].double() - 1,
        "valid_rate_unconstrained": metrics.is_tour(free, points.shape[1]),
    }


def measure_orders(model: PointerNetwork, config: Config, batch: Batch) -> dict[str, Tensor]:
    """Per set."""
    count = batch["points"].shape[1]
    sequence = decode(model, config, batch["points"])[:, :count]
    return {"sequence_accuracy": (sequence == batch["target"][:, :count]).all(1)}


Measure = Callable[[PointerNetwork, Config, Batch], dict[str, Tensor]]
MEASURES: dict[str, Measure] = {
    "convex-hull": measure_hulls,
    "delaunay": measure_triangulations,
    "tsp": measure_tours,
    "sort": measure_orders,
}


def reduce(columns: dict[str, Any]) -> Scores:
    """Means; NaN marks what does not count, and a mean of nothing is 0."""
    scores = {name: float(values.nanmean()) for name, values in columns.items()}
    return {name: 0.0 if math.isnan(value) else value for name, value in scores.items()}
