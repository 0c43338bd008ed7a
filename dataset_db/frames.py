"""The data set of models as one table: code, configuration and statistics in one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from automl.core.garbage import uncollected
from automl.dataset_db.engine import reading
from automl.dataset_db.filters import Where
from automl.dataset_db.pages import NAMES, chosen_columns, fetch, selection, series
from automl.dataset_db.parts import codes
from automl.dataset_db.records import Asked

OBJECT = np.dtype(object)
KINDS = {  # all others are kept as they are: equal texts stay one object
    **dict.fromkeys(("trial_id", "study", "number", "plugin_version"), "int64"),
    **dict.fromkeys(("step", "parameters", "macs", "bytes", "seed"), "Int64"),  # may be missing
    **dict.fromkeys(("objective", "value", "seconds"), "float64"),
    **dict.fromkeys(("started_at", "finished_at"), "datetime64[us, UTC]"),
}


def models(  # noqa: PLR0913  filters and parts, all by keyword
    db: Any = None,
    *,
    plugin: str | None = None,
    family: str | None = None,
    dataset: str | None = None,
    problem: str | None = None,
    source: str | None = None,
    study: int | None = None,
    where: Where | None = None,
    states: str | Sequence[str] = ("complete",),
    columns: Sequence[str] | None = None,
    config: bool = True,
    code: bool = False,
    curves: bool = False,
    evaluations: bool = False,
    unique: str | None = None,
    order_by: str = "objective",
    descending: bool = False,
    limit: int | None = 1000,
    after: str | None = None,
) -> pd.DataFrame:
    """Models, the best first within each goal, as a DataFrame with a row each.

    ``where`` has further filters on any column, setting or score: ``{"objective": {">=": 0.9},
    "config.lr": {"between": [1e-3, 0.1]}, "plugin": ["AirNet", "ptrnet"]}``, see ``filters``.
    ``columns`` names those of ``filters.COLUMNS`` to return (all, ``config`` only if asked for).
    ``code`` adds a dict of file name to text, one object per network, each distinct text once;
    ``curves`` adds {split: {metric: [(step, value), ...]}}; ``evaluations`` adds
    [{dataset, split, metric, value, reason}, ...]. ``unique="plugin"`` keeps the best trial of
    each network by dataset and metric. ``order_by`` is one of ``pages.ORDERS``, the smallest
    first unless ``descending``. ``limit`` is the length of a page (None: everything); ``after``
    takes ``frame.attrs["next"]`` of the page before, which is None on the last one: a page of the
    best costs the same wherever it is.

    Raises:
        ConfigError: if a filter, a column, an order or a limit makes no sense, or ``after`` is
            none of ours.
        DatabaseError: if there is no readable database.
    """
    given = dict(zip(NAMES, (plugin, family, dataset, problem, source, study), strict=True))
    chosen = selection(
        given,
        where,
        states=states,
        unique=unique,
        order_by=order_by,
        descending=descending,
        limit=limit,
        after=after,
    )
    wanted = chosen_columns(columns, config)
    with reading(db) as connection:
        found, mark = fetch(connection, chosen, wanted)
        keys, plugins = found.pop("_id"), found.pop("_plugin")
        if code:
            texts = codes(connection, plugins)
            found["code"] = [texts[key] for key in plugins]
        found |= series(connection, keys, curves=curves, evaluations=evaluations)
    frame = table(found)
    frame.attrs["next"] = mark
    return frame


def records(  # noqa: PLR0913  filters by keyword
    db: Any = None,
    *,
    plugin: str | Sequence[str] | None = None,
    family: str | Sequence[str] | None = None,
    dataset: str | None = None,
    problem: str | None = None,
    source: str | None = None,
    study: int | None = None,
    where: Where | None = None,
    limit: int | None = None,
    after: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """The objective at each step of each trial, by trial and step, as a DataFrame.

    Columns are ``trial_id``, ``step``, ``value`` and ``seconds`` (cumulative, where it was
    reported) and what ``options`` ask for, see ``records.Asked``; ``config`` is one dictionary for
    each trial, a source one object for each text. ``limit`` and ``after`` page, see ``models``.

    Raises:
        ConfigError: if a filter, a column or a limit makes no sense.
        DatabaseError: if there is no readable database.
    """
    asked = Asked(**options)
    given = dict(zip(NAMES, (plugin, family, dataset, problem, source, study), strict=True))
    with uncollected(), reading(db) as connection:
        found, trials, mark = asked.of(
            connection, selection(given, where, limit=limit, after=after)
        )
    place = np.searchsorted(trials.pop("_id"), found["trial_id"])
    about = {name: objects(values)[place] for name, values in trials.items()}
    frame = table({**found, **about})
    frame = frame.dropna(ignore_index=True) if asked.complete else frame
    frame.attrs["next"] = mark
    return frame


def objects(values: list[Any]) -> NDArray[np.object_]:
    """The values as an array, whatever they are."""
    return np.fromiter(values, np.object_, len(values))


def table(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A DataFrame of columns, each of its kind; pandas would copy every text."""
    made = {
        name: pd.Series(values, dtype=KINDS.get(name, OBJECT)) for name, values in columns.items()
    }
    return pd.DataFrame(made, copy=False)
