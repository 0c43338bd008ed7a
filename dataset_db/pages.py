"""Models in pages of plain rows: filtered, ordered, the best of each network, with their code.

A page of the best costs the same wherever it is: it starts where the page before ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, func, literal, select, tuple_

from automl.core.errors import ConfigError
from automl.dataset_db.columns import Columns, among, read
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import COLUMNS, Where, conditions, unknown
from automl.dataset_db.parts import codes, evaluations_of, series_of
from automl.dataset_db.query import MODELS
from automl.dataset_db.schema import PAPER, PLUGIN, SOURCE, STUDY, TRIAL
from automl.dataset_db.types import LARGEST

LAST = 2.0**62  # stands for a missing number, so that it comes last
COUNTS = ("step", "parameters", "macs", "bytes")
ORDERS: dict[str, ColumnElement[Any]] = {  # ascending; what is missing comes last
    "objective": TRIAL.c.cost,
    "trial_id": TRIAL.c.id,
    **{name: func.coalesce(TRIAL.c[name], LAST) for name in ("seconds", *COUNTS)},
}
DESCENDING: dict[str, ColumnElement[Any]] = {
    "objective": func.coalesce(TRIAL.c.objective, -LAST),
    "trial_id": TRIAL.c.id,
    **{name: func.coalesce(TRIAL.c[name], -LAST) for name in ("seconds", *COUNTS)},
}
AHEAD = 5000  # trials that are looked through for the best of each network before all are ranked
UNIQUE = {"plugin": PLUGIN.c.name, "family": PLUGIN.c.family, "study": TRIAL.c.study_id}
EVERYTHING = MODELS.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id).outerjoin(
    SOURCE, SOURCE.c.id == STUDY.c.source_id
)
GROUPED = TRIAL.join(STUDY, STUDY.c.id == TRIAL.c.study_id).join(
    PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id
)
NAMES = ("plugin", "family", "dataset", "problem", "source", "study")  # filters with a name


@dataclass(frozen=True)
class Selection:
    """Which models, in which order.

    Attributes:
        where: Filters, see ``filters``.
        states: Of the trials.
        unique: ``"plugin"``, ``"family"`` or ``"study"``: the best of each, by dataset and metric.
        order_by: One of ``ORDERS``; ``"objective"`` is the best first, the others the smallest.
        descending: The largest first; of the objective the largest value, whatever its goal.
        limit: The length of a page; ``None`` is everything.
        after: ``next`` of the page before.
    """

    where: Where
    states: str | Sequence[str] = ("complete",)
    unique: str | None = None
    order_by: str = "objective"
    descending: bool = False
    limit: int | None = 1000
    after: str | None = None

    def __post_init__(self) -> None:
        if self.order_by not in ORDERS:
            raise ConfigError(unknown("order", self.order_by, ORDERS))
        if self.unique is not None and self.unique not in UNIQUE:
            raise ConfigError(unknown("unique", self.unique, UNIQUE))
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit={self.limit} must be at least 1, or None for everything")

    @property
    def order(self) -> ColumnElement[Any]:
        """What the rows are ordered by."""
        return (DESCENDING if self.descending else ORDERS)[self.order_by]

    def met(self, connection: Connection) -> list[ColumnElement[bool]]:
        """The conditions on trials, without where the page starts."""
        listed = [self.states] if isinstance(self.states, str) else list(self.states)
        state: ColumnElement[str] = TRIAL.c.state
        if self.unique is not None or self.descending or self.order_by != "objective":
            # All trials are looked at. Nearly all are in one state: an index of states would
            # read them in its own order, all over the table.
            state = func.coalesce(state, "")
        found = [state == listed[0] if len(listed) == 1 else state.in_(listed)]
        return found + conditions(connection, self.where)

    def ranked(self, connection: Connection) -> Select[Any]:
        """The ids of the page's trials and one more, in order; by trials alone if possible."""
        if self.unique is not None and (found := self.first_page(connection)) is not None:
            return select(TRIAL.c.id).where(among(connection, TRIAL.c.id, found))
        chosen = self.met(connection)
        if self.unique is not None:
            chosen = [TRIAL.c.id.in_(self.first_of_each(chosen))]
        if self.after is not None:
            chosen.append(self.beyond(self.after))
        query = select(TRIAL.c.id).where(*chosen)
        return query if self.limit is None else self.sorted(query).limit(self.limit + 1)

    def first_page(self, connection: Connection) -> list[int] | None:
        """The ids of the first page of the best of each and one more, from the best few trials.

        An index has those in order, and the first trial of a network among them is its best. None
        if they are of too few networks to fill the page: then all trials must be ranked.
        """
        by_index = self.order_by == "objective" and not self.descending
        if self.limit is None or self.after is not None or not by_index:
            return None
        chosen = replace(self, unique=None).met(connection)
        query = select(*self.group, TRIAL.c.id).select_from(GROUPED).where(*chosen)
        best: dict[tuple[Any, ...], int] = {}
        looked = 0
        with connection.execute(self.sorted(query).limit(AHEAD)) as found:
            for *group, key in found:
                looked += 1
                best.setdefault(tuple(group), key)
                if len(best) > self.limit:
                    return list(best.values())
        return list(best.values()) if looked < AHEAD else None

    @property
    def group(self) -> tuple[ColumnElement[Any], ...]:
        """What trials have in common of which only the best is kept."""
        assert self.unique is not None
        return UNIQUE[self.unique], TRIAL.c.dataset_id, STUDY.c.metric

    def first_of_each(self, chosen: list[ColumnElement[bool]]) -> Select[Any]:
        """The ids of the best trial of each network (or family, or study) by dataset and metric."""
        place = func.row_number().over(partition_by=self.group, order_by=(TRIAL.c.cost, TRIAL.c.id))
        counted = select(TRIAL.c.id, place.label("place")).select_from(GROUPED).where(*chosen)
        inner = counted.subquery()
        return select(inner.c.id).where(inner.c.place == 1)

    def sorted(self, query: Select[Any]) -> Select[Any]:
        """A query over trials, in order."""
        if self.descending:
            return query.order_by(self.order.desc(), TRIAL.c.id.desc())
        return query.order_by(self.order, TRIAL.c.id)

    def beyond(self, after: str) -> ColumnElement[bool]:
        """The condition that a row comes after the page that ended with ``after``.

        Raises:
            ConfigError: if it is not the mark of such a page.
        """
        name = self.mark_name
        try:
            told, last, key = json.loads(after)
            last, key = float(last), int(key)
            good = told == name and not math.isnan(last) and abs(key) <= LARGEST
        except (ValueError, TypeError, OverflowError):
            good = False
        if not good:
            raise ConfigError(
                f"after={after!r} marks no page ordered by {name}; use `next` of the page before"
            )
        place, mark = (
            tuple_(self.order, TRIAL.c.id),
            tuple_(literal(last), literal(key, BigInteger())),
        )
        return place < mark if self.descending else place > mark

    @property
    def mark_name(self) -> str:
        """What a page's mark says of its order."""
        return f"-{self.order_by}" if self.descending else self.order_by


def selection(given: dict[str, Any], where: Where | None, **options: Any) -> Selection:
    """A selection of filters that have a name of their own and others."""
    named = {name: value for name, value in given.items() if value is not None}
    return Selection({**(where or {}), **named}, **options)


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
    return list(dict.fromkeys(columns))


@lru_cache(maxsize=64)
def shown(wanted: tuple[str, ...]) -> Select[Any]:
    """Columns of models, with ``_id`` and ``_plugin``: building a query takes longer than it."""
    columns = [COLUMNS[name].label(name) for name in wanted]
    keys = (TRIAL.c.id.label("_id"), PLUGIN.c.id.label("_plugin"))
    return select(*columns, *keys).select_from(EVERYTHING)


def fetch(
    connection: Connection, chosen: Selection, wanted: Sequence[str]
) -> tuple[Columns, str | None]:
    """The columns of a page, with ``_id`` and ``_plugin``, and the mark of the page after it."""
    query = shown(tuple(wanted)).add_columns(chosen.order.label("_order"))
    ids = chosen.ranked(connection).subquery()
    query = query.where(TRIAL.c.id.in_(select(ids.c.id)))
    found = read(connection, chosen.sorted(query))
    mark, order, limit = None, found.pop("_order"), chosen.limit
    if limit is not None and len(order) > limit:
        found = {name: values[:limit] for name, values in found.items()}
        mark = json.dumps([chosen.mark_name, order[limit - 1], found["_id"][-1]])
    return found, mark


def model_page(  # noqa: PLR0913  filters and parts, all by keyword
    db: Any = None,
    *,
    plugin: str | None = None,
    family: str | None = None,
    dataset: str | None = None,
    problem: str | None = None,
    source: str | None = None,
    study: int | None = None,
    where: Where | None = None,
    columns: Sequence[str] | None = None,
    code: bool = False,
    curves: bool = False,
    evaluations: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """A page of models as plain rows: ``{"rows": [...], "next": mark or None, "code": {...}}``.

    Takes what ``frames.models`` takes. ``code`` has the texts of each network once, by
    ``code_hash`` and file name, and each row its ``code_hash``; ``curves`` and ``evaluations``
    are parts of the rows.

    Raises:
        ConfigError: if a filter, a column, an order or a limit makes no sense.
        DatabaseError: if there is no readable database.
    """
    given = dict(zip(NAMES, (plugin, family, dataset, problem, source, study), strict=True))
    chosen = selection(given, where, **options)
    wanted = chosen_columns(columns, config=True)
    if code and "code_hash" not in wanted:
        wanted.append("code_hash")
    with reading(db) as connection:
        found, mark = fetch(connection, chosen, wanted)
        keys, plugins = found.pop("_id"), found.pop("_plugin")
        texts: dict[str, dict[str, str]] = {}
        if code:
            hashes = dict(zip(plugins, found["code_hash"], strict=True))
            texts = {hashes[key]: files for key, files in codes(connection, hashes).items()}
        found |= series(connection, keys, curves=curves, evaluations=evaluations)
    page = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    return {"rows": page, "next": mark, **({"code": texts} if code else {})}


def series(
    connection: Connection, keys: Sequence[int], *, curves: bool, evaluations: bool
) -> Columns:
    """Columns of the curves and evaluations of trials, those that are asked for."""
    found: Columns = {}
    if curves:
        of = series_of(connection, keys)
        found["curves"] = [of.get(key, {}) for key in keys]
    if evaluations:
        on = evaluations_of(connection, keys)
        found["evaluations"] = [on.get(key, []) for key in keys]
    return found
