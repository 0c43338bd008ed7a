"""One network read in two ways: with ReLUs, and with spiking neurons in their place.

The layers are ordinary modules. In the spiking reading time is the first axis, each ReLU is a layer
of neurons, and a spike of layer l is worth ``scale`` l: with scales of 1 that is a network trained
with spikes, with percentiles of activations it is a converted one (W_l scale_(l-1) / scale_l is the
weight normalisation of Diehl 2015 and Rueckauer 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from automl.core.api import DataError, Outputs
from automl.plugins.spiking.config import Config
from automl.plugins.spiking.neurons import Neuron, latency_code, rate_code

SUPPORTED = (
    "Linear", "Conv2d", "ReLU", "AvgPool2d", "MaxPool2d", "BatchNorm1d", "BatchNorm2d",
    "Dropout", "Flatten", "Identity",
)  # fmt: skip
WEIGHTED = (nn.Linear, nn.Conv2d)
MOST = 2_000_000  # activations a percentile is taken of


class Rescale(nn.Module):
    """Inputs to [0, 1] by the training data, where the settings say so; else left alone."""

    low: Tensor
    span: Tensor
    limited: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        size = (shape[0],) if len(shape) == 1 else ()  # images share one scale
        self.register_buffer("low", torch.zeros(size))
        self.register_buffer("span", torch.ones(size))
        self.register_buffer("limited", torch.tensor(False))

    def learn(self, x: Tensor) -> None:
        """Take lowest and highest value of the training inputs (B, ...)."""
        low, high = (x.amin(0), x.amax(0)) if self.low.ndim else (x.min(), x.max())
        self.low.copy_(low)
        self.span.copy_(torch.where(high > low, high - low, 1.0))
        self.limited.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Any (B, ...) to the same; beyond the training data's range a code saturates."""
        x = (x - self.low) / self.span
        return torch.where(self.limited, x.clamp(0, 1), x)


def ann_layers(config: Config, shape: Sequence[int], classes: int) -> nn.Sequential:
    """The layers named by ``config.architecture`` for inputs of a shape, with ReLUs.

    Raises:
        DataError: if the inputs are no images or too small for the convolutions.
    """
    layers: list[nn.Module] = []
    shape = list(shape)

    def activated(width: int, norm: type[nn.Module]) -> None:
        layers.extend([norm(width)] if config.batch_norm else [])
        layers.append(nn.ReLU())
        layers.extend([nn.Dropout(config.dropout)] if config.dropout else [])

    for token in config.architecture.split("-"):
        if ("c" in token or "p" in token) and len(shape) != 3:
            raise DataError(
                f"hidden={config.architecture!r} wants images, not inputs of shape {shape}"
            )
        if "c" in token:
            maps, kernel = map(int, token.split("c"))
            layers.append(nn.Conv2d(shape[0], maps, kernel, padding=kernel // 2))
            activated(maps, nn.BatchNorm2d)
            shape[0] = maps
        elif "p" in token:
            size = int(token[1:])
            shape = [shape[0], shape[1] // size, shape[2] // size]
            if min(shape) < 1:
                raise DataError(
                    f"images are too small for hidden={config.architecture!r}: use '128-128'"
                )
            layers.append((nn.AvgPool2d if config.pool == "avg" else nn.MaxPool2d)(size))
        else:
            if len(shape) > 1:
                layers.append(nn.Flatten())
            layers.append(nn.Linear(torch.Size(shape).numel(), int(token)))
            activated(int(token), nn.BatchNorm1d)
            shape = [int(token)]
    layers.extend([nn.Flatten()] if len(shape) > 1 else [])
    layers.append(nn.Linear(torch.Size(shape).numel(), classes))
    return nn.Sequential(*layers)


def check_layers(layers: nn.Sequential) -> None:
    """Refuse a network that cannot be read with spikes.

    Raises:
        DataError: naming the layer and what is supported.
    """
    for name, layer in layers.named_children():
        if type(layer).__name__ not in SUPPORTED:
            raise DataError(
                f"layer {name!r} is {type(layer).__name__}, which has no spiking counterpart: "
                f"supported are {', '.join(SUPPORTED)}"
            )


def fold_norms(layers: nn.Sequential) -> nn.Sequential:
    """The same layers with each batch norm in the layer before: W g / s, (b - m) g / s + beta."""
    found: list[nn.Module] = []
    for layer in layers.eval():
        if isinstance(layer, nn.BatchNorm2d) and isinstance(found[-1], nn.Conv2d):
            found[-1] = fuse_conv_bn_eval(found[-1], layer)
        elif isinstance(layer, nn.BatchNorm1d) and isinstance(found[-1], nn.Linear):
            found[-1] = fuse_linear_bn_eval(found[-1], layer)
        elif not isinstance(layer, nn.Dropout):
            found.append(layer)
    return nn.Sequential(*found)


@dataclass
class Trace:
    """What one simulation leaves: ``logits`` (T, B, classes) are running means of the output.

    ``spikes`` holds each layer's spikes (T, B, ...); ``operations`` the additions into each
    weighted layer (B,), and ``multiplications`` those of real-valued inputs.
    """

    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    spikes: list[Tensor] = field(default_factory=list)
    operations: list[Tensor] = field(default_factory=list)
    multiplications: list[float] = field(default_factory=list)


class SpikingNetwork(nn.Module):
    """The network of modes ``surrogate``, ``conversion`` and ``ann``."""

    uniform: Tensor
    taken: Tensor

    def __init__(
        self,
        config: Config,
        shape: Sequence[int],
        classes: int,
        layers: nn.Sequential | None = None,
    ) -> None:
        super().__init__()
        self.config, self.steps = config, config.time_steps
        self.rescale = Rescale(shape)
        self.layers = ann_layers(config, shape, classes) if layers is None else layers
        check_layers(self.layers)
        self.neurons = nn.ModuleList(
            self.new_neuron() for layer in self.layers if isinstance(layer, nn.ReLU)
        )
        # Poisson inputs of a fitted model use the same numbers each time: a result is a result.
        if config.encoding == "poisson":
            self.register_buffer("uniform", torch.rand(self.steps, 1, *shape))
        for i, width in enumerate(self.widths(shape)):
            self.register_buffer(f"scale_{i}", torch.ones(width))
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))  # optimiser steps
        if config.mode == "surrogate" and config.encoding == "latency":
            self.enlarge_weights()

    def new_neuron(self) -> Neuron:
        """A layer of neurons: plain IF after conversion, as set when trained with spikes."""
        config = self.config
        if config.mode == "conversion":
            return Neuron(
                "if", theta=config.theta, hard=config.reset == "hard", v0=config.v0,
                refractory=config.refractory,
            )  # fmt: skip
        return Neuron(
            config.neuron, config.beta, config.theta, hard=config.reset == "hard",
            refractory=config.refractory, learn=config.learn_neuron, surrogate=config.surrogate,
            slope=config.slope,
        )  # fmt: skip

    @torch.no_grad()
    def enlarge_weights(self) -> None:
        """One spike per input drives a layer of usual weights too little to fire at all."""
        for layer in [layer for layer in self.layers if isinstance(layer, WEIGHTED)][:-1]:
            layer.weight.mul_(self.config.init_gain)

    @torch.no_grad()
    def widths(self, shape: Sequence[int]) -> list[tuple[int, ...]]:
        """The shapes of the layers' scales: one number each, or one per channel."""
        found: list[tuple[int, ...]] = []
        x, training = torch.zeros(1, *shape), self.layers.training
        for layer in self.layers.eval():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                channels = (x.shape[1], *[1] * (x.ndim - 2))
                found.append(channels if self.config.per_channel else ())
        self.layers.train(training)
        return found

    def scale(self, index: int) -> Tensor:
        """What a spike of hidden layer ``index`` is worth."""
        scale: Tensor = getattr(self, f"scale_{index}")
        return scale

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, ...) to spikes (T, B, ...), or (1, B, ...) of constant currents."""
        x = self.rescale(x)
        if self.config.encoding == "latency":
            return latency_code(x, self.steps)
        if self.config.encoding == "analog":
            return x[None]
        uniform = self.uniform
        if self.training:
            uniform = torch.rand(self.steps, *x.shape, device=x.device)
        return rate_code(x, uniform, self.config.max_rate)

    def simulate(self, inputs: Tensor, *, count: bool = False) -> Trace:
        """Run all layers over ``inputs`` (T or 1, B, ...), one layer after the other."""
        trace, values, index = Trace(), inputs, 0
        events = inputs if len(inputs) > 1 else None  # what arrives as spikes; None: real numbers
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                scale = self.scale(index)
                currents = (values / scale).expand(self.steps, *values.shape[1:])
                events = self.neurons[index](currents)
                values = events * scale
                trace.spikes.append(events)
                index += 1
                continue
            if count:
                count_operations(layer, values, events, trace)
                events = None if events is None else pass_on(layer, events)
            values = over_time(layer, values)
        total = values.expand(self.steps, *values.shape[1:]).cumsum(0)
        clock = torch.arange(1, self.steps + 1, device=total.device, dtype=total.dtype)
        trace.logits = total / clock[:, None, None]
        return trace

    def ann(self, x: Tensor) -> Tensor:
        """The reading with ReLUs: (B, ...) to (B, classes)."""
        found: Tensor = self.layers(self.rescale(x))
        return found

    def answer(self, trace: Trace) -> Outputs:
        """Logits (B, classes) and the number of spikes (B,)."""
        surrogate = self.config.mode == "surrogate"
        logits = trace.logits[-1] * (self.config.logit_scale if surrogate else 1.0)
        spikes = [layer.flatten(2).sum((0, 2)) for layer in trace.spikes]
        return {"logits": logits, "spikes": torch.stack(spikes).sum(0)}

    def forward(self, x: Tensor) -> Outputs:
        """Inputs (B, ...) to ``logits`` (B, classes) and ``spikes`` (B,)."""
        if self.config.mode == "ann":
            logits = self.ann(x)
            return {"logits": logits, "spikes": torch.zeros_like(logits[:, 0])}
        return self.answer(self.simulate(self.encode(x)))

    def penalty(self, trace: Trace, target: float) -> Tensor:
        """Sum over layers of relu(spikes per neuron - target)^2."""
        rates = [layer.sum(0).mean() for layer in trace.spikes]
        return torch.stack([(rate - target).clamp(min=0).square() for rate in rates]).sum()

    @torch.no_grad()
    def balance(self, x: Tensor) -> None:
        """Set each layer's scale to a percentile of its activations on training inputs ``x``.

        With ``balance='threshold'`` it is one of the currents at single steps, layer after layer.

        Raises:
            DataError: naming a layer whose ReLUs are all dead.
        """
        training = self.training
        self.eval()
        at_steps = self.config.balance == "threshold"
        values, index = self.encode(x) if at_steps else self.rescale(x)[None], 0
        for layer in self.layers:
            if not isinstance(layer, nn.ReLU):
                values = over_time(layer, values)
                continue
            scale = percentile(values.clamp(min=0), self.config.percentile, self.scale(index).shape)
            if not bool((scale > 0).any()):
                raise DataError(
                    f"hidden layer {index + 1} has no activation above 0 on the training data: "
                    "its ReLUs are dead, train with a smaller lr"
                )
            self.scale(index).copy_(torch.where(scale > 0, scale, 1.0))
            if at_steps:
                scale = self.scale(index)
                currents = (values / scale).expand(self.steps, *values.shape[1:])
                values = self.neurons[index](currents) * scale
            else:
                values = values.clamp(min=0)
            index += 1
        self.train(training)


def percentile(values: Tensor, percent: float, shape: torch.Size) -> Tensor:
    """Of values (T, B, C, ...), all together or by channel, from a part if there are many."""
    columns = values.flatten(0, 1).transpose(0, 1).flatten(1) if shape else values.reshape(1, -1)
    stride = -(-columns.numel() // MOST)  # torch's quantile refuses many elements
    found = torch.quantile(columns[:, ::stride].float(), percent / 100, dim=1)
    return found.reshape(shape).to(values.dtype)


def over_time(layer: nn.Module, values: Tensor) -> Tensor:
    """Apply a layer without memory to (T, B, ...) at once; max-pooling follows the busiest."""
    flat = values.flatten(0, 1)
    if isinstance(layer, nn.MaxPool2d) and len(values) > 1:
        _, chosen = functional.max_pool2d(
            values.cumsum(0).flatten(0, 1), layer.kernel_size, return_indices=True
        )
        found: Tensor = flat.flatten(2).gather(2, chosen.flatten(2)).view_as(chosen)
    else:
        found = layer(flat)
    return found.reshape(values.shape[0], -1, *found.shape[1:])


def pass_on(layer: nn.Module, events: Tensor) -> Tensor:
    """What is left of spikes behind a layer without weights: pooled spikes still count each."""
    if isinstance(layer, nn.AvgPool2d):
        return over_time(layer, events) * layer.kernel_size**2  # type: ignore[operator]
    if isinstance(layer, nn.MaxPool2d | nn.Flatten):
        return over_time(layer, events)
    return events


def fan_out(layer: nn.Linear | nn.Conv2d, events: Tensor) -> Tensor:
    """Additions that events (B, ...) cause in a weighted layer, (B,): borders have fewer."""
    if isinstance(layer, nn.Linear):
        return events.flatten(1).sum(1) * layer.out_features
    ones = torch.ones_like(layer.weight[:1])
    reached = functional.conv2d(events, ones, stride=layer.stride, padding=layer.padding)
    return reached.flatten(1).sum(1) * layer.out_channels


def count_operations(layer: nn.Module, values: Tensor, events: Tensor | None, trace: Trace) -> None:
    """Note what one weighted layer costs: additions for spikes, multiplications for numbers."""
    if not isinstance(layer, WEIGHTED):
        return
    if events is None:
        trace.operations.append(torch.zeros_like(values[0].flatten(1)[:, 0]))
        trace.multiplications.append(float(fan_out(layer, torch.ones_like(values[0, :1]))[0]))
        return
    trace.operations.append(fan_out(layer, events.sum(0)))
    trace.multiplications.append(0.0)


@torch.no_grad()
def ann_macs(layers: nn.Module, x: Tensor) -> list[float]:
    """Multiplications of each weighted layer for one example ``x`` (1, ...), biases apart."""
    found = []
    for layer in layers.eval().children():
        if isinstance(layer, WEIGHTED):
            found.append(float(fan_out(layer, torch.ones_like(x))[0]))
        x = layer(x)
    return found


def convert(ann: nn.Sequential, train: Tensor, config: Config) -> SpikingNetwork:
    """Turn a trained network of ReLUs into a spiking one, scaled by inputs ``train`` (N, ...).

    Raises:
        DataError: naming a layer that has no spiking counterpart, or whose ReLUs are dead.
    """
    check_layers(ann)
    layers = fold_norms(ann)
    with torch.no_grad():
        classes = layers(train[:1]).shape[1]
    found = SpikingNetwork(config, train.shape[1:], classes, layers).to(train.device)
    found.balance(train)
    return found.eval()
