"""One study: history, curves, importance, parallel coordinates, trials; live while it runs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from automl.core.errors import UnknownName
from automl.dataset_db import query
from automl.ui import charts
from automl.ui.importance import importances
from automl.ui.views.frame import (
    REFRESH_SECONDS,
    literal,
    number,
    page,
    parameter,
    provenance,
    remembered,
    state_badge,
)

Row = dict[str, object]


@page
def show() -> None:
    """Choose a study, by the address or by hand, and draw it."""
    listed, asked = query.studies(), parameter("study")
    if not (listed or asked):
        st.info("No studies yet. Start one: `automl search --plugin ptrnet`")
        return
    numbers = [row["id"] for row in listed]
    names = {row["id"]: f"{row['id']}: {row['name']}" for row in listed}
    if asked and not asked.isdigit():
        raise UnknownName(f"there is no study {asked!r}; Studies lists them")
    if asked and int(asked) not in numbers:
        numbers.append(int(asked))
        names[int(asked)] = f"{asked}: {query.study(int(asked))['name']}"
    key = remembered("study", int(asked) if asked else numbers[0])
    chosen = st.selectbox("Study", numbers, key=key, format_func=lambda number: names[number])
    st.query_params["study"] = str(chosen)
    running = query.study(chosen)["state"] == "running"
    st.fragment(draw, run_every=REFRESH_SECONDS if running else None)(chosen)


def draw(number_: int) -> None:
    """Everything about the study; redrawn by itself while it runs."""
    about = query.study(number_)
    trials = query.trials(number_, order="number")
    st.header(literal(about["name"]))
    state_badge(about["state"])
    if about["message"]:
        st.caption(literal(about["message"]))
    provenance(about)
    facts = st.columns(4)
    done = about["n_complete"] + about["n_pruned"] + about["n_failed"]
    budget = f" of {about['budget_trials']}" if about["budget_trials"] else ""
    facts[0].metric("trials", f"{done}{budget}")
    facts[1].metric(f"best {about['metric']}", number(about["best_value"]))
    facts[2].metric("pruned, failed", f"{about['n_pruned']}, {about['n_failed']}")
    facts[3].metric("wall-clock", f"{about['seconds']:.0f} s")
    if not trials:
        st.info("No trial has started yet.")
        return
    if about["best_number"] is not None:
        best = f"{number_}/{about['best_number']}"
        st.link_button(f"Open the winner, trial {best}", f"model?trial={best}", type="primary")
    draw_charts(about, trials)
    draw_explanations(about, trials)
    draw_table(trials)


def draw_charts(about: dict[str, object], trials: list[dict[str, object]]) -> None:
    """What was reached, over trials and over steps."""
    metric, goal, unit = str(about["metric"]), str(about["goal"]), str(about["unit"])
    left, right = st.columns(2)
    with left:
        st.subheader("Optimisation history")
        st.plotly_chart(charts.history(trials, metric, goal, unit), key="history")
    with right:
        st.subheader("Intermediate values")
        split = query.own_split(str(about["kind"]))
        curves = query.curves(int(str(about["id"])), metric=metric, split=split)
        states = {int(str(trial["number"])): str(trial["state"]) for trial in trials}
        st.plotly_chart(charts.intermediate(curves, states, metric, unit), key="curves")


def draw_explanations(about: dict[str, object], trials: list[dict[str, object]]) -> None:
    """What made trials good, plugin by plugin: each has a space of its own."""
    metric, goal = str(about["metric"]), str(about["goal"])
    space = about["space"] if isinstance(about["space"], dict) else {}
    plugins = sorted({str(trial["plugin"]) for trial in trials})
    chosen = plugins[0]
    if len(plugins) > 1:
        st.plotly_chart(charts.by_plugin(trials, metric, str(about["unit"])), key="plugins")
        winner = {trial["number"]: str(trial["plugin"]) for trial in trials}.get(
            about["best_number"]
        )
        first = plugins.index(winner) if winner else 0
        chosen = st.selectbox("Settings of the plugin", plugins, first, key="plugin")
        trials = [trial for trial in trials if trial["plugin"] == chosen]
    left, right = st.columns(2)
    with left:
        st.subheader("Parameter importance")
        shares = importances(space.get(chosen, {}), trials, goal)
        if shares:
            st.plotly_chart(charts.importance(shares), key="importance")
        else:
            st.caption("Importance needs four complete trials that differ.")
    with right:
        st.subheader("Parallel coordinates")
        if any(trial["state"] == "complete" and trial["params"] for trial in trials):
            st.plotly_chart(charts.parallel(trials, metric, goal), key="parallel")
        else:
            st.caption("Nothing to compare yet.")


def draw_table(trials: list[dict[str, object]]) -> None:
    """All trials, each a link to its model card."""
    st.subheader("Trials")
    frame = pd.DataFrame(
        {
            "trial": [f"model?trial={trial['study']}/{trial['number']}" for trial in trials],
            "plugin": [trial["plugin"] for trial in trials],
            "state": [trial["state"] for trial in trials],
            "objective": [trial["objective"] for trial in trials],
            "step": [trial["step"] for trial in trials],
            "seconds": [trial["seconds"] for trial in trials],
            "parameters": [trial["parameters"] for trial in trials],
            **{
                name: [cell(trial, name) for trial in trials]
                for name in sorted({n for trial in trials for n in params(trial)})
            },
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        column_config={
            "trial": st.column_config.LinkColumn(display_text=r"trial=(\S+)"),
            "objective": st.column_config.NumberColumn(format="%.4g"),
            "seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    st.download_button(
        "Download as CSV", frame.to_csv(index=False), "trials.csv", "text/csv", key="csv"
    )


def params(trial: dict[str, object]) -> dict[str, object]:
    """The searched parameters of a trial; all settings of an imported one."""
    found = trial["params"] or trial["config"]
    return found if isinstance(found, dict) else {}


def cell(trial: dict[str, object], name: str) -> str:
    """A parameter as text, since one column may hold numbers and names."""
    value = params(trial).get(name)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
