"""The few facts on record that people may change: what a study and a trial are called."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, select, update

from automl.core.errors import ConfigError, StudyError, UnknownName
from automl.dataset_db.engine import connect, transaction
from automl.dataset_db.schema import STUDY, TRIAL

LONGEST = 200  # characters
ARTICLE = {"claim": "a claim", "import": "an import"}


def rename_study(number: int, name: str, db: str | Path | None = None) -> None:
    """Give a study another name.

    Raises:
        UnknownName: if there is no such study.
        ConfigError: if the name is empty, too long or not printable.
        DatabaseError: if the database cannot be written.
    """
    check(name, "name", least=1)
    engine = connect(db, write=True)
    try:
        with transaction(engine) as connection:
            done = connection.execute(
                update(STUDY).where(STUDY.c.id == number).values(name=name).returning(STUDY.c.id)
            )
            if done.first() is None:
                raise UnknownName(f"there is no study {number}; `automl studies` lists them")
    finally:
        engine.dispose()


def label_trial(trial: int, label: str, db: str | Path | None = None) -> None:
    """Give a trial, told by its id, a label; an empty one removes it.

    Raises:
        UnknownName: if there is no such trial.
        StudyError: if it is no trial of a search: labels tell the sides of a claim apart, and
            keep the names that imported trials were published under.
        ConfigError: if the label is too long or not printable.
        DatabaseError: if the database cannot be written.
    """
    check(label, "label", least=0)
    engine = connect(db, write=True)
    try:
        with transaction(engine) as connection:
            kind = kind_of_study(connection, trial)
            if kind != "search":
                raise StudyError(
                    f"trial {trial} is of {ARTICLE[kind]}, which relies on its labels: label a "
                    "trial of a search"
                )
            connection.execute(update(TRIAL).where(TRIAL.c.id == trial).values(label=label))
    finally:
        engine.dispose()


def kind_of_study(connection: Connection, trial: int) -> str:
    """``search``, ``claim`` or ``import``.

    Raises:
        UnknownName: if there is no such trial.
    """
    query = select(STUDY.c.kind).join(TRIAL, TRIAL.c.study_id == STUDY.c.id)
    kind = connection.execute(query.where(TRIAL.c.id == trial)).scalar()
    if kind is None:
        raise UnknownName(f"there is no trial with id {trial}")
    return str(kind)


def check(text: str, what: str, least: int) -> None:
    """Refuse a text that would spoil a list."""
    if not least <= len(text) <= LONGEST:
        raise ConfigError(f"{what} of {len(text)} characters: use {least} to {LONGEST}")
    if not text.isprintable():
        raise ConfigError(f"{what}={text!r} must be one line of printable characters")
