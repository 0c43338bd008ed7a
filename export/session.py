"""An exported file in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from automl.core.errors import ExportError, MissingExtra

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtra(
        f'running an exported model needs {error.name}: pip install "automl-papers[export]"'
    ) from error


class Session:
    """A file loaded by onnxruntime; calling it maps named tensors to named tensors.

    Raises:
        ExportError: if the file cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; the exporter leaves unused initialisers behind
        try:
            self.onnx = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:
            raise ExportError(f"{path.name} cannot be loaded by onnxruntime: {error}") from error
        self.outputs = [output.name for output in self.onnx.get_outputs()]

    def run(self, feeds: dict[str, Any]) -> Any:
        """NumPy arrays by name to a list of arrays: the runtime alone, for measuring it."""
        return self.onnx.run(None, feeds)

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name."""
        feeds = {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
        return dict(zip(self.outputs, map(torch.from_numpy, self.run(feeds)), strict=True))


def save_ort(model: Path, into: Path) -> None:
    """Write a graph in ORT format, with the optimisations that hold on every machine.

    Raises:
        ExportError: if onnxruntime cannot load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(into)
    # the level above would choose layouts for this machine's processor
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"{model.name} cannot be written in ORT format: {error}") from error
