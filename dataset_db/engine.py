"""Open the model database: where it is, whether it fits this code, and errors in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from automl.core.errors import DatabaseError, MissingExtra

HEAD = "0001"  # the newest revision in migrations/versions; a test compares
REVISIONS = ("0001",)
BUSY_SECONDS = 30.0


class Places(BaseSettings):
    """Where things are kept: AUTOML_DB (a file or URL) and AUTOML_ARTIFACTS (a folder)."""

    model_config = SettingsConfigDict(env_prefix="AUTOML_")
    db: str = "automl.db"
    artifacts: Path = Path("automl_artifacts")


def database_url(db: str | None = None) -> sqlalchemy.URL:
    """The URL for a file name, a URL or, by default, AUTOML_DB.

    Raises:
        DatabaseError: if it is neither.
    """
    given = db or Places().db
    if "://" not in given:
        return sqlalchemy.URL.create("sqlite", database=str(Path(given).expanduser()))
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise DatabaseError(f"database {given!r} is neither a file nor a URL: {error}") from error
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    return url


def shown(url: sqlalchemy.URL) -> str:
    """A URL or file name fit to print: without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def connect(db: str | None = None, *, write: bool, busy: float = BUSY_SECONDS) -> Engine:
    """An engine whose schema is the one that this code knows.

    Writing creates the database and migrates an older one (a SQLite file is copied first);
    reading does neither. ``busy`` is how long to wait for another writer, in seconds.

    Raises:
        DatabaseError: if it is missing, unreadable, locked, newer than this code or not ours.
        MissingExtra: if the driver is not installed.
    """
    url = database_url(db)
    engine = make_engine(url, write, busy)
    with explained(url):
        found = revision(engine)
        if found == HEAD:
            return engine
        if found is not None and found not in REVISIONS:
            raise DatabaseError(
                f"database {shown(url)} has schema {found}, newer than this version of automl "
                f"knows ({HEAD}): upgrade automl"
            )
        if not write:
            what = "is empty" if found is None else f"has the older schema {found}"
            raise DatabaseError(
                f"database {shown(url)} {what}; `automl search --plugin ptrnet` sets it up"
            )
        if found is None and sqlalchemy.inspect(engine).get_table_names():
            raise DatabaseError(f"database {shown(url)} holds tables that are not automl's")
        if found is not None and url.get_backend_name() == "sqlite":
            shutil.copy2(str(url.database), f"{url.database}.backup-{found}")
        migrate(engine)
        return engine


def make_engine(url: sqlalchemy.URL, write: bool, busy: float) -> Engine:
    """An engine with the connection settings that we rely on."""
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, write, busy)
    try:
        return sqlalchemy.create_engine(
            url, connect_args={"connect_timeout": 10}, pool_pre_ping=True
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise MissingExtra(
            f"database {shown(url)} needs a driver that is not installed ({error}): "
            'pip install "automl-papers[postgres]"'
        ) from error


def sqlite_engine(url: sqlalchemy.URL, write: bool, busy: float) -> Engine:
    """SQLite with foreign keys, a write-ahead log and patience."""
    path = Path(str(url.database))
    if not write and not path.exists():
        raise DatabaseError(
            f"there is no database at {path}; `automl search --plugin ptrnet` creates one, "
            "AUTOML_DB or --db names another"
        )
    if write and not path.parent.is_dir():
        raise DatabaseError(f"database {path} cannot be created: {path.parent} is no folder")
    engine = sqlalchemy.create_engine(
        url, connect_args={"timeout": busy, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        if write:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
        else:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    return engine


def revision(engine: Engine) -> str | None:
    """The schema's revision; ``None`` for a database without our tables."""
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, in one transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def explained(url: sqlalchemy.URL) -> Iterator[None]:
    """Turn a driver's error into one sentence that names the database and what to do."""
    try:
        yield
    except (DBAPIError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise DatabaseError(f"database {shown(url)}: {cause}{advice(cause)}") from error


def advice(cause: str) -> str:
    """What to do about a driver's error."""
    known = {
        "locked": "; another program holds it: close that, or wait",
        "readonly": "; check the permissions of the file and of its folder",
        "unable to open": "; check the path and its permissions",
        "not a database": "; choose another file with --db",
        "malformed": "; restore a backup, or choose another file with --db",
        "full": "; free some space: everything before is kept",
        "refused": "; is the server running?",
    }
    return next((text for word, text in known.items() if word in cause), "")


@contextmanager
def reading(db: str | None = None) -> Iterator[Connection]:
    """A read-only connection, closed afterwards; see ``connect`` for what it raises."""
    engine = connect(db, write=False)
    try:
        with explained(engine.url), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction: all of it is written, or nothing and ``DatabaseError``."""
    with explained(engine.url), engine.begin() as connection:
        yield connection


def artifact_root() -> Path:
    """The artifact folder, absolute."""
    return Places().artifacts.expanduser().resolve()
