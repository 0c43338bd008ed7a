"""Models beside each other: fronts, summaries, neighbours by code, and joint rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Integer, case, cast, func, select

from automl.core.errors import ConfigError, UnknownName, did_you_mean
from automl.core.objectives import undominated
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import COLUMNS, Where, unknown
from automl.dataset_db.fingerprints import fingerprint
from automl.dataset_db.near_duplicates import Networks, networks
from automl.dataset_db.pages import EVERYTHING, NAMES, Selection, selection
from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import PLUGIN, TRIAL

GROUPS = ("plugin", "family", "dataset", "problem", "metric", "state", "source", "kind", "study")
MEASURES = ("objective", "seconds", "step", "parameters", "macs", "bytes")
BANDS = {  # of the Jaccard similarity of two texts; the names are LEMUR's
    "very_high": (0.98, 1.0),
    "high": (0.95, 0.98),
    "medium": (0.85, 0.95),
    "low": (0.60, 0.85),
    "very_low_near": (0.30, 0.60),
    "very_low_far": (0.0, 0.30),
}
OPEN = 200  # joint rows that wait for members; bounds the work on groups of one family
SHOWN = ("study", "number", "plugin", "family", "dataset", "metric", "objective", "code_hash")


def pareto(
    db: Any = None,
    *,
    dataset: str,
    objectives: Sequence[str] = ("objective", "parameters"),
    where: Where | None = None,
    **filters: Any,
) -> list[Row]:
    """The models of a dataset that no other one beats in every objective, the best first.

    ``objectives`` are among ``MEASURES``: of the objective the better, of the others the smaller
    wins. Models in which one is unknown do not take part.

    Raises:
        ConfigError: if an objective does not exist.
    """
    for name in objectives:
        if name not in MEASURES:
            raise ConfigError(unknown("objective", name, dict.fromkeys(MEASURES)))
    chosen = selected(where, limit=None, dataset=dataset, **filters)
    costs = [TRIAL.c.cost if name == "objective" else TRIAL.c[name] for name in objectives]
    with reading(db) as connection:
        query = select(TRIAL.c.id, *costs).where(*chosen.met(connection))
        query = query.where(TRIAL.c.objective.is_not(None), *(cost.is_not(None) for cost in costs))
        found = [tuple(row) for row in connection.execute(query)]
        if not found:
            return []
        keys, points = np.array([row[0] for row in found]), np.array([row[1:] for row in found])
        front = [int(key) for key in keys[undominated(points)]]
        columns = [COLUMNS[name].label(name) for name in dict.fromkeys((*SHOWN, *objectives))]
        shown = select(*columns).select_from(EVERYTHING).where(TRIAL.c.id.in_(front))
        return rows(connection, shown.order_by(TRIAL.c.cost, TRIAL.c.id))


def aggregate(
    db: Any = None,
    *,
    by: Sequence[str] = ("dataset",),
    of: str = "objective",
    quantiles: Sequence[float] = (0.5,),
    states: str | Sequence[str] = ("complete",),
    where: Where | None = None,
    limit: int = 1000,
    **filters: Any,
) -> list[Row]:
    """Count, mean, smallest, largest and quantiles of a measure, by group, the largest group first.

    ``by`` are among ``GROUPS``, ``of`` among ``MEASURES``. Quantiles are values that occur
    (nearest rank), named ``q0.5``.

    Raises:
        ConfigError: if a group, a measure or a quantile makes no sense.
    """
    for name in by:
        if name not in GROUPS:
            raise ConfigError(unknown("group", name, dict.fromkeys(GROUPS)))
    if of not in MEASURES:
        raise ConfigError(unknown("measure", of, dict.fromkeys(MEASURES)))
    if not by or not all(0 <= q <= 1 for q in quantiles):
        raise ConfigError(
            f"by={list(by)} must name groups, quantiles={list(quantiles)} be in [0, 1]"
        )
    chosen = selected(where, states=states, **filters)
    with reading(db) as connection:
        keys = [COLUMNS[name].label(name) for name in by]
        group, measure = [COLUMNS[name] for name in by], TRIAL.c[of]
        rank = func.row_number().over(partition_by=group, order_by=measure.asc().nulls_last())
        known = func.count(measure).over(partition_by=group)
        ranked = select(*keys, measure.label("value"), rank.label("rank"), known.label("known"))
        inner = ranked.select_from(EVERYTHING).where(*chosen.met(connection)).subquery()
        of_each = [
            func.max(case((inner.c.rank == nearest(inner.c.known, q), inner.c.value))).label(
                f"q{q:g}"
            )
            for q in quantiles
        ]
        groups = [inner.c[name] for name in by]
        query = select(
            *groups,
            func.count().label("count"),
            func.avg(inner.c.value).label("mean"),
            func.min(inner.c.value).label("min"),
            func.max(inner.c.value).label("max"),
            *of_each,
        ).group_by(*groups)
        ordered = query.order_by(func.count().desc(), *groups)
        return [plain(row) for row in rows(connection, ordered.limit(limit))]


def nearest(known: ColumnElement[int], q: float) -> ColumnElement[Any]:
    """The rank of a quantile among ``known`` values: q * n, rounded up, at least 1."""
    exact = known * q
    whole = cast(exact, Integer)  # PostgreSQL rounds, SQLite cuts: both are put right
    up = case((whole < exact, whole + 1), (whole - 1 >= exact, whole - 1), else_=whole)
    return case((up < 1, 1), else_=up)


def plain(row: Row) -> Row:
    """The row with floats where PostgreSQL gives decimals."""
    return {
        name: float(value) if name == "mean" and value is not None else value
        for name, value in row.items()
    }


def selected(where: Where | None, **options: Any) -> Selection:
    """A selection from keywords: named filters and the options of ``Selection``."""
    named = {name: options.pop(name, None) for name in NAMES}
    return selection(named, where, **options)


# ---------------------------------------------------------------- alike by code


def similar(
    db: Any = None,
    *,
    anchor: str | None = None,
    text: str | None = None,
    band: str | tuple[float, float] = (0.0, 1.0),
    limit: int = 100,
) -> list[Row]:
    """The networks whose code is alike to a degree, the most alike first.

    The anchor is a network's name, or a source text. ``band`` is the range of the Jaccard
    similarity of 7-token shingles, its lower end included, or one of ``BANDS``; it is estimated by
    MinHash with a standard error of at most 0.045. A row has plugin, family, code_hash, jaccard and
    exact: whether only layout, comments or docstrings differ.

    Raises:
        ConfigError: if neither or both anchors are given, or the band makes no sense.
        UnknownName: if there is no network of that name with code.
    """
    if (anchor is None) == (text is None):
        raise ConfigError("give an anchor: a network's name, or a text")
    low, high = band_of(band)
    with reading(db) as connection:
        found = networks(connection)
        mine, normalised = of_text(text) if text is not None else of_anchor(found, str(anchor))
        alike = (found.minhash == mine).mean(1)
        chosen = np.flatnonzero((alike >= low) & ((alike <= high) if high >= 1 else (alike < high)))
        order = [int(n) for n in chosen[np.argsort(-alike[chosen], kind="stable")]]
        order = [n for n in order if found.rows[n]["name"] != anchor][:limit]
        keys = [found.rows[n]["id"] for n in order]
        query = select(PLUGIN.c.id, PLUGIN.c.code_hash).where(PLUGIN.c.id.in_(keys))
        hashes = {key: code_hash for key, code_hash in connection.execute(query)}
    return [
        {
            "plugin": found.rows[n]["name"],
            "family": found.rows[n]["family"],
            "code_hash": hashes[found.rows[n]["id"]],
            "jaccard": float(alike[n]),
            "exact": found.normalised[n] == normalised,
        }
        for n in order
    ]


def band_of(band: str | Sequence[float]) -> tuple[float, float]:
    """The range of a band.

    Raises:
        ConfigError: if there is none of that name, or it is no range within [0, 1].
    """
    if isinstance(band, str):
        if band not in BANDS:
            raise ConfigError(unknown("band", band, BANDS))
        return BANDS[band]
    if len(band) != 2 or not 0 <= band[0] <= band[1] <= 1:
        raise ConfigError(f"band={list(band)} must be two numbers in [0, 1], the lower one first")
    return band[0], band[1]


def of_text(text: str) -> tuple[NDArray[np.uint32], str]:
    """The MinHash of a text, and its hash without layout."""
    marks = fingerprint([text])[0]
    return np.frombuffer(marks.minhash, "<u4"), marks.normalised


def of_anchor(found: Networks, anchor: str) -> tuple[NDArray[np.uint32], str]:
    """The same of a network by name.

    Raises:
        UnknownName: if there is none.
    """
    names = [row["name"] for row in found.rows]
    if anchor not in names:
        raise UnknownName(
            f"no network {anchor!r} with code is on record.{did_you_mean(anchor, names)}"
        )
    place = names.index(anchor)
    return found.minhash[place], found.normalised[place]


def joined(  # noqa: PLR0913  filters and parts, all by keyword
    db: Any = None,
    *,
    n: int = 2,
    same: Sequence[str] = ("dataset", "metric"),
    different: Sequence[str] = ("plugin",),
    better: bool = False,
    unique: str | None = "plugin",
    where: Where | None = None,
    limit: int = 100,
    **filters: Any,
) -> list[list[Row]]:
    """``n`` models beside each other, alike in some columns and different in others.

    Columns are among ``GROUPS``. With ``better`` each model is better than the one before, e.g.
    for examples of how to improve one. Only the best trial of each network and dataset takes part
    unless ``unique`` is None. The groups with the most members come first, within a group the best
    models; each is used once, and of those beside each other the best is the last.

    Raises:
        ConfigError: if a column does not exist, or ``n`` is below 2.
    """
    for name in (*same, *different):
        if name not in GROUPS:
            raise ConfigError(unknown("column", name, dict.fromkeys(GROUPS)))
    if n < 2:
        raise ConfigError(f"n={n} must be at least 2: one model has nothing to be joined with")
    chosen = selected(where, unique=unique, limit=None, **filters)
    wanted = dict.fromkeys((*SHOWN, *same, *different))
    columns = [COLUMNS[name].label(name) for name in wanted]
    with reading(db) as connection:
        ids = chosen.ranked(connection).subquery()
        query = select(*columns, TRIAL.c.cost.label("_cost")).select_from(EVERYTHING)
        query = query.where(TRIAL.c.id.in_(select(ids.c.id)), TRIAL.c.objective.is_not(None))
        found = rows(connection, query.order_by(TRIAL.c.cost, TRIAL.c.id))
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        groups.setdefault(tuple(row[name] for name in same), []).append(row)
    made: list[list[Row]] = []
    for members in sorted(groups.values(), key=len, reverse=True):
        made += joint(members, n, different, better, limit - len(made))
        if len(made) >= limit:
            break
    return made


def joint(
    members: list[Row], n: int, different: Sequence[str], better: bool, limit: int
) -> list[list[Row]]:
    """Joint rows of one group, whose members come the best first; each is used once."""
    made: list[list[Row]] = []
    open_rows: list[list[Row]] = []
    for row in members:
        cost = row.pop("_cost")
        for waiting in open_rows:
            if all(fits(row, cost, other, different, better) for other in waiting):
                waiting.append({**row, "_cost": cost})
                break
        else:
            open_rows = [*open_rows[-OPEN:], [{**row, "_cost": cost}]]
        for waiting in [w for w in open_rows if len(w) == n]:
            open_rows.remove(waiting)
            plain_rows = [{k: v for k, v in one.items() if k != "_cost"} for one in waiting]
            made.append(plain_rows[::-1])
        if len(made) == limit:
            break
    return made


def fits(
    row: Mapping[str, Any], cost: float, other: Row, different: Sequence[str], better: bool
) -> bool:
    """Whether a model may stand beside one that is no worse."""
    return all(row[name] != other[name] for name in different) and (
        not better or cost > other["_cost"]
    )
