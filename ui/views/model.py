"""The card of one model: what it is, how it learnt, what it answers, its code and its exports."""

from __future__ import annotations

from typing import Any

import streamlit as st

from automl.dataset_db import query
from automl.ui import charts
from automl.ui.views import model_code, model_export, model_layers, model_run, places
from automl.ui.views.frame import (
    SPLITS,
    figures,
    literal,
    number,
    page,
    parameter,
    provenance,
    remembered,
    seconds,
    state_badge,
)

TABS = (
    "Learning curve", "Run it", "Scores", "Configuration", "Layers", "Code", "Compare", "Export",
)  # fmt: skip
Row = dict[str, Any]


@page
def show() -> None:
    """The trial of the address, else the best there is."""
    key = remembered("trial", parameter("trial") or query.best())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        given = st.text_input("Trial", key=key, help="STUDY/NUMBER such as 3/0, or best", width=180)
    wanted = given.strip() or parameter("trial")  # nothing is written: the address still tells
    reference = query.best() if wanted in ("best", "") else wanted
    st.query_params["trial"] = reference
    row = query.trial(reference, code=True)
    head(row)
    tabs = dict(zip(TABS, st.tabs(TABS, key="tab", bind="query-params"), strict=True))
    with tabs["Learning curve"]:
        figure = charts.learning(row["curves"], row["metric"], row["unit"], row["split"])
        st.plotly_chart(
            figure, key="learning", alt=f"{row['metric']} over the steps of trial {reference}"
        )
    with tabs["Scores"]:
        draw_scores(row)
    with tabs["Configuration"]:
        draw_config(row)
    with tabs["Code"]:
        model_code.draw(row)
    with tabs["Export"]:
        model_export.draw(row)
    for name, draw in (
        ("Run it", model_run.draw),
        ("Layers", model_layers.draw),
        ("Compare", model_code.compare),
    ):  # fmt: skip  these cost something: only where they are looked at
        with tabs[name]:
            if tabs[name].open:
                draw(row)


def head(row: Row) -> None:
    """What it is, and its main figures."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(f"Trial {literal(row['reference'])}", anchor=False, width="content")
        state_badge(row["state"])
    paper = row["paper"]
    st.caption(
        f"{literal(row['plugin'])} version {row['plugin_version']} on {literal(row['dataset'])}: "
        f"{literal(paper['title'])} ({paper['year']})"
    )
    provenance(row)
    figures(
        {
            literal(f"{row['metric']}, {SPLITS[row['split']]}"): number(row["objective"]),
            "parameters": number(row["parameters"]),
            "multiply-adds, one example": number(row["macs"]),
            "training": seconds(row["seconds"]),
        }
    )
    if row["failure"]:
        st.error(literal(f"{row['failure']['kind']}: {row['failure']['message']}"))
        st.code(
            row["failure"]["traceback"] or row["failure"]["log"], language="text", wrap_lines=True
        )
    with st.container(horizontal=True):
        study = str(row["study"])
        places.link(f"Study {study}", "study", icon=":material/show_chart:", study=study)
        if not row["source"]:
            places.link(
                "Search with this plugin", "start", icon=":material/add_circle:",
                plugin=row["plugin"], dataset=row["dataset"],
            )  # fmt: skip


def draw_scores(row: Row) -> None:
    """Validation, test and probes."""
    listed = [
        {"split": row["split"], "dataset": row["dataset"], "metric": name, "value": value}
        for name, value in (row["scores"] or {}).items()
    ]
    listed += [
        {
            "split": evaluation["split"],
            "dataset": evaluation["dataset"],
            "metric": evaluation["metric"] or "–",
            "value": evaluation["value"],
            "note": evaluation["reason"],
        }
        for evaluation in row["evaluations"]
    ]
    listed += [
        {"split": "probe", "dataset": p["probe"], "metric": p["name"], "value": p["value"]}
        for p in row["probes"]
    ]
    if listed:
        st.dataframe(listed, hide_index=True, width="stretch")
    else:
        st.caption("No scores: the trial has not reported.")
    if not row["probes"]:
        st.caption(
            "No probe has measured it. Probes look beyond the metric: "
            f"`automl probe {row['reference']} --probe NAME`"
        )


def draw_config(row: Row) -> None:
    """Every setting of the trial, searched ones first, and the file of it."""
    searched = row["params"] or {}
    listed = [
        {"setting": name, "value": str(value), "searched": "yes" if name in searched else ""}
        for name, value in sorted(
            row["config"].items(), key=lambda item: (item[0] not in searched, item[0])
        )
    ]
    for name, settings in (row["techniques"] or {}).items():
        listed += [
            {"setting": f"{name}.{key}", "value": str(value), "searched": ""}
            for key, value in settings.items()
        ]
    st.dataframe(listed, hide_index=True, width="stretch", height=min(40 + 35 * len(listed), 560))
    model_export.config_download(row)
    if not row["source"]:
        st.caption(f"Run it again from its record: `automl replay {row['reference']}`")
