"""The outside of the sandbox: a computation that came out of it as data, as a module.

Only PyTorch's core operators are computed, with numbers, lists and tensors as arguments: nothing
that a graph can say reaches a file or runs code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import ExportError
from automl.plugins.lemur.pooling import average_pool, max_pool

ARITHMETIC: dict[str, Callable[..., Any]] = {
    f"operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod")
}
# core operators that exporters lack for maps that do not divide: exact equivalents
REPLACED: dict[str, Callable[..., Any]] = {
    "aten._adaptive_avg_pool2d.default": average_pool,
    "aten.adaptive_avg_pool2d.default": average_pool,
    "aten.adaptive_max_pool2d.default": max_pool,
}
# not core to PyTorch's exporter, and harmless
FURTHER = frozenset({
    "aten.complex.default", "aten.view_as_real.default", "aten.view_as_complex.default",
    "aten.real.default", "aten.imag.default", "aten.angle.default", "aten.lift_fresh_copy.default",
    "aten.fft_fft2.default", "aten.max_pool2d.default", "aten.unfold.default",
    "aten.im2col.default", "aten.linalg_vector_norm.default", "aten.bernoulli.p",
    "aten.upsample_bicubic2d.vec", "aten.detach.default", "aten.alias.default",
})  # fmt: skip
TYPES = {
    str(value): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format)
}


class Graph(nn.Module):
    """Computes nodes as ``trace`` describes them, with the given state.

    Raises:
        ExportError: for an operator that is not allowed, or nodes that make no sense.
    """

    def __init__(
        self,
        nodes: list[Any],
        output: int,
        state: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.output = output
        self.steps: list[tuple[str, Any, Any, Any]] = []
        try:
            for position, (kind, *rest) in enumerate(nodes):
                self._add(position, kind, rest, state, constants)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ExportError(f"the model's computation cannot be read: {error}") from error

    def _add(
        self, position: int, kind: str, rest: list[Any], state: Mapping[str, Tensor],
        constants: Mapping[str, Tensor],
    ) -> None:  # fmt: skip
        if kind == "call":
            name, arguments, named = rest
            self.steps.append((kind, function(name), arguments, named))
        elif kind in ("state", "constant"):
            source = state if kind == "state" else constants
            self.register_buffer(f"t{position}", source[rest[0]].detach())
            self.steps.append(("tensor", f"t{position}", None, None))
        else:
            self.steps.append(("input", None, None, None))

    def forward(self, x: Tensor) -> Tensor:
        """Transformed images to logits (batch, classes)."""
        values: list[Any] = []
        for kind, what, arguments, named in self.steps:
            if kind == "input":
                values.append(x)
            elif kind == "tensor":
                values.append(getattr(self, what))
            else:
                given = [resolved(value, values) for value in arguments]
                keys = {key: resolved(value, values) for key, value in named.items()}
                values.append(what(*given, **keys))
        answer: Tensor = values[self.output]
        return answer


def function(name: str) -> Callable[..., Any]:
    """The function of an operator's name.

    Raises:
        ExportError: if it is not one of PyTorch's core operators.
    """
    if name in REPLACED:
        return REPLACED[name]
    if name in ARITHMETIC:
        return ARITHMETIC[name]
    if name == "getitem":
        return operator.getitem
    namespace, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    if namespace == "aten" and packet.isidentifier() and overload.isidentifier():
        found: Any = getattr(getattr(torch.ops.aten, packet, None), overload, None)
        known = isinstance(found, torch._ops.OpOverload)
        if known and (torch.Tag.core in found.tags or name in FURTHER):
            return found  # type: ignore[no-any-return]
    raise ExportError(f"the model uses operator {name}, which is not taken out of the sandbox")


def resolved(value: Any, values: list[Any]) -> Any:
    """An argument with the nodes in it replaced by what they gave."""
    if isinstance(value, dict):
        if "node" in value:
            return values[value["node"]]
        kind = value["type"]
        return torch.device("cpu") if kind == "cpu" else TYPES[kind]
    return [resolved(item, values) for item in value] if isinstance(value, list) else value
