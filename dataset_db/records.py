"""A row for each trial and step: the objective as it was reported, with the trial's facts.

What LEMUR's ``data`` answers, with code once for each network and settings once for each trial.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

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
from automl.core.garbage import uncollected
from automl.dataset_db.columns import Columns, among, read
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import COLUMNS, Where, fit, unknown
from automl.dataset_db.pages import EVERYTHING, NAMES, Selection, selection
from automl.dataset_db.parts import codes
from automl.dataset_db.query import Row
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
TEXTS = (
    select(SOURCE.c.name, SOURCE_FILE.c.path, CODE.c.text)
    .join(SOURCE, SOURCE.c.id == SOURCE_FILE.c.source_id)
    .join(CODE, CODE.c.id == SOURCE_FILE.c.code_id)
    .where(SOURCE_FILE.c.path.startswith("transform/") | SOURCE_FILE.c.path.startswith("metric/"))
)


@dataclass(frozen=True)
class Asked:
    """Which records of a selection of trials, and what to tell of them.

    Attributes:
        step: One step only.
        split: By default the one that the objective was measured on: validation, or test of
            imported records.
        best: The best record of each network at each step only, by dataset and metric.
        columns: Facts of the trial, any of ``filters.COLUMNS``.
        config: Add the settings of the trial.
        code: Add the source of the network.
        texts: Add the source of its transform and of its metric.
        facts: Add the published statistics of the network.
        config_columns: Add a column for each setting.
        complete: Leave out records of which anything is missing.
    """

    step: int | None = None
    split: str | None = None
    best: bool = False
    columns: Sequence[str] = FACTS
    config: bool = True
    code: bool = False
    texts: bool = False
    facts: bool = False
    config_columns: bool = False
    complete: bool = False

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                raise ConfigError(unknown("column", name, COLUMNS))

    def of(self, connection: Connection, chosen: Selection) -> tuple[Columns, Columns, str | None]:
        """The records' own columns, those of their trials by ``_id``, and the next page's mark.

        What is known of a trial is read once, however many records it has.
        """
        found, mark = Reported(connection, chosen, self.step, self.split).page(self.best)
        trials = self.about(connection, set(found["trial_id"]))
        networks, sources, metrics = (trials.pop(name) for name in OWN)
        if self.code:
            files = codes(connection, networks)
            trials["code"] = [files[key] for key in networks]
        if self.texts:
            trials |= texts_of(trials["config"], sources, metrics, other_texts(connection))
        if self.config_columns:
            trials |= settings_of(trials["config"])
        if not self.config and "config" not in self.columns:
            trials.pop("config", None)
        return found, trials, mark

    def about(self, connection: Connection, keys: Collection[int]) -> Columns:
        """The facts of trials, with those of ``OWN``, in order of ``_id``."""
        names = dict.fromkeys(name for name in self.columns if name not in REPORTED)
        if self.config or self.texts or self.config_columns:
            names["config"] = None
        wanted = [COLUMNS[name].label(name) for name in names]
        wanted += [PLUGIN.c.facts.label("facts")] if self.facts else []
        own = [column.label(name) for name, column in OWN.items()]
        query = select(TRIAL.c.id.label("_id"), *own, *wanted).select_from(EVERYTHING)
        some = query.where(among(connection, TRIAL.c.id, keys)).order_by(TRIAL.c.id)
        return read(connection, some)


def record_page(  # noqa: PLR0913  filters by keyword
    db: Any = None,
    *,
    plugin: str | Sequence[str] | None = None,
    family: str | Sequence[str] | None = None,
    dataset: str | None = None,
    problem: str | None = None,
    source: str | None = None,
    study: int | None = None,
    where: Where | None = None,
    limit: int | None = 100,
    after: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The objective at each step of each trial as plain rows, by trial and step.

    Returns ``{"rows": [...], "next": mark or None, "code": {...}}``. ``options`` are those of
    ``Asked``. ``code`` has the texts of each network once, by the ``code_hash`` that each row has
    then. Rows of one trial share its settings.

    Raises:
        ConfigError: if a filter, a column or a limit makes no sense.
        DatabaseError: if there is no readable database.
    """
    if options.get("code") and "code_hash" not in options.get("columns", FACTS):
        options["columns"] = (*options["columns"], "code_hash")
    asked = Asked(**options)
    given = dict(zip(NAMES, (plugin, family, dataset, problem, source, study), strict=True))
    chosen = selection(given, where, limit=limit, after=after)
    with uncollected():
        with reading(db) as connection:
            found, trials, mark = asked.of(connection, chosen)
        page: dict[str, Any] = {"next": mark}
        if asked.code:
            page["code"] = dict(zip(trials["code_hash"], trials.pop("code"), strict=True))
        page["rows"] = joined(found, trials)
    if asked.complete:
        whole = (row for row in page["rows"] if all(value is not None for value in row.values()))
        page["rows"] = list(whole)
    return page


def joined(found: Columns, trials: Columns) -> list[Row]:
    """A row for each record with the facts of its trial."""
    names = (*REPORTED, *(name for name in trials if name != "_id"))
    facts = zip(trials.pop("_id"), *repeat(repeat(None), 3), *trials.values(), strict=False)
    about = {row[0]: dict(zip(names, row, strict=True)) for row in facts}
    # A copy is several times faster to make than a dictionary of as many keys.
    rows = [about[trial].copy() for trial in found["trial_id"]]
    records = zip(rows, found["step"], found["value"], found["seconds"], strict=True)
    for row, step, value, seconds in records:
        row["step"], row["value"], row["seconds"] = step, value, seconds
    return rows


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


def other_texts(connection: Connection) -> dict[tuple[str, str], str]:
    """The texts of imported transforms and metrics by source and path."""
    return {(source, path): text for source, path, text in connection.execute(TEXTS)}


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
