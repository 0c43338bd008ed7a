"""Encodings, spikes with surrogate derivatives, and neurons that run over a time axis.

Times are steps; the first axis of every sequence is time. Potentials are in units of the settings'
``theta``. Sources: the review's Sections 2 and 3; Neftci et al. 2019 for surrogate derivatives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # private in torch 2.13; no public loop exports

SILENT = 0.1  # inputs up to this give no spike in latency codes
State = tuple[Tensor, ...]


def latency_code(x: Tensor, steps: int) -> Tensor:
    """One spike per input in [0, 1], the earlier the larger: (B, ...) to (steps, B, ...)."""
    when = torch.round((1 - x) * (steps - 1))
    clock = torch.arange(steps, device=x.device).view(-1, *[1] * x.ndim)
    return ((clock == when) & (x > SILENT)).to(x.dtype)


def rate_code(x: Tensor, uniform: Tensor, max_rate: float) -> Tensor:
    """A spike at each step with probability x max_rate, by uniform numbers (steps, B or 1, ...)."""
    return (uniform < x * max_rate).to(x.dtype)


def surrogate_derivative(kind: str, u: Tensor, slope: float) -> Tensor:
    """What stands for the derivative of a spike by the potential above threshold ``u``."""
    if kind == "fast_sigmoid":
        return (1 + slope * u.abs()).square().reciprocal()
    if kind == "triangular":
        return (1 - u.abs()).clamp(min=0)
    if kind == "atan":
        return (1 + (0.5 * math.pi * slope * u).square()).reciprocal()
    s = torch.sigmoid(slope * u)
    return slope * s * (1 - s)


class Fire(torch.autograd.Function):
    """A step function with a surrogate derivative."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, kind: str, slope: float) -> Tensor:
        """Spikes where u >= 0."""
        ctx.save_for_backward(u)
        ctx.kind, ctx.slope = kind, slope
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The gradient by u."""
        (u,) = ctx.saved_tensors
        return grads[0] * surrogate_derivative(ctx.kind, u, ctx.slope), None, None


class Scan(torch.autograd.Function):
    """A leaky neuron over the whole time axis in one node: v <- beta v + I, spike, reset.

    The reset is detached, so the gradient by the current of step t is
    g_t = surrogate(u_t) ds_t + beta r_t g_(t+1), with r = 1 (soft) or 1 - s (hard).
    """

    @staticmethod
    def forward(ctx: Any, currents: Tensor, neuron: Neuron) -> Tensor:
        """Currents (T, ...) to spikes (T, ...)."""
        beta, theta, hard = float(neuron.beta), float(neuron.theta), neuron.hard
        above, spikes = torch.empty_like(currents), torch.empty_like(currents)
        v = torch.full_like(currents[0], neuron.v0 * theta)
        for t in range(len(currents)):
            torch.add(currents[t], v, alpha=beta, out=v)
            torch.sub(v, theta, out=above[t])
            torch.ge(above[t], 0, out=spikes[t])
            if hard:
                v = v * (1 - spikes[t])
            else:
                v.sub_(spikes[t], alpha=theta)
        ctx.save_for_backward(above, spikes)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """The gradient by the currents."""
        above, spikes = ctx.saved_tensors
        neuron = ctx.neuron
        found = grads[0] * surrogate_derivative(neuron.surrogate, above, neuron.slope)
        beta = float(neuron.beta)
        for t in range(len(found) - 2, -1, -1):
            later = found[t + 1]
            if neuron.hard:
                later = later * (1 - spikes[t])
            found[t].add_(later, alpha=beta)
        return found, None


class Neuron(nn.Module):
    """A layer of integrate-and-fire neurons (IF, LIF or SRM with exponential synapses)."""

    def __init__(  # noqa: PLR0913  the settings of a neuron, all but the first three by name
        self,
        kind: str = "lif",
        beta: float = 0.95,
        theta: float = 1.0,
        *,
        hard: bool = False,
        refractory: int = 0,
        learn: bool = False,
        surrogate: str = "fast_sigmoid",
        slope: float = 10.0,
        v0: float = 0.0,
    ) -> None:
        super().__init__()
        beta = 1.0 if kind == "if" else beta
        self.kind, self.hard, self.refractory = kind, hard, refractory
        self.surrogate, self.slope, self.v0, self.learn = surrogate, slope, v0, learn
        self.fixed = (beta, theta)
        self.scanned = False  # set for export of long simulations
        if learn:
            odds = min(beta, 0.999)
            self.raw_beta = nn.Parameter(torch.tensor(math.log(odds / (1 - odds))))
            self.raw_theta = nn.Parameter(torch.tensor(math.log(theta)))

    @property
    def beta(self) -> Tensor | float:
        """Share of the potential kept per step, in (0, 1]."""
        return torch.sigmoid(self.raw_beta) if self.learn else self.fixed[0]

    @property
    def theta(self) -> Tensor | float:
        """Threshold, above 0."""
        return torch.exp(self.raw_theta) if self.learn else self.fixed[1]

    def initial(self, current: Tensor) -> State:
        """Potential, synaptic current and remaining silence before the first step."""
        v = torch.zeros_like(current) + self.v0 * self.theta
        state = [v]
        if self.kind == "srm":
            state.append(torch.zeros_like(current))
        if self.refractory:
            state.append(torch.zeros_like(current))
        return tuple(state)

    def step(self, state: State, current: Tensor) -> tuple[State, Tensor]:
        """One step: the new state and the spikes, both shaped like ``current``."""
        v, *rest = state
        kept: list[Tensor] = []
        if self.kind == "srm":
            current = self.beta * rest.pop(0) + current
            kept.append(current)
        v = self.beta * v + current
        above = v - self.theta
        if torch.is_grad_enabled():
            spikes: Tensor = Fire.apply(above, self.surrogate, self.slope)  # type: ignore[no-untyped-call]
        else:
            spikes = (above >= 0).to(v.dtype)
        if self.refractory:
            silence = rest.pop(0)
            spikes = spikes * (silence <= 0).to(v.dtype)
            fired = spikes.detach()
            kept.append(self.refractory * fired + (1 - fired) * (silence - 1).clamp(min=0))
        fired = spikes.detach()  # gradients through the reset explode
        v = v * (1 - fired) if self.hard else v - self.theta * fired
        return (v, *kept), spikes

    def forward(self, currents: Tensor) -> Tensor:
        """Currents (T, B, ...) to spikes (T, B, ...), from the initial state."""
        plain = not (self.learn or self.refractory or self.kind == "srm")
        if plain and self.training:
            found: Tensor = Scan.apply(currents, self)  # type: ignore[no-untyped-call]
            return found
        if self.scanned:
            return self.as_scan(currents)
        state, spikes = self.initial(currents[0]), []
        for current in currents.unbind(0):
            state, fired = self.step(state, current)
            spikes.append(fired)
        return torch.stack(spikes)

    def as_scan(self, currents: Tensor) -> Tensor:
        """The same as one ONNX Scan: a Python loop would be written out step by step."""

        def step(state: State, current: Tensor) -> tuple[State, Tensor]:
            after, spikes = self.step(state, current)
            return tuple(part.clone() for part in after), spikes.clone()

        start = tuple(part.clone() for part in self.initial(currents[0]))
        spikes: Tensor = scan(step, start, currents.contiguous(), dim=0)[1]
        return spikes
