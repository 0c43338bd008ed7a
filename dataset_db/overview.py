"""What lists and charts of many studies and trials need: pages, totals, and numbers as columns.

A page is cut by its place (``offset``), so that people can leaf through it and bookmark it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, String, cast, func, or_, select

from automl.core.errors import ConfigError
from automl.dataset_db.columns import Columns, among, read
from automl.dataset_db.engine import Db, reading
from automl.dataset_db.filters import COLUMNS, document_value, unknown
from automl.dataset_db.owner import alive
from automl.dataset_db.pages import DESCENDING, ORDERS
from automl.dataset_db.query import (
    STUDIES,
    TRIAL_COLUMNS,
    TRIALS,
    Row,
    honest,
    no_study,
    rows,
    study_query,
)
from automl.dataset_db.schema import DATASET, STUDY, STUDY_PLUGIN, TRIAL

STUDY_ORDERS: dict[str, tuple[ColumnElement[Any], ...]] = {
    "newest": (STUDY.c.id.desc(),),
    "last active": (STUDY.c.active_at.desc(), STUDY.c.id.desc()),
    "name": (STUDY.c.name, STUDY.c.id),
    "most trials": (
        (STUDY.c.n_complete + STUDY.c.n_pruned + STUDY.c.n_failed).desc(),
        STUDY.c.id.desc(),
    ),
}
TRIAL_ORDERS = {**ORDERS, "number": TRIAL.c.number}
TRIAL_DESCENDING = {**DESCENDING, "number": TRIAL.c.number}
ENDED = STUDY.c.n_complete + STUDY.c.n_pruned + STUDY.c.n_failed
POINTS = 24  # of a sparkline


def like(text: str) -> list[ColumnElement[bool]]:
    """The condition that each word is in a study's name, plugins or dataset, whatever its case."""
    found = []
    for word in text.lower().split():
        pattern = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        columns = (STUDY.c.name, STUDY.c.plugin, DATASET.c.name, STUDY.c.state)
        told = (
            func.lower(cast(column, String)).like(f"%{pattern}%", escape="\\") for column in columns
        )
        found.append(or_(*told))
    return found


def study_page(
    db: Db = None,
    *,
    kind: str = "search",
    text: str = "",
    order: str = "newest",
    limit: int = 25,
    offset: int = 0,
) -> Row:
    """Studies of a kind with all words of ``text`` in name, plugins, dataset or state.

    Returns ``{"rows", "total"}``: the narrow rows of a page, and how many there are in all.

    Raises:
        ConfigError: if there is no such order.
    """
    if order not in STUDY_ORDERS:
        raise ConfigError(unknown("order", order, STUDY_ORDERS))
    chosen = [STUDY.c.kind == kind, *like(text)]
    query = study_query().where(*chosen).order_by(*STUDY_ORDERS[order])
    count = select(func.count()).select_from(STUDIES).where(*chosen)
    with reading(db) as connection:
        found = [honest(row) for row in rows(connection, query.limit(limit).offset(offset))]
        total = connection.execute(count).scalar_one()
    return {"rows": found, "total": total}


def totals(db: Db = None) -> Row:
    """How much there is: studies by kind, those running, trials, models and plugins of searches."""
    counted = (
        func.count(),
        func.coalesce(func.sum(ENDED), 0),
        func.coalesce(func.sum(STUDY.c.n_complete), 0),
    )
    of_kinds = select(STUDY.c.kind, *counted).group_by(STUDY.c.kind)
    running = select(STUDY.c.owner).where(STUDY.c.state == "running", STUDY.c.kind == "search")
    entered = select(func.count(STUDY_PLUGIN.c.plugin_id.distinct())).select_from(
        STUDY_PLUGIN.join(STUDY, STUDY.c.id == STUDY_PLUGIN.c.study_id)
    )
    with reading(db) as connection:
        kinds = {row[0]: row[1:] for row in connection.execute(of_kinds)}
        owners = connection.execute(running).scalars().all()
        plugins = connection.execute(entered.where(STUDY.c.kind == "search")).scalar_one()
    _, trials, models = kinds.get("search", (0, 0, 0))
    return {
        "studies": {kind: int(row[0]) for kind, row in kinds.items()},
        "running": sum(alive(owner) is not False for owner in owners),
        "trials": int(trials),
        "models": int(models),
        "plugins": int(plugins),
    }


def progress(studies: Sequence[int], db: Db = None) -> dict[int, list[float]]:
    """The best objective so far of studies, at up to ``POINTS`` places of their trials each."""
    slot = TRIAL.c.number * POINTS // (ENDED + 1)
    query = (
        select(TRIAL.c.study_id, STUDY.c.goal, func.min(TRIAL.c.cost))
        .join(STUDY, STUDY.c.id == TRIAL.c.study_id)
        .where(TRIAL.c.state == "complete", TRIAL.c.objective.is_not(None))
        .group_by(TRIAL.c.study_id, STUDY.c.goal, slot)
        .order_by(TRIAL.c.study_id, slot)
    )
    found: dict[int, list[float]] = {}
    with reading(db) as connection:
        chosen = query.where(among(connection, TRIAL.c.study_id, studies))
        for study, goal, cost in connection.execute(chosen):
            value, best = (-cost if goal == "max" else cost), max if goal == "max" else min
            before = found.setdefault(study, [])
            before.append(best(value, before[-1]) if before else value)
    return found


# ---------------------------------------------------------------- the trials of one study


def trial_columns(study: int, names: Sequence[str], db: Db = None) -> Columns:
    """Columns of all trials of a study by number: ``number`` and those named.

    Names are those of ``filters.COLUMNS`` or ``scores.METRIC``. Objectives that are no number are
    None.

    Raises:
        UnknownName: if there is no such study.
        ConfigError: if a column does not exist.
    """
    query = select(TRIAL.c.number.label("number"), *(named(name) for name in names))
    query = query.select_from(TRIALS).where(TRIAL.c.study_id == study).order_by(TRIAL.c.number)
    with reading(db) as connection:
        check_study(connection, study)
        return read(connection, query)


def named(name: str) -> ColumnElement[Any]:
    """The column of that name."""
    if name.startswith("scores."):
        return document_value(name, float).label(name)
    if name not in COLUMNS:
        raise ConfigError(unknown("column", name, COLUMNS))
    return COLUMNS[name].label(name)


def check_study(connection: Connection, study: int) -> None:
    """Raise ``UnknownName`` unless there is a study of that number."""
    if connection.execute(select(STUDY.c.id).where(STUDY.c.id == study)).first() is None:
        raise no_study(study)


def trials_numbered(study: int, numbers: Sequence[int], db: Db = None) -> list[Row]:
    """The trials of a study that have one of those numbers, by number; those gone are left out."""
    query = select(*TRIAL_COLUMNS).select_from(TRIALS).where(TRIAL.c.study_id == study)
    with reading(db) as connection:
        chosen = query.where(among(connection, TRIAL.c.number, numbers))
        return rows(connection, chosen.order_by(TRIAL.c.number))


def trial_page(  # noqa: PLR0913  all by keyword
    study: int,
    db: Db = None,
    *,
    states: Sequence[str] = (),
    numbers: Sequence[int] | None = None,
    order: str = "number",
    descending: bool = False,
    limit: int | None = 50,
    offset: int = 0,
) -> Row:
    """A page of a study's trials: ``{"rows", "total"}``.

    ``states`` and ``numbers`` restrict them. ``order`` is one of ``TRIAL_ORDERS``: by
    ``"objective"`` the best come first, by others the smallest, or with ``descending`` the largest.

    Raises:
        UnknownName: if there is no such study.
        ConfigError: if there is no such order.
    """
    if order not in TRIAL_ORDERS:
        raise ConfigError(unknown("order", order, TRIAL_ORDERS))
    chosen: list[ColumnElement[bool]] = [TRIAL.c.study_id == study]
    if states:
        chosen.append(TRIAL.c.state.in_(states))
    with reading(db) as connection:
        check_study(connection, study)
        if numbers is not None:
            chosen.append(among(connection, TRIAL.c.number, numbers))
        total = connection.execute(select(func.count()).where(*chosen)).scalar_one()
        # Ranked by trials' keys alone: only those shown are read whole.
        ids = sorted_trials(select(TRIAL.c.id).where(*chosen), order, descending)
        page = ids.limit(limit).offset(offset).subquery()
        query = select(*TRIAL_COLUMNS).select_from(TRIALS).where(TRIAL.c.id.in_(select(page.c.id)))
        return {
            "rows": rows(connection, sorted_trials(query, order, descending)),
            "total": total,
        }


def sorted_trials(query: Select[Any], order: str, descending: bool) -> Select[Any]:
    """A query over trials, in order; among equals the one recorded first."""
    if descending:
        return query.order_by(TRIAL_DESCENDING[order].desc(), TRIAL.c.id)
    return query.order_by(TRIAL_ORDERS[order], TRIAL.c.id)
