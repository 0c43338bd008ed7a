"""Open the model database: where it is, whether it fits this code, and errors in one sentence."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import sqlalchemy
from sqlalchemy import Connection, Engine, NullPool, Pool, QueuePool, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from automl.core.errors import DatabaseAway, DatabaseError, MissingExtra, QueryTimeout
from automl.core.places import database
from automl.dataset_db.types import dumps, loads

Db: TypeAlias = str | Path | Engine | None  # a file, a URL, one that is open, or the default
REVISIONS = ("0001", "0002", "0003")  # those in migrations/versions, oldest first; a test compares
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "automl_version"  # not Alembic's own, which another program may have here
OUR_TABLES = ("study", "trial")
BUSY_SECONDS = 30.0
# A server whose machine or network is gone says nothing: libpq would wait for a quarter of an hour.
NOTICES_SILENCE = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds without an acknowledgement
}
ADVISORY_LOCK = 0x6175746F6D6C  # "automl": one process at a time changes PostgreSQL's schema
# Locks do not work across machines there: a write-ahead log would be damaged.
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs")
ADVICE = {
    "locked": "another program is writing to it: wait, or close that",
    "lock timeout": "another program is writing to it: wait, or close that",
    "readonly": "make the file and its folder writable",
    "unable to open": "check the path and its permissions",
    "not a database": "choose another file with --db or AUTOML_DB",
    "malformed": "restore a copy, or choose another file with --db or AUTOML_DB",
    "is full": "free some space; what was recorded before is kept",
    "No space left": "free some space; what was recorded before is kept",
    "disk I/O": "check the disk; what was recorded before is kept",
    "refused": "start the server, or correct the URL",
    "closed the connection": "start the server again; what was recorded before is kept",
    "terminating connection": "start the server again; what was recorded before is kept",
    "could not translate host": "correct the URL",
    "does not exist": "create it (createdb), or correct the URL",
    "password": "correct the user and password of the URL",
    "permission denied": "ask for the right to use it",
}
OUT_OF_TIME = ("interrupted", "statement timeout")
AWAY = ("08", "57P")  # classes of SQLSTATE: no connection; the server stops, or is starting


def database_url(db: str | Path | None = None) -> sqlalchemy.URL:
    """The URL for a file name, a URL or, by default, AUTOML_DB or ``./automl.db``.

    Raises:
        DatabaseError: if it is neither a file name nor a SQLite or PostgreSQL URL.
    """
    given = str(db or database())
    if "://" not in given:
        return sqlalchemy.URL.create("sqlite", database=str(Path(given).expanduser()))
    try:
        url = make_url(given)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(f"database {given!r} is neither a file nor a URL: {error}") from error
    backend = url.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise DatabaseError(
            f"database {shown(url)}: models are kept in SQLite or PostgreSQL, not in {backend}"
        )
    if url.database in (None, "", ":memory:"):
        raise DatabaseError(f"database {given!r} would be gone at exit: name a file")
    return url


def shown(url: sqlalchemy.URL) -> str:
    """A URL or file name fit to print: without a password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def connect(db: str | Path | None = None, *, write: bool, busy: float = BUSY_SECONDS) -> Engine:
    """An engine whose schema is the one that this code knows.

    Writing creates the database and migrates an older one (a copy of a SQLite file is kept
    beside it); reading does neither. ``busy`` is how long to wait for another writer, in seconds.

    Raises:
        DatabaseError: if it is missing, unreadable, unwritable, locked, not ours, or of another
            revision than this code can use.
        MissingExtra: if the driver is not installed.
    """
    url = database_url(db)
    with explained(url):
        engine = make_engine(url, write, busy)
        try:
            if not check(engine, write):
                migrate(engine)
        except BaseException:
            engine.dispose()
            raise
    return engine


def check(engine: Engine, write: bool) -> bool:
    """Whether the schema is the newest; ``False`` means that it is to be migrated."""
    found, name = revision(engine), shown(engine.url)
    if found is None and foreign(engine):
        found = revision(engine)  # another process may just have created ours
        if found is None:
            raise DatabaseError(
                f"database {name} holds tables that are not automl's: choose another one with "
                "--db or AUTOML_DB"
            )
    if found == REVISIONS[-1]:
        return True
    if found is not None and found not in REVISIONS:
        raise DatabaseError(
            f"database {name} has revision {found}, newer than this version of automl knows "
            f"({REVISIONS[-1]}): upgrade automl"
        )
    if write:
        return False
    if found is None:
        raise DatabaseError(f"database {name} is empty: `automl search --plugin ptrnet` fills it")
    raise DatabaseError(
        f"database {name} has the older revision {found}: the next `automl search` or "
        f"`automl resume` brings it to {REVISIONS[-1]}, a file is copied before"
    )


def foreign(engine: Engine) -> bool:
    """Whether a database without our revision holds what we must not touch.

    On PostgreSQL other programs may live beside us, unless a table of theirs has our name.
    """
    names = sqlalchemy.inspect(engine).get_table_names()
    return bool(names) if is_sqlite(engine) else any(name in names for name in OUR_TABLES)


def is_sqlite(engine: Engine) -> bool:
    """Whether the database is a file."""
    return engine.dialect.name == "sqlite"


def make_engine(
    url: sqlalchemy.URL, write: bool, busy: float, pool: type[Pool] = QueuePool
) -> Engine:
    """An engine with the connection settings that we rely on."""
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, write, busy, pool)
    try:
        engine = sqlalchemy.create_engine(
            url,
            connect_args=NOTICES_SILENCE,
            poolclass=pool,
            pool_pre_ping=True,  # trials take long, and idle connections may be cut
            json_serializer=dumps,
            json_deserializer=loads,
            isolation_level="READ COMMITTED" if write else "REPEATABLE READ",
            execution_options={"postgresql_readonly": not write},
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise MissingExtra(
            f"database {shown(url)} needs a driver that is not installed ({error}): "
            'pip install "automl-papers[postgres]"'
        ) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        milliseconds = max(1, int(1000 * busy))  # 0 would be for ever
        connection.execute(f"SET lock_timeout = {milliseconds}")
        connection.commit()

    return engine


def sqlite_engine(url: sqlalchemy.URL, write: bool, busy: float, pool: type[Pool]) -> Engine:
    """SQLite with foreign keys, a write-ahead log and patience; explicit transactions."""
    path = Path(str(url.database))
    engine = sqlalchemy.create_engine(
        "sqlite://",
        creator=lambda: open_sqlite(path, write, busy),
        poolclass=pool,
        json_serializer=dumps,
        json_deserializer=loads,
    )
    engine.url = url

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes the lock before it reads: it then waits its turn and cannot fail midway.
        reads = not write or connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def open_sqlite(path: Path, write: bool, busy: float) -> sqlite3.Connection:
    """A connection without implicit transactions; read-only ones never create or change a file."""
    mode = "rwc" if write else "ro"
    if not write and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        mode = "ro&immutable=1"  # published on a read-only disk: no log can be kept beside it
    check_path(path, write)
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA foreign_keys=ON")
        if write:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def check_path(path: Path, write: bool) -> None:
    """Refuse a path that cannot hold a database, saying why."""
    if path.is_dir():
        raise DatabaseError(
            f"database {path} is a folder: name a file in it, e.g. {path}/models.db"
        )
    if not write:
        if not path.exists():
            raise DatabaseError(
                f"there is no database at {path}: `automl search --plugin ptrnet` creates one, "
                "--db or AUTOML_DB names another"
            )
        return
    if not path.parent.is_dir():
        raise DatabaseError(f"database {path} cannot be created: there is no folder {path.parent}")
    if kind := network_file_system(path.absolute().parent):
        raise DatabaseError(
            f"database {path} is on a network file system ({kind}), where SQLite is damaged "
            "sooner or later: choose a local folder, or PostgreSQL for several machines"
        )


def network_file_system(folder: Path) -> str:
    """The kind of network file system that a folder is on, or an empty string."""
    above = {str(part) for part in (folder, *folder.parents)}
    mounts = [p for p in psutil.disk_partitions(all=True) if p.mountpoint in above]
    if not mounts:
        return ""
    kind = max(mounts, key=lambda mount: len(mount.mountpoint)).fstype
    return kind if kind in NETWORK_FILE_SYSTEMS else ""


def revision(engine: Engine) -> str | None:
    """The schema's revision; ``None`` for a database without our tables."""
    with engine.connect().execution_options(reads=True) as connection:
        if not sqlalchemy.inspect(connection).has_table(VERSION_TABLE):
            return None
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        return None if found is None else str(found)


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision in one transaction; a file is copied before."""
    from alembic import command
    from alembic.config import Config

    found = revision(engine)
    if found is not None and is_sqlite(engine):
        back_up(Path(str(engine.url.database)), found)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with migrating(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A transaction in which the schema may change, one process at a time.

    SQLite changes a table by making it anew, and would delete what refers to the old one: foreign
    keys are off meanwhile, which it only allows outside a transaction, and checked at the end.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        if is_sqlite(engine):
            driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not is_sqlite(engine):
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
                yield connection
                if is_sqlite(engine):
                    broken = connection.execute(text("PRAGMA foreign_key_check")).first()
                    if broken is not None:
                        raise DatabaseError(f"migrating broke a reference: {tuple(broken)}")
        finally:
            if is_sqlite(engine):
                driver.execute("PRAGMA foreign_keys=ON")


def back_up(path: Path, found: str) -> Path:
    """Copy a SQLite file, what its log holds included, to a new file beside it."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    copy = path.with_name(f"{path.name}.backup-{found}-{stamp}")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    return copy


@contextmanager
def explained(url: sqlalchemy.URL) -> Iterator[None]:
    """Turn a driver's error into one sentence that names the database and what to do."""
    try:
        yield
    except (DBAPIError, sqlite3.Error, OSError, OverflowError) as error:
        cause = str(getattr(error, "orig", None) or error).strip()
        advice = next((text for word, text in ADVICE.items() if word in cause), "")
        cause = cause.splitlines()[0] if cause else type(error).__name__
        if any(word in cause for word in OUT_OF_TIME):
            raise QueryTimeout(
                f"database {shown(url)}: the question takes too long; filter it, or ask for less"
            ) from error
        sentence = f"database {shown(url)}: {cause}"
        kind = DatabaseAway if is_away(error) else DatabaseError
        raise kind(f"{sentence}; {advice}" if advice else sentence) from error


def is_away(error: Exception) -> bool:
    """Whether a server could not be reached, or broke off, rather than refused what was asked."""
    if not isinstance(error, OperationalError) or isinstance(error.orig, sqlite3.Error):
        return isinstance(error, DBAPIError) and error.connection_invalidated
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(AWAY)


@contextmanager
def reading(db: Db = None) -> Iterator[Connection]:
    """A read-only connection in one transaction (one state of the data), closed afterwards.

    An open engine (``connect(..., write=False)``) lends one of its connections and stays open: a
    server that asks often neither opens the database nor checks its schema each time.

    Raises:
        DatabaseError, MissingExtra: see ``connect``.
    """
    if isinstance(db, Engine):
        with explained(db.url), db.connect() as connection:
            yield connection
        return
    url = database_url(db)
    with explained(url), reader(url).connect() as connection:
        if not is_current(connection):
            connection.rollback()
            check(reader(url), write=False)  # tells what it is
        yield connection


def is_current(connection: Connection) -> bool:
    """Whether the schema is the newest, asked in the quickest way."""
    try:
        found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    except DBAPIError:
        return False
    return bool(found == REVISIONS[-1])


@lru_cache(maxsize=16)
def reader(url: sqlalchemy.URL) -> Engine:
    """An engine that opens the database anew each time, and knows the queries made before."""
    return make_engine(url, False, BUSY_SECONDS, NullPool)


@contextmanager
def transaction(engine: Engine, *, reads: bool = False) -> Iterator[Connection]:
    """A connection in a transaction: all of it is written, or nothing and ``DatabaseError``."""
    with (
        explained(engine.url),
        engine.connect().execution_options(reads=reads) as connection,
        connection.begin(),
    ):
        yield connection
