"""The papers' claims: verdicts, figures and the commands behind them."""

from __future__ import annotations

import streamlit as st

from automl.dataset_db import query
from automl.ui.views.frame import empty, literal, page, title

COLOURS = {"reproduced": "green", "not reproduced": "red", "inconclusive": "orange"}


@page
def show() -> None:
    """A section per claim."""
    title("Claims")
    found = query.claims()
    if not found:
        empty("No claim was checked yet. Check one", "automl reproduce ptrnet")
        return
    for row in found:
        st.subheader(f"{literal(row['plugin'])}: {literal(row['claim'])}")
        st.badge(row["verdict"], color=COLOURS[row["verdict"]])  # type: ignore[arg-type]
        st.markdown(f"{literal(row['statement'])} \n\n{literal(row['source'])}")
        bars = [
            {
                "met": {True: "yes", False: "no", None: "no result"}[bar["met"]],
                "run": bar["run"],
                "test split of": bar["on"],
                "bar": bar["bar"],
                "ours": bar["ours"],
                "spread": bar["spread"],
                "paper": bar["paper"],
            }
            for bar in row["bars"]
        ]
        st.dataframe(bars, hide_index=True, width="stretch")
        st.code(row["command"], language="bash")
