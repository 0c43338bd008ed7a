"""Fixtures for all tests: plugins written on the spot, databases and a PostgreSQL server."""

from __future__ import annotations

import copy
import functools
import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import hypothesis
import pytest
import sqlalchemy
import torch
from alembic import command
from alembic.config import Config

from automl.core.discovery import catalogue
from automl.dataset_db import engine as opening
from automl.dataset_db.tables import METADATA

INIT = """
from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="{name}",
    target=f"{{__name__}}.plugin:Tested",
    paper=Paper("A paper", 2020),
    problems=("tabular-classification",),
    dataset="spirals:train_size=200",
)

@hookimpl
def register_plugins(register):
    register(CARD)
"""

PLUGIN = """
import os, sys, time
from dataclasses import dataclass, replace
import torch
from torch import nn
from automl.core.api import Plugin, Settings, setting
from . import CARD

@dataclass(frozen=True)
class Config(Settings):
    x: float = setting(0.5, low=0, high=1)
    n: int = setting(3, low=1, high=100)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
    def forward(self, x):
        return {{"logits": self.layer(x)}}

class Tested(Plugin):
    card = CARD
    defaults = Config()
    full = Config()

    def space(self, trial, base, data):
{space}

    def build(self, config, data):
        return Model()

    def steps(self, config):
        return config.n

    def fit(self, model, config, run):
{fit}

    def evaluate(self, model, config, split):
        return {{"accuracy": config.x, "nll": 1 - config.x}}

    def example(self, config, data):
        return {{"x": torch.zeros(2, 2)}}
"""
SPACE = 'return replace(base, x=trial.suggest_float("x", 0, 1))'
FIT = """
for step in range(1, config.n + 1):
    run.report(step, {"accuracy": config.x * step / config.n, "nll": 1.0})
"""
PluginMaker = Callable[..., str]
DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
SHAPE = """
SELECT attrelid, attname, atttypid, attnotnull, relname, relchecks, relhastriggers, indisvalid
FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
LEFT JOIN pg_index ON attrelid = indexrelid
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 ORDER BY attrelid, attnum
"""


# No test is of speed: on a busy machine any example may take long.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """Keep Python's collector off what imports have made, which stays: a million objects.

    It would look through all of them again and again while a graph is traced or pages are drawn,
    a fifth of the time of an export. Tests that measure memory do so in processes of their own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests measure behaviour, not speed; two cores are shared by all of them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def operators_are_read_once() -> Iterator[None]:
    """PyTorch's exporter parses its 500 operators anew for each graph: half a second each time."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)

    def copied(opset_version: int) -> ONNXRegistry:
        registry = copy.copy(read(opset_version))
        registry.functions = {name: list(found) for name, found in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copied))
        yield


@pytest.fixture(scope="session", autouse=True)
def schemas_are_worked_out_once() -> Iterator[None]:
    """A new database is migrated through every revision, with tables made anew on the way.

    The first of each engine is; later ones are told the same statements. Databases of older
    revisions are always migrated, and child processes know nothing of this.
    """
    real, told = command.upgrade, dict[str, list[tuple[str, Any]]]()

    def upgrade(config: Config, revision: str) -> None:
        connection: sqlalchemy.Connection = config.attributes["connection"]
        engine = connection.dialect.name
        if revision != "head" or sqlalchemy.inspect(connection).has_table(opening.VERSION_TABLE):
            real(config, revision)
        elif engine in told:
            for statement, values in told[engine]:
                connection.exec_driver_sql(statement, values or None)
        else:
            with listening(connection) as statements:
                real(config, revision)
            told[engine] = statements

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", upgrade)
        yield


@contextmanager
def listening(connection: sqlalchemy.Connection) -> Iterator[list[tuple[str, Any]]]:
    """What changes the database through a connection."""
    heard: list[tuple[str, Any]] = []

    def hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "PRAGMA")):
            heard.append((statement, values))

    sqlalchemy.event.listen(connection, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        sqlalchemy.event.remove(connection, "before_cursor_execute", hear)


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes the user's database, or the folder it is started in."""
    monkeypatch.setenv("AUTOML_DB", str(tmp_path / "models.db"))
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def make_plugin(tmp_path: Path) -> Iterator[PluginMaker]:
    """Write an unpackaged plugin with the given bodies of ``fit`` and ``space``.

    The catalogue forgets it afterwards: it would take part in later tests' tournaments.
    """

    def make(fit: str = FIT, space: str = SPACE, name: str = "tested", init: str = INIT) -> str:
        folder = tmp_path / f"plugin_{name}"
        folder.mkdir()
        (folder / "__init__.py").write_text(dedent(init).format(name=name))
        body: dict[str, Any] = {
            key: indent(dedent(text).strip(), " " * 8)
            for key, text in {"fit": fit, "space": space}.items()
        }
        (folder / "plugin.py").write_text(dedent(PLUGIN).format(**body))
        return str(folder)

    yield make
    catalogue.cache_clear()


# ---------------------------------------------------------------- PostgreSQL


def postgres_binaries() -> Path:
    """The folder of initdb and postgres, the newest version first."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    found = str(installed[0]) if installed else shutil.which("initdb")
    if found is None:
        pytest.fail(
            "PostgreSQL's initdb was not found: install postgresql, or set AUTOML_TEST_POSTGRES=0 "
            "to test on SQLite only"
        )
    return Path(found).parent


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])


def roomy_memory() -> Path | None:
    """A file system in memory, if it has room: to create 300 small files for each database there
    takes a tenth of what some disks do.
    """
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > 4e9 else None


class PostgresServer:
    """A server of our own; it refuses to run as root, so it does as ``postgres``."""

    def __init__(self) -> None:
        self.binaries, self.port = postgres_binaries(), free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="automl-pg-", dir=roomy_memory()))
        self.log = self.folder / "log"
        self.user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
        if self.user:
            shutil.chown(self.folder, "postgres")
        run = {"check": True, "capture_output": True, "cwd": self.folder, **self.user}
        options = ["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run([self.binaries / "initdb", *options], **run)
        self.kept: tuple[str, list[Any]] | None = None  # see ``migrated``
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = (
            f"-p {self.port} -k {self.folder} -h 127.0.0.1 -c max_connections=60 "
            "-c fsync=off -c wal_level=minimal -c max_wal_senders=0"
        )
        self.process = subprocess.Popen(
            [self.binaries / "postgres", "-D", "data", *options.split()],
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("a"),
            cwd=self.folder,
            **self.user,
        )
        ready = [self.binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        pytest.fail(f"PostgreSQL did not start: {self.log.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: connections are dropped. SIGQUIT: it ends at once, as in a crash."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)

    def create(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{time.monotonic_ns()}"
        self.execute(f"CREATE DATABASE {name}")
        return f"{self.url}/{name}"

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of an empty database with our tables, which the next test gets as well.

        A new one is half a second of work. Who changed the tables themselves is the last to use it.
        """
        if self.kept is None:
            url = self.create()
            opening.connect(url, write=True).dispose()
            self.kept = (url, self.execute(SHAPE, url))
        url, shape = self.kept
        try:
            yield url
        finally:
            self.execute(DISCONNECT.format(url.rpartition("/")[2]))
            if self.execute(SHAPE, url) == shape:
                names = ", ".join(table.name for table in METADATA.sorted_tables)
                self.execute(f"TRUNCATE {names} RESTART IDENTITY", url)
            else:
                self.kept = None
                self.drop(url)

    def drop(self, url: str) -> None:
        """Delete a database, whoever still has it open."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str, url: str = "") -> list[Any]:
        """Carry out one statement outside of a transaction; its rows, if it has any."""
        import psycopg

        with psycopg.connect(url or f"{self.url}/postgres", autocommit=True) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; who stops it starts it again."""
    if os.environ.get("AUTOML_TEST_POSTGRES") == "0":
        pytest.skip("PostgreSQL is left out: AUTOML_TEST_POSTGRES=0 says so, as CI never does")
    server = PostgresServer()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)
