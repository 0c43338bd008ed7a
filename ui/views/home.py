"""Home: the studies, the newest first."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from automl.dataset_db import query
from automl.ui.views.frame import page, parameter, remembered


@page
def show() -> None:
    """A table of studies with what they found, filtered by the text in the address."""
    st.title("Studies")
    text = st.text_input(
        "Filter by plugin, dataset or name",
        key=remembered("filter", parameter("filter")),
        placeholder="ptrnet",
    )
    if text:
        st.query_params["filter"] = text
    elif "filter" in st.query_params:
        del st.query_params["filter"]
    rows = query.studies()
    found = [
        row
        for row in rows
        if text.lower() in f"{row['plugin']} {row['dataset']} {row['name']}".lower()
    ]
    if not rows:
        st.info("No studies yet. Start one: `automl search --plugin ptrnet`")
        return
    if not found:
        st.info("No study matches the filter.")
        return
    running = sum(row["state"] == "running" for row in rows)
    columns = st.columns(4)
    columns[0].metric("studies", len(rows))
    columns[1].metric("running", running)
    columns[2].metric("models", sum(row["n_complete"] for row in rows))
    columns[3].metric("plugins", len({row["plugin"] for row in rows}))
    frame = pd.DataFrame(
        {
            "study": [f"study?study={row['id']}" for row in found],
            "name": [row["name"] for row in found],
            "plugin": [row["plugin"] for row in found],
            "state": [row["state"] for row in found],
            "trials": [row["n_complete"] + row["n_pruned"] + row["n_failed"] for row in found],
            "budget": [row["budget_trials"] for row in found],
            "metric": [f"{row['metric']} ({row['goal']})" for row in found],
            "best": [row["best_value"] for row in found],
            "last activity": [row["active_at"] for row in found],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        column_config={
            "study": st.column_config.LinkColumn("open", display_text=r"study=(\d+)"),
            "best": st.column_config.NumberColumn(format="%.4g"),
            "last activity": st.column_config.DatetimeColumn(format="distance"),
        },
    )
