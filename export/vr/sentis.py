"""What Unity's Sentis can import, by its documentation; see sentis_operators.json."""

from __future__ import annotations

import inspect
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from automl.export.graph import every_node
from automl.export.operators import source_line
from automl.export.targets import Unsupported

BACKENDS = ("CPU", "GPUCompute", "GPUPixel")
TYPES = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
    onnx.TensorProto.BOOL,
    onnx.TensorProto.UNDEFINED,
}
ABSENT = "Not supported"  # a dash is for what is folded at import


@cache
def documented() -> dict[str, Any]:
    """The documented operators, opsets and limits, with their source."""
    found: dict[str, Any] = json.loads((files(__package__) / "sentis_operators.json").read_text())
    return found


def check(model: onnx.ModelProto, module: nn.Module) -> dict[str, Any]:
    """Check a graph, which was exported from ``module``, against the documentation.

    Returns which of Sentis's backends run all of its operators, and its ``opset``.

    Raises:
        Unsupported: naming the operator, its node and the line of code that it comes from.
    """
    known = documented()
    operators = known["operators"]
    able = set(BACKENDS)
    for node in every_node(model.graph):
        if node.op_type in known["importer_only"]:
            continue
        if node.op_type not in operators:
            raise Unsupported(
                f"{known['name']} {known['documentation']} has no operator {node.op_type}, "
                f"which node {node.name!r} is{place(node, module)}"
            )
        able -= {name for name in BACKENDS if operators[node.op_type][name] == ABSENT}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        kind = value.type.tensor_type
        rank = len(kind.shape.dim)
        if rank > known["most_dimensions"]:
            raise Unsupported(f"tensor {value.name!r} has {rank} dimensions, Sentis takes up to 8")
        if kind.elem_type not in TYPES:
            name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
            raise Unsupported(f"tensor {value.name!r} is {name}, which Sentis does not take")
    return {"backends": [name for name in BACKENDS if name in able], "opset": opset(model)}


def opset(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators that a file was written for."""
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))


def place(node: onnx.NodeProto, module: nn.Module) -> str:
    """Where a node comes from, as text to append; the exporter puts modules' names into its."""
    written = source_line(node)
    if written:
        return f", from {written}"
    found = module
    ours = module
    for part in node.name.strip("/").split("/")[:-1]:
        names = dict(found.named_children())
        if part.split(".")[-1] not in names:
            break
        found = names[part.split(".")[-1]]
        if not type(found).__module__.startswith("torch."):
            ours = found
    forward = type(ours).forward
    file, line = inspect.getsourcefile(forward), inspect.getsourcelines(forward)[1]
    shown = "/".join(Path(file).parts[-3:]) if file else "?"
    return f", in {type(ours).__name__}.forward, {shown}:{line}"
