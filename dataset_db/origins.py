"""Where imported records come from, what was odd about them, and what was published beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from automl.dataset_db.engine import reading
from automl.dataset_db.filters import begins, one_of
from automl.dataset_db.parts import codes
from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import DEVICE_RUN, FLAG, PAPER, PLUGIN, SOURCE, STUDY, TRIAL

LIMIT = 1000


def sources(db: Any = None) -> list[Row]:
    """The imported data sets: name, version, licence, origin, state and reconciled counts."""
    with reading(db) as connection:
        return rows(connection, select(SOURCE).order_by(SOURCE.c.id))


def flags(
    db: Any = None,
    *,
    source: str | None = None,
    reason: str | None = None,
    limit: int = LIMIT,
    after: int = 0,
) -> list[Row]:
    """What was odd about imported records and files, in order of ``id``; ``after`` pages.

    A row has source, reason, place (folder or file), study, number and step of the record (None of
    a file that was set aside) and detail (what was set aside, or the odd value).
    """
    columns = (FLAG.c.id, SOURCE.c.name.label("source"), FLAG.c.reason, FLAG.c.place)
    query = (
        select(
            *columns, TRIAL.c.study_id.label("study"), TRIAL.c.number, FLAG.c.step, FLAG.c.detail
        )
        .join(SOURCE, SOURCE.c.id == FLAG.c.source_id)
        .outerjoin(TRIAL, TRIAL.c.id == FLAG.c.trial_id)
        .where(FLAG.c.id > after)
        .order_by(FLAG.c.id)
        .limit(limit)
    )
    equal = {SOURCE.c.name: source, FLAG.c.reason: reason}
    query = query.where(*(column == value for column, value in equal.items() if value is not None))
    with reading(db) as connection:
        return rows(connection, query)


def networks(
    db: Any = None,
    *,
    plugin: str | Sequence[str] | None = None,
    prefix: str | Sequence[str] | None = None,
    family: str | None = None,
    code: bool = False,
    limit: int = LIMIT,
    after: int = 0,
) -> list[Row]:
    """Networks and plugins with their published statistics, in order of ``id``; ``after`` pages.

    A row has plugin, family, plugin_version, code_hash, paper, facts (None where nothing was
    published), studies (how many it took part in) and, if asked for, code by file name.
    """
    columns = (
        *(PLUGIN.c.id, PLUGIN.c.name.label("plugin"), PLUGIN.c.family),
        *(PLUGIN.c.version.label("plugin_version"), PLUGIN.c.code_hash, PLUGIN.c.facts),
    )
    query = select(*columns, PAPER.c.title.label("paper")).join(
        PAPER, PAPER.c.id == PLUGIN.c.paper_id
    )
    query = query.where(*named(plugin, prefix), PLUGIN.c.id > after)
    if family is not None:
        query = query.where(PLUGIN.c.family == family)
    with reading(db) as connection:
        found = rows(connection, query.order_by(PLUGIN.c.id).limit(limit))
        texts = codes(connection, {row["id"] for row in found}) if code else {}
    for row in found:
        if code:
            row["code"] = texts[row["id"]]
    return found


def named(
    plugin: str | Sequence[str] | None, prefix: str | Sequence[str] | None
) -> list[ColumnElement[bool]]:
    """The conditions on the name of a network."""
    found = [] if plugin is None else [one_of(PLUGIN.c.name, plugin)]
    return found if prefix is None else [*found, begins(PLUGIN.c.name, prefix)]


def device_runs(
    db: Any = None,
    *,
    plugin: str | None = None,
    device: str | None = None,
    source: str | None = None,
    limit: int = LIMIT,
    after: int = 0,
) -> list[Row]:
    """Published runs of networks on devices, in order of ``id``; ``after`` pages.

    ``unit`` is that of ``duration``, as published; a run that failed is not ``valid`` and has a
    ``message``. ``accuracy`` and other facts of the run are in ``facts``.
    """
    columns = [column for column in DEVICE_RUN.c if column.name not in ("source_id", "plugin_id")]
    query: Select[Any] = (
        select(*columns, PLUGIN.c.name.label("plugin"), SOURCE.c.name.label("source"))
        .join(PLUGIN, PLUGIN.c.id == DEVICE_RUN.c.plugin_id)
        .join(SOURCE, SOURCE.c.id == DEVICE_RUN.c.source_id)
        .where(DEVICE_RUN.c.id > after)
        .order_by(DEVICE_RUN.c.id)
        .limit(limit)
    )
    equal = {PLUGIN.c.name: plugin, DEVICE_RUN.c.device: device, SOURCE.c.name: source}
    query = query.where(*(column == value for column, value in equal.items() if value is not None))
    with reading(db) as connection:
        return rows(connection, query)


def counted(db: Any = None) -> list[Row]:
    """How many studies and trials each source has; our own come under no source."""
    query = (
        select(
            SOURCE.c.name.label("source"), func.count(func.distinct(STUDY.c.id)).label("studies")
        )
        .add_columns(func.sum(STUDY.c.n_complete).label("trials"))
        .select_from(STUDY.outerjoin(SOURCE, SOURCE.c.id == STUDY.c.source_id))
        .group_by(SOURCE.c.name)
        .order_by(SOURCE.c.name)
    )
    with reading(db) as connection:
        return rows(connection, query)
