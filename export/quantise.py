"""Eight-bit integers in place of single precision, by onnxruntime's quantiser."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from automl.core.errors import ExportError
from automl.export.graph import every_node

# Weights of matrix products and LSTMs: with scales found at run time convolutions get slower.
DYNAMIC = ("MatMul", "Gemm", "LSTM")
WARNINGS, ERRORS = 2, 3  # of onnxruntime's levels; warnings are its default
MARKS = ("QuantizeLinear", "MatMulInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul")


def dynamic(ready: Path, into: Path) -> None:
    """Weights of matrix products as int8; scales of activations are found at run time.

    ``ready`` is a graph as ``prepared`` makes it.

    Raises:
        ExportError: if the graph has nothing to quantise, or the quantiser fails.
    """
    with quiet():
        try:
            quantization.quantize_dynamic(
                ready,
                into,
                op_types_to_quantize=list(DYNAMIC),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
        except Exception as error:
            raise ExportError(f"dynamic quantisation failed: {error}") from error
    require_effect(into)


def static(ready: Path, into: Path, batches: Sequence[dict[str, Tensor]]) -> None:
    """Weights and activations as int8 between QuantizeLinear and DequantizeLinear.

    ``ready`` is a graph as ``prepared`` makes it; ``batches`` of inputs show the ranges of the
    activations.

    Raises:
        ExportError: if the graph has nothing to quantise, or the quantiser fails.
    """
    with quiet():
        try:
            quantization.quantize_static(
                ready,
                into,
                Batches(batches),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        except Exception as error:
            raise ExportError(f"static quantisation failed: {error}") from error
    require_effect(into)


class Batches(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Batches of inputs, one after the other, as the calibrator asks for them."""

    def __init__(self, batches: Sequence[dict[str, Tensor]]) -> None:
        self.left = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch as arrays; None at the end."""
        batch = next(self.left, None)
        return batch and {name: tensor.contiguous().numpy() for name, tensor in batch.items()}


@contextmanager
def prepared(model: Path) -> Iterator[Path]:
    """The graph with shapes inferred and constants folded, as the quantiser wants it."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "prepared.onnx"
        # symbolic inference knows few of the operators that PyTorch's exporter writes
        quant_pre_process(model, path, skip_symbolic_shape=True)
        yield path


def require_effect(path: Path) -> None:
    """Refuse a file in which nothing is in eight bits."""
    graph = onnx.load(path).graph
    if not any(node.op_type in MARKS for node in every_node(graph)):
        path.unlink()
        raise ExportError("the graph has no operator that onnxruntime quantises")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the quantiser's advice and its sessions' warnings off the user's screen."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(ERRORS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
        onnxruntime.set_default_logger_severity(WARNINGS)
