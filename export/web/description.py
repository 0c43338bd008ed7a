"""What a page knows of its model: shapes, meanings, and examples with PyTorch's answers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from automl.core.plugin import Exportable
from automl.export.subject import Subject

EXAMPLES = 8
DIGITS = 9  # significant ones: single precision survives the text


def described(
    subject: Subject, metadata: dict[str, str], file: str = "model.onnx"
) -> dict[str, Any]:
    """The content of ``model.json``: JSON-able, and text wherever a page shows names."""
    exportable, data = subject.exportable, subject.dataset.info
    facts = dict(subject.deployment.facts) if subject.deployment else dict(data.facts)
    return {
        "name": metadata.get("automl.plugin", subject.plugin.name),
        "paper": metadata.get("automl.paper", subject.plugin.paper.title),
        "dataset": data.name,
        "problem": data.problem.name,
        "file": file,
        "view": view(exportable),
        "inputs": [
            {"name": name, "type": kind(tensor), "shape": shape(exportable, name)}
            for name, tensor in exportable.inputs.items()
        ],
        "outputs": list(exportable.outputs),
        "discrete": list(exportable.discrete),
        "classes": facts.get("class_names"),
        "columns": [str(column["name"]) for column in facts.get("columns", ())],
        "examples": examples(subject),
        "provenance": metadata,
    }


def view(exportable: Exportable) -> str:
    """How a page draws the model: ``points``, ``image``, ``field`` or ``numbers``."""
    inputs, outputs = exportable.inputs, exportable.outputs
    if list(inputs) == ["points"] and outputs[0] == "sequence":
        return "points"
    if len(inputs) == 1:
        (tensor,) = inputs.values()
        if tensor.dim() == 4 and tensor.dtype.is_floating_point:
            if "value" in outputs:
                return "field"
            if "logits" in outputs and tensor.shape[1] in (1, 3):
                return "image"
    return "numbers"


def kind(tensor: Tensor) -> str:
    """A tensor's type as onnxruntime-web calls it."""
    return str(tensor.dtype).removeprefix("torch.")


def shape(exportable: Exportable, name: str) -> list[Any]:
    """Lengths of an input; a free axis by name and range."""
    free = exportable.axes.get(name, {})
    return [
        {"axis": free[i].name, "low": free[i].low, "high": free[i].high} if i in free else size
        for i, size in enumerate(exportable.inputs[name].shape)
    ]


def examples(subject: Subject) -> list[dict[str, Any]]:
    """Inputs of one example each from the validation split, with the answers of PyTorch."""
    reference = subject.eager()
    found = []
    for inputs in single(subject):
        answers = reference(inputs)
        found.append(
            {
                "inputs": {name: plain(tensor) for name, tensor in inputs.items()},
                "outputs": {name: plain(answers[name]) for name in subject.exportable.outputs},
            }
        )
    return found


def single(subject: Subject) -> list[dict[str, Tensor]]:
    """The first examples as batches of one; without padding where lengths are known."""
    split = subject.raw(subject.dataset.split("valid").first(EXAMPLES))
    names = list(subject.exportable.inputs)
    if not all(name in split.examples for name in names):  # a simulator makes its own
        rows = min(EXAMPLES, *(len(tensor) for tensor in subject.exportable.inputs.values()))
        return [
            {name: tensor[i : i + 1] for name, tensor in subject.exportable.inputs.items()}
            for i in range(rows)
        ]
    found = []
    for i in range(len(split)):
        inputs = {name: split.examples[name][i : i + 1] for name in names}
        if "length" in split.examples and 1 in subject.exportable.axes.get(names[0], {}):
            inputs[names[0]] = inputs[names[0]][:, : int(split.examples["length"][i])]
        found.append(inputs)
    return found


def plain(tensor: Tensor) -> dict[str, Any]:
    """A tensor as JSON: its lengths and its numbers row by row."""
    values = tensor.detach().flatten()
    if values.dtype.is_floating_point:
        data = [number(value) for value in values.to(torch.float64).tolist()]
    else:
        data = [int(value) for value in values.tolist()]
    return {"dims": list(tensor.shape), "data": data}


def number(value: float) -> float | str:
    """A number, or the text by which JavaScript's ``Number`` knows what JSON has no number for."""
    if math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
