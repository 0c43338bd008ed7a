"""What made trials of a study good: the effect of settings, paper by paper."""

from __future__ import annotations

from typing import Any

import streamlit as st

from automl.ui import charts, study_charts
from automl.ui.coordinates import MOST_LINES, parallel
from automl.ui.views import answers
from automl.ui.views.frame import chart, empty, literal
from automl.ui.views.picking import Picks

Row = dict[str, Any]
MOST_AXES = 7  # of the parallel coordinates


def draw(about: Row, columns: charts.Columns, picks: Picks) -> None:
    """Importance, parallel coordinates, one setting and two; each paper has a space of its own."""
    plugin = chosen_plugin(about, columns)
    numbers = sampled(columns, plugin, about["goal"])
    mark = answers.stamp(about)
    trials = answers.explained(mark, about["id"], tuple(numbers))
    names = varied(trials)
    if not names:
        empty("Nothing to compare yet: it takes two complete trials with different settings.")
        return
    space = about["space"].get(plugin, {}) if isinstance(about["space"], dict) else {}
    shares = answers.shares(mark, plugin, space, trials, about["goal"]) if space else {}
    order = sorted(names, key=lambda name: -shares.get(name, 0))
    metric, goal, unit = about["metric"], about["goal"], about["unit"]
    left, right = st.columns([2, 3])
    with left:
        if shares:
            chart(charts.importance(shares), "importance", f"How much settings explain of {metric}")
        else:
            st.caption("Importance needs four complete trials that differ.")
    with right:
        chart(
            parallel(trials, metric, goal, unit, order[:MOST_AXES], picks.numbers),
            picks.key("parallel"),
            f"Trials as lines through their settings to {metric}",
            on_select=picks.from_chart("parallel"),
        )
    effects(trials, order, about, picks)
    said_of_size(len(trials), sum(name == plugin for name in columns["plugin"]), len(order))


def said_of_size(explained: int, total: int, settings: int) -> None:
    """What the charts leave out."""
    if explained < total:
        st.caption(f"Importance is that of {explained:,} of {total:,} trials.")
    if explained > MOST_LINES:
        st.caption(
            f"The charts draw {MOST_LINES} lines and up to {study_charts.MOST_DOTS} points, "
            "evenly chosen."
        )
    if settings > MOST_AXES:
        st.caption(f"Coordinates are the {MOST_AXES} most important of {settings} settings.")


def chosen_plugin(about: Row, columns: charts.Columns) -> str:
    """The paper whose settings are shown; the winner's at first."""
    plugins = sorted(set(columns["plugin"]))
    if len(plugins) == 1:
        return str(plugins[0])
    winner = dict(zip(columns["number"], columns["plugin"], strict=True)).get(about["best_number"])
    first = plugins.index(winner) if winner else 0
    chosen = st.selectbox(
        "Settings of the paper", plugins, first, key="plugin", bind="query-params"
    )
    return str(chosen)


def sampled(columns: charts.Columns, plugin: str, goal: str) -> list[int]:
    """The numbers of complete trials of a paper; of many, evenly chosen ones.

    The best are not preferred: the importance of settings would be wrong.
    """
    mine = [
        number
        for number, name, state in zip(
            columns["number"], columns["plugin"], columns["state"], strict=True
        )
        if name == plugin and state == "complete"
    ]
    return charts.thinned(mine, answers.MOST_EXPLAINED)


def varied(trials: list[Row]) -> list[str]:
    """The settings that differ between trials."""
    seen: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial["params"].items():
            seen.setdefault(name, set()).add(repr(value))
    partly = {n for n in seen if any(n not in trial["params"] for trial in trials)}
    return sorted(name for name, values in seen.items() if len(values) > 1 or name in partly)


def effects(trials: list[Row], order: list[str], about: Row, picks: Picks) -> None:
    """The objective over one setting, and over two."""
    metric, goal, unit = about["metric"], about["goal"], about["unit"]
    left, right = st.columns(2)
    with left:
        name = str(st.selectbox("Setting", order, key="setting", bind="query-params"))
        figure = study_charts.slice_of(trials, name, metric, unit, picks.numbers)
        alt = f"{metric} of trials over {name}"
        chart(figure, picks.key("slice"), alt, on_select=picks.from_chart("slice"))
    with right:
        others = [other for other in order if other != name]
        if not others:
            st.caption(f"{literal(name)} is the only setting that differs.")
            return
        against = str(st.selectbox("Together with", others, key="against", bind="query-params"))
        figure = study_charts.contour(trials, name, against, metric, goal, unit, picks.numbers)
        alt = f"{metric} of trials over {name} and {against}"
        chart(figure, picks.key("contour"), alt, on_select=picks.from_chart("contour"))
