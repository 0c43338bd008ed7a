"""Run every benchmark by itself and write docs/performance.json and docs/performance.md."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
SCRIPTS = (
    "engine",
    "database",
    "http_reads",
    "list_page",
    "ui_views",
    "training_loop",
    "cli_start",
    "worker_start",
    "workers",
    "ray_workers",
    "simulate_driver",
    "ptrnet_training",
    "selu_training",
    "ntk_svm_fit",
    "gradnoise_training",
    "spiking_training",
    "neural_operator_training",
    "ncap_ppo",
    "data_share",
    "export_latency",
    "export_targets",
    "warm_start",
    "lemur_import",
    "lemur_queries",
)


def measure(name: str) -> dict[str, Any]:
    """The result of one script."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**result, "command": f"python benchmarks/{name}.py"}


def document(results: list[dict[str, Any]], machine: str) -> str:
    """The results as Markdown."""
    parts = [
        "# Performance",
        "",
        "Written by `make bench`. Ratios are measured within one run of each command; absolute "
        f"figures are from {machine}.",
        "",
        "| what | ratio | goal | met | command |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        met = "yes" if result["met"] else "**no**"
        parts.append(
            f"| {result['name']} | {result['ratio']:.3g} | {result['goal']} | {met} "
            f"| `{result['command']}` |"
        )
    for result in results:
        parts += ["", f"## {result['name']}", ""]
        parts += [f"- {key}: {value}" for key, value in result["details"].items()]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure all, or those named on the command line, and write the documents."""
    path = DOCS / "performance.json"
    known = json.loads(path.read_text())["results"] if path.exists() else []
    found = {result["command"]: result for result in known}
    for name in sys.argv[1:] or SCRIPTS:
        result = measure(name)
        found[result["command"]] = result
        print(f"{result['name']}: {result['ratio']} ({'met' if result['met'] else 'NOT MET'})")
    results = [found[c] for n in SCRIPTS if (c := f"python benchmarks/{n}.py") in found]
    machine = f"{platform.machine()}, Python {platform.python_version()}, 2 cores"
    stamp = datetime.now(UTC).date().isoformat()
    DOCS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"measured": stamp, "results": results}, indent=2) + "\n")
    (DOCS / "performance.md").write_text(document(results, machine))


if __name__ == "__main__":
    main()
