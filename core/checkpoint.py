"""Nested state of tensors and plain values in one safetensors file; nothing is pickled."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from automl.core.errors import CheckpointError


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (dicts with text or integer keys, lists, tensors, JSON values) atomically."""
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(flatten(state, tensors))
    # save, not save_file: a reader never sees half a file, even after a crash in mid-write
    replace(path, safetensors.torch.save(tensors, {"state": skeleton}))


def load(path: Path, device: str = "cpu") -> dict[str, Any]:
    """Read what ``save`` wrote.

    Raises:
        CheckpointError: if the file is missing, cut short or not ours.
    """
    try:
        with safe_open(path, framework="pt", device=device) as file:
            skeleton = json.loads((file.metadata() or {})["state"])
            state: dict[str, Any] = unflatten(
                skeleton,
                {key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118
            )
            return state
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); "
            "delete the file to start over"
        ) from error


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step, so a crash leaves the old file or the new one."""
    half = partial(tempfile.mkstemp, dir=path.parent, prefix=f".{path.name}.")
    try:
        handle, name = half()
    except FileNotFoundError:  # the first file of its folder
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = half()
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def discard(path: Path) -> None:
    """Delete a file and what a writer of it that was killed left half-written."""
    path.unlink(missing_ok=True)
    for half in path.parent.glob(f".{path.name}.*"):
        half.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Delete what writers that were killed left half-written in ``folder``."""
    for path in folder.glob(".*.safetensors.*"):
        path.unlink(missing_ok=True)


def flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Replace each tensor in ``value`` by a reference and collect it in ``tensors``."""
    if isinstance(value, Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(value, dict):
        # keys may be integers (an optimizer's parameter numbers), which JSON would turn to text
        return {"dict": [[key, flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [flatten(item, tensors) for item in value]}
    return {"value": value}


def unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of ``flatten``."""
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unflatten(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [unflatten(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    return content


def save_weights(path: Path, model: torch.nn.Module, metadata: dict[str, str]) -> tuple[int, str]:
    """Write a model's state dict as safetensors, atomically; return its bytes and SHA-256."""
    tensors = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    content = safetensors.torch.save(tensors, metadata)
    replace(path, content)
    return len(content), hashlib.sha256(content).hexdigest()


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Read weights into ``model`` in place.

    Raises:
        CheckpointError: if the file cannot be read or does not fit the model.
    """
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"weights {str(path)!r} cannot be loaded into {type(model).__name__}: {error}"
        ) from error
