"""What hangs on many models at once: code, curves, evaluations; a few queries for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from automl.dataset_db.columns import among, fetched
from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import CODE, EVALUATION, PLUGIN_CODE, SCORE


def codes(connection: Connection, plugins: Iterable[int]) -> dict[int, dict[str, str]]:
    """File name -> text by plugin; a text that several share is one object."""
    keys = sorted(set(plugins))
    found: dict[int, dict[str, str]] = {key: {} for key in keys}
    link = select(PLUGIN_CODE.c.plugin_id, PLUGIN_CODE.c.file, PLUGIN_CODE.c.code_id)
    ordered = link.order_by(PLUGIN_CODE.c.plugin_id, PLUGIN_CODE.c.file)
    files = fetched(connection, ordered.where(among(connection, PLUGIN_CODE.c.plugin_id, keys)))
    query = select(CODE.c.id, CODE.c.text)
    texts = dict(
        fetched(connection, query.where(among(connection, CODE.c.id, {row[2] for row in files})))
    )
    for plugin, file, code in files:
        found[plugin][file] = texts[code]
    return found


def series_of(connection: Connection, keys: Sequence[int]) -> dict[int, Any]:
    """{split: {metric: [(step, value), ...]}} by trial."""
    found: dict[int, dict[str, dict[str, list[tuple[int, float | None]]]]] = {}
    columns = (SCORE.c.trial_id, SCORE.c.split, SCORE.c.metric, SCORE.c.step, SCORE.c.value)
    query = select(*columns).where(among(connection, SCORE.c.trial_id, keys)).order_by(SCORE.c.step)
    for trial, split, metric, step, value in fetched(connection, query):
        mine = found.setdefault(trial, {}).setdefault(split, {})
        mine.setdefault(metric, []).append((step, value))
    return found


def evaluations_of(connection: Connection, keys: Sequence[int]) -> dict[int, list[Row]]:
    """Scores on other splits and datasets by trial."""
    found: dict[int, list[Row]] = {}
    query = (
        select(EVALUATION)
        .where(among(connection, EVALUATION.c.trial_id, keys))
        .order_by(EVALUATION.c.id)
    )
    for row in rows(connection, query):
        del row["id"]
        found.setdefault(row.pop("trial_id"), []).append(row)
    return found
