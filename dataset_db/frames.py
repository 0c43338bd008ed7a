"""The data set of models as one table: code, configuration and statistics in one request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Select, func, literal, select, tuple_

from automl.core.errors import ConfigError, did_you_mean
from automl.dataset_db.engine import reading
from automl.dataset_db.query import MODELS, STUDIES, Row, rows
from automl.dataset_db.schema import (
    CODE,
    DATASET,
    EVALUATION,
    PAPER,
    PLUGIN,
    PLUGIN_CODE,
    SCORE,
    STUDY,
    TRIAL,
)

COLUMNS: dict[str, ColumnElement[Any]] = {
    "trial_id": TRIAL.c.id,
    "study": TRIAL.c.study_id,
    "number": TRIAL.c.number,
    "plugin": PLUGIN.c.name,
    "plugin_version": PLUGIN.c.version,
    "code_hash": PLUGIN.c.code_hash,
    "paper": PAPER.c.title,
    "dataset": DATASET.c.name,
    "problem": DATASET.c.problem,
    "metric": STUDY.c.metric,
    "goal": STUDY.c.goal,
    "state": TRIAL.c.state,
    "label": TRIAL.c.label,
    "objective": TRIAL.c.objective,
    "step": TRIAL.c.step,
    "seconds": TRIAL.c.seconds,
    "parameters": TRIAL.c.parameters,
    "macs": TRIAL.c.macs,
    "bytes": TRIAL.c.bytes,
    "seed": TRIAL.c.seed,
    "stopped": TRIAL.c.stopped,
    "failure": TRIAL.c.failure_kind,
    "scores": TRIAL.c.scores,
    "techniques": TRIAL.c.techniques,
    "config": TRIAL.c.config,
    "started_at": TRIAL.c.started_at,
    "finished_at": TRIAL.c.finished_at,
}
KINDS = {  # of columns in which every value may be missing
    **dict.fromkeys(("step", "parameters", "macs", "bytes"), "Int64"),
    **dict.fromkeys(("objective", "seconds"), "float64"),
    **dict.fromkeys(("started_at", "finished_at"), "datetime64[us, UTC]"),
}
ORDERS: dict[str, ColumnElement[Any]] = {  # ascending; what is missing comes last
    "objective": TRIAL.c.cost,
    "trial_id": TRIAL.c.id,
    "seconds": TRIAL.c.seconds,
    **{name: func.coalesce(TRIAL.c[name], 2**62) for name in ("parameters", "macs", "bytes")},
}
CHUNK = 10_000  # keys in one query; SQLite allows 32,766


def models(  # noqa: PLR0913  filters and parts, all by keyword
    db: str | None = None,
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    study: int | None = None,
    states: str | Sequence[str] = ("complete",),
    columns: Sequence[str] | None = None,
    config: bool = True,
    code: bool = False,
    curves: bool = False,
    evaluations: bool = False,
    order_by: str = "objective",
    limit: int | None = 1000,
    after: str | None = None,
) -> pd.DataFrame:
    """Models, the best first within each goal, as a DataFrame with a row each.

    ``columns`` names those of ``COLUMNS`` to return (all, ``config`` only if asked for). ``code``
    adds a dict of file name to text, one object per version of a plugin, each distinct text once;
    ``curves`` adds {split: {metric: [(step, value), ...]}}; ``evaluations`` adds
    [{dataset, split, metric, value, reason}, ...]. ``order_by`` is one of ``ORDERS``, the smallest
    first. ``limit`` is the length of a page (None: everything); ``after`` takes
    ``frame.attrs["next"]`` of the page before, which is None on the last one: a page of the
    best costs the same wherever it is.

    Raises:
        ConfigError: if a column, an order or a limit makes no sense, or ``after`` is none of ours.
        DatabaseError: if there is no readable database.
    """
    wanted = chosen_columns(columns, config)
    if order_by not in ORDERS:
        raise ConfigError(unknown("order", order_by, ORDERS))
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit} must be at least 1, or None for everything")
    chosen = conditions(plugin, dataset, study, states)
    if after is not None:
        chosen.append(beyond(after, order_by))
    order = ORDERS[order_by]
    keys = [TRIAL.c.id.label("_id"), order.label("_order"), PLUGIN.c.id.label("_plugin")]
    query = select(*(COLUMNS[name].label(name) for name in wanted), *keys).select_from(
        MODELS.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id)
    )
    with reading(db) as connection:
        found = rows(connection, paged(query, chosen, order, limit))
        more = limit is not None and len(found) > limit
        found = found[:limit]
        extra = add_parts(connection, found, code=code, curves=curves, evaluations=evaluations)
    frame = pd.DataFrame(found, columns=[*wanted, *extra])
    frame = frame.astype({name: kind for name, kind in KINDS.items() if name in wanted})
    mark = [order_by, found[-1]["_order"], found[-1]["_id"]] if more else None
    frame.attrs["next"] = None if mark is None else json.dumps(mark)
    return frame


def conditions(
    plugin: str | None, dataset: str | None, study: int | None, states: str | Sequence[str]
) -> list[ColumnElement[bool]]:
    """What a trial must meet, told by its own columns."""
    listed = [states] if isinstance(states, str) else list(states)
    found = [TRIAL.c.state == listed[0] if len(listed) == 1 else TRIAL.c.state.in_(listed)]
    if study is not None:
        found.append(TRIAL.c.study_id == study)
    if plugin is not None:
        found.append(TRIAL.c.plugin_id.in_(select(PLUGIN.c.id).where(PLUGIN.c.name == plugin)))
    if dataset is not None:
        named = select(STUDY.c.id).select_from(STUDIES).where(DATASET.c.name == dataset)
        found.append(TRIAL.c.study_id.in_(named))
    return found


def paged(
    query: Select[Any],
    chosen: list[ColumnElement[bool]],
    order: ColumnElement[Any],
    limit: int | None,
) -> Select[Any]:
    """The first ``limit`` rows and one more, in order: ranked by trials alone, then joined."""
    if limit is not None:
        ranked = select(TRIAL.c.id).where(*chosen).order_by(order, TRIAL.c.id).limit(limit + 1)
        chosen = [TRIAL.c.id.in_(select(ranked.subquery().c.id))]
    return query.where(*chosen).order_by(order, TRIAL.c.id)


def chosen_columns(columns: Sequence[str] | None, config: bool) -> list[str]:
    """The columns asked for.

    Raises:
        ConfigError: if one does not exist.
    """
    if columns is None:
        return [name for name in COLUMNS if config or name != "config"]
    for name in columns:
        if name not in COLUMNS:
            raise ConfigError(unknown("column", name, COLUMNS))
    return list(columns)


def unknown(kind: str, name: str, known: dict[str, Any]) -> str:
    """The message for a name that does not exist."""
    return f"no {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."


def beyond(after: str, order_by: str) -> ColumnElement[bool]:
    """The condition that a row comes after the page that ended with ``after``.

    Raises:
        ConfigError: if it is not the mark of such a page.
    """
    try:
        name, last, key = json.loads(after)
        last, key = float(last) if order_by in ("objective", "seconds") else int(last), int(key)
        good = name == order_by and not math.isnan(last)
    except (ValueError, TypeError, OverflowError):
        good = False
    if not good:
        raise ConfigError(
            f"after={after!r} marks no page ordered by {order_by}; use frame.attrs['next']"
        )
    return tuple_(ORDERS[order_by], TRIAL.c.id) > tuple_(literal(last), literal(key))


def add_parts(
    connection: Connection, found: list[Row], *, code: bool, curves: bool, evaluations: bool
) -> list[str]:
    """Add code, curves and evaluations to rows; return the names of the columns added."""
    keys = [row["_id"] for row in found]
    extra: dict[str, list[Any]] = {}
    if code:
        texts = codes(connection, {row["_plugin"] for row in found})
        extra["code"] = [texts[row["_plugin"]] for row in found]
    if curves:
        series = series_of(connection, keys)
        extra["curves"] = [series.get(key, {}) for key in keys]
    if evaluations:
        listed = evaluations_of(connection, keys)
        extra["evaluations"] = [listed.get(key, []) for key in keys]
    for name, values in extra.items():
        for row, value in zip(found, values, strict=True):
            row[name] = value
    return list(extra)


def chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """The keys, a query's worth at a time."""
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def codes(connection: Connection, plugins: set[int]) -> dict[int, dict[str, str]]:
    """File name -> text by plugin; a text that several share is one object."""
    found: dict[int, dict[str, str]] = {key: {} for key in plugins}
    files: list[tuple[int, str, int]] = []
    for some in chunks(sorted(plugins)):
        link = select(PLUGIN_CODE.c.plugin_id, PLUGIN_CODE.c.file, PLUGIN_CODE.c.code_id)
        ordered = link.order_by(PLUGIN_CODE.c.plugin_id, PLUGIN_CODE.c.file)
        files += [
            (plugin, file, code)
            for plugin, file, code in connection.execute(
                ordered.where(PLUGIN_CODE.c.plugin_id.in_(some))
            )
        ]
    texts: dict[int, str] = {}
    for some in chunks(sorted({code for _, _, code in files})):
        query = select(CODE.c.id, CODE.c.text).where(CODE.c.id.in_(some))
        texts |= {key: text for key, text in connection.execute(query)}
    for plugin, file, code in files:
        found[plugin][file] = texts[code]
    return found


def series_of(connection: Connection, keys: Sequence[int]) -> dict[int, Any]:
    """{split: {metric: [(step, value), ...]}} by trial."""
    found: dict[int, dict[str, dict[str, list[tuple[int, float | None]]]]] = {}
    columns = (SCORE.c.trial_id, SCORE.c.split, SCORE.c.metric, SCORE.c.step, SCORE.c.value)
    for some in chunks(keys):
        query = select(*columns).where(SCORE.c.trial_id.in_(some)).order_by(SCORE.c.step)
        for trial, split, metric, step, value in connection.execute(query):
            mine = found.setdefault(trial, {}).setdefault(split, {})
            mine.setdefault(metric, []).append((step, value))
    return found


def evaluations_of(connection: Connection, keys: Sequence[int]) -> dict[int, list[Row]]:
    """Scores on other splits and datasets by trial."""
    found: dict[int, list[Row]] = {}
    for some in chunks(keys):
        query = select(EVALUATION).where(EVALUATION.c.trial_id.in_(some)).order_by(EVALUATION.c.id)
        for row in rows(connection, query):
            del row["id"]
            found.setdefault(row.pop("trial_id"), []).append(row)
    return found
