"""Columns: constraints that the database itself keeps, times, JSON, hashes of code."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, StatementError

from automl.core.errors import DatabaseError
from automl.core.provenance import code_hash as core_code_hash
from automl.dataset_db import query
from automl.dataset_db.catalogue import code_hash
from automl.dataset_db.schema import DATASET, SCORE, STUDY, TRIAL
from automl.dataset_db.types import clean, dumps, loads


@pytest.mark.parametrize(
    "statement",
    [
        insert(SCORE).values(trial_id=99, split="valid", step=1, metric="accuracy", value=0.5),
        update(TRIAL).values(study_id=99),
        update(STUDY).values(dataset_id=99),
        delete(DATASET),  # a study needs it
        update(TRIAL).values(state="finished"),
        update(STUDY).values(state="asleep"),
        update(STUDY).values(kind="hobby"),
        update(STUDY).values(goal="both"),
        update(STUDY).values(settings=None),
    ],
)
def test_the_database_refuses_what_cannot_be(store, study, run_trial, statement) -> None:
    run_trial(store, study, 0)
    store.flush()
    with pytest.raises(IntegrityError), store.engine.begin() as connection:
        connection.execute(statement)


def test_what_hangs_on_a_study_goes_with_it(store, study, run_trial) -> None:
    run_trial(store, study, 0)
    store.flush()
    with store.engine.begin() as connection:
        connection.execute(delete(STUDY).where(STUDY.c.id == study))
        for table in (TRIAL, SCORE):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_times_are_aware_and_in_utc(store, db, study) -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 1, 1, 3, 0, 0, 123456, tzinfo=there)
    with store.engine.begin() as connection:
        connection.execute(update(STUDY).values(created_at=moment))
    found = query.study(study, db)["created_at"]
    assert found == moment
    assert found.tzinfo is UTC or found.utcoffset() == timedelta(0)
    assert (found.hour, found.day) == (21, 31)
    with (
        pytest.raises(StatementError, match="has no time zone"),
        store.engine.begin() as connection,
    ):
        connection.execute(update(STUDY).values(created_at=datetime(2026, 1, 1)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=JSON)
def test_json_comes_back_as_it_was(value) -> None:
    assert loads(dumps(value)) == value or "\\u0000" in ascii(value) or "\\x00" in ascii(value)


def test_json_that_both_engines_accept() -> None:
    assert math.isnan(loads(dumps({"x": math.nan}))["x"])
    assert loads(dumps([math.inf, -math.inf, {"$float": "other"}])) == [
        math.inf,
        -math.inf,
        {"$float": "other"},
    ]
    assert loads(dumps({"a\0": "b\0"}).encode()) == {"a\ufffd": "b\ufffd"}
    assert loads(dumps(("\ud83d", "\\u0000"))) == ["?", "\\u0000"]
    assert "\0" not in clean("\0")


def test_integers_are_of_64_bits(store, study, start) -> None:
    store.start_trial(study, start(0, seed=2**63 - 1))
    assert store.past(study)[0].start.seed == 2**63 - 1
    with pytest.raises(DatabaseError, match="the seed of trial 1/1 cannot be recorded: 9223372036"):
        store.start_trial(study, start(1, seed=2**63))
    with pytest.raises(DatabaseError, match="a step of trial 1/0 cannot be recorded"):
        store.report(study, 0, 2**63, "valid", {"accuracy": 0.5})
    assert len(store.past(study)) == 1


def test_the_hash_of_a_plugins_code_is_the_engines() -> None:
    code = {"b.py": "x = 1\n", "a.py": "é"}
    assert code_hash(code) == core_code_hash(code)
