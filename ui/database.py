"""``automl db …``: look after the model database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from automl.ui.options import Database, Json, seconds

db_commands = typer.Typer(help="Look after the model database.", no_args_is_help=True)

Source = Annotated[
    Optional[str],  # noqa: UP045  Typer reads the annotation at run time
    typer.Option("--source", help="Only this imported source, e.g. lemur-2.1.0."),
]
Threshold = Annotated[
    float, typer.Option(help="From which similarity of code networks are near-duplicates.")
]
SHOWN = 20  # groups on a terminal


@db_commands.command("info")
def info(db: Database = None, json: Json = False) -> None:
    """Where the database is, its revision, what it holds and how big it is."""
    from automl.ui import actions, render

    render.numbers(actions.info(db=db), json)


@db_commands.command("duplicates")
def duplicates(
    threshold: Threshold = 0.9,
    source: Source = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Group networks with the same code, and cluster those with nearly the same.

    The same code: equal but for layout, comments and docstrings. Nearly: MinHash similarity of
    the sets of 7 consecutive tokens; chains of such pairs make one cluster.

    Example: automl db duplicates --threshold 0.95 --source lemur-2.1.0
    """
    from automl import dataset_db
    from automl.ui import render

    found = dataset_db.duplicates(db, threshold=threshold, source=source)
    if json:
        render.dump(found)
        return
    typer.echo(
        f"{found['networks']} networks, {found['distinct']} of them distinct; "
        f"{len(found['exact'])} groups with the same code, {len(found['near'])} clusters with "
        f"nearly the same (similarity {threshold:g} and more)."
    )
    for kind, title in (("exact", "The same code"), ("near", "Nearly the same code")):
        for group in found[kind][:SHOWN]:
            names = ", ".join(network["name"] for network in group[:3])
            typer.echo(f"{title}: {len(group)} networks, {names}{', …' * (len(group) > 3)}")
        if len(found[kind]) > SHOWN:
            typer.echo(f"… and {len(found[kind]) - SHOWN} more; --json prints all")


@db_commands.command("export")
def export(
    path: Annotated[Path, typer.Argument(help="A new file, or a new folder if there are splits.")],
    format_: Annotated[
        str, typer.Option("--format", help="jsonl, parquet or hf (for datasets.load_dataset).")
    ] = "jsonl",
    split: Annotated[
        str, typer.Option(help="Fractions of train, (validation and) test, e.g. 0.8,0.1,0.1.")
    ] = "",
    threshold: Threshold = 0.9,
    by_family: Annotated[
        bool, typer.Option("--by-family", help="Never separate networks of one family either.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same splits.")] = 0,
    code: Annotated[bool, typer.Option(help="Write the source texts.")] = True,
    every_trial: Annotated[
        bool, typer.Option("--every-trial", help="Not only the best per network and dataset.")
    ] = False,
    template: Annotated[
        str,
        typer.Option(help="Prompts instead: predict, improve, write, or a TOML file of yours."),
    ] = "",
    budget: Annotated[int, typer.Option(help="Tokens of a prompt with its completion.")] = 4096,
    tokenizer: Annotated[
        str, typer.Option(help="approximate, tiktoken:ENCODING or a tokenizer.json file.")
    ] = "approximate",
    plugin: Annotated[Optional[str], typer.Option("--plugin", "-p")] = None,  # noqa: UP045
    dataset: Annotated[Optional[str], typer.Option("--dataset", "-d")] = None,  # noqa: UP045
    problem: Annotated[Optional[str], typer.Option("--problem")] = None,  # noqa: UP045
    source: Source = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Write models, or prompts made of them, for training on; splits share no near-duplicates.

    [bold]Examples[/]

    automl db export models --format hf

    automl db export prompts --split 0.9,0.1 --template predict --budget 2048
    """
    from automl.dataset_db.corpus import Selection
    from automl.dataset_db.corpus_files import Options, export_models
    from automl.ui import render
    from automl.ui.progress import stages

    options: Any = {"format": format_, "split": split, "threshold": threshold, "seed": seed}
    options |= {"by_family": by_family, "code": code, "template": template}
    with stages() as progress:
        told = export_models(
            path,
            db,
            chosen=Selection(plugin, dataset, problem, source, every_trial),
            options=Options(**options, budget=budget, tokenizer=tokenizer),
            progress=lambda done, total: progress("rows", done, total),
        )
    if json:
        render.dump(told)
        return
    counts = ", ".join(f"{count} {name}" for name, count in told["rows"].items())
    typer.echo(f"Wrote {told['path']}: {counts}.")
    for reason, count in told["left_out"].items():
        typer.echo(f"Left out, {reason}: {count}")
    if told["trimmed"]:
        typer.echo(f"Trimmed to the budget: {told['trimmed']}")
    for name, count in told["rows"].items():
        if not count:
            typer.echo(f"Split {name} is empty: there are too few groups of near-duplicates.")


@db_commands.command("move")
def move(
    source: Annotated[str, typer.Argument(help="A file or URL.")],
    target: Annotated[str, typer.Argument(help="A file or URL; created, or empty.")],
    json: Json = False,
) -> None:
    """Copy a database between SQLite and PostgreSQL, or alike, and verify the copy.

    The source and the artifact folder stay as they are.

    Example: automl db move automl.db postgresql://user@host/models
    """
    from automl.dataset_db.move import move as copy
    from automl.ui import render
    from automl.ui.progress import stages

    with stages() as progress:
        told = copy(source, target, progress=progress)
    if json:
        render.dump(told)
        return
    rows = sum(table["rows"] for table in told["tables"].values())
    typer.echo(f"Copied {rows} rows from {told['source']} to {told['target']}; all verified.")
    typer.echo("Next: set AUTOML_DB to the target; remove the source when you are content.")


@db_commands.command("prune")
def prune(
    failed: Annotated[bool, typer.Option("--failed", help="Failed trials of searches.")] = False,
    keep_best: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Trials of each search beyond so many of the best."),
    ] = None,
    older_than: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of these only trials that ended so long ago, e.g. 30d, 12h."),
    ] = None,
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="All records of this imported source."),
    ] = None,
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Code, plugins and datasets that nothing refers to.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what and how much.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Delete what you do not want any more, files included. Says what before it asks.

    Running studies and the evidence of claims always stay.

    [bold]Examples[/]

    automl db prune --failed --older-than 30d --dry-run

    automl db prune --source lemur-2.1.0 --orphans
    """
    from automl.dataset_db.prune import Unwanted
    from automl.dataset_db.prune import prune as delete
    from automl.ui import render

    unwanted = Unwanted(failed, keep_best, seconds(older_than), source, orphans)
    told = delete(unwanted, db, dry_run=True)
    if not dry_run and told["rows"]:
        if not yes:
            typer.echo(summary(told, "This would delete"), err=True)
            typer.confirm("Delete it?", abort=True, err=True)
        told = delete(unwanted, db, dry_run=False)
    if json:
        render.dump(told)
        return
    typer.echo(summary(told, "This would delete" if told["dry_run"] else "Deleted"))


def summary(told: dict[str, Any], verb: str) -> str:
    """What a pruning deletes, in a sentence."""
    from automl.ui import render

    if not told["rows"]:
        return "There is nothing to delete."
    rows = ", ".join(f"{count} {name}" for name, count in told["rows"].items())
    text = f"{verb} rows: {rows}; {told['files']} files ({render.size(told['file_bytes'])})"
    if told["database_bytes"] is not None:
        text += f"; {render.size(told['database_bytes'])} of the database"
    return text + "."
