"""Networks in which each neuron spikes at most once and spike times are what is learnt.

``FirstSpikeNetwork``: exact times of non-leaky neurons with exponential synapses (Mostafa 2017).
``SpikeProp``: times of spike-response neurons with several delays (Bohte, Kok, La Poutre 2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import Outputs
from automl.plugins.spiking.config import Config
from automl.plugins.spiking.network import Rescale
from automl.plugins.spiking.neurons import SILENT

NEVER = 1e5  # z of a neuron that stays silent
PIXEL_TIME = 1.79  # of the darkest input, so that z is in [1, 6] with tau_s = 1
LATEST = 50.0  # z that the loss still tells apart
FLOOR = 1e-3  # of the denominator of a spike time
HIDDEN_GAIN, OUTPUT_GAIN = 8.0, 4.0
WEIGHT_DECAY = 1e-4
SUM_WANTED = 1.2  # the weights of a neuron must add up to more than 1 for it to spike at all


def hidden_widths(config: Config) -> list[int]:
    """Widths of the dense hidden layers."""
    return [int(width) for width in config.hidden.split("-")]


def first_spikes(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Spike times of a layer and how many inputs each neuron waited for.

    z_out = sum_C w z / (sum_C w - 1), C the shortest prefix of the sorted inputs whose weights add
    up to more than 1 and whose z_out lies before the next input; without one: silent.

    Args:
        z: (B, inputs), exp(t / tau_s).
        weight: (inputs, neurons).

    Returns:
        z_out (B, neurons), differentiable, and the prefix lengths (B, neurons).
    """
    ordered, order = z.sort(dim=1)
    ordered = ordered[..., None]
    rows = weight[order]  # (B, inputs, neurons)
    total = rows.cumsum(1) - 1
    found = (rows * ordered).cumsum(1) / total.clamp(min=FLOOR)
    following = torch.cat([ordered[:, 1:], torch.full_like(ordered[:, :1], torch.inf)], 1)
    heard = ordered < NEVER
    valid = (total > 0) & heard & (found >= ordered) & (found <= following) & (found < NEVER)
    first = valid.to(torch.int64).argmax(1, keepdim=True)
    fires = valid.any(1)
    out = torch.where(fires, found.gather(1, first)[:, 0], NEVER)
    waited = torch.where(fires, first[:, 0] + 1, heard.sum(1))
    return out, waited


class FirstSpikeNetwork(nn.Module):
    """Mode ``ttfs_exact``: dense layers without biases."""

    def __init__(self, config: Config, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.config = config
        self.rescale = Rescale(shape)
        widths = [math.prod(shape), *hidden_widths(config), classes]
        gains = [HIDDEN_GAIN] * (len(widths) - 2) + [OUTPUT_GAIN]
        self.weights = nn.ParameterList(
            torch.rand(a, b) * 2 * gain / a
            for a, b, gain in zip(widths, widths[1:], gains, strict=False)
        )

    def encode(self, x: Tensor) -> Tensor:
        """Inputs (B, ...) to z (B, inputs): the brighter the earlier, dark ones never."""
        x = self.rescale(x).flatten(1)
        z = torch.exp(PIXEL_TIME * (1 - x) / self.config.tau_s)
        return torch.where(x > SILENT, z, NEVER)

    def layers(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Each layer's z (B, neurons) and the additions that it made (B,)."""
        z, times, operations = self.encode(x), [], []
        for weight in self.weights:
            z, waited = first_spikes(z, weight)
            times.append(z)
            operations.append(waited.to(z.dtype).sum(1))
        return times, operations

    def forward(self, x: Tensor) -> Outputs:
        """``logits`` (B, classes) = -z of the outputs, the first is the answer; ``spikes`` (B,)."""
        times, _ = self.layers(x)
        spikes = torch.stack([(z < NEVER).to(x.dtype).sum(1) for z in times]).sum(0)
        return {"logits": -times[-1].clamp(max=LATEST), "spikes": spikes}

    def penalty(self) -> Tensor:
        """K mean_j relu(1.2 - sum_i w_ji) over all layers, and weight decay."""
        short = torch.stack([(SUM_WANTED - w.sum(0)).clamp(min=0).mean() for w in self.weights])
        decay = torch.stack([w.square().sum() for w in self.weights])
        return self.config.k_sum * short.sum() + WEIGHT_DECAY * decay.sum()


WINDOW = 6.0  # ms in which inputs arrive
EARLY, LATE = 10.0, 16.0  # ms, wanted of the right output and of the others
DURATION = 26.0  # ms simulated; silent neurons count as spiking then
SPREAD = 0.5  # of hidden weights, relative to what would undo their mean
STRIDE = 10.0  # of Adam's steps, with a learning rate like the other systems'
SLOPE_FLOOR = 0.1  # smallest rise of a potential at its spike, per ms


class SpikeProp(nn.Module):
    """Mode ``spikeprop``: two layers, ``delays`` synapses of 1, 2, ... ms per connection.

    Potentials are sum w eps(t - t_i - d_k) with eps(t) = t / tau exp(1 - t / tau). A reference
    input at 0 ms joins the others. A spike time is the first crossing on a grid of ``grid`` ms,
    interpolated; its gradient is dt / dv = -1 / max(dv / dt, 0.1). Of a neuron that stays silent
    the highest potential is what the gradient raises.
    """

    sign: Tensor
    clock: Tensor

    def __init__(
        self,
        config: Config,
        shape: Sequence[int],
        outputs: int,
        *,
        hidden: int = 0,
        grid: float = 0.5,
    ) -> None:
        super().__init__()
        self.config = config
        self.rescale = Rescale(shape)
        inputs, hidden = math.prod(shape) + 1, hidden or hidden_widths(config)[0]
        self.grid = grid
        self.register_buffer("clock", torch.arange(0, DURATION + grid / 2, grid))
        negative = round(config.inhibitory * hidden)
        self.register_buffer("sign", torch.where(torch.arange(hidden) < negative, -1.0, 1.0))
        # Enough drive that an average neuron crosses its threshold half way through.
        mean = 3.0 * config.theta / (0.5 * config.delays)
        positive = max(1, hidden - 2 * negative)
        self.sizes = (mean / inputs, mean / positive)  # mean weights at the start
        spread = SPREAD * math.sqrt(inputs * config.delays)  # so that neurons differ in their times
        weights = 1 + spread * torch.randn(inputs, config.delays, hidden)
        self.hidden = nn.Parameter(self.sizes[0] * weights)
        weights = 2 * torch.rand(hidden, config.delays, outputs)
        self.output = nn.Parameter(self.sizes[1] * weights)

    def spike_times(self, times: Tensor, weight: Tensor) -> Tensor:
        """Times (B, inputs) in ms and weights (inputs, delays, neurons) to times (B, neurons)."""
        v = self.potential(times, weight)  # (B, grid, neurons)
        crossed = v >= self.config.theta
        fires = crossed.any(1)
        index = torch.where(fires, crossed.to(torch.int64).argmax(1), v.argmax(1))
        here = v.gather(1, index[:, None])[:, 0]
        before = v.gather(1, (index - 1).clamp(min=0)[:, None])[:, 0]
        rise = ((here - before) / self.grid).detach()
        part = ((self.config.theta - before) / (here - before).clamp(min=1e-6)).detach()
        moment = self.clock[(index - 1).clamp(min=0)] + self.grid * part.clamp(0, 1)
        moment = torch.where(fires, moment, DURATION)
        return moment - (here - here.detach()) / rise.clamp(min=SLOPE_FLOOR)

    def potential(self, times: Tensor, weight: Tensor) -> Tensor:
        """Times (B, inputs) and weights (inputs, delays, neurons) to (B, grid, neurons).

        Delays are whole milliseconds, so the sum over them is a convolution along the grid.
        """
        since = (self.clock - times[:, :, None]).clamp(min=0) / self.config.tau
        response = since * torch.exp(1 - since)  # (B, inputs, grid)
        spacing = round(1 / self.grid)
        padded = functional.pad(response, (spacing * weight.shape[1], 0))
        kernel = weight.permute(2, 0, 1).flip(2)
        v = functional.conv1d(padded[..., :-spacing], kernel, dilation=spacing)
        return v.transpose(1, 2)

    def times(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, ...) to the spike times of both layers, in ms."""
        early = WINDOW * (1 - self.rescale(x).flatten(1))
        given = functional.pad(early, (1, 0))  # the reference neuron spikes at 0
        hidden = self.spike_times(given, self.hidden)
        # An inhibitory neuron has negative weights only, the others positive ones.
        output = self.output.abs() * self.sign[:, None, None]
        return hidden, self.spike_times(hidden, output)

    def forward(self, x: Tensor) -> Outputs:
        """``logits`` (B, classes): minus the outputs' times in ms; ``spikes`` (B,)."""
        hidden, output = self.times(x)
        fired = torch.cat([hidden, output], 1) < DURATION
        return {"logits": -output, "spikes": fired.to(x.dtype).sum(1)}

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameters for Adam, whose steps are to be in units of the weights, however small."""
        weights = (self.hidden, self.output)
        return [
            {"params": [w], "lr": STRIDE * lr * size}
            for w, size in zip(weights, self.sizes, strict=True)
        ]

    def error(self, x: Tensor, wanted: Tensor) -> Tensor:
        """E = 1/2 sum_j (t_j - t_j wanted)^2 of each example (B,), ms squared."""
        return 0.5 * (self.times(x)[1] - wanted).square().sum(1)


def class_times(target: Tensor, classes: int) -> Tensor:
    """Wanted output times (B, classes): early for the right class, late for the others."""
    right = functional.one_hot(target, classes).bool()
    return torch.where(right, EARLY, LATE)
