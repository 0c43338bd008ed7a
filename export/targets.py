"""Kinds of runtime: what to write for each, how to prove it and how to measure it."""

from __future__ import annotations

import abc
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from automl.core.errors import CheckpointError, ExportError
from automl.core.plugin import Exportable
from automl.core.trial import TrialTask, load_model
from automl.export import graph, verify
from automl.export.deploy import deployable

CARD = """# {name}, exported by automl

Verification: {status}. Inputs: {inputs}. Outputs: {outputs}.
The weights are under the licence of the data and code they were trained with; automl is MIT.

    import numpy, onnxruntime
    session = onnxruntime.InferenceSession("model.onnx")
    answers = session.run(None, {feeds})
    for output, answer in zip(session.get_outputs(), answers):
        print(output.name, answer.shape)

Where it comes from is in the file's metadata and in report.json.
"""


@dataclass(frozen=True)
class ExportReport:
    """What became of an export. ``folder`` is empty unless files were written."""

    target: str
    status: str  # ok, parity_fail, export_fail, load_fail, crash, timeout
    folder: str = ""
    files: tuple[dict[str, Any], ...] = ()
    graph: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    benchmarks: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able copy."""
        return asdict(self)


class Target(abc.ABC):
    """A kind of runtime. ``prepare`` writes files, ``examine`` proves and measures them."""

    name: str

    @abc.abstractmethod
    def prepare(self, exportable: Exportable, folder: Path, metadata: dict[str, str]) -> Any:
        """Write the runtime's files into ``folder`` and return what they hold.

        Raises:
            ExportError: if the model cannot be made ready for this runtime.
        """

    @abc.abstractmethod
    def examine(self, folder: Path, task: TrialTask) -> dict[str, Any]:
        """Verify and measure the files; see ``verify.in_child`` for the report."""


class CpuTarget(Target):
    """Plain ONNX for onnxruntime's CPU provider; machine-specific rewrites are never shipped."""

    name = "cpu"

    def prepare(self, exportable: Exportable, folder: Path, metadata: dict[str, str]) -> Any:
        """``model.onnx``, and a file for each part."""
        written = graph.write(exportable, folder / "model.onnx", metadata)
        for name, part in exportable.parts.items():
            graph.write(part, folder / f"{name}.onnx", {**metadata, "automl.part": name})
        return written

    def examine(self, folder: Path, task: TrialTask) -> dict[str, Any]:
        """Parity, task metric and latency in onnxruntime, in a child process."""
        return verify.in_child(folder, task)


def export_trial(
    task: TrialTask, target: Target, folder: Path, metadata: dict[str, str]
) -> ExportReport:
    """Export a finished trial's model: files appear in ``folder`` complete, or not at all.

    Raises:
        CheckpointError: if the weights are missing or damaged.
    """
    if not task.weights.exists():
        raise CheckpointError(
            f"trial {task.number} has no weights at {task.weights}; only complete trials keep them"
        )
    plugin, model, config, dataset = load_model(task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        deployment = dataset.deployment()
        if deployment is not None:
            metadata = {**metadata, "automl.data": json.dumps(deployment.facts)}
        try:
            exportable = deployable(plugin.export(model, config, dataset.info), deployment)
            written = target.prepare(exportable, work, metadata)
        except ExportError as error:
            return ExportReport(target.name, "export_fail", message=str(error), provenance=metadata)
        found = target.examine(work, task)
        report = ExportReport(
            target=target.name,
            status=found["status"],
            folder=str(folder.resolve()),
            files=tuple(describe(path) for path in sorted(work.glob("*.onnx"))),
            graph=asdict(written),
            parity=found["parity"],
            benchmarks=tuple(found["benchmarks"]),
            provenance=metadata,
            message=found["message"],
        )
        publish(report, exportable, work, folder)
        return report
    finally:
        shutil.rmtree(work, ignore_errors=True)


def describe(path: Path) -> dict[str, Any]:
    """A file's name, size and hash."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": path.name, "bytes": len(content), "sha256": digest}


def publish(report: ExportReport, exportable: Exportable, work: Path, folder: Path) -> None:
    """Write the report and the card, then put the folder in its place, replacing an older one."""
    (work / "report.json").write_text(json.dumps(report.to_dict(), indent=2, default=str))
    inputs = ", ".join(f"{n} {shape(exportable, n)}" for n in exportable.inputs)
    feeds = ", ".join(
        f'"{n}": numpy.random.rand{tuple(t.shape)}.astype("{str(t.dtype).split(".")[-1]}")'
        for n, t in exportable.inputs.items()
    )
    text = CARD.format(
        name=report.provenance.get("automl.plugin", "model"),
        status=report.status,
        inputs=inputs,
        outputs=", ".join(exportable.outputs),
        feeds="{" + feeds + "}",
    )
    (work / "README.md").write_text(text)
    if folder.exists():
        shutil.rmtree(folder)
    os.chmod(work, 0o755)
    os.replace(work, folder)


def shape(exportable: Exportable, name: str) -> str:
    """An input's type and shape with the names and ranges of its free axes."""
    tensor, free = exportable.inputs[name], exportable.axes.get(name, {})
    sizes = [
        f"{free[i].name} ({free[i].low} to {free[i].high})" if i in free else str(size)
        for i, size in enumerate(tensor.shape)
    ]
    return f"{str(tensor.dtype).split('.')[-1]} [{', '.join(sizes)}]"
