"""``automl models``: pages of models by any filter, for eyes or for machines."""

from __future__ import annotations

import json as jsonlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Optional

import typer

from automl.core.errors import ConfigError
from automl.ui.options import Database, Json

SHOWN = ("study", "number", "plugin", "dataset", "metric", "objective", "seconds", "source")
SIGNS = ("<=", ">=", "!=", "=", "<", ">")
WORDS = ("in", "between", "prefix", "known")
CONDITION = re.compile(
    rf"\s*(?P<column>[^\s<>=!]+)\s*(?:(?P<sign>{'|'.join(SIGNS)})|\s(?P<word>{'|'.join(WORDS)})\b)"
    r"\s*(?P<value>.*?)\s*",
    re.DOTALL,
)


def models(
    plugin: Annotated[
        Optional[str],  # noqa: UP045  Typer reads the annotation at run time
        typer.Option("--plugin", "-p", help="Name of a plugin or imported network."),
    ] = None,
    dataset: Annotated[Optional[str], typer.Option("--dataset", "-d")] = None,  # noqa: UP045
    where: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--where", "-w", help="COLUMN OPERATOR VALUE; repeat it for several."),
    ] = None,
    columns: Annotated[str, typer.Option(help="Columns to show, with commas.")] = ",".join(SHOWN),
    unique: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only the best of each plugin, family or study, by dataset and metric."),
    ] = None,
    order: Annotated[
        str, typer.Option(help="Smallest first; -COLUMN: largest first. objective: the best.")
    ] = "objective",
    limit: Annotated[int, typer.Option(help="Length of a page.")] = 20,
    after: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="What the page before printed as next."),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """List models across all studies, imported ones included, by any filter.

    Operators are = != < <= > >= in between prefix known; config.NAME is a setting, scores.METRIC a
    final score. A value is JSON, or else a text.

    [bold]Examples[/]

    automl models --dataset cifar-10 --unique plugin

    automl models -w "config.lr < 0.01" -w "plugin prefix ga-" --order seconds

    automl models -w 'objective between [0.9, 1]' --columns plugin,objective,licence --json
    """
    from automl.dataset_db.pages import model_page
    from automl.ui import render

    found = model_page(
        db,
        plugin=plugin,
        dataset=dataset,
        where=conditions(where or ()),
        columns=[name.strip() for name in columns.split(",") if name.strip()],
        unique=unique,
        order_by=order.removeprefix("-"),
        descending=order.startswith("-"),
        limit=limit,
        after=after,
    )
    render.models(found, json)


def conditions(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Filters as ``dataset_db.filters`` takes them, from how they are written.

    Raises:
        ConfigError: if one is not COLUMN OPERATOR VALUE, or repeats another.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        match = CONDITION.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"where={text!r} must be COLUMN OPERATOR VALUE such as 'config.lr < 0.1'; "
                f"operators: {', '.join((*SIGNS, *WORDS))}"
            )
        column, operator = match["column"], match["sign"] or match["word"]
        mine = found.setdefault(column, {})
        if operator in mine:
            raise ConfigError(f"where={text!r}: {column} {operator} is given twice")
        mine[operator] = value_of(match["value"], operator)
    return found


def value_of(text: str, operator: str) -> Any:
    """A value: JSON, or else the text; nothing after ``known`` means yes."""
    if not text and operator == "known":
        return True
    try:
        return jsonlib.loads(text)
    except (ValueError, RecursionError):
        return text
