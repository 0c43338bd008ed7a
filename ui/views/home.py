"""Home: the studies, with what they found and how they got there."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from automl.dataset_db import overview
from automl.ui.charts import BLUE
from automl.ui.views import answers
from automl.ui.views.frame import (
    REFRESH_SECONDS,
    ago,
    download,
    empty,
    figures,
    follow,
    inert,
    marked,
    number,
    opener,
    page,
    pager,
    restart,
    seconds,
    title,
    turned,
)

Row = dict[str, Any]
PAGE = 25
KINDS = {"search": "Searches", "claim": "Claims", "import": "Imported"}
NOTHING = {
    "search": ("No studies yet. Start one", "automl search --plugin ptrnet"),
    "claim": ("No claim was checked yet. Check one", "automl reproduce ptrnet"),
    "import": (
        "No records were imported yet. Import LEMUR's",
        "automl db import lemur nn_dataset-2.1.0-py3-none-any.whl",
    ),
}


@page
def show() -> None:
    """The studies; while some are running, always anew."""
    title("Studies")
    running = overview.totals()["running"]
    st.fragment(listing, run_every=REFRESH_SECONDS if running else None)()


@page
def listing() -> None:
    """A page of studies, filtered and ordered as the address says."""
    total = overview.totals()
    figures(
        {
            "searches": number(total["studies"].get("search", 0)),
            "running": number(total["running"]),
            "trials": number(total["trials"]),
            "models": number(total["models"]),
            "papers searched": number(total["plugins"]),
            "imported studies": number(total["studies"].get("import", 0)),
        }
    )
    kind, text, order = choices()
    found = overview.study_page(
        kind=kind, text=text, order=order, limit=PAGE, offset=PAGE * (turned() - 1)
    )
    if not found["rows"] and found["total"]:  # a page beyond the last, e.g. of an old bookmark
        restart()
        found = overview.study_page(kind=kind, text=text, order=order, limit=PAGE)
    if not found["total"]:
        if text:
            empty("No study matches the filter. Clear it, or look at another kind of study.")
        else:
            empty(*NOTHING[kind])
        return
    draw(found["rows"], kind)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        pager(found["total"], PAGE)
        download(
            "Save the list as CSV",
            lambda: table(
                overview.study_page(kind=kind, text=text, order=order, limit=found["total"])["rows"]
            ).to_csv(index=False),
            "studies.csv",
        )
    follow()


def choices() -> tuple[str, str, str]:
    """Kind, filter and order; kept in the address."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.segmented_control(
            "Kind",
            list(KINDS),
            default="search",
            required=True,
            format_func=lambda name: KINDS[name],
            key="kind",
            bind="query-params",
            on_change=restart,
        )
        text = st.text_input(
            "Filter by name, paper, dataset or state",
            key="filter",
            bind="query-params",
            placeholder="ptrnet tsp",
            on_change=restart,
        )
        order = st.selectbox(
            "Order",
            list(overview.STUDY_ORDERS),
            key="order",
            bind="query-params",
            on_change=restart,
            width=180,
        )
    return str(kind), text, str(order)


def table(rows: list[Row]) -> pd.DataFrame:
    """Studies as a file has them."""
    hidden = ("best_number", "message", "problem")
    frame = pd.DataFrame([{k: v for k, v in row.items() if k not in hidden} for row in rows])
    return frame


def draw(rows: list[Row], kind: str) -> None:
    """The studies of a page; a press on a name opens it."""
    ended = [row["n_complete"] + row["n_pruned"] + row["n_failed"] for row in rows]
    names = [inert(row["name"]) for row in rows]
    frame = pd.DataFrame(
        {
            "study": names,
            "state": [marked(row["state"]) for row in rows],
            "dataset": [row["dataset"] for row in rows],
            "best": [number(row["best_value"]) for row in rows],
            "metric": [f"{row['metric']} {'↑' if row['goal'] == 'max' else '↓'}" for row in rows],
            "best so far": answers.sparklines(rows),
            "trials": [
                f"{many:,} of {row['budget_trials']:,}" if row["budget_trials"] else f"{many:,}"
                for many, row in zip(ended, rows, strict=True)
            ],
            "time": [seconds(row["seconds"] or None) for row in rows],
            "active": [ago(row["active_at"]) for row in rows],
        }
    )
    if kind == "import":
        frame["licence"] = [row["licence"] or "not stated" for row in rows]
    st.dataframe(
        frame,
        hide_index=True,
        height="content",
        placeholder="–",
        key="studies",
        alt=f"{KINDS[kind]}, one row each: state, dataset, best value, trials and last activity",
        column_config={
            "study": opener(
                "study", "open-study", "study", "study", [str(row["id"]) for row in rows]
            ),
            "best": st.column_config.TextColumn(alignment="right"),
            "trials": st.column_config.TextColumn(alignment="right"),
            "time": st.column_config.TextColumn(alignment="right", help="wall-clock"),
            "best so far": st.column_config.LineChartColumn(
                color=BLUE, help="the best value so far, over the trials"
            ),
        },
    )
