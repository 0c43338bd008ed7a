"""A row for each trial and step: the objective as it was reported, with the trial's facts.

What LEMUR's ``data`` answers, with code once for each network and settings once for each trial.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    tuple_,
)

from automl.core.errors import ConfigError
from automl.dataset_db.columns import Columns, among, read
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import COLUMNS, Where, fit, unknown
from automl.dataset_db.frames import table
from automl.dataset_db.pages import EVERYTHING, NAMES, Selection, selection
from automl.dataset_db.parts import codes
from automl.dataset_db.schema import (
    CODE,
    PLUGIN,
    SCORE,
    SOURCE,
    SOURCE_FILE,
    STUDY,
    TRIAL,
)
from automl.dataset_db.types import LARGEST

TIMES = SCORE.alias("times")
FACTS = ("plugin", "family", "dataset", "problem", "metric", "label", "source", "code_hash")
OWN_SPLIT = case((STUDY.c.kind == "import", "test"), else_="valid")
REPORTED = ("trial_id", "step", "value", "seconds")
OWN = {"_plugin": PLUGIN.c.id, "_source": SOURCE.c.name, "_metric": STUDY.c.metric}
# A network by a number, which sorts faster than its name.
FIRST = select(PLUGIN.c.name, func.min(PLUGIN.c.id).label("id")).group_by(PLUGIN.c.name).subquery()


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
    settings = config or texts or config_columns
    wanted = dict.fromkeys(name for name in columns if name not in REPORTED)
    with reading(db) as connection:
        found, mark = Reported(connection, chosen, step, split).page(best)
        trials = about_trials(connection, set(found["trial_id"]), list(wanted), settings, facts)
        networks, sources, metrics = (trials.pop(name) for name in OWN)
        if code:
            files = codes(connection, networks)
            trials["code"] = [files[key] for key in networks]
        if texts:
            others = other_texts(connection)
            trials |= texts_of(trials["config"], sources, metrics, others)
    if config_columns:
        trials |= settings_of(trials["config"])
    if not config and "config" not in wanted:
        trials.pop("config", None)
    # What is known of a trial is read once, and stands in the row of each of its steps.
    place = np.searchsorted(trials.pop("_id"), found["trial_id"])
    about = {name: objects(values)[place] for name, values in trials.items()}
    frame = table({**found, **about})
    frame = frame.dropna(ignore_index=True) if complete else frame
    frame.attrs["next"] = mark
    return frame


def objects(values: list[Any]) -> NDArray[np.object_]:
    """The values as an array, whatever they are."""
    return np.fromiter(values, np.object_, len(values))


def record_page(db: Any = None, *, limit: int = 100, **options: Any) -> dict[str, Any]:
    """The same as plain rows: ``{"rows": [...], "next": mark or None, "code": {...}}``.

    ``code`` has the texts of each network once, by the ``code_hash`` that each row has then.
    """
    code = bool(options.pop("code", False))
    columns = tuple(options.pop("columns", FACTS))
    if code and "code_hash" not in columns:
        columns += ("code_hash",)
    frame = records(db, limit=limit, code=code, columns=columns, **options)
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
            self.conditions.append(SCORE.c.step == fit(SCORE.c.step, step, "step"))

    def page(self, best: bool) -> tuple[Columns, str | None]:
        """Columns (trial_id, step, value, seconds) in order, and the mark of the page after."""
        query = self.best() if best else self.every()
        limit = self.chosen.limit
        found = read(self.connection, query if limit is None else query.limit(limit + 1))
        if limit is None or len(found["step"]) <= limit:
            return found, None
        found = {name: values[:limit] for name, values in found.items()}
        return found, json.dumps(["records", found["trial_id"][-1], found["step"][-1]])

    def every(self) -> Select[Any]:
        """All of them."""
        place = SCORE.join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        place = place.join(STUDY, STUDY.c.id == TRIAL.c.study_id)
        return self.timed(SCORE.c, TRIAL.c.id, place).where(*self.conditions)

    def best(self) -> Select[Any]:
        """The best of each network at each step, by dataset and metric."""
        signed = case((STUDY.c.goal == "min", SCORE.c.value), else_=-SCORE.c.value)
        of = (FIRST.c.id, SCORE.c.step, TRIAL.c.dataset_id, STUDY.c.metric)
        place = func.row_number().over(
            partition_by=of, order_by=(signed.asc().nulls_last(), SCORE.c.trial_id)
        )
        joined = SCORE.join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        joined = joined.join(STUDY, STUDY.c.id == TRIAL.c.study_id)
        joined = joined.join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
        joined = joined.join(FIRST, FIRST.c.name == PLUGIN.c.name)
        columns = (SCORE.c.trial_id, SCORE.c.step, SCORE.c.value, place.label("place"))
        inner = select(*columns).select_from(joined).where(*self.conditions).subquery()
        return self.timed(inner.c, inner.c.trial_id, inner).where(inner.c.place == 1)

    def timed(self, of: Any, trial: ColumnElement[int], place: FromClause) -> Select[Any]:
        """Rows with their seconds, in order, from where the page begins."""
        same = and_(
            TIMES.c.trial_id == of.trial_id,
            TIMES.c.split == "train",
            TIMES.c.step == of.step,
            TIMES.c.metric == "seconds",
        )
        columns = (of.trial_id, of.step, of.value, TIMES.c.value.label("seconds"))
        query = select(*columns).select_from(place.outerjoin(TIMES, same))
        if self.chosen.after is not None:
            query = query.where(self.beyond(of, self.chosen.after))
        return query.order_by(trial, of.step)  # by its own key, a trial can be read in order

    def beyond(self, of: Any, after: str) -> ColumnElement[bool]:
        """The condition that a row comes after a page.

        Raises:
            ConfigError: if ``after`` is no mark of a page of records.
        """
        try:
            name, trial, step = json.loads(after)
            keys = int(trial), int(step)
            good = name == "records" and max(map(abs, keys)) <= LARGEST
        except (ValueError, TypeError, OverflowError):
            good = False
        if not good:
            raise ConfigError(f"after={after!r} marks no page of records: use `next` of one")
        return tuple_(of.trial_id, of.step) > tuple_(*(literal(key, BigInteger()) for key in keys))


def about_trials(
    connection: Connection, keys: Collection[int], columns: list[str], config: bool, facts: bool
) -> Columns:
    """The facts of trials, with those of ``OWN``, in order of ``_id``."""
    wanted = [COLUMNS[name].label(name) for name in columns]
    wanted += [TRIAL.c.config.label("config")] if config and "config" not in columns else []
    wanted += [PLUGIN.c.facts.label("facts")] if facts else []
    own = [column.label(name) for name, column in OWN.items()]
    query = select(TRIAL.c.id.label("_id"), *own, *wanted).select_from(EVERYTHING)
    return read(connection, query.where(among(connection, TRIAL.c.id, keys)).order_by(TRIAL.c.id))


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


def texts_of(
    configs: list[Any], sources: list[Any], metrics: list[Any], texts: dict[tuple[str, str], str]
) -> Columns:
    """The source of the transform and of the metric of each trial, where there is one."""
    published = {"accuracy": "acc", "lemur_map": "map", "lemur_ppl": "ppl"}
    return {
        "transform_code": [
            texts.get((source, f"transform/{settings.get('transform')}.py"))
            for source, settings in zip(sources, configs, strict=True)
        ],
        "metric_code": [
            texts.get((source, f"metric/{published.get(metric, metric)}.py"))
            for source, metric in zip(sources, metrics, strict=True)
        ],
    }


def settings_of(configs: list[Any]) -> Columns:
    """A column ``config.NAME`` for each setting that any trial has."""
    names = sorted({name for settings in configs for name in settings})
    return {f"config.{name}": [settings.get(name) for settings in configs] for name in names}
