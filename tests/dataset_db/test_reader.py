"""A reader that stays open, and the time that a question may take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import text

from automl.core.errors import ConfigError, DatabaseError, QueryTimeout, StudyError, UnknownName
from automl.dataset_db import edits, query
from automl.dataset_db.engine import reading
from automl.dataset_db.files import artifact
from automl.dataset_db.reader import open_reader
from automl.dataset_db.store import Store

COUNTING = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
    "SELECT count(*) FROM n"
)


def test_what_takes_too_long_is_interrupted(db: str, store: Store, study: int) -> None:
    reader = open_reader(db, seconds=0.2)
    try:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(QueryTimeout, match="takes too long"), reading(reader) as connection:
                connection.execute(text(COUNTING)).all()
            assert time.monotonic() - started < 10
            assert query.study(study, reader)["name"] == "tested"
        time.sleep(0.3)  # the clock starts anew with each question
        assert query.study(study, reader)["name"] == "tested"
    finally:
        reader.dispose()


def test_a_reader_sees_what_is_written_and_writes_nothing(
    db: str, store: Store, study: int
) -> None:
    reader = open_reader(db, seconds=5)
    try:
        assert query.study(study, reader)["name"] == "tested"
        edits.rename_study(study, "another", db)
        assert query.study(study, reader)["name"] == "another"
        with pytest.raises(DatabaseError), reading(reader) as connection:
            connection.execute(text("UPDATE study SET name = 'x'"))
    finally:
        reader.dispose()


def test_a_database_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no database"):
        open_reader(tmp_path / "none.db", seconds=1)


def test_names_and_labels(db: str, store: Store, study: int, run_trial) -> None:
    run_trial(store, study, 0)
    store.flush()
    trial = query.trial(f"{study}/0", db)["id"]
    edits.label_trial(trial, "shipped", db)
    assert query.trial(trial, db)["label"] == "shipped"
    edits.label_trial(trial, "", db)
    assert query.trial(trial, db)["label"] == ""
    for wrong in ("", "x" * 201, "two\nlines", "nul\0"):
        with pytest.raises(ConfigError):
            edits.rename_study(study, wrong, db)
    with pytest.raises(UnknownName, match="no study 99"):
        edits.rename_study(99, "x", db)
    with pytest.raises(UnknownName, match="no trial"):
        edits.label_trial(99, "x", db)
    assert query.study(study, db)["name"] == "tested"


def test_a_label_that_evidence_relies_on_stays(store: Store, db: str, spec, run_trial) -> None:
    from dataclasses import replace

    claim = store.create_study(replace(spec, kind="claim"))
    run_trial(store, claim, 0)
    store.flush()
    with pytest.raises(StudyError, match="of a claim"):
        edits.label_trial(query.trial(f"{claim}/0", db)["id"], "mine", db)


def test_an_artifact_that_is_gone(db: str, store: Store, study: int, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no artifact 7"):
        artifact(7, db, root=tmp_path)
