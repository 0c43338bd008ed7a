"""Opening: where the database is, and one sentence about whatever is wrong with it."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from automl.core.errors import AutoMLError, DatabaseError, MissingExtra
from automl.core.places import artifact_root
from automl.dataset_db import engine as opening
from automl.dataset_db import query
from automl.dataset_db.store import Store


def refusal(call: Callable[[], Any], kind: type[AutoMLError] = DatabaseError) -> str:
    """The message of an error, which is one sentence."""
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def open_for_writing(db: str | Path) -> None:
    """Open and close."""
    opening.connect(db, write=True, busy=0.2).dispose()


@pytest.mark.parametrize(
    ("given", "driver", "shown"),
    [
        ("a.db", "sqlite", "a.db"),
        ("sqlite:///a.db", "sqlite", "a.db"),
        ("sqlite:////tmp/a.db", "sqlite", "/tmp/a.db"),
        ("postgresql://u:secret@h/d", "postgresql+psycopg", "postgresql://u:***@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg", "postgresql://u@h/d"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg", "postgresql://u@h/d"),
    ],
)
def test_files_and_urls(given: str, driver: str, shown: str) -> None:
    url = opening.database_url(given)
    assert url.drivername == driver
    assert opening.shown(url) == shown


def test_the_environment_names_the_places(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOML_DB", "elsewhere.db")
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "files"))
    assert opening.shown(opening.database_url()) == "elsewhere.db"
    assert artifact_root() == tmp_path / "files"
    monkeypatch.setenv("AUTOML_DB", "")
    monkeypatch.delenv("AUTOML_ARTIFACTS")
    assert opening.shown(opening.database_url()) == "automl.db"
    assert artifact_root() == Path.cwd() / "automl_artifacts"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://h/d", "kept in SQLite or PostgreSQL, not in mysql"),
        ("postgresql://h:port/d", "neither a file nor a URL"),
        ("sqlite://", "would be gone at exit: name a file"),
        ("sqlite:///:memory:", "would be gone at exit: name a file"),
    ],
)
def test_urls_that_cannot_be_are_refused(given: str, said: str) -> None:
    assert said in refusal(lambda: opening.database_url(given))


def test_reading_creates_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    said = refusal(lambda: query.studies(str(path)))
    assert f"there is no database at {path}: `automl search --plugin ptrnet` creates one" in said
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_filled_by_a_search(db: str) -> None:
    if "://" not in db:
        Path(db).touch()
    assert "is empty: `automl search --plugin ptrnet` fills it" in refusal(
        lambda: query.studies(db)
    )
    open_for_writing(db)
    assert query.studies(db) == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "is a folder: name a file in it"),
        (lambda path: path.write_text("once upon a time " * 100), "file is not a database; choose"),
    ],
)
def test_paths_that_hold_something_else(tmp_path: Path, make, said: str) -> None:
    path = tmp_path / "models.db"
    make(path)
    assert said in refusal(lambda: open_for_writing(path))
    assert said in refusal(lambda: query.studies(str(path)))


def test_a_missing_folder_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "no" / "models.db"
    said = refusal(lambda: open_for_writing(path))
    assert said == f"database {path} cannot be created: there is no folder {path.parent}"
    assert not path.parent.exists()


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    open_for_writing(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"x" * (len(content) - 4096)
    path.write_bytes(bytes(content))
    said = refusal(lambda: query.studies(str(path)))
    assert "malformed; restore a copy, or choose another file with --db" in said


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="automl-public-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(call: Callable[[], Any]) -> str:
    """What a user without rights is told: the result, or the error's message."""
    mine, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)

    def run() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            theirs.send(repr(call()))
        except AutoMLError as error:
            theirs.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    assert mine.poll(60), "no answer"
    process.join()
    return str(mine.recv())


def test_a_file_or_folder_without_permission(public: Path) -> None:
    path = public / "models.db"
    public.chmod(0o555)
    said = as_nobody(lambda: open_for_writing(path))
    assert said.endswith("unable to open database file; check the path and its permissions")
    public.chmod(0o755)
    open_for_writing(path)
    path.chmod(0o444)
    public.chmod(0o555)
    said = as_nobody(lambda: Store(path))
    assert "make the file and its folder writable" in said
    path.chmod(0o000)
    assert "check the path and its permissions" in as_nobody(lambda: query.studies(str(path)))


def test_a_database_published_on_a_read_only_disk_can_be_read(public: Path) -> None:
    path = public / "models.db"
    open_for_writing(path)
    path.chmod(0o444)
    public.chmod(0o555)
    assert as_nobody(lambda: query.studies(str(path))) == "[]"
    assert [file.name for file in public.iterdir()] == ["models.db"]


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch) -> None:
    mounts = [("/", "ext4"), (str(tmp_path), "nfs4"), (str(tmp_path / "other"), "ext4")]
    partitions = [SimpleNamespace(mountpoint=m, fstype=f) for m, f in mounts]
    monkeypatch.setattr(opening.psutil, "disk_partitions", lambda all: partitions)
    said = refusal(lambda: open_for_writing(tmp_path / "models.db"))
    assert "is on a network file system (nfs4)" in said
    assert said.endswith("choose a local folder, or PostgreSQL for several machines")


def test_the_driver_of_postgresql_is_an_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    said = refusal(lambda: query.studies("postgresql://u:secret@localhost/d"), MissingExtra)
    assert 'pip install "automl-papers[postgres]"' in said
    assert "secret" not in said


def test_a_server_that_is_not_there(postgres: str) -> None:
    said = refusal(lambda: open_for_writing("postgresql://u:secret@127.0.0.1:1/d"))
    assert said.endswith("start the server, or correct the URL")
    assert "secret" not in said
    said = refusal(lambda: open_for_writing(postgres + "_not"))
    assert said.endswith("does not exist; create it (createdb), or correct the URL")


# ---------------------------------------------------------------- revisions


def execute(db: str, *statements: str) -> None:
    """Change a database behind our back."""
    url = opening.database_url(db)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_a_newer_database_is_left_alone(db: str) -> None:
    open_for_writing(db)
    execute(db, "UPDATE automl_version SET version_num = '0099'")
    for call in (lambda: open_for_writing(db), lambda: query.studies(db)):
        said = refusal(call)
        assert "has revision 0099, newer than this version of automl knows" in said
        assert said.endswith("upgrade automl")


def test_other_peoples_tables_are_left_alone(db: str) -> None:
    execute(db, "CREATE TABLE trial (id INTEGER)")
    for call in (lambda: open_for_writing(db), lambda: query.studies(db)):
        assert "holds tables that are not automl's: choose another one" in refusal(call)


def test_other_programs_may_live_beside_us_on_postgresql(postgres: str) -> None:
    execute(postgres, "CREATE TABLE runs (id INTEGER)", "CREATE TABLE alembic_version (id INTEGER)")
    open_for_writing(postgres)
    assert query.studies(postgres) == []


def test_several_processes_may_create_it_at_once(db: str) -> None:
    code = f"from automl.dataset_db.store import Store; Store({db!r}).close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert query.studies(db) == []


# ---------------------------------------------------------------- what importing costs


def loaded_by(code: str) -> set[str]:
    """The top-level modules that a fresh process loads."""
    script = f"import sys\n{code}\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return set(re.findall(r"\w+", done.stdout.decode()))


def test_imports_stay_light(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    open_for_writing(path)
    heavy = {"torch", "optuna", "pandas", "streamlit", "alembic"}
    assert not loaded_by("import automl.dataset_db") & (heavy | {"sqlalchemy", "pydantic"})
    assert not loaded_by(f"from automl.dataset_db import studies; studies({str(path)!r})") & heavy
    read = f"from automl.dataset_db import models; models({str(path)!r})"
    assert not loaded_by(read) & (heavy - {"pandas"})
    rows = f"from automl.dataset_db.records import record_page; record_page({str(path)!r})"
    assert not loaded_by(rows) & (heavy | {"numpy"})
    write = f"from automl.dataset_db import Store; Store({str(path)!r}).close()"
    assert not loaded_by(write) & heavy


def test_an_open_engine_is_asked_again_and_again(store: Store, study: int, db: str) -> None:
    engine = opening.connect(db, write=False)
    opened: list[Any] = []
    sqlalchemy.event.listen(engine, "connect", lambda *connection: opened.append(connection))
    try:
        for _ in range(3):
            assert query.study(study, engine) == query.study(study, db)
            assert query.info(engine)["study rows"] == 1
        assert len(opened) <= 1  # opening has made the first, the pool keeps it
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        engine.dispose()


def test_a_name_that_does_not_exist() -> None:
    import automl.dataset_db

    with pytest.raises(AttributeError, match="has no attribute 'modles'"):
        automl.dataset_db.modles  # noqa: B018
