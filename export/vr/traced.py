"""A graph of fixed shapes and an early opset, for runtimes that want it so."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import onnx
import torch

from automl.core.errors import ExportError
from automl.core.plugin import Exportable
from automl.export import graph
from automl.export.vr import sentis

OPSET = 15
DOUBLE, FLOAT = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT


def fixed(exportable: Exportable) -> Exportable:
    """The same for a batch of one: inputs of the example's lengths."""
    inputs = {
        name: tensor[:1] if free_batch(exportable, name) else tensor
        for name, tensor in exportable.inputs.items()
    }
    return replace(exportable, inputs=inputs)


def free_batch(exportable: Exportable, name: str) -> bool:
    """Whether the first axis of an input is the batch."""
    axes = exportable.axes.get(name, {})
    return 0 in axes and axes[0].name == "batch"


def export(exportable: Exportable) -> onnx.ModelProto:
    """The graph of ``fixed(exportable)`` in opset 15, by the exporter that follows a trace.

    It leaves out inputs that nothing depends on.

    Raises:
        ExportError: if the model cannot be traced, or another opset was written.
    """
    content = io.BytesIO()
    module = copy.deepcopy(exportable.module).eval().requires_grad_(False)
    torch.compiler.reset()
    with torch.no_grad(), graph.quiet(), plain_attention():
        try:
            torch.onnx.export(
                module,
                tuple(exportable.inputs.values()),
                content,  # type: ignore[arg-type]  # files in memory will do
                dynamo=False,
                opset_version=OPSET,
                input_names=list(exportable.inputs),
                output_names=list(exportable.outputs),
            )
        except Exception as error:
            raise ExportError(f"the model cannot be traced: {graph.reason(error)}") from error
    model = onnx.load_from_string(content.getvalue())
    rewrite(model)
    written = sentis.opset(model)
    if written != OPSET:
        raise ExportError(f"asked for opset {OPSET}, the exporter wrote {written}")
    return model


def export_late(exportable: Exportable) -> onnx.ModelProto:
    """The same by the newer exporter, which writes no opset below 18."""
    model: onnx.ModelProto = graph.export(replace(exportable, axes={}))
    rewrite(model)
    return model


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as single operators: the fused one has no counterpart in ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def rewrite(model: onnx.ModelProto) -> None:
    """Replace what runtimes do not take by equivalents, in place.

    Double precision becomes single; axes of transpositions that count from the end, which ONNX
    forbids but the exporter writes, count from the start.
    """
    for tensor in model.graph.initializer:
        single(tensor)
    for value in model.graph.output:
        if value.type.tensor_type.elem_type == DOUBLE:
            value.type.tensor_type.elem_type = FLOAT
    for node in graph.every_node(model.graph):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                single(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == DOUBLE:
                attribute.i = FLOAT
            elif node.op_type == "Transpose" and attribute.name == "perm":
                count = len(attribute.ints)
                attribute.ints[:] = [axis % count for axis in attribute.ints]
    del model.graph.value_info[:]  # what it said of types is no longer so


def single(tensor: Any) -> None:
    """A constant in single precision if it is in double."""
    if tensor.data_type == DOUBLE:
        values = onnx.numpy_helper.to_array(tensor).astype("float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
