"""From a trained trial to a folder per target, complete or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from automl.core.errors import CheckpointError, ExportError
from automl.core.nursery import prepare
from automl.core.plugin import Exportable
from automl.core.trial import TrialTask
from automl.export.child import examined
from automl.export.subject import Subject
from automl.export.targets import (
    GOOD,
    Canonical,
    ExportReport,
    ExportSettings,
    Target,
    Unsupported,
    Variant,
)

CARD = """# {name}, exported by automl for {target}

Status: {status}. Precision: {precision}. Inputs: {inputs}. Outputs: {outputs}.
The weights are under the licence of the data and code they were trained with; automl is MIT.

{usage}
Where it comes from is in report.json, and in the metadata of ONNX files.
"""


def export_trial(
    task: TrialTask,
    targets: Sequence[Target],
    folder: Path,
    metadata: dict[str, str],
    settings: ExportSettings | None = None,
) -> Iterator[ExportReport]:
    """Export a finished trial's model: a folder per target in ``folder``, complete or not at all.

    Yields a report as each target is done; one that fails does not stop the others.

    Raises:
        ConfigError: if a target does not offer what ``settings`` ask for.
        MissingExtra: if a target needs a program or package that is not installed.
        CheckpointError: if the weights are missing or damaged.
    """
    asked = settings or ExportSettings()
    for target in targets:
        target.check(asked)
    if not task.weights.exists():
        raise CheckpointError(
            f"trial {task.number} has no weights at {task.weights}; only complete trials keep them"
        )
    prepare()  # its children verify, as soon as the graph is traced
    folder = folder.resolve()  # compilers and browsers run in folders of their own
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder, prefix=".canonical."))
    try:
        try:
            subject = Subject.load(task)
            canonical = Canonical.write(subject, work, metadata)
        except ExportError as error:
            failed = ("export_fail", str(error))
            yield from (ExportReport(t.name, failed[0], message=failed[1], provenance=metadata)
                        for t in targets)  # fmt: skip
            return
        for target in targets:
            yield export_to(
                target, task, canonical, folder / target.name, subject=subject, settings=asked
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()


def export_to(
    target: Target,
    task: TrialTask,
    canonical: Canonical,
    folder: Path,
    *,
    subject: Subject,
    settings: ExportSettings,
) -> ExportReport:
    """Prepare, verify, measure and publish one target."""
    about: dict[str, Any] = {
        "graph": asdict(canonical.graph),
        "provenance": canonical.metadata,
    }
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        try:
            variants = list(target.prepare(subject, canonical, work, settings))
        except ExportError as error:
            status = "unsupported" if isinstance(error, Unsupported) else "export_fail"
            return ExportReport(target.name, status, message=str(error), **about)
        except Exception as error:  # noqa: BLE001  the boundary to foreign code
            message = f"target {target.name} failed: {type(error).__name__}: {error}"
            return ExportReport(target.name, "export_fail", message=message, **about)
        variants = examined(target, work, task, settings, variants)
        best = target.choose(variants)
        report = ExportReport(
            target=target.name,
            status=best.status,
            precision=best.precision,
            file=best.file,
            folder=str(folder.resolve()),
            files=tuple(described(work)),
            parity=best.parity,
            benchmarks=best.benchmarks,
            variants=tuple(asdict(variant) for variant in variants),
            message=best.message,
            **about,
        )
        publish(report, card(report, subject.exportable, target.card(subject, variants)), work)
        return report
    finally:
        shutil.rmtree(work, ignore_errors=True)


def described(folder: Path) -> Iterator[dict[str, Any]]:
    """Name, size and hash of each file in a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        yield {
            "name": path.relative_to(folder).as_posix(),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def publish(report: ExportReport, readme: str, work: Path) -> None:
    """Write the report and the card, then put the folder in its place, replacing an older one."""
    folder = Path(report.folder)
    (work / "report.json").write_text(json.dumps(report.to_dict(), indent=2, default=str))
    (work / "README.md").write_text(readme)
    if folder.exists():
        shutil.rmtree(folder)
    os.chmod(work, 0o755)
    os.replace(work, folder)


def card(report: ExportReport, exportable: Exportable, usage: str) -> str:
    """The README beside the files."""
    return CARD.format(
        name=report.provenance.get("automl.plugin", "model"),
        target=report.target,
        status=report.status + (f" ({report.message})" if report.message else ""),
        precision=report.precision,
        inputs=", ".join(f"{name} {shape(exportable, name)}" for name in exportable.inputs),
        outputs=", ".join(exportable.outputs),
        usage=usage,
    )


def shape(exportable: Exportable, name: str) -> str:
    """An input's type and shape with the names and ranges of its free axes."""
    tensor, free = exportable.inputs[name], exportable.axes.get(name, {})
    sizes = [
        f"{free[i].name} ({free[i].low} to {free[i].high})" if i in free else str(size)
        for i, size in enumerate(tensor.shape)
    ]
    return f"{str(tensor.dtype).split('.')[-1]} [{', '.join(sizes)}]"


def measured_again(
    target: Target, report: dict[str, Any], task: TrialTask, settings: ExportSettings
) -> list[Variant]:
    """Measure the good variants of an export that lies in its folder; its report is kept.

    Raises:
        ExportError: if the folder is gone or a file is not what the report says.
    """
    folder = Path(report["folder"])
    for file in report["files"]:
        path = folder / file["name"]
        if not path.is_file():
            raise ExportError(f"{path} is gone: export the trial again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            raise ExportError(f"{path} is not the file that was exported: export the trial again")
    variants = [
        Variant(**{**fields, "benchmarks": ()})
        for fields in report["variants"]
        if fields["status"] in GOOD
    ]
    return examined(target, folder, task, settings, variants, verify=False)
