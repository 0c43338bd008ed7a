"""Unsupervised learning by spike timing: neurons that compete for inputs (after Diehl, Cook 2015).

Lateral inhibition is reduced to its effect: at each step the strongest neuron above threshold is
the only one to spike, and it resets all. Labels serve only to name the neurons afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import DataError, Outputs
from automl.plugins.spiking.config import Config
from automl.plugins.spiking.network import Rescale

COLUMN_SUM = 0.125  # of a neuron's weights, per input
THRESHOLD = 0.75  # of the column sum
MAX_RATE = 0.5  # spikes per step of the brightest input
TRACE_DECAY, TRACE_LIMIT = 0.7, 0.3
THETA_DECAY = math.exp(-5e-5)  # per step
RIDGE = 1.0  # penalty of the linear probe
SHARPNESS = 30.0  # of logits made of shares of responses


class Competition(nn.Module):
    """Mode ``stdp``: weights (inputs, neurons), adaptive thresholds, and a readout.

    With ``receptive`` k the neurons are feature maps over k x k patches of an image; at each step
    the strongest neuron of each place spikes, each place once per image, and the strongest of all
    learns.
    """

    weight: Tensor
    raised: Tensor
    label: Tensor
    known: Tensor
    probe: Tensor
    uniform: Tensor

    def __init__(self, config: Config, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.config, self.classes, self.steps = config, classes, config.time_steps
        self.rescale = Rescale(shape)
        inputs = math.prod(shape)
        self.register_buffer("uniform", torch.rand(self.steps, inputs))
        self.shape = tuple(shape)
        if config.receptive:
            if len(shape) != 3 or min(shape[1:]) < config.receptive:
                raise DataError(
                    f"receptive={config.receptive} wants images of at least that size, not inputs "
                    f"of shape {tuple(shape)}: use receptive=0"
                )
            inputs = shape[0] * config.receptive**2
        self.sum = COLUMN_SUM * inputs
        self.beta = 0.9 if config.neuron == "lif" else 1.0
        self.register_buffer("weight", self.normalised(0.3 * torch.rand(inputs, config.neurons)))
        self.register_buffer("raised", torch.zeros(config.neurons))
        self.register_buffer("label", torch.zeros(config.neurons, dtype=torch.int64))
        self.register_buffer("known", torch.zeros(config.neurons))
        self.register_buffer("probe", torch.zeros(config.neurons + 1, classes))

    def normalised(self, weight: Tensor) -> Tensor:
        """Weights whose columns have the fixed sum."""
        return weight * (self.sum / weight.sum(0).clamp(min=1e-9))

    def spikes(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Poisson spikes of inputs (B, ...) by numbers (T, inputs) in places (T, B, P, inputs)."""
        fired: Tensor = (uniform[:, None] < MAX_RATE * self.rescale(x).flatten(1)).to(x.dtype)
        if not self.config.receptive:
            return fired[:, :, None]
        patches: Tensor = functional.unfold(fired.reshape(-1, *self.shape), self.config.receptive)
        patches = patches.transpose(1, 2)
        return patches.reshape(self.steps, -1, *patches.shape[1:])

    def winners(self, v: Tensor, open_places: Tensor) -> Tensor:
        """One spike per place at most: potentials (B, P, N) to spikes (B, P, N)."""
        above = v - (THRESHOLD * self.sum + self.raised)
        best, index = above.max(-1)
        fires = (best > 0) & open_places
        return functional.one_hot(index, v.shape[-1]) * fires[..., None]

    def respond(self, x: Tensor, uniform: Tensor | None = None) -> Tensor:
        """Spike counts (B, N) without learning."""
        spikes = self.spikes(x, self.uniform if uniform is None else uniform)
        drive = spikes @ self.weight
        v, counts = torch.zeros_like(drive[0]), torch.zeros_like(drive[0])
        open_places = torch.ones(v.shape[:2], dtype=torch.bool, device=x.device)
        for current in drive.unbind(0):
            v = self.beta * v + current
            fired = self.winners(v, open_places)
            counts = counts + fired
            some = fired.sum(-1) > 0
            v = v * ~some[..., None]
            if self.config.receptive:
                open_places = open_places & ~some
        return counts.sum(1)

    @torch.no_grad()
    def learn(self, x: Tensor, generator: torch.Generator) -> None:
        """Show one example (1, ...) for all steps; weights and thresholds change in place."""
        uniform = torch.rand(self.uniform.shape, generator=generator).to(x.device)
        spikes = self.spikes(x, uniform)[:, 0]  # (T, P, inputs)
        v = torch.zeros(spikes.shape[1], self.config.neurons, device=x.device)
        before, after = torch.zeros_like(spikes[0]), torch.zeros_like(self.raised)
        open_places = torch.ones(len(v), dtype=torch.bool, device=x.device)
        for fired in spikes.unbind(0):
            v = self.beta * v + fired @ self.weight
            before = self.trace(before, fired)
            if self.config.rule == "pair":
                after = after * math.exp(-1 / self.config.tau_minus)
                self.depress(fired, after)
            above = v - (THRESHOLD * self.sum + self.raised)
            best = above.masked_fill(~open_places[:, None], -torch.inf).flatten().max(0)
            self.raised.mul_(THETA_DECAY)
            if best.values <= 0:
                continue
            place, winner = divmod(int(best.indices), self.config.neurons)
            self.potentiate(winner, before[place])
            after[winner] = 1.0
            if self.config.receptive:
                open_places[place] = False
                v[place] = 0
            else:
                v.zero_()

    def trace(self, before: Tensor, fired: Tensor) -> Tensor:
        """The memory of input spikes, shaped like them."""
        if self.config.rule == "pair":
            return before * math.exp(-1 / self.config.tau_plus) + fired
        return torch.maximum(TRACE_DECAY * before, fired)

    def potentiate(self, winner: int, trace: Tensor) -> None:
        """Move the winner's weights towards its input, and raise its threshold."""
        w, eta = self.weight[:, winner], self.config.eta
        if self.config.rule == "pair":
            w = w + eta * trace  # A+ sum exp(-dt / tau+)
        else:
            high = trace > TRACE_LIMIT
            w = w + eta * (trace - TRACE_LIMIT) * torch.where(high, 1 - w, w)
        self.weight[:, winner] = self.normalised(w.clamp(0, 1)[:, None])[:, 0]
        self.raised[winner] += self.config.theta_plus * self.sum / 8  # 8: an 8 x 8 image's sum

    def depress(self, fired: Tensor, after: Tensor) -> None:
        """Input spikes that come after a neuron's own weaken their synapses."""
        change = self.config.eta * self.config.a_minus * fired.sum(0).clamp(max=1)
        self.weight.sub_(change[:, None] * after).clamp_(0, 1)

    @torch.no_grad()
    def read_out(self, x: Tensor, target: Tensor) -> None:
        """Name each neuron by the class with its highest mean response; fit the linear probe."""
        counts = torch.cat([self.respond(part) for part in torch.split(x, 256)]).to(x.dtype)
        one_hot = functional.one_hot(target, self.classes).to(x.dtype)
        mean = one_hot.T @ counts / one_hot.sum(0).clamp(min=1)[:, None]  # (classes, N)
        self.label.copy_(mean.argmax(0))
        self.known.copy_((mean.amax(0) > 0).to(x.dtype))
        features = functional.pad(counts, (0, 1), value=1.0)
        square = features.T @ features + RIDGE * torch.eye(features.shape[1], device=x.device)
        self.probe.copy_(torch.linalg.solve(square, features.T @ one_hot))

    def forward(self, x: Tensor) -> Outputs:
        """``logits`` (B, classes) and ``spikes`` (B,) of inputs (B, ...)."""
        counts = self.respond(x).to(x.dtype)
        if self.config.readout == "probe":
            logits = functional.pad(counts, (0, 1), value=1.0) @ self.probe * SHARPNESS / 3
        else:
            members = functional.one_hot(self.label, self.classes).to(x.dtype)
            members = members * self.known[:, None]
            mean = counts @ members / members.sum(0).clamp(min=1)
            logits = SHARPNESS * mean / mean.sum(1, keepdim=True).clamp(min=1e-9)
        return {"logits": logits, "spikes": counts.sum(1)}
