"""A row for each trial and step: the objective as it was reported, with the trial's facts.

What LEMUR's ``data`` answers, with code once for each network and settings once for each trial.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal, select, tuple_

from automl.core.errors import ConfigError
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import COLUMNS, Where, unknown
from automl.dataset_db.frames import table
from automl.dataset_db.pages import EVERYTHING, NAMES, Selection, selection
from automl.dataset_db.parts import chunks, codes
from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import (
    CODE,
    PLUGIN,
    SCORE,
    SOURCE,
    SOURCE_FILE,
    STUDY,
    TRIAL,
)

TIMES = SCORE.alias("times")
FACTS = ("plugin", "family", "dataset", "problem", "metric", "label", "source", "code_hash")
OWN_SPLIT = case((STUDY.c.kind == "import", "test"), else_="valid")
REPORTED = ("trial_id", "step", "value", "seconds")
BESIDES = ("config", "facts")  # of a trial and of its network, as dictionaries


def records(  # noqa: PLR0913  filters and parts, all by keyword
    db: Any = None,
    *,
    plugin: str | Sequence[str] | None = None,
    family: str | Sequence[str] | None = None,
    dataset: str | None = None,
    problem: str | None = None,
    source: str | None = None,
    study: int | None = None,
    where: Where | None = None,
    step: int | None = None,
    split: str | None = None,
    best: bool = False,
    columns: Sequence[str] = FACTS,
    config: bool = True,
    code: bool = False,
    texts: bool = False,
    facts: bool = False,
    config_columns: bool = False,
    complete: bool = False,
    limit: int | None = None,
    after: str | None = None,
) -> pd.DataFrame:
    """The objective at each step of each trial, by trial and step, as a DataFrame.

    Columns are ``trial_id``, ``step``, ``value`` and ``seconds`` (cumulative, where it was
    reported), those of ``columns`` (any of ``filters.COLUMNS``), ``config`` (one dictionary for
    each trial; ``config_columns`` makes a column of each setting), ``facts`` (published statistics
    of the network), and for ``code`` and ``texts`` the source of the network, of its transform and
    of its metric, one object for each text. ``split`` is by default the one that the objective was
    measured on: validation, or test of imported records. ``step`` keeps one step; ``best`` the best
    record of each network at each step, by dataset and metric. ``complete`` drops rows in which
    anything is missing. ``limit`` and ``after`` page, see ``frames.models``.

    Raises:
        ConfigError: if a filter, a column or a limit makes no sense.
        DatabaseError: if there is no readable database.
    """
    given = dict(zip(NAMES, (plugin, family, dataset, problem, source, study), strict=True))
    chosen = selection(given, where, limit=limit, after=after)
    for name in columns:
        if name not in COLUMNS:
            raise ConfigError(unknown("column", name, COLUMNS))
    with reading(db) as connection:
        reported = Reported(connection, chosen, step, split)
        found, mark = reported.page(best)
        settings = config or texts or config_columns
        known = [*columns, "source", "metric"] if texts else columns  # texts are found by them
        about = about_trials(connection, [row[0] for row in found], known, settings, facts)
        keys = {row["_plugin"] for row in about.values()} if code else set()
        sources = codes(connection, keys)
        others = other_texts(connection) if texts else {}
    mine = [about[row[0]] for row in found]
    reported_columns = zip(REPORTED, zip(*found, strict=True), strict=True) if found else ()
    made: dict[str, list[Any]] = {name: [] for name in REPORTED}
    made |= {name: list(values) for name, values in reported_columns}
    besides = [name for name, wanted in zip(BESIDES, (config, facts), strict=True) if wanted]
    for name in [*columns, *besides]:
        made.setdefault(name, [row[name] for row in mine])
    if code:
        made["code"] = [sources[row["_plugin"]] for row in mine]
    if texts:
        made |= texts_of(mine, others)
    if config_columns:
        made |= settings_of(mine)
    frame = table(made)
    frame = frame.dropna(ignore_index=True) if complete else frame
    frame.attrs["next"] = mark
    return frame


def record_page(db: Any = None, *, limit: int = 100, **options: Any) -> dict[str, Any]:
    """The same as plain rows: ``{"rows": [...], "next": mark or None, "code": {...}}``.

    ``code`` has the texts of each network once, by ``code_hash``.
    """
    code = bool(options.pop("code", False))
    frame = records(db, limit=limit, code=code, **options)
    found: dict[str, Any] = {"next": frame.attrs["next"]}
    if code:
        found["code"] = dict(zip(frame["code_hash"], frame.pop("code"), strict=True))
    frame = frame.astype(object)
    found["rows"] = frame.where(frame.notna(), None).to_dict("records")
    return found


class Reported:
    """The reported objectives of a selection of trials."""

    def __init__(
        self, connection: Connection, chosen: Selection, step: int | None, split: str | None
    ) -> None:
        self.connection, self.chosen = connection, chosen
        self.conditions: list[ColumnElement[bool]] = [
            *chosen.met(connection),
            SCORE.c.metric == STUDY.c.metric,
            SCORE.c.split == (OWN_SPLIT if split is None else split),
        ]
        if step is not None:
            self.conditions.append(SCORE.c.step == step)

    def page(self, best: bool) -> tuple[list[tuple[Any, ...]], str | None]:
        """Rows (trial, step, value, seconds) in order, and the mark of the page after."""
        if self.chosen.after is not None:
            self.conditions.append(self.beyond(self.chosen.after))
        query = self.best() if best else self.every()
        limit = self.chosen.limit
        if limit is not None:
            query = query.limit(limit + 1)
        found = [tuple(row) for row in self.connection.execute(query)]
        if limit is None or len(found) <= limit:
            return found, None
        found = found[:limit]
        return found, json.dumps(["records", *found[-1][:2]])

    def every(self) -> Select[Any]:
        """All of them."""
        timed = and_(
            TIMES.c.trial_id == SCORE.c.trial_id,
            TIMES.c.split == "train",
            TIMES.c.step == SCORE.c.step,
            TIMES.c.metric == "seconds",
        )
        place = SCORE.join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        place = place.join(STUDY, STUDY.c.id == TRIAL.c.study_id).outerjoin(TIMES, timed)
        columns = (SCORE.c.trial_id, SCORE.c.step, SCORE.c.value, TIMES.c.value.label("seconds"))
        ordered = select(*columns).select_from(place).where(*self.conditions)
        return ordered.order_by(TRIAL.c.id, SCORE.c.step)

    def best(self) -> Select[Any]:
        """The best of each network at each step, by dataset and metric."""
        signed = case((STUDY.c.goal == "min", SCORE.c.value), else_=-SCORE.c.value)
        of = (PLUGIN.c.name, TRIAL.c.dataset_id, STUDY.c.metric, SCORE.c.step)
        place = func.row_number().over(
            partition_by=of, order_by=(signed.asc().nulls_last(), SCORE.c.trial_id)
        )
        counted = self.every().add_columns(place.label("place")).order_by(None)
        counted = counted.join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
        inner = counted.subquery()
        columns = (inner.c.trial_id, inner.c.step, inner.c.value, inner.c.seconds)
        return select(*columns).where(inner.c.place == 1).order_by(inner.c.trial_id, inner.c.step)

    def beyond(self, after: str) -> ColumnElement[bool]:
        """The condition that a row comes after a page.

        Raises:
            ConfigError: if ``after`` is no mark of a page of records.
        """
        try:
            name, trial, step = json.loads(after)
            mark = tuple_(literal(int(trial)), literal(int(step)))
            good = name == "records"
        except (ValueError, TypeError, OverflowError):
            good = False
        if not good:
            raise ConfigError(f"after={after!r} marks no page of records: use `next` of one")
        return tuple_(SCORE.c.trial_id, SCORE.c.step) > mark


def about_trials(
    connection: Connection, keys: list[int], columns: Sequence[str], config: bool, facts: bool
) -> dict[int, Row]:
    """The facts of trials by id, each read once; equal texts are one object."""
    wanted = [COLUMNS[name].label(name) for name in dict.fromkeys(columns)]
    wanted += [TRIAL.c.config.label("config")] if config and "config" not in columns else []
    wanted += [PLUGIN.c.facts.label("facts")] if facts else []
    query = select(TRIAL.c.id.label("_id"), PLUGIN.c.id.label("_plugin"), *wanted)
    found: dict[int, Row] = {}
    same: dict[str, str] = {}
    for some in chunks(list(dict.fromkeys(keys))):
        for row in rows(connection, query.select_from(EVERYTHING).where(TRIAL.c.id.in_(some))):
            for name, value in row.items():
                if isinstance(value, str):
                    row[name] = same.setdefault(value, value)
            found[row["_id"]] = row
    return found


def other_texts(connection: Connection) -> dict[tuple[str, str], str]:
    """The texts of imported transforms and metrics by source and path."""
    query = (
        select(SOURCE.c.name, SOURCE_FILE.c.path, CODE.c.text)
        .join(SOURCE, SOURCE.c.id == SOURCE_FILE.c.source_id)
        .join(CODE, CODE.c.id == SOURCE_FILE.c.code_id)
        .where(
            SOURCE_FILE.c.path.startswith("transform/") | SOURCE_FILE.c.path.startswith("metric/")
        )
    )
    return {(source, path): text for source, path, text in connection.execute(query)}


def texts_of(mine: list[Row], texts: dict[tuple[str, str], str]) -> dict[str, list[Any]]:
    """The source of the transform and of the metric of each row, where there is one."""
    published = {"accuracy": "acc", "lemur_map": "map", "lemur_ppl": "ppl"}
    return {
        "transform_code": [
            texts.get((row["source"], f"transform/{row['config'].get('transform')}.py"))
            for row in mine
        ],
        "metric_code": [
            texts.get((row["source"], f"metric/{published.get(row['metric'], row['metric'])}.py"))
            for row in mine
        ],
    }


def settings_of(mine: list[Row]) -> dict[str, list[Any]]:
    """A column ``config.NAME`` for each setting that any trial has."""
    names = sorted({name for row in mine for name in row["config"]})
    return {f"config.{name}": [row["config"].get(name) for row in mine] for name in names}
