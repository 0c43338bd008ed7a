"""A model's layers as a table and as a graph; the helper process builds the model for that."""

from __future__ import annotations

from typing import Any

import streamlit as st

from automl.core.errors import AutoMLError
from automl.ui import pictures
from automl.ui.views.frame import literal, number
from automl.ui.views.helping import asked

Row = dict[str, Any]
MOST_DRAWN = 60  # layers of a graph that can be read


def draw(row: Row) -> None:
    """Table and graph, or why there are none."""
    if row["source"]:
        st.caption("This record was imported without a model: its code is all there is of it.")
        return
    try:
        found = asked("layers", task=task(row))
    except AutoMLError as error:
        st.info(literal(f"The model cannot be built: {error}"), icon=":material/info:")
        return
    listed = found["layers"]
    st.caption(
        f"{len(listed)} layers; the model holds {number(found['total'])} numbers. Shapes are of "
        "two examples."
    )
    if found["note"]:
        st.caption(
            literal(f"Without shapes, since an example does not go through: {found['note']}")
        )
    graph, table = st.tabs(["Graph", "Table"], key="layers-as")
    with table:
        st.dataframe(rows(listed), hide_index=True, width="stretch", key="layers-table")
    with graph:
        names = {name for edge in found["edges"] for name in edge}
        if not found["edges"]:
            st.caption("No flow of data between layers was seen: the table lists them.")
        elif len(names) > MOST_DRAWN:
            st.caption(f"{len(names)} layers are too many to draw: the table lists them.")
        else:
            alt = f"The layers of trial {row['reference']} and how data flow between them"
            with st.container(height=560, border=True):
                st.graphviz_chart(pictures.dot(found["edges"], listed), alt=alt)


def task(row: Row) -> Row:
    """What builds the model of a trial, whatever its state."""
    return {
        "plugin": row["settings"]["plugins"][row["plugin"]]["reference"],
        "dataset": row["dataset"],
        "config": row["config"],
        "number": row["number"],
        "seed": row["seed"],
        "folder": "",
    }


def rows(listed: list[Row]) -> list[Row]:
    """The table."""
    total = sum(row["parameters"] for row in listed) or 1
    return [
        {
            "layer": row["name"],
            "kind": row["kind"],
            "takes": row["takes"] or "–",
            "gives": row["gives"] or "–",
            "parameters": row["parameters"],
            "share": f"{row['parameters'] / total:.1%}",
            "calls": row["calls"],
            "settings": row["settings"],
        }
        for row in listed
    ]
