"""Eight fully connected networks behind one interface.

Shapes: B examples, F features (pixels of an image in a row), H units of a layer, O outputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from automl.core.api import ConfigError, Outputs
from automl.plugins.selu.config import Config
from automl.plugins.selu.moments import ALPHA, SCALE, dropout_affine, selu_params

Kind = Literal["classes", "labels", "values"]  # one of O, each yes or no, O numbers


class Selu(nn.Module):
    """scale x above 0, scale alpha (e^x - 1) below: PyTorch's own for the paper's constants."""

    def __init__(self, alpha: float = ALPHA, scale: float = SCALE) -> None:
        super().__init__()
        self.alpha, self.scale = alpha, scale

    @property
    def usual(self) -> bool:
        """Whether the fixed point is mean 0, variance 1."""
        return math.isclose(self.alpha, ALPHA) and math.isclose(self.scale, SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return functional.selu(x) if self.usual else self.scale * functional.elu(x, self.alpha)


class AlphaDropout(nn.Module):
    """Sets units to the SELU's lower limit and restores mean and variance by an affine map."""

    def __init__(
        self, rate: float, dropped: float = -ALPHA * SCALE, mean: float = 0.0, variance: float = 1.0
    ) -> None:
        super().__init__()
        self.rate, self.dropped = rate, dropped
        self.a, self.b = dropout_affine(1 - rate, dropped, mean, variance)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; nothing happens in evaluation."""
        if not self.training or self.rate == 0:
            return x
        # a (keep x + (1 - keep) dropped) + b as one multiply-add with two arrays that need no
        # gradient, a quarter faster than filling and scaling
        keep = torch.rand_like(x).ge_(self.rate)
        shift = keep.mul(-self.a * self.dropped).add_(self.b + self.a * self.dropped)
        return torch.addcmul(shift, x, keep.mul_(self.a))


class Highway(nn.Module):
    """t relu(W h) + (1 - t) h with a learnt gate t; h is projected where the width changes."""

    def __init__(self, inputs: int, outputs: int, gate_bias: float) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        self.carry = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)
        for layer in (self.change, self.gate, self.carry):
            if isinstance(layer, nn.Linear):
                initialise(layer, "relu" if layer is self.change else "linear")
        nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, h: Tensor) -> Tensor:
        """From h (B, inputs) to (B, outputs)."""
        gate = torch.sigmoid(self.gate(h))
        mixed: Tensor = gate * functional.relu(self.change(h)) + (1 - gate) * self.carry(h)
        return mixed


class Residual(nn.Module):
    """h + f(h), f being pre-activation layers (batch norm, ReLU, linear), two in a block."""

    def __init__(self, widths: list[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.BatchNorm1d(inputs), nn.ReLU(), nn.Dropout(dropout)]
            layers.append(initialise(nn.Linear(inputs, outputs), "relu"))
        self.change = nn.Sequential(*layers)
        same = widths[0] == widths[-1]
        shortcut = nn.Identity() if same else nn.Linear(widths[0], widths[-1])
        self.shortcut = shortcut if same else initialise(shortcut, "linear")

    def forward(self, h: Tensor) -> Tensor:
        """From h (B, first width) to (B, last width)."""
        changed: Tensor = self.shortcut(h) + self.change(h)
        return changed


def initialise(layer: nn.Module, gain: Literal["relu", "linear"]) -> nn.Module:
    """Gaussian weights of variance 1 / fan_in (LeCun: linear) or 2 / fan_in (He: relu), no bias."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity=gain)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layer


def widths(config: Config, outputs: int) -> list[int]:
    """Units of each hidden layer.

    Raises:
        ConfigError: if a conic network would have an empty layer.
    """
    if config.shape == "rectangular":
        return [config.width] * config.depth
    ratio = outputs / config.width
    found = [round(config.width * ratio ** (i / config.depth)) for i in range(config.depth)]
    if min(found) < 1:
        raise ConfigError(
            f"shape='conic' with width={config.width}, depth={config.depth} and {outputs} outputs "
            "has a layer without units: use a larger width"
        )
    return found


class Network(nn.Module):
    """Standardiser, hidden layers, linear output.

    ``mean`` and ``scale`` (F,) are those of the training inputs, ``target_mean`` and
    ``target_scale`` (O,) of numeric targets; they are buffers, 0 and 1 until a fit sets them.
    ``blocks`` are the hidden layers: one each, two in a residual block.
    """

    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, config: Config, inputs: tuple[int, ...], outputs: int, kind: Kind) -> None:
        super().__init__()
        self.kind, self.inputs, self.variant = kind, inputs, config.variant
        features = math.prod(inputs)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("target_mean", torch.zeros(outputs))
        self.register_buffer("target_scale", torch.ones(outputs))
        self.convolutions = nn.Sequential()
        if config.convolutions:
            self.convolutions, features = convolutions(config, inputs)
        sizes = widths(config, outputs)
        self.blocks = hidden_layers(config, features, sizes)
        before: list[nn.Module] = []
        if config.variant == "resnet":  # pre-activation blocks end without one
            before = [nn.BatchNorm1d(sizes[-1]), nn.ReLU()]
        self.output = nn.Sequential(*before, initialise(nn.Linear(sizes[-1], outputs), "linear"))

    def forward(self, x: Tensor) -> Outputs:
        """From x (B, *inputs) to logits and proba (B, O), or to value (B, O) in target units."""
        h = (x.flatten(1) - self.mean) / self.scale
        if len(self.convolutions):
            h = self.convolutions(h.reshape(-1, *self.inputs))
        for block in self.blocks:
            h = block(h)
        found: Tensor = self.output(h)
        if self.kind == "values":
            return {"value": found * self.target_scale + self.target_mean}
        proba = found.softmax(-1) if self.kind == "classes" else found.sigmoid()
        return {"logits": found, "proba": proba}


def convolutions(config: Config, inputs: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """The convolutional part of an SNN: 3 x 3, SELU, then pooled by two; and its features."""
    channels, height, width = inputs
    layers: list[nn.Module] = []
    for i in range(config.convolutions):
        layer = nn.Conv2d(channels if i == 0 else config.channels, config.channels, 3, padding=1)
        layers += [initialise(layer, "linear"), activation(config)]
    if min(height, width) >= 2:
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
    layers += [nn.Flatten(), dropout(config)]
    return nn.Sequential(*layers), config.channels * height * width


def activation(config: Config) -> nn.Module:
    """The activation of a plain variant."""
    if config.variant == "snn":
        return Selu(*selu_params(config.target_mean, config.target_variance))
    return nn.GELU() if config.variant == "gelu" else nn.ReLU()


def dropout(config: Config) -> nn.Module:
    """Alpha dropout for a self-normalizing network, plain for the others, unless forced."""
    snn = config.variant == "snn"
    if config.dropout_kind == "alpha" or (snn and config.dropout_kind == "auto"):
        target = (config.target_mean, config.target_variance) if snn else (0.0, 1.0)
        alpha, scale = selu_params(*target)
        return AlphaDropout(config.dropout, -alpha * scale, *target)
    return nn.Dropout(config.dropout)


def hidden_layers(config: Config, features: int, sizes: list[int]) -> nn.ModuleList:
    """The blocks of a variant."""
    if config.variant == "resnet":
        first = initialise(nn.Linear(features, sizes[0]), "relu")
        pairs = [sizes[i : i + 3] for i in range(0, len(sizes) - 1, 2)]
        return nn.ModuleList([first, *(Residual(pair, config.dropout) for pair in pairs)])
    chain = zip([features, *sizes], sizes, strict=False)
    if config.variant == "highway":
        return nn.ModuleList(
            nn.Sequential(Highway(a, b, config.gate_bias), dropout(config)) for a, b in chain
        )
    return nn.ModuleList(plain_layer(config, a, b) for a, b in chain)


def plain_layer(config: Config, inputs: int, outputs: int) -> nn.Sequential:
    """Linear, normalisation if there is one, activation, dropout."""
    linear = initialise(nn.Linear(inputs, outputs), "linear" if config.variant == "snn" else "relu")
    if config.variant == "weightnorm":
        linear = weight_norm(linear)
    norms: dict[str, Callable[[int], nn.Module]] = {
        "batch": nn.BatchNorm1d,
        "layer": nn.LayerNorm,
    }
    chosen = {"batchnorm": "batch", "layernorm": "layer"}.get(config.variant, config.norm)
    normalisation = [norms[chosen](outputs)] if chosen in norms else []
    return nn.Sequential(linear, *normalisation, activation(config), dropout(config))
