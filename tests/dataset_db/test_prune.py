"""What is not wanted goes, files included; what is needed stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from automl.core.errors import ConfigError, DatabaseError, UnknownName
from automl.core.record import PluginRecord
from automl.dataset_db import engine as opening
from automl.dataset_db import query
from automl.dataset_db.prune import Unwanted, prune, shrink
from automl.dataset_db.schema import (
    ARTIFACT,
    CODE,
    FLAG,
    PAPER,
    PLUGIN,
    SCORE,
    SOURCE,
    STUDY,
    TRIAL,
)
from automl.dataset_db.store import Store
from automl.dataset_db.types import now


@pytest.fixture
def filled(make_store: Callable[[], Store], spec, run_trial) -> Store:
    """Two finished studies, a search and a claim, of a failed and four complete trials each."""
    store = make_store()
    for kind in ("search", "claim"):
        study = store.create_study(replace(spec, kind=kind))
        store.folder(study).mkdir(parents=True)
        for number in range(5):
            weights = store.folder(study) / f"{number}.safetensors"
            weights.write_bytes(b"w" * 100)
            end: dict[str, Any] = {"weights": weights, "weights_sha256": "0", "weights_bytes": 100}
            if number == 2:
                run_trial(store, study, number, None, state="failed", **end)
            else:
                run_trial(store, study, number, 0.1 * number, **end)
        store.close_study(study, "complete", 4, 1.0)
    return store


@pytest.fixture
def prunes(db: str, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Prunes the database."""

    def run(*, dry_run: bool = False, **unwanted: Any) -> dict[str, Any]:
        return prune(Unwanted(**unwanted), db, dry_run=dry_run, artifacts=tmp_path / "artifacts")

    return run


def numbers(db: str, study: int) -> list[int]:
    """The trials of a study."""
    with opening.reading(db) as connection:
        query_ = select(TRIAL.c.number).where(TRIAL.c.study_id == study).order_by(TRIAL.c.number)
        return list(connection.execute(query_).scalars())


def files(store: Store, study: int) -> list[str]:
    """The stems of a study's files."""
    return sorted(path.stem for path in store.folder(study).glob("*"))


def test_failed_trials(db: str, filled: Store, prunes) -> None:
    told = prunes(failed=True)
    assert told["rows"] == {"artifact": 1, "trial": 1}
    assert (told["files"], told["file_bytes"]) == (1, 100)
    assert numbers(db, 1) == [0, 1, 3, 4]
    assert numbers(db, 2) == [0, 1, 2, 3, 4]  # evidence of a claim
    assert files(filled, 1) == ["0", "1", "3", "4"]
    assert files(filled, 2) == ["0", "1", "2", "3", "4"]
    study = query.study(1, db)
    assert (study["n_complete"], study["n_failed"], study["best_number"]) == (4, 0, 4)
    assert prunes(failed=True)["rows"] == {}


def test_all_but_the_best(db: str, filled: Store, prunes) -> None:
    told = prunes(keep_best=2)
    assert told["rows"]["trial"] == 2
    assert numbers(db, 1) == [2, 3, 4]  # the failed one was not named
    assert files(filled, 1) == ["2", "3", "4"]
    assert query.best(study=1, db=db) == "1/4"
    assert len(filled.past(1)) == 3


def test_a_dry_run_tells_the_same_and_deletes_nothing(db: str, filled: Store, prunes) -> None:
    told = prunes(dry_run=True, keep_best=1, failed=True)
    assert numbers(db, 1) == [0, 1, 2, 3, 4]
    assert files(filled, 1) == ["0", "1", "2", "3", "4"]
    assert told.pop("dry_run") and told["files"] == 4
    done = prunes(keep_best=1, failed=True)
    assert not done.pop("dry_run")
    assert (told.pop("shrunk"), done.pop("shrunk")) == (False, "://" not in db)
    assert done == told
    assert numbers(db, 1) == [4]


def test_only_old_trials(db: str, filled: Store, prunes) -> None:
    with filled.engine.begin() as connection:
        old = update(TRIAL).where(TRIAL.c.number < 1).values(finished_at=now() - timedelta(days=40))
        connection.execute(old)
    prunes(keep_best=1, failed=True, older_than=30 * 86400)
    assert numbers(db, 1) == [1, 2, 3, 4]


def test_a_running_study_is_left_alone(db: str, filled: Store, prunes) -> None:
    filled.claim_study(1)
    assert prunes(failed=True, keep_best=1)["rows"] == {}
    assert numbers(db, 1) == [0, 1, 2, 3, 4]


def test_a_source_goes_whole(db: str, filled: Store, prunes, spec, run_trial) -> None:
    imported = PluginRecord("imported", 1, {"title": "Other", "year": 2025}, {"a.py": "z = 9"})
    study = filled.create_study(replace(spec, plugins=(imported,)))
    run_trial(filled, study, 0, plugin="imported")
    filled.close_study(study, "complete", 0, 1.0)
    with filled.engine.begin() as connection:
        values: dict[str, Any] = {"name": "lemur", "kind": "lemur", "state": "complete"}
        values |= {"licence": "", "origin": "", "version": "", "counts": {}, "created_at": now()}
        connection.execute(insert(SOURCE).values(values))
        key = connection.execute(select(SOURCE.c.id)).scalar_one()
        connection.execute(
            update(STUDY).where(STUDY.c.id == study).values(source_id=key, kind="import")
        )
        connection.execute(insert(FLAG).values(source_id=key, reason="odd", place=""))
    with pytest.raises(UnknownName, match="no source 'lemmur'. Did you mean 'lemur'"):
        prunes(source="lemmur")
    told = prunes(source="lemur")
    assert told["rows"]["study"] == told["rows"]["flag"] == told["rows"]["source"] == 1
    assert numbers(db, study) == [] and numbers(db, 1) == [0, 1, 2, 3, 4]
    told = prunes(orphans=True)
    assert told["rows"] == {"plugin": 1, "plugin_code": 1, "code": 1, "paper": 1}
    with filled.engine.connect() as connection:
        assert connection.execute(select(PLUGIN.c.name)).scalars().all() == ["tested"]
        assert connection.execute(select(func.count()).select_from(PAPER)).scalar_one() == 1
        assert connection.execute(select(func.count()).select_from(CODE)).scalar_one() == 2
    assert filled.spec(1) == replace(spec, kind="search")


def test_nothing_is_an_orphan_that_is_used(filled: Store, prunes) -> None:
    assert prunes(orphans=True)["rows"] == {}


def test_the_file_becomes_smaller(db: str, filled: Store, prunes) -> None:
    with filled.engine.begin() as connection:
        trial = select(TRIAL.c.id).where(TRIAL.c.number == 2).limit(1)
        key = connection.execute(trial).scalar_one()
        rows = [
            {"trial_id": key, "split": "valid", "step": n, "metric": "m", "value": 0.5}
            for n in range(2, 20_000)
        ]
        connection.execute(insert(SCORE), rows)
    before = query.info(db)["bytes"]
    told = prunes(failed=True)
    if "://" in db:
        assert told["database_bytes"] is None
        return
    assert told["database_bytes"] > 100_000
    filled.engine.dispose()
    assert query.info(db)["bytes"] < before - told["database_bytes"] // 2


def test_a_file_that_another_program_writes_to_is_not_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    engine = opening.connect(path, write=True, busy=0.1)
    with opening.connect(path, write=True).begin():
        assert not shrink(engine)
    assert shrink(engine)


def test_a_file_outside_the_artifact_folder_is_never_removed(
    db: str, filled: Store, prunes, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with filled.engine.begin() as connection:
        connection.execute(update(ARTIFACT).values(path="../precious"))
    with pytest.raises(DatabaseError, match="it is outside"):
        prunes(failed=True)
    assert precious.exists()


@pytest.mark.parametrize(
    ("unwanted", "said"),
    [
        ({}, "nothing to prune was named: use --failed"),
        ({"older_than": 5.0}, "nothing to prune was named"),
        ({"keep_best": 0}, "must be at least 1"),
        ({"failed": True, "older_than": -1.0}, "must not be negative"),
    ],
)
def test_what_makes_no_sense_is_refused(unwanted, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Unwanted(**unwanted)
