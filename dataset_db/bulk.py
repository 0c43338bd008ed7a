"""Many rows at once: ids taken beforehand, then one statement however many rows there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, func, select, text

COPIED = 50_000  # rows in one call, so that no list of all is made


def reserve(connection: Connection, table: Table, count: int) -> Iterator[int]:
    """Ids that nobody else takes; a writer on SQLite is alone within its transaction."""
    if connection.dialect.name == "sqlite":
        last = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
        return iter(range(last + 1, last + 1 + count))
    query = text("SELECT nextval(pg_get_serial_sequence(:of, 'id')) FROM generate_series(1, :n)")
    return iter(connection.execute(query, {"of": table.name, "n": count}).scalars().all())


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Insert rows whose values the driver takes as they are: JSON as text, no times on SQLite."""
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"
        for start in range(0, len(rows), COPIED):
            connection.exec_driver_sql(statement, list(map(tuple, rows[start : start + COPIED])))
        return
    cursor = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def analyse(connection: Connection) -> None:
    """Let the database count what its indexes hold: it then chooses well among them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA analysis_limit=1000")  # a sample tells enough
    connection.exec_driver_sql("ANALYZE")
