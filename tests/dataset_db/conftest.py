"""A private PostgreSQL server, and every test of a database on both engines."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automl.core.record import PluginRecord, StudySpec, TrialEnd, TrialStart
from automl.dataset_db.store import Store

SPEC = StudySpec(
    name="tested",
    kind="search",
    plugins=(
        PluginRecord(
            "tested",
            1,
            {"title": "A paper", "year": 2020, "arxiv": "2001.00001", "authors": "A. Author"},
            {"__init__.py": "x = 1\n", "model.py": '"""Docs."""\ny = 2\n'},
        ),
    ),
    dataset="spirals",
    info={"name": "spirals", "problem": "tabular-classification", "sizes": {"train": 10}},
    metrics=(("accuracy", "max", ""), ("nll", "min", "nats")),
    space={"tested": {"x": {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0}}}},
    settings={"search": {"seed": 0}, "plugins": {"tested": {"reference": "tested"}}},
    environment={"python": "3.11", "packages": {"torch": "2.9"}},
    trials=10,
    timeout=None,
    seed=7,
)


def postgres_binaries() -> Path:
    """The folder of initdb and pg_ctl, the newest version first."""
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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server of our own; it refuses to run as root, so it does as ``postgres``."""
    if os.environ.get("AUTOML_TEST_POSTGRES") == "0":
        pytest.skip("AUTOML_TEST_POSTGRES=0")
    binaries, port = postgres_binaries(), free_port()
    user: dict[str, Any] = {"user": "postgres"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="automl-pg-"))
    if user:
        shutil.chown(folder, "postgres")
    data, log = folder / "data", folder / "log"
    run = {"check": True, "capture_output": True, "cwd": folder, **user}
    initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(initdb, **run)
    options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off -c max_connections=60"
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, *options.split()],
        stdout=subprocess.DEVNULL,
        stderr=log.open("w"),
        cwd=folder,
        **user,
    )
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        for _ in range(300):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # "fast": connections are dropped
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    import psycopg

    name = f"test_{time.monotonic_ns()}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: a file name, then a PostgreSQL URL."""
    if request.param == "sqlite":
        return str(tmp_path / "models.db")
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def make_store(db: str, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the database for writing, as often as asked."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        opened.append(Store(db, artifacts=tmp_path / "artifacts", **options))
        return opened[-1]

    yield make
    for store in opened:
        store.engine.dispose()


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    """The database, open for writing."""
    return make_store()


@pytest.fixture
def spec() -> StudySpec:
    """A study whose objective is accuracy."""
    return copy.deepcopy(SPEC)


@pytest.fixture
def with_plugin(spec: StudySpec) -> Callable[..., StudySpec]:
    """Makes that study with another state of its plugin."""

    def make(**changes: Any) -> StudySpec:
        return replace(spec, plugins=(replace(spec.plugins[0], **changes),))

    return make


@pytest.fixture
def study(store: Store, spec: StudySpec) -> int:
    """That study, recorded and run by this process."""
    return store.create_study(spec)


@pytest.fixture
def start() -> Callable[..., TrialStart]:
    """Makes a trial that is handed out."""

    def make(number: int, x: float = 0.5, **changes: Any) -> TrialStart:
        return replace(
            TrialStart(number, "tested", number + 100, {"x": x}, {"x": x, "n": 3}), **changes
        )

    return make


@pytest.fixture
def run_trial(start: Callable[..., TrialStart]) -> Callable[..., None]:
    """Tells a store of a whole trial with one report; not flushed."""

    def run(
        store: Store, study: int, number: int, value: float | None = 0.5, **changes: Any
    ) -> None:
        plugin = changes.pop("plugin", "tested")
        store.start_trial(study, start(number, changes.pop("x", 0.5), plugin=plugin))
        scores = {} if value is None else {"accuracy": value, "nll": 1 - value}
        store.report(study, number, 1, "valid", scores)
        end = TrialEnd(number, "complete", value, scores, 1, 0.25)
        store.finish_trial(study, replace(end, **changes))

    return run
