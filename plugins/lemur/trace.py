"""The inside of the sandbox: a model's computation as data, for ``graph`` to compute outside.

A node is a JSON list: ``["input"]``, ``["state", name]``, ``["constant", name]`` or
``["call", operator, arguments, named arguments]``; an argument that is another node is
``{"node": position}``.
"""

from __future__ import annotations

import operator
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from automl.core.api import Frame
from automl.plugins.lemur.runner import first_tensor

NUMBERS = {getattr(operator, name): name for name in ("add", "sub", "mul", "floordiv", "mod")}
TYPES = (torch.dtype, torch.device, torch.layout, torch.memory_format)


class Answering(nn.Module):
    """A model that answers with one tensor."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """The first tensor of the model's output."""
        return first_tensor(self.net(x))[0]


def trace(net: nn.Module, x: Tensor) -> Frame:
    """Follow ``forward`` for images (2, channels, height, width).

    The answer's header says if two answers to the same images differ (``stochastic``), and if the
    batch size is fixed to two (``static``, with the reason).
    """
    if not torch.equal(first_tensor(net(x))[0], first_tensor(net(x))[0]):
        return Frame({"stochastic": True})
    model, static = Answering(net), ""
    try:
        program = exported(model, x, {0: Dim("batch", min=1, max=1 << 16)})
    except Exception as error:  # noqa: BLE001  foreign code under a tracer: anything goes
        static = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        program = exported(model, x, None)
    nodes, constants, output = described(program)
    header = {"stochastic": False, "static": static, "nodes": nodes, "output": output}
    return Frame(header, safetensors.torch.save(constants))


def exported(model: nn.Module, x: Tensor, free: dict[int, Any] | None) -> ExportedProgram:
    """The program in PyTorch's core operators."""
    found = torch.export.export(model, (x,), dynamic_shapes=(free,), strict=False)
    program: ExportedProgram = found.run_decompositions()
    return program


def described(program: ExportedProgram) -> tuple[list[Any], dict[str, Tensor], int]:
    """Nodes, constants by name and the position of the output."""
    nodes: list[Any] = []
    constants: dict[str, Tensor] = {}
    place: dict[fx.Node, int] = {}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    output = 0
    program.graph.eliminate_dead_code()
    for node in program.graph.nodes:
        if node.op == "call_function" and not node.users:
            continue  # an assertion
        if node.op == "output":
            output = place[node.args[0][-1]]
            continue
        place[node] = len(nodes)
        if node.op == "placeholder":
            nodes.append(placeholder(specs[node.name], program, constants))
        else:
            arguments = [described_value(value, place) for value in node.args]
            named = {key: described_value(value, place) for key, value in node.kwargs.items()}
            nodes.append(["call", name_of(node.target), arguments, named])
    return nodes, constants, output


def placeholder(spec: Any, program: ExportedProgram, constants: dict[str, Tensor]) -> list[str]:
    """An input of the program: the images, a tensor of the state, or a constant."""
    if spec.kind == InputKind.USER_INPUT:
        return ["input"]
    if spec.kind == InputKind.PARAMETER or (spec.kind == InputKind.BUFFER and spec.persistent):
        return ["state", str(spec.target).removeprefix("net.")]
    constants[spec.target] = program.constants[spec.target].detach().contiguous().clone()
    return ["constant", spec.target]


def name_of(target: Any) -> str:
    """An operator's name: ``aten.relu.default``, ``operator.add``, ``getitem``."""
    if target is operator.getitem:
        return "getitem"
    return f"operator.{NUMBERS[target]}" if target in NUMBERS else str(target)


def described_value(value: Any, place: dict[fx.Node, int]) -> Any:
    """An argument as JSON."""
    if isinstance(value, fx.Node):
        return {"node": place[value]}
    if isinstance(value, list | tuple):
        return [described_value(item, place) for item in value]
    if isinstance(value, TYPES):
        return {"type": str(value)}
    return value
