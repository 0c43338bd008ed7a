"""A package for Unity: graphs that Sentis imports, a loader in C#, and where they come from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from automl.core.errors import ExportError
from automl.core.plugin import Exportable
from automl.export import parity
from automl.export.session import Session
from automl.export.subject import Runtime, Subject, eager_part
from automl.export.targets import ExportSettings, Unsupported, Variant
from automl.export.vr import sentis, traced
from automl.export.vr.loop import RULES, PointerLoop, is_pointer
from automl.export.web.description import described

TEMPLATE = Path(__file__).parent / "unity_package"
MODELS = "Runtime/Models"
PRECISION = "fp32-unity"
CHECKED = (
    "operators, shapes and opset checked against Sentis's documentation and run in onnxruntime; "
    "not run in Unity"
)
CASES = 5
TEXTS = ("*.cs", "*.asmdef", "*.md")


class OtherShape(ExportError):
    """An input has other lengths than a graph of fixed shapes takes."""


# ---------------------------------------------------------------- writing


def write(folder: Path, subject: Subject, metadata: dict[str, str]) -> Variant:
    """Write the package into ``folder``, or nothing if Sentis cannot run the model."""
    models = folder / MODELS
    models.mkdir(parents=True)
    try:
        if is_pointer(subject.exportable):
            facts = write_parts(models, subject, metadata)
        else:
            facts = write_graph(models / "model.onnx", subject.exportable, metadata)
            facts["graphs"] = ["model.onnx"]
    except ExportError as error:
        shutil.rmtree(folder)
        status = "unsupported" if isinstance(error, Unsupported) else "export_fail"
        return Variant(PRECISION, "", status, str(error))
    file = f"{folder.name}/{MODELS}/{facts['graphs'][0]}"
    write_package(folder, subject, metadata, facts)
    return Variant(PRECISION, file, facts=facts)


def write_graph(path: Path, exportable: Exportable, metadata: dict[str, str]) -> dict[str, Any]:
    """Write one graph of fixed shapes; what was found of it.

    Raises:
        Unsupported: if Sentis lacks an operator.
        ExportError: if no exporter can write the graph.
    """
    wanted = traced.fixed(exportable)
    facts: dict[str, Any] = {}
    try:
        model = traced.export(wanted)
    except ExportError as error:
        model = traced.export_late(wanted)
        facts["outside_documented_range"] = f"opset {sentis.opset(model)}, because {error}"
    facts |= sentis.check(model, wanted.module)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    facts["bytes"] = path.stat().st_size
    facts["inputs"] = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    return facts


def write_parts(models: Path, subject: Subject, metadata: dict[str, str]) -> dict[str, Any]:
    """Write the encoder and the step of a pointer network; both must run where one does."""
    parts = subject.exportable.parts
    found = {
        name: write_graph(models / f"{name}.onnx", parts[name], metadata)
        for name in ("encoder", "step")
    }
    both = [name for name in sentis.BACKENDS if all(name in f["backends"] for f in found.values())]
    rule = rule_of(subject, loops(subject, models))
    facts: dict[str, Any] = {
        "graphs": ["encoder.onnx", "step.onnx"],
        "backends": both,
        "opset": max(facts["opset"] for facts in found.values()),
        "bytes": sum(facts["bytes"] for facts in found.values()),
        "inputs": found["encoder"]["inputs"],
        "rule": rule,
        "turns": turns_of(subject),
    }
    for one in found.values():
        if "outside_documented_range" in one:
            facts["outside_documented_range"] = one["outside_documented_range"]
    return facts


def write_package(
    folder: Path, subject: Subject, metadata: dict[str, str], facts: dict[str, Any]
) -> None:
    """Everything around the graphs."""
    shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
    if "rule" not in facts:
        (folder / "Runtime" / "PointerNetwork.cs").unlink()
    about = described(subject, metadata) | {"facts": facts}
    (folder / MODELS / "model.json").write_text(json.dumps(about, allow_nan=False))
    plugin = metadata.get("automl.plugin", subject.plugin.name)
    sentis_name = sentis.documented()["package"]
    package = {
        "name": "com.automl." + re.sub(r"[^a-z0-9-]", "-", plugin.lower()),
        "version": "1.0.0",
        "displayName": f"{plugin} on {subject.dataset.name}",
        "description": f"A trained model: {subject.plugin.paper.title}.",
        "unity": sentis.documented()["unity"],
        "dependencies": {sentis_name: "2.4.0"},
    }
    (folder / "package.json").write_text(json.dumps(package, indent=2))
    with (folder / "README.md").open("a") as readme:
        readme.write("\n".join(told(facts, metadata)))


def told(facts: dict[str, Any], metadata: dict[str, str]) -> Iterator[str]:
    """Lines about this model for the package's README."""
    yield f"\n## This model\n\nBackends: {', '.join(facts['backends']) or 'none in full'}."
    yield f"Opset {facts['opset']}. Shapes: {facts['inputs']}."
    if "rule" in facts:
        yield f"Rule: {facts['rule']}, turns: {facts['turns']}."
    if "outside_documented_range" in facts:
        yield f"Outside Sentis's documented range: {facts['outside_documented_range']}."
    for key, value in metadata.items():
        yield f"- {key}: `{' '.join(value.replace('`', ' ').split())}`"
    yield ""


# ---------------------------------------------------------------- pointer networks


def loops(subject: Subject, models: Path) -> dict[str, PointerLoop]:
    """The loop around the written parts under each rule."""
    encoder, step = Session(models / "encoder.onnx"), Session(models / "step.onnx")
    taken = tuple(value.name for value in step.onnx.get_inputs())
    turns = turns_of(subject)
    return {rule: PointerLoop(encoder, step, taken, rule, turns) for rule in RULES}


def turns_of(subject: Subject) -> int:
    """The length of an answer to as many points as the example has."""
    inputs = traced.fixed(subject.exportable).inputs
    return int(subject.eager()(dict(inputs))["sequence"].shape[1])


def rule_of(subject: Subject, candidates: dict[str, PointerLoop]) -> str:
    """The rule under which the loop answers as PyTorch does; a graph does not say it.

    Raises:
        Unsupported: if there is none, such as for points that are embedded before the decoder.
    """
    reference, exportable = subject.eager(), traced.fixed(subject.exportable)
    lengths = parity.example_lengths(exportable)
    cases = [parity.inputs_of(exportable, lengths, seed) for seed in range(20)]
    for rule, loop in candidates.items():
        try:
            if all(loop(case)["sequence"].equal(reference(case)["sequence"]) for case in cases):
                return rule
        except Exception as error:  # the boundary to onnxruntime: sizes do not fit
            raise Unsupported(
                f"the parts of this pointer network cannot be joined by a loop: {error}"
            ) from error
    raise Unsupported("no rule of choosing points reproduces the answers of this pointer network")


# ---------------------------------------------------------------- verifying


def verified(subject: Subject, folder: Path, variant: Variant, settings: ExportSettings) -> Variant:
    """The graphs in onnxruntime against PyTorch, at their fixed shapes; ``prepared`` if equal."""
    models = (folder / variant.file).parent
    exportable = traced.fixed(subject.exportable)
    if "rule" in variant.facts:
        exportable = replace(exportable, outputs=("sequence",))
        runtime: Runtime = loops(subject, models)[variant.facts["rule"]]
    else:
        runtime = kept_inputs(Session(folder / variant.file))
    limit = parity.rule("fp32", exportable.tolerance, settings.max_drop)
    comparison = parity.Comparison(exportable, limit)
    comparison.over_sizes(runtime, subject.eager(), own_sizes(exportable))
    skipped = ""
    if "rule" not in variant.facts:
        skipped = judge(comparison, subject, row_by_row(runtime, exportable))
    found = comparison.report() | ({"metric_skipped": skipped} if skipped else {})
    for name in ("encoder", "step") if "rule" in variant.facts else ():
        part = traced.fixed(subject.exportable.parts[name])
        one = kept_inputs(Session(models / f"{name}.onnx"))
        found[name] = parity.compare(part, one, eager_part(part), own_sizes(part))
        found["ok"] &= found[name]["ok"]
    variant = replace(variant, parity=found)
    if found["ok"]:
        return variant.found("prepared", CHECKED)
    return variant.found("parity_fail", f"differs from PyTorch by {found['max_abs']:.2g}")


def own_sizes(exportable: Exportable) -> Iterator[dict[str, int]]:
    """The example's lengths, a few times."""
    return iter([parity.example_lengths(exportable)] * CASES)


def judge(comparison: parity.Comparison, subject: Subject, runtime: Runtime) -> str:
    """The task metric too, where the data have the graph's fixed lengths; else why it is not."""
    try:
        comparison.by_metric(subject, runtime)
    except OtherShape as error:
        return str(error)
    return ""


def kept_inputs(session: Session) -> Runtime:
    """A session that is given only the inputs that its graph has kept."""
    taken = {value.name for value in session.onnx.get_inputs()}

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return session({name: tensor for name, tensor in inputs.items() if name in taken})

    return call


def row_by_row(runtime: Runtime, exportable: Exportable) -> Runtime:
    """A runtime for batches out of one for a batch of one."""
    wanted = {name: tensor.shape for name, tensor in exportable.inputs.items()}

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        for name, tensor in inputs.items():
            if tensor.shape[1:] != wanted[name][1:]:
                raise OtherShape(f"{name} is {tuple(tensor.shape)}, not {tuple(wanted[name])}")
        count = len(next(iter(inputs.values())))
        rows = [runtime({n: t[i : i + 1] for n, t in inputs.items()}) for i in range(count)]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    return call
