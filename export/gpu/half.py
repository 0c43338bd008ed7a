"""Single precision to half precision, inputs and outputs kept."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx

from automl.core.errors import ExportError, MissingExtra
from automl.export.graph import every_node

LOOPS = ("Loop", "Scan")

try:
    from onnxconverter_common import float16
except ImportError as error:
    raise MissingExtra(
        f'half precision needs {error.name}: pip install "automl-papers[export]"'
    ) from error


def write_half(model: Path, into: Path) -> None:
    """Write ``model`` in half precision; it still takes and gives single precision.

    Raises:
        ExportError: if the graph has a loop (onnxruntime crashes on those in half precision), or
            cannot be converted.
    """
    graph = onnx.load(model)
    loops = sorted({node.op_type for node in every_node(graph.graph)} & set(LOOPS))
    if loops:
        raise ExportError(f"a graph with {', '.join(loops)} stays in single precision")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers too small for half precision
            half = float16.convert_float_to_float16(graph, keep_io_types=True)
        del half.graph.value_info[:]  # the converter leaves types of single precision behind
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:
        raise ExportError(f"half precision failed: {error}") from error
    onnx.save(half, into)
