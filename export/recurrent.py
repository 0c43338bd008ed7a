"""Recurrent layers that run forward in time: for a runtime that gets the other directions wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import onnx
from onnx import helper

from automl.export.graph import sizes
from automl.export.operators import origin
from automl.export.targets import Unsupported

WAYS = {"reverse": ("reverse",), "bidirectional": ("forward", "reverse")}
LENGTHS = 4  # the input that gives each example a number of steps of its own


def forward_only(model: Any) -> Any:
    """The model, of one size, with each layer that runs backward or both ways as forward ones.

    A backward layer is a forward one over the steps from the last to the first, whose outputs are
    put back in order. Weights and states are split by direction, outputs joined.

    Raises:
        Unsupported: if such a layer has lengths for each example, or its batch comes first.
    """
    found = copy.deepcopy(model)
    known = sizes(found.graph)
    nodes = []
    for node in found.graph.node:
        ways = WAYS.get(attributes(node).get("direction", b"forward").decode())
        nodes += list(by_direction(node, ways, known[node.input[0]][0])) if ways else [node]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return found


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a recurrent layer by name; none of another node."""
    if node.op_type not in ("LSTM", "GRU", "RNN"):
        return {}
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def by_direction(node: Any, ways: tuple[str, ...], steps: int) -> Iterator[Any]:
    """The nodes that do what a layer does, with a layer that runs forward for each direction."""
    if any(node.input[LENGTHS : LENGTHS + 1]) or attributes(node).get("layout", 0):
        raise Unsupported(
            f"{origin(node)} runs {attributes(node)['direction'].decode()} in time, and has "
            "lengths for each example or its batch first"
        )
    name = f"{node.name or node.output[0]}.way"
    split: dict[str, list[str]] = {}  # weights, biases and states: their first axis is directions
    for number, given in enumerate(node.input):
        if given and number:
            split[given] = [f"{name}.in{number}.{way}" for way in ways]
            yield helper.make_node("Split", [given], split[given], axis=0, num_outputs=len(ways))
    for place, way in enumerate(ways):
        layer = one_way(node, place, len(ways))
        layer.name = f"{name}.{way}"
        layer.input[1:] = [split[given][place] if given else "" for given in node.input[1:]]
        layer.output[:] = [told and f"{name}.{told}.{way}" for told in node.output]
        yield from [layer] if way == "forward" else backward(layer, steps)
    for number, told in enumerate(node.output):
        if told:
            pieces = [f"{name}.{told}.{way}" for way in ways]
            yield helper.make_node("Concat", pieces, [told], axis=0 if number else 1)


def backward(layer: Any, steps: int) -> Iterator[Any]:
    """The nodes that do what a layer does that runs forward, from the last step to the first."""
    given, told = layer.input[0], layer.output[0]
    layer.input[0] = f"{layer.name}.given"
    yield from turned(given, steps, layer.input[0])
    if told:
        layer.output[0] = f"{layer.name}.told"
    yield layer
    if told:
        yield from turned(layer.output[0], steps, told)


def one_way(node: Any, place: int, ways: int) -> Any:
    """A layer with the activations of one of its directions, forward; its names are to be set."""
    layer = copy.deepcopy(node)
    del layer.attribute[:]
    for key, value in attributes(node).items():
        if key.startswith("activation"):
            each = len(value) // ways
            value = value[place * each : (place + 1) * each]
        if key != "direction":
            layer.attribute.append(helper.make_attribute(key, value))
    return layer


def turned(source: str, steps: int, target: str) -> Iterator[Any]:
    """The steps of a sequence, on its first axis, from the last to the first."""
    order = helper.make_tensor("", onnx.TensorProto.INT64, [steps], [*reversed(range(steps))])
    yield helper.make_node("Constant", [], [f"{target}.order"], value=order)
    yield helper.make_node("Gather", [source, f"{target}.order"], [target], axis=0)
