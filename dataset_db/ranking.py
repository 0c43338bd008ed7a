"""Who is best on a dataset: one leaderboard across papers, searched and imported."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Select, and_, case, func, select

from automl.core.errors import ConfigError, UnknownName, did_you_mean
from automl.dataset_db.engine import reading
from automl.dataset_db.query import COMPLETE, STUDIES, Row, rows
from automl.dataset_db.schema import CLAIM, DATASET, EVALUATION, PAPER, PLUGIN, SOURCE, STUDY, TRIAL

RANKED = STUDY.c.kind.in_(("search", "import"))
SEARCHED = STUDY.c.kind == "search"
OBJECTIVE = (STUDY.c.metric, STUDY.c.goal, STUDY.c.unit)
LIMIT = 100  # an import brings ten thousand networks


def ranked_datasets(db: Any = None) -> list[str]:
    """The datasets that were searched on, the latest first, then those of imported records."""
    of_search = func.max(case((SEARCHED, STUDY.c.id)))
    query = select(DATASET.c.name).select_from(STUDIES).where(RANKED).group_by(DATASET.c.name)
    ordered = query.order_by(of_search.desc().nulls_last(), DATASET.c.name)
    with reading(db) as connection:
        return list(connection.execute(ordered).scalars())


def leaderboard(
    dataset: str | None = None,
    db: Any = None,
    *,
    metric: str | None = None,
    limit: int | None = LIMIT,
) -> Row:
    """The best complete trial of each plugin or imported network on a dataset.

    Returns ``{dataset, metric, goal, unit, metrics, total, rows, baselines, figures}``. A row has
    rank, plugin, family, paper, year, value, split, valid, test, reference, trials, parameters,
    macs, seconds, source, licence and origin. ``value`` is the objective on ``split``: "valid" for
    our searches, whose winner alone has a ``test`` score too; "test" for imported records, which
    were chosen by it, so that it flatters them. ``source``, ``licence`` and ``origin`` are None
    for our own.

    ``dataset`` is by default that of the latest search, ``metric`` the objective of the latest
    search on it, or of the latest import; ``metrics`` names all objectives there are. ``rows`` are
    the best ``limit`` (None: all) of ``total``. ``baselines`` are test scores of plain models on a
    user's own data, ``figures`` what papers themselves report there, see ``papers_figures``.

    Raises:
        ConfigError: if ``limit`` is no number of rows.
        UnknownName: if nothing was searched or imported on the dataset, or not with that metric.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1, or None for everything")
    with reading(db) as connection:
        about = latest(connection, dataset, metric)
        found = rows(connection, standings(connection, about, limit))
        about["metrics"] = metrics_of(connection, about["dataset"])
        about["figures"] = papers_figures(connection, about["dataset"], about["metric"])
    about["total"] = found[0]["total"] if found else 0
    for rank, row in enumerate(found, start=1):
        del row["total"]
        row["rank"] = rank
        row["reference"] = f"{row.pop('study')}/{row.pop('number')}"
    baselines = about.pop("info").get("facts", {}).get("baselines", {})
    return {**about, "rows": found, "baselines": baselines}


def latest(connection: Connection, dataset: str | None, metric: str | None) -> Row:
    """Name, objective and facts of the dataset of the latest search that matches, else import."""
    columns = (DATASET.c.name.label("dataset"), *OBJECTIVE, DATASET.c.info)
    query = select(*columns).select_from(STUDIES).where(RANKED)
    if dataset is not None:
        query = query.where(DATASET.c.name == dataset)
    if metric is not None:
        query = query.where(STUDY.c.metric == metric)
    found = rows(connection, query.order_by(SEARCHED.desc(), STUDY.c.id.desc()).limit(1))
    if found:
        return found[0]
    raise nothing(connection, dataset, metric)


def nothing(connection: Connection, dataset: str | None, metric: str | None) -> UnknownName:
    """The error that says why there is no leaderboard."""
    every = select(DATASET.c.name).select_from(STUDIES).where(RANKED).distinct()
    known = sorted(connection.execute(every).scalars())
    if not known and dataset is None:
        return UnknownName("nothing was searched yet: `automl search --dataset digits` does")
    if dataset is not None and dataset not in known:
        return UnknownName(
            f"nothing was searched on dataset {dataset!r}.{did_you_mean(dataset, known)} "
            f"Known: {', '.join(known) or 'none'}."
        )
    names = metrics_of(connection, dataset)
    on = "" if dataset is None else f" on dataset {dataset!r}"
    return UnknownName(
        f"nothing was ranked by {metric!r}{on}.{did_you_mean(str(metric), names)} "
        f"Known: {', '.join(names)}."
    )


def metrics_of(connection: Connection, dataset: str | None) -> list[str]:
    """The objectives that were searched or published on a dataset."""
    query = select(STUDY.c.metric).select_from(STUDIES).where(RANKED).distinct()
    if dataset is not None:
        query = query.where(DATASET.c.name == dataset)
    return sorted(connection.execute(query).scalars())


def standings(connection: Connection, about: Row, limit: int | None) -> Select[Any]:
    """The best complete trial of each plugin, with its paper, its test score and its source."""
    of = connection.execute(select(DATASET.c.id).where(DATASET.c.name == about["dataset"]))
    counted = TRIAL.join(STUDY, STUDY.c.id == TRIAL.c.study_id).join(
        PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id
    )
    place = func.row_number().over(partition_by=PLUGIN.c.name, order_by=(TRIAL.c.cost, TRIAL.c.id))
    count = func.count().over(partition_by=PLUGIN.c.name)
    alike = (STUDY.c.metric == about["metric"], STUDY.c.goal == about["goal"])
    placed = (
        select(TRIAL.c.id, TRIAL.c.cost, place.label("place"), count.label("trials"))
        .select_from(counted)
        .where(TRIAL.c.dataset_id.in_(of.scalars().all()), *COMPLETE, RANKED, *alike)
        .subquery()
    )
    best = (  # cut off before anything more is joined
        select(placed.c.id, placed.c.trials, func.count().over().label("total"))
        .where(placed.c.place == 1)
        .order_by(placed.c.cost, placed.c.id)
        .limit(limit)
        .subquery()
    )
    tested = and_(
        EVALUATION.c.trial_id == TRIAL.c.id,
        EVALUATION.c.dataset == about["dataset"],
        EVALUATION.c.split == "test",
        EVALUATION.c.metric == about["metric"],
    )
    told = TRIAL.join(best, best.c.id == TRIAL.c.id).join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
    told = told.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id).outerjoin(EVALUATION, tested)
    told = told.join(STUDY, STUDY.c.id == TRIAL.c.study_id)
    told = told.outerjoin(SOURCE, SOURCE.c.id == STUDY.c.source_id)
    return (
        select(
            PLUGIN.c.name.label("plugin"),
            PLUGIN.c.family,
            PAPER.c.title.label("paper"),
            PAPER.c.year,
            TRIAL.c.objective.label("value"),
            case((SEARCHED, "valid"), else_="test").label("split"),
            case((SEARCHED, TRIAL.c.objective)).label("valid"),
            case((SEARCHED, EVALUATION.c.value), else_=TRIAL.c.objective).label("test"),
            TRIAL.c.study_id.label("study"),
            TRIAL.c.number,
            best.c.trials,
            best.c.total,
            TRIAL.c.parameters,
            TRIAL.c.macs,
            TRIAL.c.seconds,
            SOURCE.c.name.label("source"),
            SOURCE.c.licence,
            SOURCE.c.origin,
        )
        .select_from(told)
        .order_by(TRIAL.c.cost, TRIAL.c.id)
    )


def papers_figures(connection: Connection, dataset: str, metric: str) -> list[Row]:
    """What papers themselves report on a dataset, from the claims that were checked.

    A row has plugin, run, figure (the words of the claim) and value: the figure as a number, None
    where the words hold none or several.
    """
    latest_of = (CLAIM.c.plugin, CLAIM.c.claim, CLAIM.c.scale)
    newest = select(func.max(CLAIM.c.id)).group_by(*latest_of)
    query = select(CLAIM.c.plugin, CLAIM.c.bars).where(CLAIM.c.id.in_(newest))
    found = []
    for plugin, bars in connection.execute(query.order_by(CLAIM.c.plugin, CLAIM.c.id)):
        for bar in bars:
            if bar["paper"] and bar["on"] == dataset and bar["metric"] == metric:
                value = number_in(bar["paper"])
                figure = {"run": bar["run"], "figure": bar["paper"], "value": value}
                found.append({"plugin": plugin, **figure})
    return found


def number_in(words: str) -> float | None:
    """The one number in words such as "82.6 %" (0.826); None if there is none, or several."""
    numbers = re.findall(r"\d+(?:\.\d+)?", words)
    if len(numbers) != 1:
        return None
    share = re.search(r"\d\s*%", words) is not None
    return float(numbers[0]) / (100 if share else 1)
