"""``automl db import``: published records into the model database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from automl.ui.options import Database, Json

import_commands = typer.Typer(help="Import published data sets of models.", no_args_is_help=True)


@import_commands.command("lemur")
def lemur(
    location: Annotated[
        Path, typer.Argument(help="A wheel of nn-dataset, or a checkout of its repository.")
    ],
    name: Annotated[
        Optional[str],  # noqa: UP045  Typer reads the annotation at run time
        typer.Option(help="Name of the source. Default: lemur-VERSION."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Replace the records of folders that have changed.")
    ] = False,
    db: Database = None,
    json: Json = False,
) -> None:
    """Import LEMUR's published records; nothing of them is imported or executed.

    What is there already is left alone: run it again after an interruption, and it goes on. Odd
    records are kept and flagged with the reason, and all counts are reconciled and printed.

    Example: pip download --no-deps nn-dataset==2.1.0, then
    automl db import lemur nn_dataset-2.1.0-py3-none-any.whl
    """
    from automl.dataset_db.lemur.importer import import_lemur
    from automl.ui import render
    from automl.ui.progress import stages

    with stages() as progress:
        found = import_lemur(location, db, name=name, update_changed=update, progress=progress)
    flags = found.pop("flags")
    if json:
        render.dump({**found, "flags": flags})
        return
    render.numbers(found, json=False)
    if flags:
        typer.echo("\nKept and flagged, by reason (one record may have several):")
        render.numbers(flags, json=False)
    if found["changed"] and not update:
        typer.echo(f"\n{found['changed']} folders have changed since: --update replaces them.")
