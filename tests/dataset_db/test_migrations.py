"""The schema: migrations make what the models say, keep what there was, and break nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from automl.core.errors import DatabaseError
from automl.core.record import TrialEnd
from automl.dataset_db import engine as opening
from automl.dataset_db import near_duplicates, query
from automl.dataset_db.schema import STUDY, TRIAL
from automl.dataset_db.store import Store
from automl.dataset_db.tables import METADATA

HEAD = opening.REVISIONS[-1]
NEXT = '''
"""Next."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("study") as batch:
        batch.add_column(sa.Column("colour", sa.String(), nullable=False, server_default="red"))
    {more}
'''


def configuration() -> Config:
    """Alembic's, over our migrations."""
    config = Config()
    config.set_main_option("script_location", str(opening.MIGRATIONS))
    return config


@pytest.fixture
def newer(monkeypatch, tmp_path: Path) -> Any:
    """Makes this code one revision newer."""

    def make(more: str = "") -> None:
        folder = tmp_path / "migrations"
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(opening.MIGRATIONS, folder, ignore=ignore, dirs_exist_ok=True)
        (folder / "versions" / "9999_next.py").write_text(
            NEXT.format(more=more, head=opening.REVISIONS[-1]).lstrip()
        )
        monkeypatch.setattr(opening, "MIGRATIONS", folder)
        monkeypatch.setattr(opening, "REVISIONS", (*opening.REVISIONS, "9999"))

    return make


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    found = [script.revision for script in scripts.walk_revisions()]
    assert list(reversed(found)) == list(opening.REVISIONS)
    assert scripts.get_heads() == [opening.REVISIONS[-1]]


def test_migrations_make_what_the_models_say(store: Store) -> None:
    with store.engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "version_table": opening.VERSION_TABLE,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []
        inspector = sqlalchemy.inspect(connection)
        for table in METADATA.sorted_tables:  # Alembic does not compare these
            ours = {
                str(constraint.name)
                for constraint in table.constraints
                if isinstance(constraint, sqlalchemy.CheckConstraint)
            }
            theirs = {check["name"] for check in inspector.get_check_constraints(table.name)}
            assert theirs == ours, table.name


def test_on_sqlite_they_make_it_to_the_letter(tmp_path: Path) -> None:
    def schema(path: Path) -> dict[str, list[str]]:
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            return {
                name: sorted(line.strip().strip(",").replace('"', "") for line in sql.splitlines())
                for name, sql in rows
                if name != opening.VERSION_TABLE
            }

    direct = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'direct.db'}")
    METADATA.create_all(direct)
    opening.connect(tmp_path / "migrated.db", write=True).dispose()
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "direct.db")


def test_down_and_up_again(store: Store) -> None:
    config = configuration()
    with opening.migrating(store.engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert sqlalchemy.inspect(connection).get_table_names() == [opening.VERSION_TABLE]
        command.upgrade(config, "head")
        names = set(sqlalchemy.inspect(connection).get_table_names())
    assert names == {*METADATA.tables, opening.VERSION_TABLE}


def test_an_older_database_is_copied_and_migrated(db: str, spec, newer, tmp_path: Path) -> None:
    with Store(db) as store:
        study = store.create_study(spec)
    newer()
    with pytest.raises(DatabaseError, match=f"older revision {HEAD}: the next `automl search`"):
        query.studies(db)
    with Store(db) as store:
        assert store.spec(study) == spec
        assert opening.revision(store.engine) == "9999"
        with store.engine.connect() as connection:
            columns = sqlalchemy.inspect(connection).get_columns("study")
    assert "colour" in {column["name"] for column in columns}
    copies = list(tmp_path.glob(f"models.db.backup-{HEAD}-*"))
    if "://" in db:
        assert copies == []
        return
    with sqlite3.connect(copies[0]) as connection:
        assert connection.execute("SELECT name FROM study").fetchall() == [(spec.name,)]
        assert connection.execute("SELECT * FROM automl_version").fetchall() == [(HEAD,)]


def test_nothing_is_lost_on_the_way_from_the_first_schema(db: str, spec, start, tmp_path) -> None:
    trial = TrialEnd(0, "complete", 0.5, {"accuracy": 0.5}, 1, 0.25)
    with Store(db) as store:
        study = store.create_study(spec)
        store.start_trial(study, start(0))
        store.report(study, 0, 1, "valid", {"accuracy": 0.5})
        store.finish_trial(study, trial)
        store.flush()
        before = store.spec(study), store.past(study)
        config = configuration()
        with opening.migrating(store.engine) as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
            columns = sqlalchemy.inspect(connection).get_columns("study")
            query_old = sqlalchemy.text("SELECT settings FROM study")
            settings = connection.execute(query_old).scalar_one()
    assert "plugin_id" in {column["name"] for column in columns}
    assert "plugins" not in (json.loads(settings) if isinstance(settings, str) else settings)
    with Store(db) as store:
        assert (store.spec(study), store.past(study)) == before
        unknown = sqlalchemy.update(TRIAL).values(plugin_id=99)
        with (
            pytest.raises(DatabaseError),  # foreign keys are on again
            opening.transaction(store.engine) as connection,
        ):
            connection.execute(unknown)


@pytest.mark.parametrize("earlier", opening.REVISIONS[:-1])
def test_from_every_earlier_revision_with_data(db: str, spec, start, earlier: str) -> None:
    with Store(db) as store:
        study = store.create_study(spec)
        for number in range(3):
            store.start_trial(study, start(number))
            store.report(study, number, 1, "valid", {"accuracy": 0.5})
            end = TrialEnd(number, "complete", number / 4, {"accuracy": number / 4}, 1, 0.25)
            store.finish_trial(study, end)
        store.close_study(study, "complete", 2, 1.0)
        before = store.spec(study), store.past(study), query.study(study, db)
        config = configuration()
        with opening.migrating(store.engine) as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, earlier)
        assert opening.revision(store.engine) == earlier
    with Store(db) as store:
        assert opening.revision(store.engine) == HEAD
        assert (store.spec(study), store.past(study), query.study(study, db)) == before
        assert query.best(db) == f"{study}/2"
        assert store.create_study(spec) == study + 1
        with store.engine.connect() as connection:
            assert set(connection.execute(sqlalchemy.select(TRIAL.c.dataset_id)).scalars()) == {1}
    assert near_duplicates.duplicates(db)["networks"] == 1  # texts of then have no fingerprint yet


def test_a_migration_that_fails_changes_nothing(db: str, spec, newer) -> None:
    with Store(db) as store:
        store.create_study(spec)
    newer("op.execute('INSERT INTO no_such_table VALUES (1)')")
    with pytest.raises(DatabaseError, match="no_such_table"):
        Store(db)
    engine = sqlalchemy.create_engine(opening.database_url(db))
    with engine.connect() as connection:
        columns = sqlalchemy.inspect(connection).get_columns("study")
        assert "colour" not in {column["name"] for column in columns}
        rows = connection.execute(sqlalchemy.select(STUDY.c.name)).scalars().all()
        assert rows == [spec.name]
    assert opening.revision(engine) == HEAD
    engine.dispose()


def test_an_empty_schema_is_made_quickly(tmp_path: Path) -> None:
    opening.connect(tmp_path / "warm.db", write=True).dispose()  # imports Alembic
    costs = []
    for number in range(3):
        started = time.process_time()
        opening.connect(tmp_path / f"{number}.db", write=True).dispose()
        costs.append(time.process_time() - started)
    assert min(costs) < 0.3
