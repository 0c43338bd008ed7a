"""Leaderboards: the best model of each paper on a dataset."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from automl.core.errors import UnknownName
from automl.dataset_db import ranking
from automl.ui import charts
from automl.ui.render import notes
from automl.ui.views.frame import literal, page, parameter, remembered


@page
def show() -> None:
    """Choose a dataset, by the address or by hand, and rank the papers on it."""
    st.title("Leaderboards")
    names = ranking.ranked_datasets()
    if not names:
        st.info("No searches yet. Let all papers compete: `automl search --dataset digits`")
        return
    asked = parameter("dataset")
    if asked and asked not in names:
        raise UnknownName(f"nothing was searched on dataset {asked!r}")
    key = remembered("dataset", asked or names[0])
    chosen = str(st.selectbox("Dataset", names, key=key))
    st.query_params["dataset"] = chosen
    found = ranking.leaderboard(chosen)
    metrics = found["metrics"]
    if len(metrics) > 1:
        metric = st.selectbox("Metric", metrics, metrics.index(found["metric"]), key="metric")
        found = ranking.leaderboard(chosen, metric=metric)
    draw(found)


def draw(found: dict[str, Any]) -> None:
    """The ranking as a chart and as a table."""
    rows, metric = found["rows"], found["metric"]
    if not rows:
        st.info("No trial is complete yet.")
        return
    st.plotly_chart(charts.ranking(rows, found["baselines"], metric, found["unit"]), key="ranking")
    columns: dict[str, list[Any]] = {
        "rank": [row["rank"] for row in rows],
        "plugin": [row["plugin"] for row in rows],
        "best trial": [f"model?trial={row['reference']}" for row in rows],
        f"{metric} (validation)": [row["valid"] for row in rows],
        f"{metric} (test)": [row["test"] for row in rows],
        "trials": [row["trials"] for row in rows],
        "parameters": [row["parameters"] for row in rows],
        "multiply-adds": [row["macs"] for row in rows],
        "seconds": [row["seconds"] for row in rows],
        "paper": [f"{row['paper']} ({row['year']})" for row in rows],
    }
    if any(row["source"] for row in rows):
        columns |= {name: [row[name] for row in rows] for name in ("source", "licence", "origin")}
    frame = pd.DataFrame(columns)
    score = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        column_config={
            "best trial": st.column_config.LinkColumn(display_text=r"trial=(\S+)"),
            f"{metric} (validation)": score,
            f"{metric} (test)": score,
            "seconds": st.column_config.NumberColumn(format="%.1f"),
            "origin": st.column_config.LinkColumn(),
        },
    )
    for name, scores in found["baselines"].items():
        if metric in scores:
            st.caption(f"{literal(name)}: {scores[metric]:.4g} on the same test split")
    for note in notes(found):
        st.caption(literal(note))
