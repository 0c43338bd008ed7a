"""One study: what was reached, why, at what cost and when; live while it runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from automl.core.errors import UnknownName
from automl.dataset_db import overview, query
from automl.ui import charts, study_charts
from automl.ui.views import answers, study_settings, study_trials
from automl.ui.views.frame import (
    REFRESH_SECONDS,
    ago,
    chart,
    empty,
    figures,
    follow,
    literal,
    number,
    page,
    parameter,
    pictures,
    provenance,
    seconds,
    state_badge,
    title,
)
from automl.ui.views.picking import Picks
from automl.ui.views.places import link

Row = dict[str, Any]
MEASURES = (
    {"name": "seconds", "unit": "s", "goal": "min"},
    {"name": "parameters", "unit": "", "goal": "min"},
    {"name": "macs", "unit": "multiply-adds", "goal": "min"},
    {"name": "bytes", "unit": "bytes", "goal": "min"},
    {"name": "step", "unit": "", "goal": "min"},
)
VIEWS = ("Overview", "Settings", "Trade-offs", "Timeline", "Trials")


@page
def show() -> None:
    """The study of the address, else the newest."""
    asked = parameter("study")
    if asked and not asked.isdecimal():
        raise UnknownName(f"there is no study {asked!r}; Studies lists them")
    chosen = int(asked) if asked else newest()
    if chosen is None:
        title("Study")
        empty("No studies yet. Start one", "automl search --plugin ptrnet")
        return
    st.query_params["study"] = str(chosen)
    about = query.study(chosen)
    title(about["name"], of=f"Study {chosen}: {about['plugin']} on {about['dataset']}")
    running = about["state"] == "running"
    st.fragment(draw, run_every=REFRESH_SECONDS if running else None)(chosen, running)


def newest() -> int | None:
    """The number of the newest search."""
    found = overview.study_page(limit=1)["rows"]
    return found[0]["id"] if found else None


@page
def draw(chosen: int, live: bool) -> None:
    """Everything about the study; redrawn by itself while it runs."""
    about = query.study(chosen)
    if live and about["state"] != "running":
        st.rerun()  # it has ended: nothing is to be redrawn by itself any more
    head(about)
    mark = answers.stamp(about)
    columns = answers.columns(mark, chosen, charts.NARROW)
    if not columns["number"]:
        empty("No trial has started yet.")
        return
    picks = Picks(chosen, columns["number"])
    chosen_trials(about, picks)
    tabs = st.tabs(VIEWS, key="view", bind="query-params")
    views = (outcome, study_settings.draw, trade_offs, timeline, study_trials.draw)
    for tab, view in zip(tabs, views, strict=True):
        if tab.open:
            with tab:
                view(about, columns, picks)
                if view is not study_trials.draw:
                    pictures()
    follow()


def head(about: Row) -> None:
    """State, provenance and the figures of the study."""
    with st.container(horizontal=True, vertical_alignment="center"):
        state_badge(about["state"])
        if about["message"]:
            st.caption(literal(about["message"]), width="content")
        st.caption(f"active {ago(about['active_at'])}", width="content")
    provenance(about)
    done = about["n_complete"] + about["n_pruned"] + about["n_failed"]
    budget = f" of {about['budget_trials']}" if about["budget_trials"] else ""
    better = "largest" if about["goal"] == "max" else "smallest"
    figures(
        {
            f"best {literal(about['metric'])} ({better})": number(about["best_value"]),
            "trials": f"{done:,}{budget}",
            "complete": number(about["n_complete"]),
            "pruned": number(about["n_pruned"]),
            "failed": number(about["n_failed"]),
            "wall-clock": seconds(about["seconds"]),
        }
    )
    if about["best_number"] is not None:
        best = f"{about['id']}/{about['best_number']}"
        icon = ":material/emoji_events:"
        link(f"Open the winner, trial {best}", "model", icon=icon, trial=best)


def chosen_trials(about: Row, picks: Picks) -> None:
    """What is selected, and what can be done with it; a line of its own so that nothing jumps."""
    with st.container(horizontal=True, vertical_alignment="center", key="picked"):
        many = len(picks.numbers)
        if not many:
            st.caption("Select trials in a chart or the table: the others fade everywhere.")
            return
        st.markdown(f"**{many} trial{'s' if many > 1 else ''} selected**", width="content")
        st.button("Clear", on_click=picks.clear, type="tertiary", key="clear-picks")
        if many == 1:
            only = f"{about['id']}/{min(picks.numbers)}"
            link(f"Open trial {only}", "model", icon=":material/deployed_code:", trial=only)
        elif many <= study_trials.MOST_COMPARED:
            chosen = ",".join(f"{about['id']}/{n}" for n in sorted(picks.numbers))
            link("Compare them", "compare", icon=":material/compare_arrows:", trials=chosen)
        else:
            st.caption(f"Up to {study_trials.MOST_COMPARED} can be compared.")
        if not picks.is_told:
            st.caption("So many are not in the address: a bookmark shows all trials.")


def outcome(about: Row, columns: charts.Columns, picks: Picks) -> None:
    """What was reached, over trials and over steps, and how values are distributed."""
    metric, goal, unit = about["metric"], about["goal"], about["unit"]
    left, right = st.columns(2)
    with left:
        chart(
            charts.history(columns, metric, goal, unit, picks.numbers),
            picks.key("history"),
            f"Optimisation history: {metric} of each trial and the best so far",
            on_select=picks.from_chart("history"),
        )
    with right:
        wanted = worth_a_curve(columns, goal, picks)
        mark, split = answers.stamp(about), query.own_split(about["kind"])
        curves = answers.curves(mark, about["id"], metric, split, tuple(wanted))
        states = dict(zip(columns["number"], columns["state"], strict=True))
        chart(
            charts.intermediate(curves, states, metric, unit, picks.numbers),
            picks.key("curves"),
            f"Intermediate values: {metric} of trials over their steps",
            on_select=picks.from_chart("curves"),
        )
    left, right = st.columns(2)
    with left:
        chart(
            study_charts.distribution(columns, metric, unit),
            "distribution",
            f"Share of complete trials at or below each value of {metric}",
        )
    with right:
        if len(set(columns["plugin"])) > 1:
            chart(
                charts.by_plugin(columns, metric, unit, picks.numbers),
                picks.key("plugins"),
                f"{metric} of complete trials, by paper",
                on_select=picks.from_chart("plugins"),
            )
    said_of_size(len(columns["number"]), len(wanted))


def worth_a_curve(columns: charts.Columns, goal: str, picks: Picks) -> list[int]:
    """Trials whose curves are drawn: those selected, the best, and the latest."""
    numbers = columns["number"]
    if len(numbers) <= charts.MOST_CURVES:
        return list(numbers)
    half = charts.MOST_CURVES // 2
    best = [numbers[place] for place in ranked(columns, goal)[:half]]
    few = sorted(picks.numbers)[:half]
    return sorted({*few, *best, *numbers[-half:]})


def ranked(columns: charts.Columns, goal: str) -> list[int]:
    """The places of complete trials, the best first."""
    done = [
        place
        for place, state in enumerate(columns["state"])
        if state == "complete" and columns["objective"][place] is not None
    ]
    return sorted(done, key=lambda place: columns["objective"][place], reverse=goal == "max")


def said_of_size(many: int, curves: int) -> None:
    """What charts leave out of a large study."""
    if many > charts.MOST_POINTS:
        st.caption(
            f"Charts draw about {charts.MOST_POINTS:,} of {many:,} trials, evenly chosen, and all "
            "that improved on the best, which is exact."
        )
    if many > curves:
        st.caption(f"Curves of {curves} trials: the best, the latest and those selected.")


def trade_offs(about: Row, columns: charts.Columns, picks: Picks) -> None:
    """Any two measures against each other."""
    own = [{"name": n, "goal": g, "unit": u} for n, g, u in about["metrics"]]
    known = {measure["name"]: measure for measure in (*MEASURES, *own)}
    own_names = [metric["name"] for metric in own] or [about["metric"]]
    known.setdefault(about["metric"], {"name": about["metric"], "goal": about["goal"], "unit": ""})
    names = [*own_names, *(measure["name"] for measure in MEASURES)]
    left, right = st.columns(2)
    y = left.selectbox("Upwards", names, index=0, key="up", bind="query-params")
    first = names.index("parameters") if y != "parameters" else 0
    if "," in about["settings"].get("search", {}).get("objectives", ""):
        first = 1  # the second objective
    x = right.selectbox("Across", names, index=first, key="across", bind="query-params")
    points, front = measured(about, known[str(x)], known[str(y)])
    if not points["number"]:
        empty(f"No complete trial has both {literal(x)} and {literal(y)} on record.")
        return
    figure = study_charts.trade_off(points, front, known[str(x)], known[str(y)], picks.numbers)
    alt = f"{y} against {x} of complete trials, with the Pareto front"
    chart(figure, picks.key("front"), alt, on_select=picks.from_chart("front"))
    on_front = [points["number"][place] for place in front.nonzero()[0]]
    st.caption(
        f"{len(on_front)} of {len(points['number']):,} trials are on the front: no other one is as "
        "good in both and better in one."
    )
    name = "front.csv"
    study_trials.save(about, "Save the front as CSV", name, numbers=on_front)


def measured(about: Row, x: Row, y: Row) -> tuple[dict[str, list[Any]], Any]:
    """The complete trials that have both measures, and which of them are on the front."""
    import numpy as np

    from automl.core.objectives import undominated

    columns = {measure["name"]: column_of(about, measure["name"]) for measure in (x, y)}
    mark = answers.stamp(about)
    found = answers.columns(mark, about["id"], ("state", *dict.fromkeys(columns.values())))
    xs, ys = (found[columns[measure["name"]]] for measure in (x, y))
    kept = [
        place
        for place, state in enumerate(found["state"])
        if state == "complete" and xs[place] is not None and ys[place] is not None
    ]
    points = {
        "number": [found["number"][place] for place in kept],
        "x": [xs[place] for place in kept],
        "y": [ys[place] for place in kept],
    }
    if not kept:
        return points, np.zeros(0, bool)
    signs = [-1 if measure["goal"] == "max" else 1 for measure in (x, y)]
    costs = np.column_stack([np.array(points["x"]) * signs[0], np.array(points["y"]) * signs[1]])
    return points, undominated(costs.astype(float))


def column_of(about: Row, name: str) -> str:
    """The column that holds a measure."""
    if name == about["metric"]:
        return "objective"
    return name if any(name == measure["name"] for measure in MEASURES) else f"scores.{name}"


def timeline(about: Row, columns: charts.Columns, picks: Picks) -> None:
    """When trials ran."""
    if all(moment is None for moment in columns["started_at"]):
        empty("When these trials ran is not on record.")
        return
    figure = study_charts.timeline(columns, datetime.now(UTC), picks.numbers)
    alt = "When each trial ran, those that ran at once one below the other"
    chart(figure, picks.key("time"), alt, on_select=picks.from_chart("time"))
    if len(columns["number"]) > study_charts.MOST_BARS:
        st.caption(f"The latest {study_charts.MOST_BARS} of {len(columns['number']):,} trials.")
