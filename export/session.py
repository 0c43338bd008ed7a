"""An exported file as a module that can stand in for the model it came from."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.errors import ExportError, MissingExtra

try:
    import onnxruntime
except ImportError as error:
    raise MissingExtra(
        f'running an exported model needs {error.name}: pip install "automl-papers[export]"'
    ) from error


def open_session(path: Path, threads: int = 1) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        ExportError: if the file cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; the exporter leaves unused initialisers behind
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"{path.name} cannot be loaded by onnxruntime: {error}") from error


def run(session: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run a session on named tensors; outputs by name."""
    names = [output.name for output in session.get_outputs()]
    feeds = {name: tensor.contiguous().numpy() for name, tensor in inputs.items()}
    return dict(zip(names, map(torch.from_numpy, session.run(names, feeds)), strict=True))


class SessionModule(nn.Module):
    """A model whose ``forward`` runs in onnxruntime; everything else is the original's."""

    def __init__(self, model: nn.Module, session: Any) -> None:
        super().__init__()
        self.original = model
        names = [value.name for value in session.get_inputs()]

        def forward(*args: Tensor, **kwargs: Tensor) -> dict[str, Tensor]:
            return run(session, dict(zip(names, args, strict=False)) | kwargs)

        # callers look at the arguments' names to choose the keys of a batch
        forward.__signature__ = inspect.signature(model.forward)  # type: ignore[attr-defined]
        self.forward = forward

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("original"), name)
