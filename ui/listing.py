"""What is installed: plugins, datasets, the machine. Nothing here imports torch."""

from __future__ import annotations

import importlib.util
import json as jsonlib
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from automl.core.cards import DatasetCard
from automl.core.discovery import Catalogue, catalogue
from automl.core.errors import AutoMLError

EXTRAS = {
    "ui": ("streamlit", "plotly"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "postgres": ("psycopg",),
}


def plugin_rows(found: Catalogue) -> list[dict[str, Any]]:
    """Every plugin, and every entry point that failed to load with its reason."""
    rows: list[dict[str, Any]] = []
    for card in found.architectures():
        offer, paper = found.offer_of(card), card.paper
        rows.append(
            {
                "name": card.name,
                "version": card.version,
                "status": "ok",
                "problems": list(card.problems),
                "paper": {"title": paper.title, "year": paper.year, "url": paper.url},
                "dataset": card.dataset,
                "summary": card.summary,
                "distribution": f"{offer.distribution} {offer.version}".strip(),
            }
        )
    for offer in found.offers:
        if offer.problem:
            rows.append(
                {
                    "name": offer.name,
                    "version": None,
                    "status": f"broken: {offer.problem}",
                    "problems": [],
                    "paper": None,
                    "distribution": f"{offer.distribution} {offer.version}".strip(),
                }
            )
    return sorted(rows, key=lambda row: row["name"])


def plugins(json: bool) -> bool:
    """Print the plugins; return whether any is broken."""
    rows = plugin_rows(catalogue())
    broken = any(row["status"] != "ok" for row in rows)
    if json:
        print(jsonlib.dumps(rows, indent=2))
        return broken
    table = Table("Plugin", "Version", "Paper", "Learns", "From", box=None, pad_edge=False)
    for row in rows:
        if row["status"] == "ok":
            paper = f"{row['paper']['title']} ({row['paper']['year']})"
            learns = ", ".join(row["problems"])
            table.add_row(
                Text(row["name"], "bold"), f"{row['version']}", paper, learns, row["distribution"]
            )
        else:
            table.add_row(
                Text(row["name"], "bold red"), "", Text(row["status"], "red"), "",
                row["distribution"],
            )  # fmt: skip
    Console().print(table)
    return broken


def dataset_rows(found: Catalogue) -> list[dict[str, Any]]:
    """Every dataset with the plugins that can learn it."""
    learners = found.architectures()
    return [
        {
            "name": card.name,
            "problem": card.problem,
            "summary": card.summary,
            "plugins": [p.name for p in learners if card.problem in p.problems],
        }
        for card in found.cards(DatasetCard)
    ]


def datasets(json: bool) -> None:
    """Print the datasets."""
    rows = dataset_rows(catalogue())
    if json:
        print(jsonlib.dumps(rows, indent=2))
        return
    table = Table("Dataset", "Problem", "Learnt by", "", box=None, pad_edge=False)
    for row in rows:
        learnt = ", ".join(row["plugins"])
        table.add_row(Text(row["name"], "bold"), row["problem"], learnt, row["summary"])
    Console().print(table)


def installed(package: str) -> str:
    """A package's version, or ``missing``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def doctor_report(db: str | None) -> dict[str, Any]:
    """What a bug report should contain, and what is wrong."""
    report: dict[str, Any] = {
        "automl": installed("automl-papers"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": installed("torch"),
        "optuna": installed("optuna"),
    }
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        report[f"extra {extra}"] = (
            f'missing {", ".join(missing)}: pip install "automl-papers[{extra}]"'
            if missing
            else "ok"
        )
    broken = [offer for offer in catalogue().offers if offer.problem]
    report["plugins"] = "; ".join(f"{o.name}: {o.problem}" for o in broken) or "ok"
    report["gpu"] = "nvidia-smi found" if shutil.which("nvidia-smi") else "none found"
    try:
        from automl.ui import actions

        found = actions.info(db=db)
        report["database"] = f"{found['url']} (revision {found['revision']})"
    except AutoMLError as error:
        report["database"] = str(error)
    return report


def doctor(db: str | None, json: bool) -> None:
    """Print the report."""
    report = doctor_report(db)
    if json:
        print(jsonlib.dumps(report, indent=2))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in report.items():
        good = not str(value).startswith("missing")
        table.add_row(Text(name, "bold"), Text(str(value), "" if good else "yellow"))
    Console().print(table)
