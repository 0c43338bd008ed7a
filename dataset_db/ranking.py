"""Who is best on a dataset: one leaderboard across papers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from automl.core.errors import UnknownName, did_you_mean
from automl.dataset_db.engine import reading
from automl.dataset_db.query import COMPLETE, MODELS, STUDIES, Row, rows
from automl.dataset_db.schema import DATASET, EVALUATION, PAPER, PLUGIN, STUDY, TRIAL

SEARCHES = STUDY.c.kind == "search"


def searched_datasets(db: str | None = None) -> list[str]:
    """The datasets that were searched on, the latest first."""
    latest = func.max(STUDY.c.id)
    query = select(DATASET.c.name).select_from(STUDIES).where(SEARCHES).group_by(DATASET.c.name)
    with reading(db) as connection:
        return list(connection.execute(query.order_by(latest.desc())).scalars())


def leaderboard(dataset: str | None = None, db: str | None = None) -> Row:
    """The best complete trial of each plugin on a dataset, by its validation score.

    Returns ``{dataset, metric, goal, unit, rows, baselines}``. A row has rank, plugin, paper, year,
    value (validation), test (of a study's winner, else None), reference, trials, parameters, macs
    and seconds; ``baselines`` are test scores of plain models on a user's own data. ``dataset`` is
    by default that of the latest search; of two objectives the latest search's counts.

    Raises:
        UnknownName: if nothing was searched on the dataset.
    """
    with reading(db) as connection:
        about = latest_search(connection, dataset)
        name, metric, goal = about["dataset"], about["metric"], about["goal"]
        alike = and_(DATASET.c.name == name, STUDY.c.metric == metric, STUDY.c.goal == goal)
        found = rows(connection, standings(name, metric, alike))
    for rank, row in enumerate(found, start=1):
        row["rank"] = rank
        row["reference"] = f"{row.pop('study')}/{row.pop('number')}"
    baselines = about.pop("info").get("facts", {}).get("baselines", {})
    return {**about, "rows": found, "baselines": baselines}


def latest_search(connection: Connection, dataset: str | None) -> Row:
    """Name, objective and facts of the dataset of the latest matching search."""
    columns = (DATASET.c.name.label("dataset"), STUDY.c.metric, STUDY.c.goal, STUDY.c.unit)
    query = select(*columns, DATASET.c.info).select_from(STUDIES).where(SEARCHES)
    if dataset is not None:
        query = query.where(DATASET.c.name == dataset)
    found = rows(connection, query.order_by(STUDY.c.id.desc()).limit(1))
    if found:
        return found[0]
    if dataset is None:
        raise UnknownName("nothing was searched yet: `automl search --dataset digits` does")
    every = select(DATASET.c.name).select_from(STUDIES).where(SEARCHES).distinct()
    known = list(connection.execute(every).scalars())
    raise UnknownName(
        f"nothing was searched on dataset {dataset!r}.{did_you_mean(dataset, known)} "
        f"Known: {', '.join(known) or 'none'}."
    )


def standings(dataset: str, metric: str, alike: Any) -> Select[Any]:
    """The best complete trial of each plugin, with its paper and its test score."""
    place = func.row_number().over(partition_by=PLUGIN.c.name, order_by=(TRIAL.c.cost, TRIAL.c.id))
    count = func.count().over(partition_by=PLUGIN.c.name)
    best = (
        select(TRIAL.c.id, place.label("place"), count.label("trials"))
        .select_from(MODELS)
        .where(*COMPLETE, SEARCHES, alike)
        .subquery()
    )
    tested = and_(
        EVALUATION.c.trial_id == TRIAL.c.id,
        EVALUATION.c.dataset == dataset,
        EVALUATION.c.split == "test",
        EVALUATION.c.metric == metric,
    )
    told = TRIAL.join(best, best.c.id == TRIAL.c.id).join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
    told = told.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id).outerjoin(EVALUATION, tested)
    return (
        select(
            PLUGIN.c.name.label("plugin"),
            PAPER.c.title.label("paper"),
            PAPER.c.year,
            TRIAL.c.objective.label("value"),
            EVALUATION.c.value.label("test"),
            TRIAL.c.study_id.label("study"),
            TRIAL.c.number,
            best.c.trials,
            TRIAL.c.parameters,
            TRIAL.c.macs,
            TRIAL.c.seconds,
        )
        .select_from(told)
        .where(best.c.place == 1)
        .order_by(TRIAL.c.cost, TRIAL.c.id)
    )
