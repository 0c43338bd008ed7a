"""A database is copied to another place or engine whole, or not at all."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from automl.core.errors import DatabaseError
from automl.core.record import Failure, TrialEnd
from automl.dataset_db import engine as opening
from automl.dataset_db import move as moving
from automl.dataset_db import query
from automl.dataset_db.move import move
from automl.dataset_db.schema import CODE, FLAG, SCORE, SOURCE
from automl.dataset_db.store import Store
from automl.dataset_db.tables import METADATA
from automl.dataset_db.types import now

ODD = {
    "inf": math.inf,
    "large": 1e22,
    "larger": 1e23,
    "small": 5e-324,
    "negative zero": -0.0,
    "whole": 3.0,
    "text": "é \N{SNOWMAN} \\u0000 ''",
    "nested": [{"b": None, "a": [True, 2**53 + 1]}],
}


@pytest.fixture
def filled(db: str, make_store: Callable[[], Store], spec, start, run_trial, study: int) -> str:
    """A database with a row of many kinds."""
    store = make_store()
    store.claim_study(study)
    run_trial(store, study, 0, 0.1 + 0.2)
    store.start_trial(study, start(1, config=ODD, seed=2**63 - 1))
    failure = Failure("ValueError", "it broke")
    store.finish_trial(study, TrialEnd(1, "failed", None, {}, 0, 0.5, failure=failure))
    store.close_study(study, "complete", 0, 2.5)
    with store.engine.begin() as connection:
        values: dict[str, Any] = {"name": "s", "kind": "lemur", "licence": "MIT", "origin": ""}
        values |= {"version": "1", "state": "complete", "counts": ODD, "created_at": now()}
        connection.execute(insert(SOURCE).values(values))
        source = connection.execute(select(SOURCE.c.id)).scalar_one()
        connection.execute(
            insert(FLAG).values(source_id=source, reason="odd", detail=None, place="")
        )
    return db


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: Any) -> Any:
    """Another empty place."""
    if request.param == "sqlite":
        yield str(tmp_path / "target.db")
        return
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


def rows(db: str) -> dict[str, set[int]]:
    """The content of a database."""
    with opening.reading(db) as connection:
        return {
            table.name: {moving.row_hash(row) for row in connection.execute(select(table))}
            for table in METADATA.sorted_tables
        }


def test_everything_arrives(filled: str, target: str, study: int, spec, run_trial) -> None:
    seen: list[tuple[str, int, int]] = []
    told = move(filled, target, progress=lambda *some: seen.append(some))
    assert rows(target) == rows(filled)
    assert told["tables"]["trial"]["rows"] == 2
    assert ("trial", 2, 2) in seen
    assert "postgres@" not in told["source"] or ":***@" not in told["source"]
    with Store(target) as store:  # counting goes on after the ids that were copied
        assert store.past(study)[1].start.seed == 2**63 - 1
        assert store.past(study)[1].start.config["inf"] == math.inf
        assert store.create_study(spec) == study + 1
        run_trial(store, study + 1, 0)
        store.flush()
    assert query.study(study, filled)["best_value"] == query.study(study, target)["best_value"]


def test_and_comes_back(filled: str, target: str, tmp_path: Path) -> None:
    there = move(filled, target)
    back = move(target, str(tmp_path / "back.db"))
    assert back["tables"] == there["tables"]
    assert rows(str(tmp_path / "back.db")) == rows(filled)


def test_an_empty_database_can_be_moved(db: str, make_store, target: str, spec) -> None:
    make_store()
    move(db, target)
    with Store(target) as store:
        assert store.create_study(spec) == 1


def test_a_target_with_rows_is_refused(filled: str, target: str, spec) -> None:
    with Store(target) as store:
        study = store.create_study(spec)
    with pytest.raises(DatabaseError, match="holds rows in table .*: move into an empty one"):
        move(filled, target)
    assert [row["id"] for row in query.studies(target)] == [study]


def test_a_database_is_not_moved_onto_itself(filled: str) -> None:
    with pytest.raises(DatabaseError, match="source and target are both"):
        move(filled, filled)


def test_a_source_that_is_not_there_creates_no_target(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="there is no database at"):
        move(str(tmp_path / "no.db"), str(tmp_path / "target.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_differs_is_refused(filled: str, target: str, monkeypatch) -> None:
    copied = moving.copy_table

    def careless(source: Any, into: Any, table: Any, progress: Any) -> Any:
        told = copied(source, into, table, progress)
        if table is SCORE:
            into.execute(SCORE.update().values(value=SCORE.c.value + 1e-12))
        return told

    monkeypatch.setattr(moving, "copy_table", careless)
    with pytest.raises(DatabaseError, match="table score was not copied faithfully"):
        move(filled, target)
    nothing_is_there(target)


def nothing_is_there(target: str) -> None:
    """A target is empty, or was not created."""
    if "://" not in target and not Path(target).exists():
        return
    opening.connect(target, write=True).dispose()
    assert not any(rows(target).values())


KILLED = """
import os, signal
from automl.dataset_db.move import move
move({source!r}, {target!r}, progress=lambda table, done, total: (
    os.kill(os.getpid(), signal.SIGKILL) if table == "trial" else None))
"""


def test_a_crash_leaves_nothing_half_written(filled: str, target: str) -> None:
    script = KILLED.format(source=filled, target=target)
    process = subprocess.run([sys.executable, "-c", script], check=False)
    assert process.returncode == -signal.SIGKILL
    nothing_is_there(target)
    move(filled, target)
    assert rows(target) == rows(filled)


def test_rows_come_in_parts(filled: str, target: str, monkeypatch) -> None:
    monkeypatch.setattr(moving, "FETCHED", 1)
    seen: list[tuple[str, int, int]] = []
    move(filled, target, progress=lambda *some: seen.append(some))
    with opening.reading(filled) as connection:
        count = connection.execute(select(func.count()).select_from(CODE)).scalar_one()
    assert [done for table, done, _ in seen if table == "code"] == [*range(1, count + 1)]
    assert rows(target) == rows(filled)


NUMBERS = st.floats() | st.integers() | st.sampled_from([2**53, 2**53 + 1, 1e22, 1e23, 10**400])


@given(NUMBERS)
def test_a_number_is_hashed_alike_whether_it_comes_back_whole_or_not(value: float) -> None:
    """PostgreSQL's JSONB keeps decimals: a whole number comes back without a point."""
    from decimal import Decimal

    if isinstance(value, float) and math.isfinite(value):
        decimal = format(Decimal(repr(value)), "f")
        assert moving.number(json.loads(decimal)) == moving.number(value)
    elif isinstance(value, int):
        assert moving.number(json.loads(str(value))) == moving.number(value)


@pytest.fixture
def full_disk(tmp_path: Path) -> Any:
    """A file system of 512 kB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting needs rights that this user lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_is_told_in_a_sentence(
    filled: str, make_store, study: int, full_disk: Path
) -> None:
    with make_store().engine.begin() as connection:
        scores = [
            {"trial_id": 1, "split": "valid", "step": n, "metric": "m", "value": 0.5}
            for n in range(2, 30_000)
        ]
        connection.execute(insert(SCORE), scores)
    with pytest.raises(
        DatabaseError, match=r"(disk is full; free some|disk I/O error; check)"
    ) as error:
        move(filled, str(full_disk / "target.db"))
    assert "\n" not in str(error.value)
    assert list(full_disk.iterdir()) == []
    move(filled, str(full_disk.parent / "target.db"))
