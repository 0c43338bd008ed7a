"""Options that many commands share."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from automl.core.errors import BudgetError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Database = Annotated[
    Optional[str],  # noqa: UP045  Typer reads the annotation at run time
    typer.Option(
        "--db",
        metavar="URL",
        help="Model database: a file or a URL. Default: AUTOML_DB, else ./automl.db.",
    ),
]


def seconds(text: str | None) -> float | None:
    """Read ``90``, ``90s``, ``10m``, ``2h`` as seconds.

    Raises:
        BudgetError: if the text is no duration.
    """
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError:
        raise BudgetError(f"{text!r} must be a duration such as 90, 90s, 10m, 2h, 30d") from None
