"""Where an exported file comes from, and its report as database records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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


FIELDS = ("runtime", "device", "batch", "sizes", "p50_us", "p95_us", "min_us", "mean_us", "memory")


def export_record(report: ExportReport) -> ExportRecord:
    """The export as the database keeps it."""
    variants = [
        {key: value for key, value in variant.items() if key != "benchmarks"}
        for variant in report.variants
    ]
    return ExportRecord(
        target=report.target,
        status=report.status,
        folder=report.folder,
        files=list(report.files),
        opset=report.graph.get("opset"),
        parity=report.parity,
        facts={
            "precision": report.precision,
            "file": report.file,
            "graph": report.graph,
            "provenance": report.provenance,
            "variants": variants,
        },
        message=report.message,
    )


def benchmark_records(variants: Iterable[Mapping[str, Any]]) -> list[BenchmarkRecord]:
    """The measurements of an export's variants as the database keeps them."""
    return [
        BenchmarkRecord(
            **{name: record[name] for name in FIELDS},
            precision=record.get("precision", variant["precision"]),
            facts={
                "file": variant["file"],
                **{key: value for key, value in record.items() if key not in FIELDS},
            },
        )
        for variant in variants
        for record in variant["benchmarks"]
    ]
