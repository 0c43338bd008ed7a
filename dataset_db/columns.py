"""The result of a query as columns: many rows at once, as the driver gives them.

SQLAlchemy makes an object of each row and calls a function for each value: for a hundred thousand
rows that takes several times as long as reading them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Select,
    any_,
    func,
    literal,
    select,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from automl.dataset_db.types import Json, dumps, loads

Columns = dict[str, list[Any]]
AT_ONCE = 1000  # rows; they live shortly, so that the garbage collector does not look at all


def among(
    connection: Connection, column: ColumnElement[int], keys: Iterable[int]
) -> ColumnElement[bool]:
    """The condition that a key is one of many: one parameter, however many there are."""
    if connection.dialect.name != "sqlite":
        return column == any_(literal(list(keys), ARRAY(BigInteger)))
    listed = func.json_each(dumps(list(keys))).table_valued("value")
    return column.in_(select(listed.c.value))


def fetched(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """The rows of a query with the values that the driver gives, whatever the columns' types."""
    result = connection.execute(query)
    assert result.cursor is not None  # there is one while a result has rows to give
    found = [*result.cursor.fetchall()]
    result.close()
    return found


def read(connection: Connection, query: Select[Any]) -> Columns:
    """The columns of a query by name, with values of their types; equal texts are one object."""
    result = connection.execute(query)
    assert result.cursor is not None
    wanted = list(query.selected_columns)
    found: list[list[Any]] = [[] for _ in wanted]
    while some := result.cursor.fetchmany(AT_ONCE):
        for values, more in zip(found, zip(*some, strict=True), strict=True):
            values.extend(more)
    result.close()
    return {
        str(column.key): typed(values, column.type, connection.dialect)
        for column, values in zip(wanted, found, strict=True)
    }


def typed(values: list[Any], kind: TypeEngine[Any], dialect: Dialect) -> list[Any]:
    """The values that a type makes of the driver's; documents all at once, others each once."""
    if isinstance(kind, Json):
        if dialect.name != "sqlite":
            return values  # the driver has read them
        # SQLite keeps a document that is a number as one.
        texts = ("null" if value is None else str(value) for value in values)
        documents: list[Any] = loads(f"[{','.join(texts)}]")
        return documents
    ours = isinstance(kind, TypeDecorator)  # for other types the drivers give Python's own
    process = kind.dialect_impl(dialect).result_processor(dialect, None) if ours else None
    if process is not None:
        made = {value: process(value) for value in set(values)}
        return [made[value] for value in values]
    if isinstance(next((value for value in values if value is not None), None), str):
        same: dict[Any, Any] = {}
        return [*map(same.setdefault, values, values)]
    return values
