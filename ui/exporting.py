"""Export and measure a model: engine, targets and database joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl.core.errors import ConfigError, ExportError
from automl.dataset_db import query
from automl.ui.actions import Row, opened, resolve, task_of

if TYPE_CHECKING:
    from automl.export.targets import Target

FOLDER = Path("exports")  # of the working directory
GOOD = ("ok", "prepared")  # as in export.targets, whose import costs seconds


def targets_of(names: str | Sequence[str]) -> list[Target]:
    """The targets of these names; one text may hold several with commas between them.

    Raises:
        UnknownName: naming the one that is not offered.
        ConfigError: if there is none.
    """
    from automl.core.cards import TargetCard
    from automl.core.discovery import catalogue

    given = names.split(",") if isinstance(names, str) else names
    wanted = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not wanted:
        raise ConfigError("say what to export to, such as --target cpu,web")
    return [catalogue().card(TargetCard, name).load()() for name in wanted]


def export(
    reference: str,
    *,
    plugin: str | None = None,
    target: str | Sequence[str] = "cpu",
    into: Path | None = None,
    db: str | None = None,
    notice: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> Row:
    """Export a model to kinds of runtime, verify and measure it there, and record all of that.

    ``settings`` are the fields of ``automl.export.targets.ExportSettings``. Returns ``trial`` and
    ``targets``, a report each; the files are in a folder per target of ``into``.

    Raises:
        UnknownName: if there is no such trial or target.
        CheckpointError: if the trial has no weights.
        ConfigError: if a target does not offer what is asked for.
        MissingExtra: if the export extra, or a program that a target needs, is not installed.
    """
    chosen = targets_of(target)
    row = query.trial(resolve(reference, plugin, db), db)
    task = task_of(row)
    from automl.export.exporting import export_trial
    from automl.export.targets import ExportSettings
    from automl.ui.provenance import benchmark_records, export_record, metadata

    folder = into if into is not None else FOLDER / f"{row['study']}-{row['number']}"
    reports = []
    notice(f"exporting trial {row['reference']} to {', '.join(one.name for one in chosen)}")
    made = export_trial(task, chosen, folder, metadata(row), ExportSettings(**settings))
    with opened(db) as store:
        for report in made:
            notice(f"{report.target}: {report.status} {report.message}".rstrip())
            found = benchmark_records(report.variants)
            store.record_export(row["id"], export_record(report), found)
            reports.append(report.to_dict())
    return {"trial": row["reference"], "targets": reports}


def benchmark(
    reference: str,
    *,
    plugin: str | None = None,
    target: str | Sequence[str] = "cpu",
    db: str | None = None,
    **settings: Any,
) -> Row:
    """Measure a model's latest export to each target again, and record that.

    Returns ``trial`` and ``targets``: each with its ``target``, ``folder`` and ``benchmarks``.

    Raises:
        UnknownName: if there is no such trial or target.
        ExportError: if the trial was not exported to a target, or its files have changed.
    """
    chosen = targets_of(target)
    row = query.trial(resolve(reference, plugin, db), db)
    task = task_of(row)
    from automl.export.exporting import measured_again
    from automl.export.targets import ExportSettings
    from automl.ui.provenance import benchmark_records

    latest = {made["target"]: made for made in row["exports"] if made["status"] in GOOD}
    for one in chosen:
        if one.name not in latest:
            raise ExportError(
                f"trial {row['reference']} has no export to {one.name}: "
                f"automl export {row['reference']} --target {one.name}"
            )
    reports = []
    for one in chosen:
        made = latest[one.name]
        report = {**made, "variants": made["facts"]["variants"]}
        variants = [vars(v) for v in measured_again(one, report, task, ExportSettings(**settings))]
        with opened(db) as store:
            store.record_benchmarks(made["id"], benchmark_records(variants))
        records = [
            {"precision": variant["precision"], "file": variant["file"], **record}
            for variant in variants
            for record in variant["benchmarks"]
        ]
        reports.append({"target": one.name, "folder": made["folder"], "benchmarks": records})
    return {"trial": row["reference"], "targets": reports}


def parity_sentence(parity: Row) -> str:
    """How near a runtime comes to PyTorch, in plain text."""
    tried = ", ".join("×".join(map(str, sizes.values())) for sizes in parity["sizes"])
    there = parity.get("metric_runtime", parity.get("metric_onnx"))
    return (
        f"Compared with PyTorch at sizes {tried}: largest difference {parity['max_abs']:.2g}, "
        f"{parity.get('agreement', 1.0):.1%} of the decisions equal; {parity['metric']} "
        f"{parity['metric_torch']:.4g} in PyTorch and {there:.4g} there."
    )
