"""The data set of models as one table: code, configuration and statistics in one request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, or_, select

from automl.core.errors import ConfigError, did_you_mean
from automl.dataset_db.catalogue import plugin_code
from automl.dataset_db.engine import reading
from automl.dataset_db.query import rows
from automl.dataset_db.schema import DATASET, EVALUATION, PAPER, PLUGIN, SCORE, STUDY, TRIAL

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
    "objective": TRIAL.c.objective,
    "step": TRIAL.c.step,
    "seconds": TRIAL.c.seconds,
    "parameters": TRIAL.c.parameters,
    "macs": TRIAL.c.macs,
    "bytes": TRIAL.c.bytes,
    "seed": TRIAL.c.seed,
    "scores": TRIAL.c.scores,
    "config": TRIAL.c.config,
    "started_at": TRIAL.c.started_at,
}
MODELS = (
    TRIAL.join(STUDY, STUDY.c.id == TRIAL.c.study_id)
    .join(PLUGIN, PLUGIN.c.id == STUDY.c.plugin_id)
    .join(PAPER, PAPER.c.id == PLUGIN.c.paper_id)
    .join(DATASET, DATASET.c.id == STUDY.c.dataset_id)
)


def models(  # noqa: PLR0913  filters and parts, all by keyword
    db: str | None = None,
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    study: int | None = None,
    states: Sequence[str] = ("complete",),
    columns: Sequence[str] | None = None,
    code: bool = False,
    curves: bool = False,
    evaluations: bool = False,
    limit: int = 1000,
    after: str | None = None,
) -> pd.DataFrame:
    """Models, the best first within each goal, as a DataFrame with a row each.

    ``columns`` names those of ``COLUMNS`` to return. ``code`` adds a dict of file name to text,
    one object per version of a plugin; ``curves`` adds {split: {metric: [(step, value), ...]}};
    ``evaluations`` adds [{dataset, split, metric, value, reason}, ...]. ``limit`` is the length of
    a page; ``after`` takes ``frame.attrs["next"]`` of the page before, which is None on the last
    one: a page costs the same wherever it is.

    Raises:
        ConfigError: if a column does not exist or ``after`` is none of ours.
    """
    wanted = list(columns) if columns is not None else list(COLUMNS)
    for name in wanted:
        if name not in COLUMNS:
            hint = did_you_mean(name, COLUMNS)
            raise ConfigError(f"no column {name!r}.{hint} Known: {', '.join(COLUMNS)}.")
    equal = {PLUGIN.c.name: plugin, DATASET.c.name: dataset, TRIAL.c.study_id: study}
    chosen = [column == value for column, value in equal.items() if value is not None]
    chosen.append(TRIAL.c.state.in_(states))
    if after is not None:
        chosen.append(beyond(after))
    keys = [TRIAL.c.id.label("_id"), TRIAL.c.cost.label("_cost"), PLUGIN.c.id.label("_plugin")]
    query = select(*(COLUMNS[name].label(name) for name in wanted), *keys)
    page = query.select_from(MODELS).where(*chosen).order_by(TRIAL.c.cost, TRIAL.c.id)
    with reading(db) as connection:
        found = rows(connection, page.limit(limit + 1))
        more, found = len(found) > limit, found[:limit]
        last = json.dumps([found[-1]["_cost"], found[-1]["_id"]]) if more else None
        add_parts(connection, found, code, curves, evaluations)
    extra = ["code"] * code + ["curves"] * curves + ["evaluations"] * evaluations
    frame = pd.DataFrame(found, columns=[*wanted, *extra])
    frame.attrs["next"] = last
    return frame


def beyond(after: str) -> ColumnElement[bool]:
    """The condition that a row comes after the page that ended with ``after``."""
    try:
        cost, key = json.loads(after)
        cost, key = float(cost), int(key)
    except (ValueError, TypeError):
        raise ConfigError(f"after={after!r} is no page mark; use frame.attrs['next']") from None
    return or_(TRIAL.c.cost > cost, and_(TRIAL.c.cost == cost, TRIAL.c.id > key))


def add_parts(
    connection: Connection, found: list[dict[str, Any]], code: bool, curves: bool, scores: bool
) -> None:
    """Add code, curves and evaluations to rows, each kind by one query."""
    keys = [row["_id"] for row in found]
    if code:
        texts = {key: plugin_code(connection, key) for key in {row["_plugin"] for row in found}}
        for row in found:
            row["code"] = texts[row["_plugin"]]
    if curves:
        series: dict[int, dict[str, dict[str, list[tuple[int, float]]]]] = {}
        query = select(SCORE).where(SCORE.c.trial_id.in_(keys)).order_by(SCORE.c.step)
        for point in connection.execute(query):
            mine = series.setdefault(point.trial_id, {}).setdefault(point.split, {})
            mine.setdefault(point.metric, []).append((point.step, point.value))
        for row in found:
            row["curves"] = series.get(row["_id"], {})
    if scores:
        listed: dict[int, list[dict[str, Any]]] = {}
        for item in rows(connection, select(EVALUATION).where(EVALUATION.c.trial_id.in_(keys))):
            del item["id"]
            listed.setdefault(item.pop("trial_id"), []).append(item)
        for row in found:
            row["evaluations"] = listed.get(row["_id"], [])
