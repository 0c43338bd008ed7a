"""Where an exported file comes from, and its report as database records."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from automl.dataset_db.evidence import BenchmarkRecord, ExportRecord
from automl.export.targets import ExportReport


def metadata(row: dict[str, Any]) -> dict[str, str]:
    """What the file itself says of its origin."""
    test = {
        e["metric"]: e["value"]
        for e in row["evaluations"]
        if e["split"] == "test" and e["dataset"] == row["dataset"]
    }
    return {
        "automl.version": version("automl-papers"),
        "automl.trial": row["reference"],
        "automl.plugin": row["plugin"],
        "automl.plugin_version": str(row["plugin_version"]),
        "automl.paper": row["paper"]["title"],
        "automl.dataset": row["dataset"],
        "automl.metric": row["metric"],
        "automl.value": repr(row["objective"]),
        "automl.test": json.dumps(test),
        "automl.config": json.dumps(row["config"], sort_keys=True),
        "automl.seed": str(row["seed"]),
        "automl.weights_sha256": next(
            (a["sha256"] for a in row["artifacts"] if a["kind"] == "weights"), ""
        ),
        "automl.created": datetime.now(UTC).isoformat(timespec="seconds"),
        "automl.torch": version("torch"),
        "automl.onnx": version("onnx"),
        "automl.licence": "weights: licence of their training data and code; automl: MIT",
    }


def export_record(report: ExportReport) -> ExportRecord:
    """The export as the database keeps it."""
    return ExportRecord(
        target=report.target,
        status=report.status,
        folder=report.folder,
        files=list(report.files),
        opset=report.graph.get("opset"),
        parity=report.parity,
        facts={"graph": report.graph, "provenance": report.provenance},
        message=report.message,
    )


def benchmark_records(report: ExportReport) -> list[BenchmarkRecord]:
    """The measurements as the database keeps them."""
    return [
        BenchmarkRecord(
            device=f"{platform.machine()} CPU, 1 thread",
            runtime=record["runtime"],
            precision="fp32",
            batch=record["batch"],
            sizes=record["sizes"],
            p50_us=record["p50_us"],
            p95_us=record["p95_us"],
            min_us=record["min_us"],
            mean_us=record["mean_us"],
            memory=record["peak_rss_kb"] * 1024,
            facts={"load_us": record["load_us"], "repeats": record["repeats"]},
        )
        for record in report.benchmarks
    ]
