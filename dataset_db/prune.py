"""Delete what is not wanted any more, files included; first say what and how much."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from automl.core.errors import ConfigError, DatabaseError
from automl.core.places import artifact_root
from automl.dataset_db.engine import connect, explained, is_sqlite
from automl.dataset_db.near_duplicates import plugins_of
from automl.dataset_db.schema import (
    ARTIFACT,
    BENCHMARK,
    CLAIM,
    CODE,
    DATASET,
    DEVICE_RUN,
    ENVIRONMENT,
    EVALUATION,
    EXPORT,
    FLAG,
    PAPER,
    PLUGIN,
    PLUGIN_CODE,
    PROBE,
    SCORE,
    SOURCE,
    SOURCE_FILE,
    STUDY,
    STUDY_PLUGIN,
    TRIAL,
)
from automl.dataset_db.types import now

OF_TRIAL = (SCORE, EVALUATION, ARTIFACT, EXPORT, PROBE, FLAG)
OF_SOURCE = (FLAG, DEVICE_RUN, SOURCE_FILE)
ORPHANS: dict[Table, tuple[Column[Any], ...]] = {  # table -> who may refer to it; in this order
    DATASET: (STUDY.c.dataset_id, TRIAL.c.dataset_id),
    ENVIRONMENT: (STUDY.c.environment_id,),
    PLUGIN: (STUDY_PLUGIN.c.plugin_id, TRIAL.c.plugin_id, DEVICE_RUN.c.plugin_id),
    CODE: (PLUGIN_CODE.c.code_id, SOURCE_FILE.c.code_id),
    PAPER: (PLUGIN.c.paper_id,),
}
SETTLED = STUDY.c.state != "running"


@dataclass(frozen=True)
class Unwanted:
    """What is to go. Running studies and the evidence of claims always stay.

    Attributes:
        failed: Failed trials of searches.
        keep_best: Trials of each search beyond so many of the best, pruned ones included.
        older_than: Only trials that ended so many seconds ago.
        source: All records of an imported source.
        orphans: Papers, plugins, code, datasets and environments that nothing refers to.

    Raises:
        ConfigError: if nothing is named, or a number is out of range.
    """

    failed: bool = False
    keep_best: int | None = None
    older_than: float | None = None
    source: str | None = None
    orphans: bool = False

    def __post_init__(self) -> None:
        if self.keep_best is not None and self.keep_best < 1:
            raise ConfigError(f"keep_best={self.keep_best} must be at least 1")
        if self.older_than is not None and self.older_than < 0:
            raise ConfigError(f"older_than={self.older_than} must not be negative")
        if not (self.failed or self.keep_best or self.source or self.orphans):
            raise ConfigError(
                "nothing to prune was named: use --failed, --keep-best, --source or --orphans "
                "(--older-than limits the first two)"
            )

    def trials(self) -> ColumnElement[bool] | None:
        """The condition that a trial of a search is to go; ``None`` if none is."""
        kinds = []
        if self.failed:
            kinds.append(TRIAL.c.state == "failed")
        if self.keep_best is not None:
            rank = func.row_number().over(
                partition_by=TRIAL.c.study_id, order_by=(TRIAL.c.cost, TRIAL.c.id)
            )
            ranked = select(TRIAL.c.id, rank.label("rank")).where(
                TRIAL.c.state.in_(("complete", "pruned"))
            )
            beyond = ranked.subquery()
            kinds.append(TRIAL.c.id.in_(select(beyond.c.id).where(beyond.c.rank > self.keep_best)))
        if not kinds:
            return None
        studies = select(STUDY.c.id).where(STUDY.c.kind == "search", SETTLED)
        condition = or_(*kinds) & TRIAL.c.study_id.in_(studies)
        if self.older_than is not None:
            condition &= TRIAL.c.finished_at < now() - timedelta(seconds=self.older_than)
        return condition


def prune(
    unwanted: Unwanted,
    db: str | None = None,
    *,
    dry_run: bool,
    artifacts: Path | None = None,
) -> dict[str, Any]:
    """Delete rows and the files that belong to them; a dry run only tells.

    All rows go in one transaction, the files after it. A SQLite file is then made smaller.

    Args:
        unwanted: What is to go.
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``.
        dry_run: Delete nothing.
        artifacts: The artifact folder; by default AUTOML_ARTIFACTS, else ``./automl_artifacts``.

    Returns:
        dry_run, rows by table, files and file_bytes, database_bytes (``None`` on PostgreSQL, whose
        own clean-up frees them), shrunk: whether a file was made smaller.

    Raises:
        UnknownName: if there is no such source.
        DatabaseError: if the database cannot be read or written.
    """
    root = (artifacts or artifact_root()).resolve()
    engine = connect(db, write=True)
    try:
        with explained(engine.url), engine.connect() as connection, connection.begin() as change:
            before = free_bytes(connection)
            deleting = Deleting(connection)
            deleting.all(unwanted)
            freed = None if before is None else (free_bytes(connection) or 0) - before
            if dry_run:
                change.rollback()
        told = {
            "dry_run": dry_run,
            "rows": {name: count for name, count in deleting.rows.items() if count},
            "files": len(deleting.files),
            "file_bytes": sum(deleting.files.values()),
            "database_bytes": freed,
            "shrunk": False,
        }
        if not dry_run:
            remove_files(root, deleting.files)
            told["shrunk"] = bool(told["rows"]) and is_sqlite(engine) and shrink(engine)
        return told
    finally:
        engine.dispose()


class Deleting:
    """Deletes rows within a transaction and counts them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.rows: dict[str, int] = {}
        self.files: dict[str, int] = {}  # path within the artifact folder -> bytes

    def all(self, unwanted: Unwanted) -> None:
        """Delete everything that is not wanted."""
        condition = unwanted.trials()
        if condition is not None:
            touched = select(TRIAL.c.study_id).where(condition).distinct()
            studies = list(self.connection.execute(touched).scalars())
            self.trials(condition)
            self.recount(studies)
        if unwanted.source is not None:
            self.source(unwanted.source)
        if unwanted.orphans:
            self.orphans()

    def go(self, table: Table, *conditions: ColumnElement[bool]) -> None:
        """Delete rows of a table."""
        count = self.connection.execute(delete(table).where(*conditions)).rowcount
        self.rows[table.name] = self.rows.get(table.name, 0) + count

    def trials(self, condition: ColumnElement[bool]) -> None:
        """Delete trials with all that belongs to them."""
        keys = select(TRIAL.c.id).where(condition)
        files = select(ARTIFACT.c.path, ARTIFACT.c.bytes).where(ARTIFACT.c.trial_id.in_(keys))
        self.files |= {path: size for path, size in self.connection.execute(files)}
        exports = select(EXPORT.c.id).where(EXPORT.c.trial_id.in_(keys))
        self.go(BENCHMARK, BENCHMARK.c.export_id.in_(exports))
        for table in OF_TRIAL:
            self.go(table, table.c.trial_id.in_(keys))
        self.go(TRIAL, condition)

    def recount(self, studies: list[int]) -> None:
        """Let the summaries of studies tell of the trials that are left."""
        for study in studies:
            counts = {
                f"n_{state}": select(func.count())
                .select_from(TRIAL)
                .where(TRIAL.c.study_id == study, TRIAL.c.state == state)
                .scalar_subquery()
                for state in ("complete", "pruned", "failed")
            }
            self.connection.execute(update(STUDY).where(STUDY.c.id == study).values(**counts))

    def source(self, name: str) -> None:
        """Delete an imported source; its networks become orphans."""
        plugins_of(self.connection, name)  # refuses one that does not exist
        key = select(SOURCE.c.id).where(SOURCE.c.name == name).scalar_subquery()
        studies = select(STUDY.c.id).where(STUDY.c.source_id == key)
        for table in OF_SOURCE:
            self.go(table, table.c.source_id == key)
        self.trials(TRIAL.c.study_id.in_(studies))
        self.go(STUDY_PLUGIN, STUDY_PLUGIN.c.study_id.in_(studies))
        self.go(STUDY, STUDY.c.source_id == key)
        self.go(SOURCE, SOURCE.c.name == name)

    def orphans(self) -> None:
        """Delete what nothing refers to; the code behind a claim's verdict stays."""
        for table, references in ORPHANS.items():
            unused = [table.c.id.not_in(referred(column)) for column in references]
            if table is PLUGIN:
                unused.append(table.c.code_hash.not_in(select(CLAIM.c.code_hash)))
                self.go(PLUGIN_CODE, PLUGIN_CODE.c.plugin_id.in_(select(table.c.id).where(*unused)))
            self.go(table, *unused)


def referred(column: Column[Any]) -> Select[Any]:
    """The ids that a column refers to."""
    return select(column).where(column.is_not(None))


def free_bytes(connection: Connection) -> int | None:
    """The unused part of a SQLite file; ``None`` elsewhere."""
    if connection.dialect.name != "sqlite":
        return None
    pages, size = (
        connection.execute(text(f"PRAGMA {name}")).scalar_one()
        for name in ("freelist_count", "page_size")
    )
    return int(pages * size)


def remove_files(root: Path, files: dict[str, int]) -> None:
    """Remove files of the artifact folder, and folders that are then empty."""
    for name in files:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise DatabaseError(f"file {name} was not removed: it is outside {root}")
        path.unlink(missing_ok=True)
        with suppress(OSError):  # others are left in it
            path.parent.rmdir()


def shrink(engine: Engine) -> bool:
    """Give the unused part of a SQLite file back; whether it could be done.

    The rows are gone already: if the disk is full or another program writes all the time, their
    room is used again by later rows.
    """
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True
