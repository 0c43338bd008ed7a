"""The two kinds of machine: a kernel machine, and a finite network centred at its start.

Shapes: B examples, D inputs of the machine, n training examples, m units, O outputs, C classes.
With two classes there is one output, positive for class 1; else an output for each class.
"""

from __future__ import annotations

import abc
import math
from typing import Literal

import torch
from torch import Tensor, nn

from automl.core.api import Outputs
from automl.plugins.ntk_svm.kernel import ntk

Kind = Literal["classes", "values"]


class Machine(nn.Module, abc.ABC):
    """What both share: the preparation of inputs and the meaning of outputs.

    ``seed`` remembers the fit's, by which a probe can repeat the order of the examples.
    """

    mean: Tensor
    scale: Tensor
    offset: Tensor
    spread: Tensor
    seed: Tensor

    def __init__(self, features: int, outputs: int, kind: Kind, constant: float) -> None:
        super().__init__()
        self.kind, self.constant, self.outputs = kind, constant, outputs
        self.inputs = features + (constant > 0)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("offset", torch.zeros(outputs))  # of numeric targets
        self.register_buffer("spread", torch.ones(outputs))
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def prepared(self, x: Tensor) -> Tensor:
        """Inputs (B, *) of any shape as rows (B, D): scaled, with the constant appended."""
        rows = (x.flatten(1) - self.mean.to(x.dtype)) / self.scale.to(x.dtype)
        if self.constant:
            rows = torch.cat([rows, torch.full_like(rows[:, :1], self.constant)], 1)
        return rows

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """How many numbers the last layer weighs: examples with weight, or units."""

    @abc.abstractmethod
    def function(self, z: Tensor) -> Tensor:
        """Outputs (B, O) of prepared rows (B, D), in their precision."""

    def named(self, g: Tensor) -> Outputs:
        """Outputs (B, O) by name.

        Classes: ``logits`` (B, C), ``score`` (B,) or (B, C), ``label`` (B,); numbers: ``value``.
        """
        if self.kind == "values":
            return {"value": g * self.spread + self.offset}
        if self.outputs > 1:
            return {"logits": g, "score": g, "label": g.argmax(-1)}
        logits = torch.cat([-g / 2, g / 2], 1)
        return {"logits": logits, "score": g[:, 0], "label": (g[:, 0] > 0).long()}

    def forward(self, x: Tensor) -> Outputs:
        """Named outputs for x (B, *) float32."""
        return self.named(self.function(self.prepared(x)))


class KernelMachine(Machine):
    """g(x) = sum_i a_i Theta(x_i, x): its training inputs and coefficients are buffers."""

    support: Tensor
    alpha: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        kind: Kind,
        constant: float = 0.0,
        *,
        examples: int,
        n_hidden: int = 1,
    ) -> None:
        super().__init__(features, outputs, kind, constant)
        self.n_hidden = n_hidden
        self.register_buffer("support", torch.zeros(examples, self.inputs))
        self.register_buffer("alpha", torch.zeros(examples, outputs))

    @property
    def features(self) -> int:
        """The number of training examples."""
        return len(self.alpha)

    def function(self, z: Tensor) -> Tensor:
        """The kernel expansion."""
        return ntk(z, self.support.to(z.dtype), self.n_hidden) @ self.alpha.to(z.dtype)


class CentredNetwork(Machine):
    """f(x) - f_0(x) of a ReLU network without biases, weights N(0, 1), in NTK parameterisation.

    ``initial`` keeps the weights of the start. ``layers`` are (m, D), (m, m)..., (O, m); each
    product is divided by the root of its fan-in.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        kind: Kind,
        constant: float = 0.0,
        *,
        width: int,
        n_hidden: int = 1,
    ) -> None:
        super().__init__(features, outputs, kind, constant)
        sizes = [self.inputs, *[width] * n_hidden, outputs]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.layers = nn.ParameterList([torch.randn(shape) for shape in shapes])
        self.initial = nn.ParameterList(
            [nn.Parameter(layer.detach().clone(), requires_grad=False) for layer in self.layers]
        )

    @property
    def n_hidden(self) -> int:
        """How many hidden layers."""
        return len(self.layers) - 1

    @property
    def features(self) -> int:
        """The width."""
        return len(self.layers[-1].T)

    def function(self, z: Tensor) -> Tensor:
        """The network less its own start."""
        return self.through(z, self.layers) - self.through(z, self.initial)

    def start(self, z: Tensor) -> Tensor:
        """What the network said before training (B, O)."""
        return self.through(z, self.initial)

    def through(self, z: Tensor, layers: nn.ParameterList) -> Tensor:
        """One network's outputs (B, O)."""
        for layer in layers[:-1]:
            z = torch.relu(z @ layer.T.to(z.dtype) * (1 / math.sqrt(layer.shape[1])))
        last = layers[-1]
        found: Tensor = z @ last.T.to(z.dtype) * (1 / math.sqrt(last.shape[1]))
        return found

    def penalty(self) -> Tensor:
        """The squared norm of the last layer, divided by its width: all that is regularised."""
        last = self.layers[-1]
        found: Tensor = last.square().sum() / last.shape[1]
        return found
