"""What a model must meet: conditions given as data, never as SQL.

``{"dataset": "cifar-10", "objective": {">=": 0.9}, "plugin": ["AirNet", "DPN131"],
"config.lr": {"between": [0.001, 0.1]}, "family": {"prefix": "ga"}}``: a value must be equal, a
list holds the values allowed, a dictionary has operators. ``config.NAME`` is a setting and
``scores.METRIC`` a final score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    String,
    and_,
    false,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float

from automl.core.errors import ConfigError, did_you_mean
from automl.dataset_db.schema import DATASET, PAPER, PLUGIN, SOURCE, STUDY, TRIAL
from automl.dataset_db.types import LARGEST, Text, Utc

Where = Mapping[str, Any]
IMPORTED = STUDY.outerjoin(SOURCE, SOURCE.c.id == STUDY.c.source_id)
ORIGINS = PLUGIN.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id)

COLUMNS: dict[str, Column[Any]] = {
    "trial_id": TRIAL.c.id,
    "study": TRIAL.c.study_id,
    "number": TRIAL.c.number,
    "plugin": PLUGIN.c.name,
    "family": PLUGIN.c.family,
    "plugin_version": PLUGIN.c.version,
    "code_hash": PLUGIN.c.code_hash,
    "paper": PAPER.c.title,
    "dataset": DATASET.c.name,
    "problem": DATASET.c.problem,
    "kind": STUDY.c.kind,
    "metric": STUDY.c.metric,
    "goal": STUDY.c.goal,
    "state": TRIAL.c.state,
    "label": TRIAL.c.label,
    "objective": TRIAL.c.objective,
    "step": TRIAL.c.step,
    "seconds": TRIAL.c.seconds,
    "parameters": TRIAL.c.parameters,
    "macs": TRIAL.c.macs,
    "bytes": TRIAL.c.bytes,
    "seed": TRIAL.c.seed,
    "stopped": TRIAL.c.stopped,
    "failure": TRIAL.c.failure_kind,
    "scores": TRIAL.c.scores,
    "techniques": TRIAL.c.techniques,
    "config": TRIAL.c.config,
    "started_at": TRIAL.c.started_at,
    "finished_at": TRIAL.c.finished_at,
    "source": SOURCE.c.name,
    "licence": SOURCE.c.licence,
    "origin": SOURCE.c.origin,
}
DOCUMENTS = {"config": TRIAL.c.config, "scores": TRIAL.c.scores}
FEW = 500  # keys that are listed in a query
NOT_COMPARED = ("scores", "techniques", "config")
OWNERS: dict[FromClause, tuple[Column[Any], FromClause, Column[Any]]] = {
    # of a column's table: the trial's key, where the column is found, and the key there
    PLUGIN: (TRIAL.c.plugin_id, ORIGINS, PLUGIN.c.id),
    PAPER: (TRIAL.c.plugin_id, ORIGINS, PLUGIN.c.id),
    DATASET: (TRIAL.c.dataset_id, DATASET, DATASET.c.id),
    STUDY: (TRIAL.c.study_id, IMPORTED, STUDY.c.id),
    SOURCE: (TRIAL.c.study_id, IMPORTED, STUDY.c.id),
}


class JsonNumber(FunctionElement[float]):
    """A number in a JSON document, NULL if it is something else: ``JsonNumber(column, name)``."""

    type = Float()
    inherit_cache = True


class JsonText(FunctionElement[str]):
    """A text, or ``true`` or ``false``, in a JSON document, NULL if it is something else."""

    type = String()
    inherit_cache = True


@compiles(JsonNumber, "sqlite")
def number_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    """A path names the place."""
    column, name = (compiler.process(part, **options) for part in element.clauses)
    path = f"""'$."' || {name} || '"'"""
    return (
        f"CASE WHEN json_type({column}, {path}) IN ('integer', 'real') "
        f"THEN json_extract({column}, {path}) END"
    )


@compiles(JsonNumber, "postgresql")
def number_on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    """What is no number must not reach the cast."""
    column, name = (compiler.process(part, **options) for part in element.clauses)
    return (
        f"CASE WHEN jsonb_typeof({column} -> {name}) = 'number' "
        f"THEN ({column} ->> {name})::double precision END"
    )


@compiles(JsonText, "sqlite")
def text_on_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    """SQLite's true and false are 1 and 0: their type tells."""
    column, name = (compiler.process(part, **options) for part in element.clauses)
    path = f"""'$."' || {name} || '"'"""
    return (
        f"CASE json_type({column}, {path}) WHEN 'text' THEN json_extract({column}, {path}) "
        f"WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' END"
    )


@compiles(JsonText, "postgresql")
def text_on_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    """Texts, true and false."""
    column, name = (compiler.process(part, **options) for part in element.clauses)
    return (
        f"CASE WHEN jsonb_typeof({column} -> {name}) IN ('string', 'boolean') "
        f"THEN {column} ->> {name} END"
    )


def document_value(name: str, kind: type) -> ColumnElement[Any]:
    """The column expression of ``config.NAME`` or ``scores.METRIC``."""
    document, _, key = name.partition(".")
    if '"' in key or "\\" in key:
        raise ConfigError(f"filter {name!r}: a name has no quotes and no backslashes")
    function = JsonText if kind in (str, bool) else JsonNumber
    return function(DOCUMENTS[document], literal(key, String()))


def equals(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """Equal; ``None`` stands for a missing value."""
    return column.is_(None) if value is None else column == value


def between(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """From the first to the second, both included."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"filter between: {value!r} must be two values, [low, high]")
    return column.between(*value)


def one_of(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """Among those listed."""
    listed = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    return column.in_(listed) if listed else false()


def begins(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    """Begins with a text, or with one of several."""
    texts = [value] if isinstance(value, str) else list(value)
    # A range instead of LIKE: it is exact about case and can use an index.
    ranges = [and_(column >= text, column < text + "\U0010ffff") for text in texts]
    found: ColumnElement[bool] = false()
    for condition in ranges:
        found = found | condition
    return found


OPERATORS: dict[str, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    "=": equals,
    "!=": lambda column, value: ~equals(column, value),
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "in": one_of,
    "between": between,
    "prefix": begins,
    "known": lambda column, value: column.is_not(None) if value else column.is_(None),
}
MIRRORED = {  # of a number's negative
    **{"<": ">", "<=": ">=", ">": "<", ">=": "<="},
    **{"=": "=", "in": "in", "between": "between"},
}


def conditions(connection: Connection, where: Where) -> list[ColumnElement[bool]]:
    """The conditions of filters, each told by the trial's own columns.

    Raises:
        ConfigError: if a name or an operator does not exist, or a value does not fit.
    """
    return [
        placed(connection, name, operator, value)
        for name, wanted in where.items()
        for operator, value in operations(wanted)
    ]


def operations(wanted: Any) -> list[tuple[str, Any]]:
    """The operators that a filter's value stands for."""
    if isinstance(wanted, Mapping):
        return list(wanted.items())
    return [("in" if isinstance(wanted, list | tuple | set) else "=", wanted)]


def placed(connection: Connection, name: str, operator: str, value: Any) -> ColumnElement[bool]:
    """One condition; on another table's column it tells which keys of the trial match."""
    if operator not in OPERATORS:
        raise ConfigError(unknown("operator", operator, OPERATORS))
    plain = sorted(value) if isinstance(value, set) else value
    if name.partition(".")[0] in DOCUMENTS and "." in name:
        return met(document_value(name, kind_of(plain)), operator, as_text(plain), name)
    if name not in COLUMNS or name in NOT_COMPARED:
        known = {key: 0 for key in COLUMNS if key not in NOT_COMPARED}
        raise ConfigError(unknown("filter", name, known | {"config.NAME": 0, "scores.METRIC": 0}))
    column = COLUMNS[name]
    condition = met(column, operator, moments(column, plain, name), name)
    if name == "objective" and operator in MIRRORED and plain is not None:
        return condition & costs(connection, operator, fit(TRIAL.c.cost, plain, name))
    owner = OWNERS.get(column.table)
    if owner is None:
        return condition
    key, place, target = owner
    matching = select(target).select_from(place).where(condition)
    found = connection.execute(matching.limit(FEW + 1)).scalars().all()
    if not found:
        return false()  # an empty list would be looked up for each trial
    if len(found) == 1:
        only: ColumnElement[bool] = key == found[0]  # an index then gives the trials in order
        return only
    return key.in_(found) if len(found) <= FEW else key.in_(matching)


def costs(connection: Connection, operator: str, value: Any) -> ColumnElement[bool]:
    """What a condition on the objective says of the cost, by which trials are indexed.

    The cost is the objective, negative where the larger is the better.
    """
    several = isinstance(value, list | tuple)
    negative = [-item for item in reversed(value)] if several else -value
    of_goals = {
        "min": OPERATORS[operator](TRIAL.c.cost, value),
        "max": OPERATORS[MIRRORED[operator]](TRIAL.c.cost, negative),
    }
    known = connection.execute(select(STUDY.c.goal).distinct()).scalars()
    return or_(false(), *(of_goals[goal] for goal in known))


def met(column: ColumnElement[Any], operator: str, value: Any, name: str) -> ColumnElement[bool]:
    """The condition that an operator makes.

    Raises:
        ConfigError: if the value is not of the column's kind.
    """
    given = value if isinstance(value, list | tuple) else [value]
    told = [item for item in given if item is not None]
    kind, wanted = kind_of_column(column)
    if operator != "known" and not all(
        isinstance(item, kind) and not isinstance(item, bool) for item in told
    ):
        raise ConfigError(f"filter {name}: {value!r} must be {wanted}")
    if operator not in ("=", "!=", "known") and len(told) != len(given):
        raise ConfigError(f"filter {name} {operator}: a missing value cannot be compared")
    fitting = value if operator == "known" else fit(column, value, name)
    condition: ColumnElement[bool] = OPERATORS[operator](column, fitting)
    return condition


def fit(column: ColumnElement[Any], value: Any, name: str) -> Any:
    """Numbers such that both engines compare them with a column exactly, and others as they are.

    Raises:
        ConfigError: if a number is none, or larger than any that can be on record.
    """
    if isinstance(value, list | tuple):
        return [fit(column, item, name) for item in value]
    if not isinstance(value, int | float):
        return value
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"filter {name}: {value!r} compares with nothing; use known=false")
    try:
        if not isinstance(column.type, Integer):
            return float(value)
        if isinstance(value, float) and not value.is_integer():
            return literal(value, Float())
        if abs(value) <= LARGEST:
            return literal(int(value), BigInteger())
    except OverflowError:
        pass
    raise ConfigError(f"filter {name}: {value!r} is larger than any number on record can be")


def kind_of_column(column: ColumnElement[Any]) -> tuple[Any, str]:
    """What a column is compared with, and its name."""
    if isinstance(column.type, Utc):
        return datetime, "a time"
    texts = isinstance(column.type, String | Text)
    return (str, "a text") if texts else (int | float, "a number")


def moments(column: ColumnElement[Any], value: Any, name: str) -> Any:
    """Times that are given as text (ISO 8601, UTC unless they say otherwise) as times."""
    if not isinstance(column.type, Utc):
        return value
    if isinstance(value, list | tuple):
        return [moments(column, item, name) for item in value]
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ConfigError(f"filter {name}: {value!r} is no time such as 2026-11-25") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def kind_of(value: Any) -> type:
    """What a document's value is compared as."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return type(first)


def as_text(value: Any) -> Any:
    """True and false as JSON writes them."""
    if isinstance(value, list | tuple):
        return [as_text(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def unknown(kind: str, name: str, known: Mapping[str, Any]) -> str:
    """The message for a name that does not exist."""
    return f"no {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
