"""How the networks are trained on one grid or several, what is searched and what is exported."""

from __future__ import annotations

from dataclasses import replace
from statistics import median_low

import torch
from torch import Tensor

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
    mean_scores,
    relative_h1,
)
from automl.plugins.neural_operator import CARD
from automl.plugins.neural_operator.claims import CLAIMS
from automl.plugins.neural_operator.config import (
    ARCHITECTURES,
    DEFAULTS,
    FOURIER,
    FULL,
    KERNEL_SHAPES,
    U_NETS,
    Config,
)
from automl.plugins.neural_operator.export import exportable
from automl.plugins.neural_operator.model import Domain, Network

POINTS = 2**17  # in a batch of an evaluation


class NeuralOperators(Supervised[Config, Network]):
    """Operators between functions, and the nets tied to a grid that they are compared with."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def check_data(self, data: DataInfo) -> None:
        """Refuse what is no field on a grid of at least 2 x 2 points.

        Raises:
            DataError: saying what was found.
        """
        shape = data.shapes["x"]
        if len(shape) != 3 or None in shape or min(axis or 0 for axis in shape[1:]) < 2:
            raise DataError(
                f"{data.name!r} has inputs of shape {shape}; wanted are channels and a grid of at "
                "least 2 x 2 points"
            )

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges, each architecture's own settings below its choice."""
        height = data.shapes["x"][1] or 2
        arch = trial.suggest_categorical("arch", fitting(base, data))
        config = replace(
            base,
            arch=arch,
            width=trial.suggest_int("width", 8, 96, log=True),
            n_layers=trial.suggest_int("n_layers", 1, 6),
            lr=trial.suggest_float("lr", 2e-4, 1e-2, log=True),
            weight_decay=trial.suggest_categorical("weight_decay", [0.0, 1e-6, 1e-4]),
        )
        if data.classes is None:
            loss = trial.suggest_categorical("loss", ["rel_l2", "abs_l2", "h1"])
            config = replace(config, loss=loss)
        if arch in (*FOURIER, "oformer"):
            low = min(4, height // 2)
            high = max(base.modes, min(32, height // 2))
            config = replace(config, modes=trial.suggest_int("modes", low, high))
        if arch in ("local_no", "gno"):
            radius = trial.suggest_categorical("radius_cells", [2, 3, 4])
            config = replace(config, radius_cells=radius)
        if arch == "local_no":
            shape = trial.suggest_categorical("kernel_shape", list(KERNEL_SHAPES))
            config = replace(config, kernel_shape=shape)
        if arch in ("oformer", "tno", "vit"):
            config = replace(
                config,
                heads=trial.suggest_categorical("heads", [1, 2, 4, 8]),
                head_dim=trial.suggest_categorical("head_dim", [8, 16, 32]),
            )
        if arch in U_NETS:
            config = u_net_space(trial, config, data)
        if arch in (*U_NETS, "vit") and data.classes is None and height % 4 == 0:
            several = f"{height // 4},{height // 2},{height}"
            choices = list(dict.fromkeys([base.train_res, several]))
            config = replace(config, train_res=trial.suggest_categorical("train_res", choices))
        return config

    def build(self, config: Config, data: DataInfo) -> Network:
        """An untrained network for the dataset's channels and domain.

        For images the modes are cut to what their grid has.

        Raises:
            ConfigError: if a grid to train on cannot be taken from the data's.
        """
        self.check_data(data)
        channels, height, width = (axis or 1 for axis in data.shapes["x"])
        classes = data.classes is not None
        if classes:
            config = replace(config, modes=min(config.modes, height // 2, width // 2))
        for res in config.heights:
            if height % res or (width * res) % height:
                raise ConfigError(
                    f"train_res={config.train_res!r}: {res} does not divide the grid of "
                    f"{data.name!r}, {height}x{width}"
                )
        base = config.base_res or median_low(config.heights or (height,))
        lengths = data.facts.get("lengths", (1.0, width / height))
        domain = Domain(
            (base, max(1, base * width // height)),
            (float(lengths[0]), float(lengths[1])),
            bool(data.facts.get("periodic", False)),
            float(data.facts.get("offset", 0.5)),
        )
        outputs = data.classes or data.shapes["target"][0] or 1
        return Network(config, domain, channels, outputs, classes)

    def optimizer(self, model: Network, config: Config) -> torch.optim.Optimizer:
        """Adam with the weight decay."""
        return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def prepare(self, model: Network, config: Config, train: Split) -> Config:
        """Take each channel's mean and scale, one number for all points, from the training data.

        Raises:
            DataError: if a field is not finite.
        """
        fields = [("x", train.examples["x"])]
        if not model.classes:
            fields.append(("y", train.examples["target"]))
        for name, field in fields:
            if not field.isfinite().all():
                raise DataError(f"fields of {train.info.name!r} hold NaN or infinity: drop them")
            scale = field.std((0, 2, 3), correction=0).clamp(min=1e-12)
            getattr(model, f"{name}_mean").copy_(field.mean((0, 2, 3))[:, None, None])
            getattr(model, f"{name}_scale").copy_(scale[:, None, None])
        return config

    def loss(self, model: Network, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """The chosen loss, on one of the grids to train on, drawn for each batch."""
        if model.classes or config.loss == "rel_l2":
            return super().loss(model, config, self.on_a_grid(config, batch, model), data)
        batch = self.on_a_grid(config, batch, model)
        value, target = self.predict(model, batch)["value"], batch["target"]
        lengths = model.domain.lengths
        if config.loss == "h1":
            return relative_h1(value, target, lengths, model.domain.periodic).mean()
        cell = lengths[0] * lengths[1] / (value.shape[-2] * value.shape[-1])
        answer: Tensor = ((value - target).flatten(1).norm(dim=1) * cell**0.5).sum().square()
        return answer

    def on_a_grid(self, config: Config, batch: Batch, model: Network) -> Batch:
        """The batch subsampled to a height of ``train_res``; the data's grid without one."""
        if not config.heights or model.classes:
            return batch
        res = config.heights[int(torch.randint(len(config.heights), ()))]
        step = batch["x"].shape[-2] // res
        count = len(batch["x"])
        if config.shrink_batch:
            count = max(1, count * config.heights[0] // res)
        return {key: value[:count, ..., ::step, ::step] for key, value in batch.items()}

    def evaluate(self, model: Network, config: Config, split: Split) -> Scores:
        """Mean of the per-example scores, fewer examples at a time on finer grids."""
        x = split.examples["x"]
        return mean_scores(
            model,
            lambda batch: self.score(model, config, batch, split.info),
            split,
            max(1, min(256, POINTS // (x.shape[-2] * x.shape[-1]))),
        )

    def export(self, model: Network, config: Config, data: DataInfo) -> Exportable:
        """One graph; free in its grid where the layers are."""
        return exportable(model, config, self.example(config, data))


def fitting(base: Config, data: DataInfo) -> list[str]:
    """The architectures that can take the dataset's grid."""
    _, height, width = (axis or 1 for axis in data.shapes["x"])
    divides = {"vit": base.patch, **dict.fromkeys(U_NETS, 2 ** (base.depth - 1))}
    square = height == width
    found = []
    for arch in ARCHITECTURES:
        divisor = divides.get(arch, 1)
        fits = height % divisor == 0 == width % divisor
        if arch == base.arch or (fits and (square or arch not in ("vit", "unet_io"))):
            found.append(arch)
    return found


def u_net_space(trial: Trial, config: Config, data: DataInfo) -> Config:
    """What is searched of U-Nets; as deep as the grid can be halved."""
    _, height, width = (axis or 1 for axis in data.shapes["x"])
    depths = [d for d in (2, 3, 4) if height % 2 ** (d - 1) == 0 == width % 2 ** (d - 1)]
    config = replace(
        config,
        hidden=trial.suggest_categorical("hidden", [8, 16, 19, 32]),
        kernel=trial.suggest_categorical("kernel", [3, 5, 9]),
        depth=trial.suggest_categorical("depth", depths or [config.depth]),
    )
    if config.arch == "unet_ki":
        norm = trial.suggest_categorical("ki_norm", ["tap_ratio", "quadrature"])
        return replace(config, ki_norm=norm)
    if config.arch == "unet_io":
        how = trial.suggest_categorical("interpolation", ["bilinear", "fourier"])
        return replace(config, interpolation=how)
    return config
