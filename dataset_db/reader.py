"""An engine for programs that ask often, such as a server: kept open, each question timed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from automl.dataset_db.engine import connect, is_sqlite

STEPS = 10_000  # of SQLite's virtual machine between two looks at the clock: well below a ms


def open_reader(db: str | Path | None = None, *, seconds: float) -> Engine:
    """A read-only engine whose connections are pooled, and interrupt what takes too long.

    ``seconds`` is the time that a question may take; on PostgreSQL, each of its queries. A
    question that takes longer ends with ``QueryTimeout``. ``dispose`` closes the engine.

    Raises:
        DatabaseError, MissingExtra: see ``engine.connect``.
    """
    engine = connect(db, write=False)
    limit = limit_on_sqlite if is_sqlite(engine) else limit_on_postgresql

    @event.listens_for(engine, "checkout")
    def start(connection: Any, record: Any, proxy: Any) -> None:
        limit(connection, record.info, seconds)

    return engine


def limit_on_sqlite(connection: Any, info: dict[Any, Any], seconds: float) -> None:
    """SQLite asks us whether to go on."""
    deadline = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)


def limit_on_postgresql(connection: Any, info: dict[Any, Any], seconds: float) -> None:
    """The server looks at the clock; it is told once for each connection."""
    if "limited" not in info:
        connection.execute(f"SET statement_timeout = {max(1, int(1000 * seconds))}")
        connection.commit()
        info["limited"] = True
