"""Every plugin to every kind of runtime: what works, how fast, how large; docs/exports.md."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import finish

from automl.core import checkpoint
from automl.core.cards import TargetCard
from automl.core.check import Case
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, MissingExtra
from automl.core.trial import TrialTask
from automl.export.exporting import export_trial
from automl.export.targets import GOOD, ExportReport, ExportSettings, Target

PAGE = Path(__file__).parent.parent / "docs" / "exports.md"
STEPS, REPORTS = 100, 2  # of training: enough that decisions are not a toss-up
HEADER = """# Where each plugin runs

Written by `python benchmarks/export_targets.py --write`: each plugin at its default size on its
default data, trained for a moment, exported to every kind of runtime. `ok`: run here and equal to
PyTorch by the rules of [export](export.md); `prepared`: files written, no such device here.
Latency is the median for one example, on two shared cores whose speed differs by three between
runs: compare within one. Size is that of the recommended file, for `embedded` the flash it takes on
a Cortex-M4F.

"""


def trained(name: str, folder: Path) -> TrialTask:
    """A trial of a plugin with weights, fitted for a moment."""
    case = Case(name)
    fields = {field.name for field in dataclasses.fields(case.plugin.defaults)}
    changes: dict[str, Any] = {
        key: min(value, getattr(case.plugin.defaults, key))
        for key, value in {"steps": STEPS, "eval_every": STEPS // REPORTS}.items()
        if key in fields
    }
    config = dataclasses.replace(case.plugin.defaults, **changes)
    model, _ = case.fit(REPORTS, config=config)
    task = TrialTask(name, case.plugin.card.dataset, config.to_dict(), 0, 0, str(folder))
    checkpoint.save_weights(task.weights, model, {"plugin": name})
    return task


def usable() -> tuple[list[Target], dict[str, str]]:
    """The targets that can be made here, and why others cannot."""
    targets, missing = [], {}
    for card in catalogue().cards(TargetCard):
        try:
            target = card.load()()
            target.check(ExportSettings())
            targets.append(target)
        except MissingExtra as error:
            missing[card.name] = str(error)
    return targets, missing


def exports(name: str, targets: list[Target]) -> list[ExportReport]:
    """The reports of one plugin; what cannot be trained or exported at all is told as such."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            task = trained(name, Path(folder))
            found = export_trial(task, targets, Path(folder) / "out", {"automl.plugin": name})
            return [told(name, report) for report in found]
        except AutoMLError as error:
            return [ExportReport(target.name, "export_fail", message=str(error))
                    for target in targets]  # fmt: skip


def told(name: str, report: ExportReport) -> ExportReport:
    """Show progress."""
    print(f"{name} → {report.target}: {report.status} {report.message}", file=sys.stderr)
    return report


def record(report: ExportReport, file: str = "", runtime: str = "", batch: int = 1) -> Any:
    """The measurement of a file (the recommended one by default) in a runtime; None: none."""
    for variant in report.variants:
        if variant["file"] == (file or report.file):
            for one in variant["benchmarks"]:
                if one["batch"] == batch and runtime in one["runtime"]:
                    return one
    return None


def cell(report: ExportReport) -> str:
    """Status, latency and size of an export, or why there is none."""
    if report.status not in GOOD:
        return f"{report.status}: {report.message}".replace("|", "/").replace("\n", " ")[:160]
    chosen = next(one for one in report.variants if one["file"] == report.file)
    written = next((file["bytes"] for file in report.files if file["name"] == report.file), None)
    size = chosen["facts"].get("flash_bytes") or written
    measured = record(report)
    parts = [report.status, report.precision]
    parts += [f"{measured['p50_us']:,.0f} µs"] if measured else []
    parts += [f"{size / 1000:,.0f} kB"] if size else []
    return ", ".join(parts)


def page(table: dict[str, list[ExportReport]], missing: dict[str, str]) -> str:
    """The table as Markdown."""
    names = [report.target for report in next(iter(table.values()))]
    lines = [f"| plugin | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(cell(report) for report in reports)} |"
        for name, reports in table.items()
    ]
    lines += [f"\nNot made here: {name}: {why}" for name, why in missing.items()]
    return HEADER + "\n".join(lines) + "\n"


def ratios(table: dict[str, list[ExportReport]]) -> dict[str, dict[str, float]]:
    """Over eager PyTorch, int8 over single precision, and web over native, by plugin."""
    kinds = ("cpu over eager", "int8 over fp32", "web over native")
    found: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for name, reports in table.items():
        for page_report in reports:
            browser = record(page_report)
            if page_report.target == "web" and browser:
                found["web over native"][name] = browser["times_native"]
        report = next(one for one in reports if one.target == "cpu")
        plain = record(report, "model.onnx", "onnxruntime")
        if plain is None:
            continue
        eager = record(report, "model.onnx", "torch eager")
        found["cpu over eager"][name] = plain["p50_us"] / eager["p50_us"]
        eight = [
            one["p50_us"]
            for file in ("model.static.onnx", "model.dynamic.onnx")
            if (one := record(report, file, "onnxruntime"))
        ]
        if eight:
            found["int8 over fp32"][name] = min(eight) / plain["p50_us"]
    return found


def main() -> None:
    """Export everything and print; ``--write`` writes the page, ``--only NAME`` one plugin."""
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    names = [card.name for card in catalogue().architectures() if only in ("", card.name)]
    targets, missing = usable()
    table = {name: exports(name, targets) for name in names}
    if "--write" in sys.argv:
        PAGE.write_text(page(table, missing))
    found = ratios(table)
    middle = statistics.median(found["cpu over eager"].values())
    details: dict[str, Any] = {
        what: ", ".join(f"{name} {value:.2f}" for name, value in by.items())
        for what, by in found.items()
    }
    details["exports"] = json.dumps(
        {name: {one.target: one.status for one in reports} for name, reports in table.items()}
    )
    finish(
        "latency of one example, ONNX on the CPU over eager PyTorch, median of the plugins",
        middle, "at most 0.5", middle <= 0.5, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
