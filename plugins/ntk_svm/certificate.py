"""Certified l-infinity radii: closed form at infinite width, interval propagation at finite.

Both bound a layer of features for all inputs within a radius and weigh the bounds by the
difference of two classes' coefficients. Shapes: B examples, D inputs, F features, C classes.
"""

from __future__ import annotations

import abc
import copy
import math
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import DataError
from automl.plugins.ntk_svm.kernel import LOWEST, LOWEST_AT, profile, row_norms
from automl.plugins.ntk_svm.model import CentredNetwork, KernelMachine, Machine

LARGEST, HALVINGS = 0.3, 24  # radii are sought in [0, 0.3]
CHUNK = 2_000_000  # numbers in one matrix of bounds


def kernel_bounds(
    dot: Tensor, norm: Tensor, other: Tensor, e: Tensor, d: int
) -> tuple[Tensor, Tensor]:
    """Bounds (B, n) on Theta(x', x_i) for |x' - x| <= e, given x . x_i (B, n), |x| and |x_i|.

    ``norm`` (B, 1), ``other`` (n,), ``e`` (B, 1); ``d`` is the dimension. One hidden layer.
    """
    low, high = (norm - e).clamp(min=0), norm + e
    dot_low, dot_high = dot - e * other, dot + e * other
    tiny = low.clamp(min=1e-30)
    u_low = (torch.where(dot_low >= 0, dot_low / high, dot_low / tiny) / other).clamp(-1, 1)
    u_high = (torch.where(dot_high >= 0, dot_high / tiny, dot_high / high) / other).clamp(-1, 1)
    one, two = profile(u_low), profile(u_high)
    # h falls to its only minimum and rises from there, so an end is the largest in any case
    lowest = torch.where(
        (u_low <= LOWEST_AT) & (u_high >= LOWEST_AT), LOWEST, torch.minimum(one, two)
    )
    highest = torch.maximum(one, two)
    unit = other * (1 / (2 * math.pi * d))
    return (
        torch.where(lowest >= 0, low, high) * lowest * unit,
        torch.where(highest >= 0, high, low) * highest * unit,
    )


def weigh(low: Tensor, high: Tensor, coefficients: Tensor) -> Tensor:
    """The least value (B, R) of features within bounds (B, F) times coefficients (F, R)."""
    return low @ coefficients.clamp(min=0) - high @ (-coefficients).clamp(min=0)


def class_coefficients(last: Tensor) -> Tensor:
    """Coefficients of each class (F, C) from those of the outputs (F, O): one output is halved."""
    return torch.cat([-last / 2, last / 2], 1) if last.shape[1] == 1 else last


def rivals(coefficients: Tensor, winner: int) -> Tensor:
    """What a class has more than each other class: (F, C - 1) from (F, C)."""
    others = [c for c in range(coefficients.shape[1]) if c != winner]
    return coefficients[:, winner : winner + 1] - coefficients[:, others]


class Bounds(abc.ABC):
    """Bounds on a machine's last features around each input, in double precision.

    ``at`` places them; what depends on the machine alone is prepared once.
    """

    x: Tensor
    z: Tensor

    def __init__(self, model: Machine) -> None:
        self.model = model
        # an input's change by delta moves the prepared row by delta / scale in each coordinate
        self.ratio = 1 / model.scale.double()

    def at(self, x: Tensor) -> Self:
        """The same around inputs x (B, *)."""
        found = copy.copy(self)
        found.x = x.double().flatten(1)
        found.z = self.model.prepared(found.x)
        found.place()
        return found

    def place(self) -> None:
        """Prepare what depends on the inputs alone."""

    @abc.abstractmethod
    def coefficients(self) -> Tensor:
        """Of the classes (F, C)."""

    @abc.abstractmethod
    def around(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds (B, F) for radii (B, 1)."""

    def shift(self) -> Tensor:
        """What is taken off each class's output (B, C), as it is at the input itself."""
        return self.x.new_zeros(len(self.x), self.coefficients().shape[1])


class KernelBounds(Bounds):
    """Of a kernel machine with one hidden layer: the kernel with each example of weight."""

    def __init__(self, model: KernelMachine) -> None:
        if model.n_hidden != 1:
            raise DataError(
                f"n_hidden={model.n_hidden}: the closed-form certificate is implemented for one "
                "hidden layer, use n_hidden=1 or model=finite_nn"
            )
        super().__init__(model)
        used = (model.alpha != 0).any(1)
        self.alpha, self.support = model.alpha[used].double(), model.support[used].double()
        self.other = row_norms(self.support)
        self.reach = self.ratio.norm()  # of the l2 ball that holds the box

    def coefficients(self) -> Tensor:
        """From the machine's."""
        return class_coefficients(self.alpha)

    def place(self) -> None:
        """Products with the examples, and norms."""
        self.dot, self.norm = self.z @ self.support.T, row_norms(self.z)[:, None]

    def around(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """The closed form."""
        e = self.reach * delta
        return kernel_bounds(self.dot, self.norm, self.other, e, self.z.shape[1])


class IntervalBounds(Bounds):
    """Of a finite network, by interval propagation; the start's output is held at the input's."""

    def __init__(self, model: CentredNetwork) -> None:
        super().__init__(model)
        self.network = model
        self.weights = [layer.detach().double() for layer in model.layers]
        self.sizes = [weight.abs() for weight in self.weights[:-1]]

    def coefficients(self) -> Tensor:
        """Of the last layer, divided by the root of its width."""
        last = self.weights[-1]
        return class_coefficients(last.T / math.sqrt(last.shape[1]))

    @torch.no_grad()
    def place(self) -> None:
        """What the network said at its start."""
        self.initial = class_coefficients(self.network.start(self.z))

    def shift(self) -> Tensor:
        """The network's start."""
        return self.initial

    def around(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Centres and radii through each layer."""
        radius = delta * self.ratio
        if self.model.constant:
            radius = functional.pad(radius, (0, 1))
        low, high = self.z - radius, self.z + radius
        for weight, size in zip(self.weights[:-1], self.sizes, strict=True):
            root = 1 / math.sqrt(weight.shape[1])
            centre = (low + high) / 2 @ weight.T * root
            reach = (high - low) / 2 @ size.T * root
            low, high = (centre - reach).clamp(min=0), (centre + reach).clamp(min=0)
        return low, high


def bounds_of(model: Machine) -> Bounds:
    """The right kind of bounds.

    Raises:
        DataError: for a kernel machine with more than one hidden layer.
    """
    if isinstance(model, KernelMachine):
        return KernelBounds(model)
    assert isinstance(model, CentredNetwork)
    return IntervalBounds(model)


def least_margin(bounds: Bounds, target: Tensor, delta: Tensor) -> Tensor:
    """A lower bound (B,) on the margin of class ``target`` (B,) for radii ``delta`` (B,)."""
    low, high = bounds.around(delta[:, None])
    coefficients, shift = bounds.coefficients(), bounds.shift()
    found = torch.empty_like(delta)
    for label in torch.unique(target).tolist():
        rows = target == label
        ahead = weigh(low[rows], high[rows], rivals(coefficients, label))
        found[rows] = (ahead - rivals(shift[rows], label)).amin(1)
    return found


@torch.no_grad()
def radii(model: Machine, x: Tensor, target: Tensor) -> Tensor:
    """Certified radii (B,) in input units, double; 0 where the answer is wrong.

    No change of an input's coordinates by less than its radius changes the model's answer. Found
    by bisection in [0, 0.3], from below.

    Raises:
        DataError: as ``bounds_of``.
    """
    size = max(1, CHUNK // max(model.features, model.inputs))
    parts = zip(torch.split(x, size), torch.split(target, size), strict=True)
    bounds = bounds_of(model)
    return torch.cat([bisect(bounds.at(some), labels) for some, labels in parts])


def bisect(bounds: Bounds, target: Tensor) -> Tensor:
    """The largest radius of each input whose margin stays positive, within 0.3 / 2^24."""
    low = torch.zeros(len(target), dtype=torch.float64, device=target.device)
    high = torch.full_like(low, LARGEST)
    right = least_margin(bounds, target, low) > 0
    whole = right & (least_margin(bounds, target, high) > 0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        holds = least_margin(bounds, target, middle) > 0
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return torch.where(whole, LARGEST, torch.where(right, low, 0.0))


def summary(found: Tensor) -> dict[str, float]:
    """Mean, median and standard deviation of the radii of right answers; 0 without any."""
    right = found[found > 0]
    if not len(right):
        return {"cert_radius_mean": 0.0, "cert_radius_median": 0.0, "cert_radius_std": 0.0}
    return {
        "cert_radius_mean": float(right.mean()),
        "cert_radius_median": float(right.median()),
        "cert_radius_std": float(right.std(correction=0)),
    }


def margins(model: Machine, x: Tensor, target: Tensor) -> Tensor:
    """How far class ``target`` (B,) is ahead of the next (B,), in double precision."""
    g = class_coefficients(model.function(model.prepared(x)))
    mine = g.gather(1, target[:, None])
    others = g.scatter(1, target[:, None], -torch.inf)
    return (mine - others.amax(1, keepdim=True))[:, 0]


def attack(
    model: Machine,
    x: Tensor,
    target: Tensor,
    radius: Tensor,
    generator: torch.Generator,
    steps: int = 40,
    restarts: int = 5,
) -> Tensor:
    """Which inputs (B,) projected gradient descent on the margin flips within ``radius`` (B,)."""
    start = x.double().flatten(1)
    reach = radius.double()[:, None]
    flipped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for _ in range(restarts):
        noise = torch.rand(start.shape, generator=generator, dtype=torch.float64).to(x.device)
        moved = start + reach * (2 * noise - 1)
        for _ in range(steps):
            moved = moved.requires_grad_(True)
            margin = margins(model, moved, target)
            flipped |= margin.detach() < 0
            (gradient,) = torch.autograd.grad(margin.sum(), moved)
            step = moved.detach() - reach * 0.1 * gradient.sign()
            moved = torch.minimum(torch.maximum(step, start - reach), start + reach)
        with torch.no_grad():
            flipped |= margins(model, moved, target) < 0
    return flipped
