"""Where a node of a graph comes from, for messages that help to change a model."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from automl.export.graph import every_node

LINE = re.compile(r'File "([^"]+)", line (\d+)')
PLACE = re.compile(r"(?:plugins|core)/\S+\.py$")


def source_line(node: Any) -> str:
    """The plugin's line that a node comes from, as ``FILE:LINE``; empty if it is not kept."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.stack_trace":
            for path, number in reversed(LINE.findall(entry.value)):
                place = PLACE.search(path)
                if place:
                    return f"{place[0]}:{number}"
    return ""


def origin(node: Any) -> str:
    """``operator X at node Y``, with the plugin's line where the exporter has kept it."""
    text = f"operator {node.op_type} at node {node.name or node.output[0]!r}"
    return f"{text} ({place})" if (place := source_line(node)) else text


def unsupported(graph: Any, known: Collection[str]) -> list[str]:
    """The nodes whose operator is not ``known``, the first of each operator, by origin."""
    found: dict[str, str] = {}
    for node in every_node(graph):
        if node.op_type not in known:
            found.setdefault(node.op_type, origin(node))
    return list(found.values())
