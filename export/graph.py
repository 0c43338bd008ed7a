"""Write one ONNX graph and read it back: what was written must be what was asked for."""

from __future__ import annotations

import copy
import inspect
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from automl.core.errors import ExportError, MissingExtra
from automl.core.garbage import uncollected
from automl.core.plugin import Exportable

try:
    import onnx
except ImportError as error:
    raise MissingExtra(
        f'exporting needs {error.name}: pip install "automl-papers[export]"'
    ) from error

OPSET = 18  # the lowest that PyTorch's exporter really writes


@dataclass(frozen=True)
class Graph:
    """What a written file holds."""

    opset: int
    ir: int
    nodes: int
    operators: dict[str, int]
    axes: dict[str, dict[str, str]]  # input -> axis number -> name


def write(exportable: Exportable, path: Path, metadata: dict[str, str]) -> Graph:
    """Export to ``path`` with ``metadata`` in the file.

    Raises:
        ExportError: if the graph cannot be exported, or a free axis or the opset was lost.
    """
    model = export(exportable)
    name_axes(model, exportable)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    graph = read_back(model, exportable)
    onnx.save(model, path)
    return graph


def export(exportable: Exportable) -> Any:
    """The graph of an exportable as an ONNX model."""
    dynamic = {
        name: {axis: torch.export.Dim.DYNAMIC for axis in exportable.axes.get(name, {})}
        for name in exportable.inputs
    }
    shapes: tuple[Any, ...] = tuple(dynamic.values())
    parameters = inspect.signature(exportable.module.forward).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        shapes = (shapes,)  # all inputs are one argument then
    # A copy without gradients: PyTorch's scan refuses to export where they are on.
    module = copy.deepcopy(exportable.module).eval().requires_grad_(False)
    # The exporter traces a scan's body with what earlier exports left in its caches, and may then
    # fix an axis that is free: start from none.
    torch.compiler.reset()
    with torch.no_grad(), quiet(), uncollected():
        try:
            program = torch.onnx.export(
                module,
                tuple(exportable.inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            raise ExportError(f"the model cannot be exported: {reason(error)}") from error
    assert program is not None
    return program.model_proto


def reason(error: BaseException) -> str:
    """The sentence of an exporter's error that says what is wrong."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error.__cause__ or error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = ("inferred a static shape", "No decompositions", "Unsupported", "not supported")
    found = [line for line in lines if any(word in line for word in telling)]
    return (found or lines or [type(error).__name__])[0][:400]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's progress and warnings off the user's screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def name_axes(model: Any, exportable: Exportable) -> None:
    """Call the free axes by their declared names instead of the exporter's symbols."""
    names: dict[str, str] = {}
    for value in model.graph.input:
        for axis, declared in exportable.axes.get(value.name, {}).items():
            symbol = value.type.tensor_type.shape.dim[axis].dim_param
            if symbol:
                names.setdefault(symbol, declared.name)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), dim.dim_param
                )


def read_back(model: Any, exportable: Exportable) -> Graph:
    """Check a graph against what was asked for.

    Raises:
        ExportError: naming the axis, the name or the version that is not as declared.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the exported graph is invalid: {error}") from error
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    if opset != OPSET:
        raise ExportError(f"asked for opset {OPSET}, the exporter wrote {opset}")
    inputs = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    if list(inputs) != list(exportable.inputs):
        raise ExportError(f"the graph's inputs are {list(inputs)}, not {list(exportable.inputs)}")
    outputs = [value.name for value in model.graph.output]
    if outputs != list(exportable.outputs):
        raise ExportError(f"the graph's outputs are {outputs}, not {list(exportable.outputs)}")
    axes: dict[str, dict[str, str]] = {}
    for name, free in exportable.axes.items():
        for axis, declared in free.items():
            dim = inputs[name][axis]
            if not dim.dim_param:
                raise ExportError(
                    f"axis {axis} ({declared.name}) of input {name!r} was fixed to "
                    f"{dim.dim_value} by the exporter, but is declared free"
                )
            axes.setdefault(name, {})[str(axis)] = declared.name
    operators = Counter(node.op_type for node in every_node(model.graph))
    return Graph(
        opset, model.ir_version, sum(operators.values()), dict(sorted(operators.items())), axes
    )


def every_node(graph: Any) -> Iterator[Any]:
    """All nodes of a graph, those inside loops and branches included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from every_node(attribute.g)


def sizes(graph: Any) -> dict[str, list[int]]:
    """The sizes of the values that a graph tells them of; 0 where an axis is free."""
    found = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def provenance(path: Path) -> dict[str, str]:
    """What an exported file says of its origin.

    Raises:
        ExportError: if the file cannot be read.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ExportError(f"{str(path)!r} is no readable ONNX file: {error}") from error
    return {entry.key: entry.value for entry in model.metadata_props}
