"""The trials of a study as a table: pages, columns, order and states are the reader's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from automl.dataset_db import overview
from automl.ui.charts import Columns, shown
from automl.ui.views.frame import (
    download,
    empty,
    marked,
    opener,
    pager,
    restart,
    turned,
)
from automl.ui.views.picking import Picks

Row = dict[str, Any]
PAGE = 25
MOST_COMPARED = 8
AT = "at"  # the page's name in the address; Studies has "page"
ORDERS = {
    "the newest first": ("number", True),
    "the oldest first": ("number", False),
    "the best first": ("objective", False),
    "the longest first": ("seconds", True),
    "the smallest first": ("parameters", False),
}
FACTS = ("state", "objective", "step", "seconds", "parameters", "macs", "bytes", "seed", "label")
FIRST = ("state", "objective", "seconds", "parameters")


def draw(about: Row, columns: Columns, picks: Picks) -> None:
    """A page of trials; those selected in a chart alone, if there are any."""
    states = sorted(set(columns["state"]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order = st.selectbox(
            "Order", list(ORDERS), key="sort", bind="query-params", on_change=restarted, width=190
        )
        wanted = st.pills(
            "States",
            states,
            selection_mode="multi",
            format_func=marked,
            key="states",
            bind="query-params",
            on_change=restarted,
        )
    by, descending = ORDERS[str(order)]
    only = None if picks.origin in ("", "trials") else sorted(picks.numbers)
    chosen: dict[str, Any] = {"states": wanted or (), "numbers": only}
    ask = {**chosen, "order": by, "descending": descending}
    found = overview.trial_page(about["id"], **ask, limit=PAGE, offset=PAGE * (turned(AT) - 1))
    if not found["rows"] and found["total"]:
        restart(AT)
        found = overview.trial_page(about["id"], **ask, limit=PAGE)
    if not found["total"]:
        empty("No trial is in these states. Choose others, or clear the selection.")
        return
    table(found["rows"], picks)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        pager(found["total"], PAGE, AT)
        save(about, f"Save all {found['total']:,} as CSV", "trials.csv", **chosen)


def restarted() -> None:
    """Another order or state makes another list."""
    restart(AT)


def table(rows: list[Row], picks: Picks) -> None:
    """A page of trials with the columns that the reader chose; a press on a number opens it."""
    frame = frame_of(rows)
    several = len(set(frame["plugin"])) > 1  # each with settings of its own
    settings = [name for name in frame.columns if name not in ("trial", "plugin", *FACTS)]
    usual = ["plugin", *FIRST] if several else [*FIRST, *settings]
    with st.popover("Columns", icon=":material/view_column:"):
        shown_ = st.multiselect(
            "Columns of the table", [n for n in frame.columns if n != "trial"], usual, key="columns"
        )
    numbers = [row["number"] for row in rows]
    names = [f"{row['study']}/{row['number']}" for row in rows]
    frame["trial"] = [str(number) for number in numbers]
    frame["state"] = [marked(state) for state in frame["state"]]
    digits = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(
        frame,
        hide_index=True,
        height="content",
        placeholder="–",
        key=f"{picks.key('trials')}-{numbers[0]}-{numbers[-1]}-{len(numbers)}",
        on_select=selected(picks, numbers),
        selection_mode="multi-row",
        column_order=["trial", *shown_],
        alt="Trials of the study, one row each",
        column_config={
            "trial": opener("trial", "open-trial", "model", "trial", names),
            **{name: digits for name in frame.columns if frame[name].dtype == float},
            "seconds": st.column_config.NumberColumn(format="%.1f s"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "macs": st.column_config.NumberColumn("multiply-adds", format="localized"),
            "bytes": st.column_config.NumberColumn(format="bytes"),
        },
    )


def selected(picks: Picks, numbers: Sequence[int]) -> Any:
    """What to call when rows are selected."""
    key = f"{picks.key('trials')}-{numbers[0]}-{numbers[-1]}-{len(numbers)}"

    def called() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        picks.set([numbers[row] for row in rows if row < len(numbers)], "trials")

    return called


def frame_of(rows: list[Row]) -> pd.DataFrame:
    """Trials with a column for each fact and each setting; settings of several kinds as texts."""
    settings = sorted({name for row in rows for name in params(row)})
    found: dict[str, list[Any]] = {
        "trial": [f"{row['study']}/{row['number']}" for row in rows],
        "plugin": [row["plugin"] for row in rows],
        **{name: [row[name] for row in rows] for name in FACTS},
    }
    taken = set(found)
    for name in settings:
        values = [params(row).get(name) for row in rows]
        numeric = all(type(value) in (int, float, type(None)) for value in values)
        column = name if name not in taken else f"{name} (setting)"
        found[column] = values if numeric else ["" if v is None else shown(v) for v in values]
    return pd.DataFrame(found)


def params(trial: Row) -> Row:
    """The searched settings of a trial; all settings of an imported one."""
    found = trial["params"] or trial["config"]
    return found if isinstance(found, dict) else {}


def save(about: Row, label: str, name: str, **chosen: Any) -> None:
    """A button that saves trials, all pages of them."""
    study = about["id"]

    def made() -> str:
        found = overview.trial_page(study, **chosen, limit=None)["rows"]
        return frame_of(found).to_csv(index=False)

    download(label, made, f"study-{study}-{name}")
