"""What earlier studies suggest to a new one: its first configurations, and from where.

Configurations are compared within a dataset by rank, the share of its trials that did better, so
that neither a metric's scale nor a dataset's difficulty matters.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from automl.core.errors import ConfigError, UnknownName, did_you_mean
from automl.dataset_db.engine import Db, reading
from automl.dataset_db.query import COMPLETE, MODELS, STUDIES, Row, rows
from automl.dataset_db.schema import DATASET, PLUGIN, STUDY, TRIAL

AUTO = "auto"
RANKED = STUDY.c.kind.in_(("search", "import"))
TOP = 100  # trials of a dataset that are looked at
SHARED = 5  # scores that two datasets must share to be compared by them
UNKNOWN = 0.25  # similarity of a dataset of which nothing is recorded but its problem
LEAST = 0.1  # similarity below which a dataset is left alone
NEAR = 0.5  # of the greatest similarity: a dataset farther away is left alone


@dataclass(frozen=True)
class Newcomer:
    """A search that is about to start.

    ``info`` are the dataset's facts as recorded, ``base`` the configuration of trial 0, and
    ``networks`` the names of imported networks whose published trials count as the plugin's.
    """

    plugin: str
    dataset: str
    info: Mapping[str, Any]
    metric: str
    base: Mapping[str, Any]
    networks: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """The type of problem of the dataset."""
        return str(self.info["problem"])


@dataclass
class Past:
    """A dataset that the plugin was tried on: each configuration's rank, from 0 for the best.

    ``start`` is the rank of the newcomer's trial 0; 1, the worst, if it was not tried.
    """

    dataset: str
    similarity: float
    start: float = 1.0
    ranks: dict[str, float] = field(default_factory=dict)


def first_trials(
    newcomer: Newcomer, source: str = AUTO, count: int = 4, db: Db = None
) -> list[Row]:
    """Up to ``count`` configurations to try first, the most promising one first.

    ``source`` is the number of a study or the name of a dataset, or "auto" for all datasets of the
    problem that are similar enough. Returns ``{params, origin}`` each: settings by name, and
    ``{trial, dataset, similarity, value}``. None is worse than trial 0 wherever both were tried.

    Raises:
        ConfigError: if ``count`` is less than 1, or the source is of another problem.
        UnknownName: if there is no such study or dataset.
    """
    if count < 1:
        raise ConfigError(f"warm_trials={count} must be at least 1")
    with reading(db) as connection:
        within = sources(connection, newcomer, source)
        found = best_trials(connection, newcomer, within)
        alike = similarities(connection, newcomer, found)
    if source == AUTO:
        least = max(LEAST, NEAR * max(alike.values(), default=0.0))
        alike = {name: value for name, value in alike.items() if value >= least}
    base = key(newcomer.base)
    pasts: dict[tuple[str, int | None], Past] = {}
    told: dict[str, Row] = {}
    for row in sorted(found, key=lambda row: (-alike.get(row["dataset"], 0.0), row["place"])):
        if row["dataset"] not in alike:
            continue
        similarity = alike[row["dataset"]]
        place = (row["dataset"], row["source_id"])
        past = pasts.setdefault(place, Past(row["dataset"], similarity))
        rank, name = (row["place"] - 1) / row["total"], key(row["config"])
        if name == base:
            past.start = min(past.start, rank)
        else:
            past.ranks.setdefault(name, rank)
            told.setdefault(name, suggestion(row, similarity))
    return [told[name] for name in portfolio(list(pasts.values()), count)]


def portfolio(pasts: list[Past], count: int) -> list[str]:
    """The configurations that together do best on the past datasets, chosen one by one.

    Each is the one that most lowers the mean of the best rank reached, datasets weighted by
    similarity, trial 0 being given. Where a configuration was not tried it changes nothing. When
    nothing is left to gain, a next round begins with those not yet chosen; none that trial 0 is
    better than is ever chosen.
    """
    waiting = list(dict.fromkeys(name for past in pasts for name in past.ranks))
    chosen: list[str] = []
    reached = [past.start for past in pasts]
    fresh = True
    while waiting and len(chosen) < count:
        gains = [
            sum(
                past.similarity * max(0.0, best - past.ranks.get(name, math.inf))
                for past, best in zip(pasts, reached, strict=True)
            )
            for name in waiting
        ]
        most = max(gains)
        if most <= 0:
            if fresh:
                break
            reached, fresh = [past.start for past in pasts], True
            continue
        fresh = False
        name = waiting.pop(gains.index(most))
        chosen.append(name)
        reached = [
            min(best, past.ranks.get(name, math.inf))
            for past, best in zip(pasts, reached, strict=True)
        ]
    return chosen


def key(config: Mapping[str, Any]) -> str:
    """A configuration as one text: equal ones are one."""
    return json.dumps(config, sort_keys=True, default=str)


def suggestion(row: Row, similarity: float) -> Row:
    """A trial's settings by the names that a search may use, and where they come from."""
    params = {**row["config"], **row["params"]}
    if row["source_id"] is not None:  # LEMUR's: what only one network has is prm.NAME for us
        params |= {f"prm.{name}": value for name, value in row["config"].items()}
    origin = {
        "trial": f"{row['study']}/{row['number']}",
        "dataset": row["dataset"],
        "similarity": round(similarity, 3),
        "value": row["value"],
    }
    return {"params": params, "origin": origin}


# ---------------------------------------------------------------- what is recorded


def sources(
    connection: Connection, newcomer: Newcomer, source: str
) -> tuple[ColumnElement[bool], ...]:
    """Which studies count.

    Raises:
        UnknownName, ConfigError: as ``first_trials``.
    """
    if source == AUTO:
        return ()
    is_study = source.isdecimal()
    condition = STUDY.c.id == int(source) if is_study else DATASET.c.name == source
    query = select(DATASET.c.problem).select_from(STUDIES).where(condition, RANKED).distinct()
    problems = connection.execute(query).scalars().all()
    if not problems and is_study:
        raise UnknownName(f"there is no search or import {source}: `automl studies` lists them")
    if not problems:
        every = select(DATASET.c.name).select_from(STUDIES).where(RANKED).distinct()
        hint = did_you_mean(source, connection.execute(every).scalars())
        raise UnknownName(
            f"nothing was searched on dataset {source!r}.{hint} Give auto, the number of a study "
            "or the name of a dataset: `automl studies` lists both"
        )
    if newcomer.problem not in problems:
        kind = "study" if is_study else "dataset"
        raise ConfigError(
            f"{kind} {source} is of problem {problems[0]!r}, but {newcomer.dataset!r} is of "
            f"{newcomer.problem!r}: only one of the same problem can give a warm start"
        )
    return (condition,)


def best_trials(
    connection: Connection, newcomer: Newcomer, within: Iterable[ColumnElement[bool]]
) -> list[Row]:
    """The plugin's best trials on each dataset, with their place among all of them."""
    apart = (DATASET.c.name, STUDY.c.source_id)
    place = func.row_number().over(partition_by=apart, order_by=(TRIAL.c.cost, TRIAL.c.id))
    own = and_(PLUGIN.c.name == newcomer.plugin, STUDY.c.source_id.is_(None))
    published = and_(PLUGIN.c.name.in_(newcomer.networks), STUDY.c.source_id.is_not(None))
    placed = (
        select(
            TRIAL.c.id,
            place.label("place"),
            func.count().over(partition_by=apart).label("total"),
            DATASET.c.name.label("dataset"),
            DATASET.c.info,
            STUDY.c.source_id,
        )
        .select_from(MODELS)
        .where(or_(own, published), *COMPLETE, RANKED, *comparable(newcomer), *within)
        .subquery()
    )
    query = (
        select(
            *(placed.c[name] for name in ("place", "total", "dataset", "info", "source_id")),
            TRIAL.c.study_id.label("study"),
            TRIAL.c.number,
            TRIAL.c.objective.label("value"),
            TRIAL.c.config,
            TRIAL.c.params,
        )
        .select_from(TRIAL.join(placed, placed.c.id == TRIAL.c.id))
        .where(placed.c.place <= TOP)
        .order_by(placed.c.dataset, placed.c.place)
    )
    return rows(connection, query)


def comparable(newcomer: Newcomer) -> tuple[ColumnElement[bool], ...]:
    """The same problem, judged by the same metric."""
    return DATASET.c.problem == newcomer.problem, STUDY.c.metric == newcomer.metric


# ---------------------------------------------------------------- similarity


def similarities(connection: Connection, newcomer: Newcomer, found: list[Row]) -> dict[str, float]:
    """How similar the newcomer's dataset is to each other one, from 0 to 1 for itself.

    By metadata; where there are scores of the same configurations, or else plugins, on both, by
    their geometric mean with how well those agree.
    """
    infos = {row["dataset"]: row["info"] for row in found}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for row in found:
        scores[row["dataset"]].setdefault(key(row["config"]), row["place"])
    landmarks = plugin_scores(connection, newcomer, {*infos, newcomer.dataset})
    alike = {}
    for name, info in infos.items():
        if name == newcomer.dataset:
            alike[name] = 1.0
            continue
        alike[name] = by_metadata(newcomer.info, info)
        for table in (scores, landmarks):
            agreement = correlation(table.get(newcomer.dataset, {}), table.get(name, {}))
            if agreement is not None:
                alike[name] = math.sqrt(alike[name] * (1 + agreement) / 2)
                break
    return alike


def plugin_scores(
    connection: Connection, newcomer: Newcomer, datasets: set[str]
) -> dict[str, dict[str, float]]:
    """The least cost of each plugin on each dataset, from the studies' summaries."""
    query = (
        select(DATASET.c.name, STUDY.c.plugin, func.min(STUDY.c.best_cost))
        .select_from(STUDIES)
        .where(RANKED, DATASET.c.name.in_(datasets), STUDY.c.best_value.is_not(None))
        .where(*comparable(newcomer))
        .group_by(DATASET.c.name, STUDY.c.plugin)
    )
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for dataset, plugin, cost in connection.execute(query):
        found[dataset][plugin] = cost
    return found


def by_metadata(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """1 / (1 + d), where d is the mean difference of what both record, in powers of two."""
    mine, theirs = magnitudes(one), magnitudes(other)
    shared = mine.keys() & theirs.keys()
    if not shared:
        return UNKNOWN
    distance = sum(abs(mine[name] - theirs[name]) for name in shared) / len(shared)
    return 1 / (1 + distance)


def magnitudes(info: Mapping[str, Any]) -> dict[str, float]:
    """The base-2 logarithms of training examples, inputs, classes and other numbers recorded."""
    numbers = dict(info.get("facts") or {})
    numbers["train examples"] = (info.get("sizes") or {}).get("train")
    numbers["classes"] = info.get("classes")
    shape = (info.get("shapes") or {}).get("x")
    if shape is not None:
        numbers["inputs"] = math.prod(axis for axis in shape if axis)
    return {
        name: math.log2(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    }


def correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Spearman's rank correlation of the scores that both have; ``None`` without enough."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < SHARED:
        return None
    from scipy.stats import spearmanr  # most searches do without

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant scores, which say nothing
        found = float(spearmanr([one[n] for n in shared], [other[n] for n in shared]).statistic)
    return found if math.isfinite(found) else None
