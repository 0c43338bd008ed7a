"""Leaderboards: the best model of each paper on a dataset, ours and imported ones."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from automl.core.errors import UnknownName
from automl.dataset_db import ranking
from automl.ui import charts
from automl.ui.render import notes
from automl.ui.views.frame import (
    chart,
    download,
    empty,
    follow,
    literal,
    opener,
    page,
    pager,
    parameter,
    restart,
    title,
    turned,
)
from automl.ui.views.places import link
from automl.ui.views.study_trials import MOST_COMPARED

Row = dict[str, Any]
PAGE = 25
WHOSE = {"all": "All", "ours": "Searched here", "imported": "Imported"}


@page
def show() -> None:
    """Choose a dataset, by the address or by hand, and rank the papers on it."""
    title("Leaderboards")
    names = ranking.ranked_datasets()
    if not names:
        empty("No searches yet. Let all papers compete", "automl search --dataset digits")
        return
    asked = parameter("dataset")
    if asked and asked not in names:
        raise UnknownName(f"nothing was searched on dataset {asked!r}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Dataset", names, key="dataset", bind="query-params", on_change=restart
        )
        found = ranking.leaderboard(str(chosen), limit=None)
        if len(found["metrics"]) > 1:
            first = found["metrics"].index(found["metric"])
            metric = st.selectbox(
                "Metric", found["metrics"], first, key=f"metric-{chosen}", on_change=restart
            )
            if metric != found["metric"]:
                found = ranking.leaderboard(str(chosen), metric=str(metric), limit=None)
        whose = "all"
        if len({bool(row["source"]) for row in found["rows"]}) > 1:
            whose = st.segmented_control(
                "Records",
                list(WHOSE),
                default="all",
                required=True,
                format_func=lambda name: WHOSE[name],
                key="whose",
                bind="query-params",
                on_change=restart,
            )
    rows = [
        row
        for row in found["rows"]
        if whose == "all" or (whose == "imported") == bool(row["source"])
    ]
    draw(found, rows)


def draw(found: Row, rows: list[Row]) -> None:
    """The ranking as a chart and as a table, with what to know about it."""
    if not rows:
        empty("No trial is complete yet.")
        return
    metric = found["metric"]
    first = PAGE * (min(turned(), -(-len(rows) // PAGE)) - 1)
    shown = rows[first : first + PAGE]
    figure = charts.ranking(shown, marks(found), metric, found["unit"])
    chart(figure, "ranking", f"The best {metric} of each paper on {found['dataset']}")
    table(found, shown)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        pager(len(rows), PAGE)
        name = "leaderboard.csv"
        download(
            f"Save all {len(rows):,} as CSV", lambda: pd.DataFrame(rows).to_csv(index=False), name
        )
    said = [
        f"{name}: {scores[metric]:.4g} on the same test split"
        for name, scores in found["baselines"].items()
        if metric in scores
    ]
    figures = [
        f"The paper of {row['plugin']} says {row['figure']} ({row['run']})"
        for row in found["figures"]
    ]
    for note in [*said, *figures, *notes({**found, "rows": rows, "total": len(rows)})]:
        st.caption(literal(note))
    follow()


def marks(found: Row) -> dict[str, float]:
    """The lines of the chart: baselines and papers' own figures."""
    metric = found["metric"]
    baselines = {n: s[metric] for n, s in found["baselines"].items() if metric in s}
    own = {
        f"{row['plugin']}, its paper": row["value"]
        for row in found["figures"]
        if row["value"] is not None
    }
    return baselines | own


def table(found: Row, rows: list[Row]) -> None:
    """A page of the ranking; rows that are selected can be compared."""
    metric = found["metric"]
    own: dict[str, str] = {}
    for row in found["figures"]:
        own.setdefault(row["plugin"], row["figure"])
    columns: dict[str, list[Any]] = {
        "model": [row["reference"] for row in rows],
        "rank": [row["rank"] for row in rows],
        "paper or network": [row["plugin"] for row in rows],
        f"{metric} (validation)": [row["valid"] for row in rows],
        f"{metric} (test)": [row["test"] for row in rows],
        "paper's own": [own.get(row["plugin"], "") for row in rows],
        "trials": [row["trials"] for row in rows],
        "parameters": [row["parameters"] for row in rows],
        "multiply-adds": [row["macs"] for row in rows],
        "seconds": [row["seconds"] for row in rows],
        "title": [f"{row['paper']} ({row['year']})" for row in rows],
    }
    if not own:
        del columns["paper's own"]
    if any(row["source"] for row in rows):
        columns |= {name: [row[name] for row in rows] for name in ("source", "licence", "origin")}
    score = st.column_config.NumberColumn(format="%.4g")
    key = f"board-{found['dataset']}-{rows[0]['reference']}-{len(rows)}"
    state = st.dataframe(
        pd.DataFrame(columns),
        hide_index=True,
        height="content",
        placeholder="–",
        key=key,
        on_select="rerun",
        selection_mode="multi-row",
        alt=f"Leaderboard of {found['dataset']}, one row for each paper or imported network",
        column_config={
            "model": opener("model", "open-best", "model", "trial", columns["model"]),
            f"{metric} (validation)": score,
            f"{metric} (test)": score,
            "seconds": st.column_config.NumberColumn(format="%.1f"),
            "parameters": st.column_config.NumberColumn(format="localized"),
            "multiply-adds": st.column_config.NumberColumn(format="localized"),
            "origin": st.column_config.LinkColumn(),
        },
    )
    picked: Any = state
    names = [columns["model"][row] for row in picked["selection"]["rows"] if row < len(rows)]
    with st.container(horizontal=True, vertical_alignment="center", key="picked"):
        if 2 <= len(names) <= MOST_COMPARED:
            icon = ":material/compare_arrows:"
            link(f"Compare {len(names)} models", "compare", icon=icon, trials=",".join(names))
        else:
            st.caption(f"Select two to {MOST_COMPARED} rows to compare their models.")
