"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Database = Annotated[
    Optional[str],  # noqa: UP045  Typer reads the annotation at run time
    typer.Option(
        "--db",
        metavar="URL",
        help="Model database: a file or a URL. Default: AUTOML_DB, else ./automl.db.",
    ),
]
