"""How the networks are trained and scored, what is searched and what is exported."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval
from torch.nn.utils.parametrize import is_parametrized

from automl.core.api import (
    Axis,
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    Exportable,
    Outputs,
    Scores,
    Split,
    Supervised,
    Trial,
)
from automl.plugins.selu import CARD
from automl.plugins.selu.claims import CLAIMS
from automl.plugins.selu.config import DEFAULTS, DEPTHS, FULL, SEVEN, WIDTHS, Config
from automl.plugins.selu.model import Kind, Network, Selu

OUTPUTS = {
    "classes": ("logits", "proba"), "labels": ("logits", "proba"), "values": ("value",)
}  # fmt: skip
HALF = 0.05  # difference that half precision may make through 32 layers


class SelfNormalizing(Supervised[Config, Network]):
    """The self-normalizing network and the networks that the paper compares it with."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS

    def check_data(self, data: DataInfo) -> None:
        """Refuse data with one class only."""
        if data.classes is not None and data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} class: there is nothing to learn")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges; weight decay is searched only where ``base`` has some."""
        config = replace(
            base,
            variant=trial.suggest_categorical("variant", list(SEVEN)),
            depth=trial.suggest_categorical("depth", list(DEPTHS)),
            width=trial.suggest_categorical("width", list(WIDTHS)),
            shape=trial.suggest_categorical("shape", ["rectangular", "conic"]),
            lr=trial.suggest_float("lr", 1e-4, 1.0, log=True),
            momentum=trial.suggest_categorical("momentum", [0.0, 0.9]),
            dropout=trial.suggest_categorical("dropout", [0.0, 0.05, 0.1]),
            batch_size=trial.suggest_categorical("batch_size", [32, 64, 128]),
        )
        if base.epochs:
            config = replace(config, epochs=trial.suggest_int("epochs", 20, 100))
        if base.weight_decay:
            decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)
            config = replace(config, weight_decay=decay)
        if config.variant == "snn":
            config = replace(
                config,
                target_mean=trial.suggest_float("target_mean", -0.2, 0.2),
                target_variance=trial.suggest_float("target_variance", 0.5, 2.0),
            )
        if config.variant == "highway":
            config = replace(config, gate_bias=trial.suggest_float("gate_bias", -4.0, 0.0))
        return config

    def build(self, config: Config, data: DataInfo) -> Network:
        """An untrained network for the dataset's features and targets."""
        shape = tuple(axis or 1 for axis in data.shapes["x"])
        if config.convolutions and len(shape) != 3:
            raise ConfigError(
                f"convolutions={config.convolutions} want images; {data.name!r} has inputs of "
                f"shape {shape}"
            )
        if data.classes is not None:
            return Network(config, shape, data.classes, "classes")
        kind: Kind = "labels" if data.problem.name == "tabular-multilabel" else "values"
        return Network(config, shape, data.shapes["target"][0] or 1, kind)

    def optimizer(self, model: Network, config: Config) -> torch.optim.Optimizer:
        """Plain SGD, as in the paper; momentum is an addition."""
        return torch.optim.SGD(
            model.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def prepare(self, model: Network, config: Config, train: Split) -> Config:
        """Set the scales by the training data, and the number of steps if epochs are counted.

        Raises:
            DataError: if inputs or targets are not finite, or a target is no class.
        """
        x = train.examples["x"].flatten(1)
        check_inputs(x)
        check_targets(train, model)
        if config.standardise:
            scale = x.std(0, correction=0)
            constant = scale < 1e-6 * x.abs().amax(0).clamp(min=1e-6)
            if bool(constant.any()) and len(train.info.shapes["x"]) == 1:
                some = ", ".join(map(str, constant.nonzero()[:8, 0].tolist()))
                warnings.warn(f"features {some} are constant: their scale is left", stacklevel=2)
            model.mean.copy_(x.mean(0))
            model.scale.copy_(scale.masked_fill(constant, 1.0))
        elif config.variant == "snn" and (abs(x.mean()) > 1 or x.var() > 16):
            warnings.warn(
                f"inputs have mean {x.mean():.3g} and variance {x.var():.3g}, beyond what the "
                "theorems speak of (mean within 1, variance up to 16): use standardise=true",
                stacklevel=2,
            )
        if model.kind == "values":
            target = train.examples["target"]
            model.target_mean.copy_(target.mean(0))
            model.target_scale.copy_(target.std(0, correction=0).clamp(min=1e-6))
        if not config.epochs:
            return config
        per_epoch = max(1, len(train) // config.batch_size)
        return replace(config, steps=config.epochs * per_epoch, eval_every=per_epoch)

    def loss(self, model: Network, config: Config, batch: Batch, data: DataInfo) -> Tensor:
        """Cross-entropy; of numeric targets, the squared error in standard deviations."""
        if model.kind != "values":
            return super().loss(model, config, batch, data)
        error = self.predict(model, batch)["value"] - batch["target"]
        return (error / model.target_scale).square().mean()

    def evaluate(self, model: Network, config: Config, split: Split) -> Scores:
        """Means over the examples; for yes/no labels the mean AUC."""
        if model.kind != "labels":
            return super().evaluate(model, config, split)
        return label_scores(self, model, split)

    def export(self, model: Network, config: Config, data: DataInfo) -> Exportable:
        """One graph with the standardiser inside, and a part that computes in half precision."""
        inputs = self.example(config, data)
        outputs = OUTPUTS[model.kind]
        axes = {"x": {0: Axis("batch")}}
        deployed = portable(model)
        half = Exportable(HalfGraph(deployed, outputs), inputs, outputs, axes, tolerance=HALF)
        return Exportable(Graph(deployed, outputs), inputs, outputs, axes, parts={"float16": half})


def check_inputs(x: Tensor) -> None:
    """Raise ``DataError`` naming the columns of x (B, F) that are not finite."""
    bad = (~x.isfinite().all(0)).nonzero()[:, 0].tolist()
    if bad:
        some = ", ".join(map(str, bad[:8]))
        raise DataError(f"features {some} hold NaN or infinity: clean or drop these columns")


def check_targets(train: Split, model: Network) -> None:
    """Raise ``DataError`` for classes outside 0 to k - 1, or numbers that are not finite."""
    target, classes = train.examples["target"], train.info.classes
    if classes is not None and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise DataError(
            f"classes must be 0 to {classes - 1}; {train.info.name!r} has "
            f"{int(target.min())} to {int(target.max())}"
        )
    if model.kind == "values" and not target.isfinite().all():
        raise DataError(f"targets of {train.info.name!r} hold NaN or infinity: drop these rows")


@torch.no_grad()
def label_scores(plugin: SelfNormalizing, model: Network, split: Split) -> Scores:
    """AUC averaged over the labels that have both answers, and the mean cross-entropy."""
    from sklearn.metrics import roc_auc_score

    model.eval()
    parts = [plugin.predict(model, batch)["logits"] for batch in split.batches(1024)]
    logits, target = torch.cat(parts).double().cpu(), split.examples["target"].double().cpu()
    areas = []
    for column, wanted in zip(logits.T, target.T, strict=True):
        known = ~wanted.isnan()
        if len(wanted[known].unique()) == 2:
            areas.append(float(roc_auc_score(wanted[known].numpy(), column[known].numpy())))
    loss = split.info.problem.loss
    assert loss is not None
    nll = float(loss({"logits": logits}, {"target": target}))
    return {"auc": math.fsum(areas) / len(areas) if areas else 0.5, "nll": nll}


class OnnxSelu(Selu):
    """Exports as ONNX's own Selu with its two attributes, where the fixed point is unusual."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        if not torch.onnx.is_in_onnx_export():
            return super().forward(x)
        attributes: dict[str, Any] = {"alpha": self.alpha, "gamma": self.scale}
        found: Tensor = torch.onnx.ops.symbolic(
            "Selu", (x,), attributes, dtype=x.dtype, shape=x.shape
        )
        return found


def portable(model: Network) -> Network:
    """A copy to deploy: batch norms folded, weight norms removed, every SELU one operator."""
    found = copy.deepcopy(model).eval()
    for module in list(found.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Selu) and not child.usual:
                setattr(module, name, OnnxSelu(child.alpha, child.scale))
            if isinstance(child, nn.Linear) and is_parametrized(child, "weight"):
                setattr(module, name, plain_linear(child))
    for module in found.modules():
        if isinstance(module, nn.Sequential):
            fold_norms(module)
    return found


def plain_linear(layer: nn.Linear) -> nn.Linear:
    """A linear layer with the weights that a normalised one computes.

    PyTorch's remove_parametrizations would break the original, whose class the copy shares.
    """
    found = nn.Linear(layer.in_features, layer.out_features)
    found.load_state_dict({"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    return found


def fold_norms(layers: nn.Sequential) -> None:
    """Put each batch norm that follows a linear layer into that layer, in place."""
    for i in range(len(layers) - 1):
        linear, norm = layers[i], layers[i + 1]
        if isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
            layers[i] = fuse_linear_bn_eval(linear, norm)
            layers[i + 1] = nn.Identity()


class Graph(nn.Module):
    """A network by position: x to its outputs in their order."""

    def __init__(self, model: Network, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Take x (B, *inputs) float32."""
        found: Outputs = self.model(x)
        return tuple(found[name] for name in self.outputs)


class HalfGraph(Graph):
    """The same in half precision within; inputs and outputs stay float32."""

    def __init__(self, model: Network, outputs: tuple[str, ...]) -> None:
        super().__init__(copy.deepcopy(model), outputs)
        self.mean, self.scale = copy.deepcopy(model.mean), copy.deepcopy(model.scale)
        self.target_mean = copy.deepcopy(model.target_mean)
        self.target_scale = copy.deepcopy(model.target_scale)
        self.model.mean, self.model.scale = torch.zeros(()), torch.ones(())
        self.model.target_mean, self.model.target_scale = torch.zeros(()), torch.ones(())
        self.model.half()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Take x (B, *inputs) float32; scales apply in float32, where none overflows."""
        scaled = (x.flatten(1) - self.mean) / self.scale
        found = self.model(scaled.half().reshape(x.shape))
        wide = {name: value.float() for name, value in found.items()}
        if "value" in wide:
            wide["value"] = wide["value"] * self.target_scale + self.target_mean
        return tuple(wide[name] for name in self.outputs)
