"""What hangs on many models at once: code, curves, evaluations; a few queries for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import CODE, EVALUATION, PLUGIN_CODE, SCORE

CHUNK = 10_000  # keys in one query; SQLite allows 32,766


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
