"""The layers of a PyTorch model and how data flow between them, seen in one call of ``forward``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from automl.core.profile import parameter_count

Row = dict[str, Any]
MOST_LAYERS = 400
MOST_VISITED = 20_000  # nodes of autograd's graph between two layers
LONGEST_TEXT = 120


@dataclass
class Layer:
    """A module without modules of its own, or one that is called as a whole (an LSTM)."""

    name: str
    module: nn.Module
    calls: int = 0
    takes: str = ""
    gives: str = ""
    before: list[str] = field(default_factory=list)


def traced(model: nn.Module, example: dict[str, Tensor]) -> Row:
    """The layers in the order of their first call, with the edges between them.

    Returns ``layers``: each with ``name``, ``kind``, ``settings``, ``takes`` and ``gives``, which
    are shapes, ``parameters`` and ``calls``; ``edges``: pairs of names, ``input`` where data come
    in; ``total``, the numbers that the model holds; ``note``, why there are no shapes if
    ``forward`` failed.
    """
    leaves = [Layer(name or "model", m) for name, m in model.named_modules() if not [*m.children()]]
    leaves = leaves[:MOST_LAYERS]
    origins: dict[Any, str] = {}
    order: list[Layer] = []
    hooks = [each.module.register_forward_hook(seen(each, origins, order)) for each in leaves]
    note = ""
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        model.eval()(**{name: tracked(value) for name, value in example.items()})
    except Exception as error:  # noqa: BLE001  foreign code; the table is of use without shapes
        note = f"{type(error).__name__}: {error}"
    finally:
        for hook in hooks:
            hook.remove()
    listed = [*order, *(each for each in leaves if not each.calls)]
    return {
        "layers": [described(each) for each in listed],
        "edges": [[before, each.name] for each in order for before in each.before],
        "total": parameter_count(model),
        "note": note[:500],
    }


def tracked(value: Tensor) -> Tensor:
    """The same as a leaf of autograd's graph where it is of floating point."""
    return value.clone().requires_grad_(True) if value.is_floating_point() else value


def seen(layer: Layer, origins: dict[Any, str], order: list[Layer]) -> Any:
    """A hook that notes shapes, and through autograd's graph from which layers the inputs come."""

    def hook(module: nn.Module, given: Any, found: Any) -> None:
        if not layer.calls:
            order.append(layer)
            layer.takes = shapes(given)
            layer.gives = shapes(found)
        layer.calls += 1
        nodes = [tensor.grad_fn for tensor in tensors(given) if tensor.grad_fn is not None]
        sources = reached(nodes, origins) or ([] if layer.before else ["input"])
        layer.before += [name for name in sources if name not in layer.before]
        for tensor in tensors(found):
            if tensor.grad_fn is not None:
                origins[tensor.grad_fn] = layer.name

    return hook


def reached(nodes: list[Any], origins: dict[Any, str]) -> list[str]:
    """The layers that autograd's graph leads back to, each way until the first one."""
    found: dict[str, None] = {}
    visited: set[Any] = set()
    waiting = list(nodes)
    while waiting and len(visited) < MOST_VISITED:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        if node in origins:
            found[origins[node]] = None
        elif type(node).__name__ == "AccumulateGrad":
            continue
        else:
            waiting += [previous for previous, _ in node.next_functions]
    return list(found)


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.utils.rnn.PackedSequence):
        yield value.data
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from tensors(each)


def shapes(value: Any) -> str:
    """The shapes of the tensors in a value, without the axis of examples where there are more."""
    return ", ".join("×".join(str(size) for size in each.shape) or "1" for each in tensors(value))[
        :LONGEST_TEXT
    ]


def described(layer: Layer) -> Row:
    """A layer's row."""
    return {
        "name": layer.name,
        "kind": type(layer.module).__name__,
        "settings": layer.module.extra_repr()[:LONGEST_TEXT],
        "takes": layer.takes,
        "gives": layer.gives,
        "parameters": sum(p.numel() for p in layer.module.parameters()),
        "calls": layer.calls,
    }
