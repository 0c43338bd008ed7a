"""Copy a whole database to another place or engine, and verify the copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Integer, Table, func, insert, select, text

from automl.core.errors import DatabaseError
from automl.dataset_db.engine import (
    connect,
    database_url,
    explained,
    is_sqlite,
    shown,
    transaction,
)
from automl.dataset_db.tables import METADATA

FETCHED = 5_000  # rows in memory at once
EXACT = 2**53  # integers up to here are the same as floating-point numbers
MODULUS = 2**256
Progress = Callable[[str, int, int], None]


def move(
    source: str, target: str, *, progress: Progress = lambda table, done, total: None
) -> dict[str, Any]:
    """Copy every row of a database into an empty one; between SQLite and PostgreSQL, or alike.

    The copy is one transaction: a crash leaves the target empty. It is verified before it is
    committed: each table's number of rows, and a hash of its content read back. The source is
    only read, in one state; files in the artifact folder stay where they are.

    Args:
        source: A file or URL.
        target: A file or URL; created if need be.
        progress: Told table, rows copied, rows in all.

    Returns:
        source, target, rows and hash of each table.

    Raises:
        DatabaseError: if one cannot be opened, they are the same, the target holds rows, or the
            copy differs.
        MissingExtra: if a driver is not installed.
    """
    if same_place(source, target):
        raise DatabaseError(f"source and target are both {source}: name another target")
    reads = connect(source, write=False)
    new = target_file(target)
    try:
        writes = connect(target, write=True)
        try:
            tables = copy(reads, writes, progress)
        finally:
            writes.dispose()
    except BaseException:
        if new is not None:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{new}{suffix}").unlink()
        raise
    finally:
        reads.dispose()
    return {"source": shown(reads.url), "target": shown(writes.url), "tables": tables}


def same_place(source: str, target: str) -> bool:
    """Whether two names mean one database."""
    one, other = database_url(source), database_url(target)
    if one.get_backend_name() != other.get_backend_name():
        return False
    if one.get_backend_name() == "sqlite":
        return Path(str(one.database)).resolve() == Path(str(other.database)).resolve()
    places = [(url.host, url.port or 5432, url.database) for url in (one, other)]
    return places[0] == places[1]


def target_file(target: str) -> Path | None:
    """The file that will be created, if any."""
    url = database_url(target)
    path = Path(str(url.database))
    return path if url.get_backend_name() == "sqlite" and not path.exists() else None


def copy(reads: Engine, writes: Engine, progress: Progress) -> dict[str, Any]:
    """Copy all tables in one transaction; tell rows and hash of each."""
    done: dict[str, Any] = {}
    with (
        explained(reads.url),
        reads.connect() as source,
        transaction(writes) as target,
    ):
        refuse_rows(target, shown(writes.url))
        for table in METADATA.sorted_tables:  # what is referred to comes first
            done[table.name] = copy_table(source, target, table, progress)
        for table in METADATA.sorted_tables:
            verify(target, table, done[table.name])
        if not is_sqlite(writes):
            set_sequences(target)
    return done


def refuse_rows(target: Connection, name: str) -> None:
    """Refuse a database that is not empty.

    Raises:
        DatabaseError: naming a table that holds rows.
    """
    for table in METADATA.sorted_tables:
        if target.execute(select(table).limit(1)).first() is not None:
            raise DatabaseError(
                f"database {name} holds rows in table {table.name}: move into an empty one"
            )


def copy_table(
    source: Connection, target: Connection, table: Table, progress: Progress
) -> dict[str, Any]:
    """Copy a table; tell its rows and their hash."""
    total = source.execute(select(func.count()).select_from(table)).scalar_one()
    statement, columns = insert(table), [column.name for column in table.columns]
    count, content = 0, 0
    for rows in chunks(source, table):
        target.execute(statement, [dict(zip(columns, row, strict=True)) for row in rows])
        count += len(rows)
        content = (content + sum(map(row_hash, rows))) % MODULUS
        progress(table.name, count, total)
    return {"rows": count, "hash": f"{content:064x}"}


def verify(target: Connection, table: Table, expected: dict[str, Any]) -> None:
    """Read a copied table back and compare.

    Raises:
        DatabaseError: if it differs.
    """
    count, content = 0, 0
    for rows in chunks(target, table):
        count += len(rows)
        content = (content + sum(map(row_hash, rows))) % MODULUS
    found = {"rows": count, "hash": f"{content:064x}"}
    if found != expected:
        raise DatabaseError(
            f"table {table.name} was not copied faithfully ({expected['rows']} rows became "
            f"{count}, or their content changed): nothing was written; please report this"
        )


def chunks(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """The rows of a table, some at a time, in any order."""
    query = select(table).execution_options(yield_per=FETCHED)
    for rows in connection.execute(query).partitions():
        yield list(rows)


def row_hash(row: Any) -> int:
    """A hash of a row's values, the same on both engines.

    Hashes are added up, since engines sort texts differently.
    """
    exact = [value if isinstance(value, int) else plain(value) for value in row]
    values = json.dumps(exact, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(values.encode("utf-8", "surrogatepass")).digest())


def plain(value: Any) -> Any:
    """A value as JSON. PostgreSQL keeps numbers within JSON as decimals: 1e22 comes back whole."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return bytes(value).hex()


def number(value: float) -> int | float | str:
    """A number as it is on both engines."""
    if isinstance(value, int):
        if abs(value) <= EXACT:
            return value
        try:
            value = float(value)
        except OverflowError:
            return str(value)
    return int(value) if value.is_integer() and abs(value) <= EXACT else repr(value)


def set_sequences(target: Connection) -> None:
    """Let PostgreSQL go on counting after the ids that were copied."""
    for table in METADATA.sorted_tables:
        if "id" in table.c and isinstance(table.c.id.type, Integer):
            target.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "
                    f"GREATEST((SELECT MAX(id) FROM {table.name}), 1), "
                    f"EXISTS (SELECT 1 FROM {table.name}))"
                )
            )
