"""``automl export`` and ``automl benchmark``: models for kinds of runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from automl.ui.options import Database, Json

Reference = Annotated[str, typer.Argument(help="STUDY/NUMBER such as 3/0, or best.")]
Plugin = Annotated[
    Optional[str],  # noqa: UP045  Typer reads the annotation at run time
    typer.Option("--plugin", "-p", help="With best: the plugin's best trial."),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target", "-t", help="Kinds of runtime: cpu, gpu, vr, web, embedded; with commas."
    ),
]


def export(
    trial: Reference,
    plugin: Plugin = None,
    target: Targets = ["cpu"],  # noqa: B006  Typer copies it
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    max_drop: Annotated[
        float, typer.Option(help="What a lower precision may lose of the metric: 0.01 is a point.")
    ] = 0.01,
    flash_kb: Annotated[
        float, typer.Option(help="Flash of a microcontroller; a larger model is refused.")
    ] = 0.0,
    ram_kb: Annotated[
        float, typer.Option(help="RAM of a microcontroller; a larger model is refused.")
    ] = 0.0,
    into: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--into", help="Folder. Default: exports/STUDY-NUMBER."),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Export a model to kinds of runtime, verified and measured there.

    [bold]Examples[/]

    automl export best --plugin ptrnet

    automl export 3/0 --target cpu,web,embedded --precision int8 --flash-kb 256
    """
    from automl.ui import render
    from automl.ui.exporting import GOOD
    from automl.ui.exporting import export as act

    made = act(
        trial,
        plugin=plugin,
        target=",".join(target),
        into=into,
        db=db,
        notice=lambda text: typer.echo(text, err=True),
        precision=precision,
        max_drop=max_drop,
        flash_kb=flash_kb,
        ram_kb=ram_kb,
    )
    if json:
        render.dump(made)
    else:
        for report in made["targets"]:
            show(made["trial"], report)
    if any(report["status"] not in GOOD for report in made["targets"]):
        raise typer.Exit(1)


def benchmark(
    trial: Reference,
    plugin: Plugin = None,
    target: Targets = ["cpu"],  # noqa: B006
    db: Database = None,
    json: Json = False,
) -> None:
    """Measure the latest export of a model again, where it runs.

    [bold]Example[/]

    automl benchmark best --plugin ptrnet --target cpu,embedded
    """
    from automl.ui import render
    from automl.ui.exporting import benchmark as act

    found = act(trial, plugin=plugin, target=",".join(target), db=db)
    if json:
        render.dump(found)
        return
    for report in found["targets"]:
        typer.echo(f"Trial {found['trial']} on {report['target']}, {report['folder']}:")
        latencies(report["benchmarks"])


def show(trial: str, report: dict[str, Any]) -> None:
    """What became of an export to one target."""
    from rich.console import Console
    from rich.text import Text

    from automl.ui.exporting import GOOD, parity_sentence
    from automl.ui.render import size

    console = Console()
    good = report["status"] in GOOD
    console.print(
        Text.assemble(
            f"Export of trial {trial} to {report['target']}: ",
            (f"{report['status']} {called(report)}", "bold green" if good else "bold red"),
            f"  {report['message']}",
        )
    )
    if report["parity"].get("metric"):
        console.print(Text(parity_sentence(report["parity"])))
    for other in report["variants"]:
        if other["file"] != report["file"]:
            console.print(Text(f"{called(other)}: {other['status']} {other['message']}".rstrip()))
    latencies([r for variant in report["variants"] for r in precise(variant)])
    if report["folder"]:
        files = ", ".join(f"{file['name']} ({size(file['bytes'])})" for file in report["files"][:6])
        more = len(report["files"]) - 6
        rest = f" and {more} more" if more > 0 else ""
        console.print(Text(f"{report['folder']}: {files}{rest}", "cyan"))


def called(variant: dict[str, Any]) -> str:
    """A variant by its precision and file."""
    return f"{variant['precision']} {variant['file']}".strip()


def precise(variant: dict[str, Any]) -> list[dict[str, Any]]:
    """The measurements of a variant, each with its file and precision."""
    return [{**variant, **record} for record in variant["benchmarks"]]


def latencies(records: list[dict[str, Any]]) -> None:
    """Measurements as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from automl.ui.render import size

    if not records:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("runtime", "file", "batch"):
        table.add_column(name)
    for name in ("median", "p95", "memory"):
        table.add_column(name, justify="right")
    table.add_column("device")
    for record in records:
        table.add_row(
            *map(Text, (record["runtime"], called(record), str(record["batch"]))),
            f"{record['p50_us']:,.0f} µs",
            f"{record['p95_us']:,.0f} µs",
            size(record["memory"]),
            Text(record["device"]),
        )
    Console().print(table)
