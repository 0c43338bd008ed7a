"""Which operators of a graph have no kernel on the GPU, by onnxruntime's own lists."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import onnx

from automl.export.graph import every_node

# Folded into the graph before it runs, or only names of values: no kernel is needed.
WITHOUT_KERNEL = ("Constant",)


@cache
def lists() -> dict[str, Any]:
    """The lists of operators with their sources; see operators.json."""
    found: dict[str, Any] = json.loads((files(__package__) / "operators.json").read_text())
    return found


def coverage(path: Path) -> dict[str, Any]:
    """For CUDA and TensorRT the operators of a graph that fall back, with the list's source."""
    used = {node.op_type for node in every_node(onnx.load(path).graph)} - set(WITHOUT_KERNEL)
    return {
        runtime: {
            "missing": sorted(used - set(known["operators"])),
            "source": known["source"],
        }
        for runtime, known in lists().items()
    }
