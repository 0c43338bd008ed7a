"""A graph of one size without loops, whose layers run forward: for runtimes that know no more."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import helper
from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

from automl.core.errors import ExportError
from automl.core.plugin import Exportable
from automl.export.graph import sizes
from automl.export.parity import example_lengths
from automl.export.recurrent import forward_only

LONGEST = 256  # steps of a loop that are written out
ERRORS = 3  # of onnxruntime's levels of severity


def fixed_lengths(exportable: Exportable) -> dict[str, int]:
    """The sizes of a fixed graph: one example, everything else as in the plugin's example."""
    return example_lengths(exportable) | {"batch": 1}


def fixed(path: Path, lengths: dict[str, int]) -> Any:
    """The graph of a file with its free axes fixed, constants folded and scans written out.

    Recurrent layers run forward only, see ``recurrent``.

    Raises:
        ExportError: if a scan is too long, or the graph is not one that onnxruntime can load.
        Unsupported: if a layer that runs backward has no such equivalent.
    """
    model = onnx.load(path)
    for name, length in lengths.items():
        make_dim_param_fixed(model.graph, name, length)
    del model.graph.value_info[:]  # shapes inferred with free axes
    model = simplified(model)
    while any(node.op_type == "Scan" for node in model.graph.node):
        model = simplified(without_scans(model))
    return simplified(forward_only(model))


def simplified(model: Any) -> Any:
    """The model with constants folded and shapes inferred, in standard operators only.

    Raises:
        ExportError: if onnxruntime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = ERRORS
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "m.onnx")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ExportError(f"the graph of one size cannot be loaded: {error}") from error
        found = onnx.load(options.optimized_model_filepath)
    found.metadata_props.MergeFrom(
        entry for entry in model.metadata_props if entry.key not in names(found.metadata_props)
    )
    return onnx.shape_inference.infer_shapes(found, data_prop=True)


def names(entries: Any) -> set[str]:
    """The keys of metadata."""
    return {entry.key for entry in entries}


# ---------------------------------------------------------------- scans


def without_scans(model: Any) -> Any:
    """The model with each Scan of its graph (not those inside others) written out.

    Raises:
        ExportError: if a scan has more than ``LONGEST`` steps or goes along another axis than 0.
    """
    found = copy.deepcopy(model)
    shapes = sizes(found.graph)
    nodes = []
    for node in found.graph.node:
        nodes += list(written_out(node, shapes)) if node.op_type == "Scan" else [node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    del found.graph.value_info[:]
    return found


def written_out(node: Any, shapes: dict[str, list[int]]) -> Iterator[Any]:
    """The nodes that do what a Scan does, step after step."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    body, scanned = given["body"], given["num_scan_inputs"]
    for name in ("scan_input_axes", "scan_output_axes", "scan_input_directions",
                 "scan_output_directions"):  # fmt: skip
        if any(given.get(name, [])):
            raise ExportError(f"Scan {node.name!r} has {name} other than 0 and is not written out")
    carried = len(node.input) - scanned
    steps = shapes.get(node.input[carried], [0])[0]
    if not 0 < steps <= LONGEST:
        raise ExportError(f"Scan {node.name!r} has {steps or 'unknown'} steps, not 1 to {LONGEST}")
    state = list(node.input[:carried])
    pieces: list[list[str]] = [[] for _ in node.output[carried:]]
    yield from body_constants(node, body)
    for step in range(steps):
        renamed = {entry.name: f"{node.name}.{entry.name}" for entry in body.initializer}
        renamed |= dict(zip((value.name for value in body.input), state, strict=False))
        for number, source in enumerate(node.input[carried:]):
            name = f"{node.name}.{step}.in{number}"
            yield from taken(source, step, name)
            renamed[body.input[carried + number].name] = name
        yield from step_nodes(node, body, step, renamed)
        results = [renamed[value.name] for value in body.output]
        state = results[:carried]
        for piece, result in zip(pieces, results[carried:], strict=True):
            piece.append(result)
    for source, target in zip(state, node.output, strict=False):
        yield helper.make_node("Identity", [source], [target])
    for number, (piece, target) in enumerate(zip(pieces, node.output[carried:], strict=True)):
        if target:
            yield from stacked(piece, target, f"{node.name}.out{number}")


def body_constants(node: Any, body: Any) -> Iterator[Any]:
    """The constants of a scan's body, once for all steps."""
    for tensor in body.initializer:
        yield helper.make_node("Constant", [], [f"{node.name}.{tensor.name}"], value=tensor)


def step_nodes(node: Any, body: Any, step: int, renamed: dict[str, str]) -> Iterator[Any]:
    """One step's copy of a scan's body; ``renamed`` gains the names of its values."""
    for inner in body.node:
        made = copy.deepcopy(inner)
        made.name = f"{node.name}.{step}.{inner.name}"
        made.input[:] = [renamed.get(name, name) for name in inner.input]
        for number, name in enumerate(inner.output):
            if name:
                renamed[name] = made.output[number] = f"{node.name}.{step}.{name}"
        yield made


def taken(source: str, step: int, name: str) -> Iterator[Any]:
    """The step's slice of a scanned input."""
    index = helper.make_tensor("", onnx.TensorProto.INT64, [], [step])
    yield helper.make_node("Constant", [], [f"{name}.step"], value=index)
    yield helper.make_node("Gather", [source, f"{name}.step"], [name], axis=0)


def stacked(pieces: list[str], target: str, name: str) -> Iterator[Any]:
    """The steps' outputs as one, along a new first axis."""
    axis = helper.make_tensor("", onnx.TensorProto.INT64, [1], [0])
    yield helper.make_node("Constant", [], [f"{name}.axis"], value=axis)
    for step, piece in enumerate(pieces):
        yield helper.make_node("Unsqueeze", [piece, f"{name}.axis"], [f"{name}.{step}"])
    found = [f"{name}.{step}" for step in range(len(pieces))]
    yield helper.make_node("Concat", found, [target], axis=0)
