"""Charts that explain a study: distribution, trade-off, time, and the effect of settings."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from automl.ui.charts import (
    BLUE,
    COLOURS,
    GREY,
    MOST_POINTS,
    RED,
    SCALE,
    STATE_COLOURS,
    Columns,
    Picked,
    Row,
    are_numbers,
    axis_title,
    is_wide,
    layout,
    number_or_text,
    opacities,
    plain,
    shown,
    thinned,
)

MOST_BARS = 600
MOST_DOTS = 500  # of a chart of settings
GRID = 40  # places along each side of a contour


def distribution(columns: Columns, metric: str, unit: str) -> go.Figure:
    """The share of complete trials that are at or below a value (EDF), for each paper."""
    of: dict[str, list[float]] = {}
    for state, value, plugin in zip(
        columns["state"], columns["objective"], columns["plugin"], strict=True
    ):
        if state == "complete" and value is not None:
            of.setdefault(plugin, []).append(value)
    figure = go.Figure()
    for colour, name in zip(COLOURS * 9, sorted(of), strict=False):
        values = sorted(of[name])
        drawn = thinned(range(len(values)), MOST_POINTS // 4, keep=[0, len(values) - 1])
        figure.add_scatter(
            x=[values[place] for place in drawn],
            y=[(place + 1) / len(values) for place in drawn],
            mode="lines",
            name=plain(name),
            line={"shape": "hv", "color": colour},
            hovertemplate="%{y:.0%} of trials at or below %{x:.4g}",
        )
    title = "Distribution of the objective"
    made = layout(figure, title, axis_title(metric, unit), "trials [share]")
    return made.update_yaxes(range=[0, 1.03])


def trade_off(
    columns: Columns, front: NDArray[np.bool_], x: Row, y: Row, picked: Picked = ()
) -> go.Figure:
    """Two measures of complete trials against each other, and the front that nothing beats.

    ``x`` and ``y`` have name, unit and goal; ``columns`` number, ``x`` and ``y``.
    """
    numbers, xs, ys = columns["number"], columns["x"], columns["y"]
    best = [int(place) for place in np.flatnonzero(front)]
    others = thinned([place for place in range(len(numbers)) if not front[place]])
    figure = go.Figure()
    for name, places, colour, symbol, size in (
        ("other trials", others, GREY, "circle", 7),
        ("Pareto front", best, RED, "diamond", 10),
    ):
        figure.add_scatter(
            x=[xs[place] for place in places],
            y=[ys[place] for place in places],
            customdata=[[numbers[place]] for place in places],
            mode="markers",
            name=name,
            marker={
                "color": colour,
                "symbol": symbol,
                "size": size,
                "opacity": opacities([numbers[place] for place in places], picked),
            },
            hovertemplate="trial %{customdata[0]}: %{x:.4g}, %{y:.4g}<extra></extra>",
        )
    along = sorted(best, key=lambda place: xs[place])
    figure.add_scatter(
        x=[xs[place] for place in along],
        y=[ys[place] for place in along],
        mode="lines",
        line={
            "color": RED,
            "shape": "hv" if x["goal"] == "min" else "vh",
            "width": 1,
            "dash": "dot",
        },
        showlegend=False,
        hoverinfo="skip",
    )
    title = f"{plain(y['name'])} against {plain(x['name'])}"
    made = layout(
        figure, title, axis_title(x["name"], x["unit"]), axis_title(y["name"], y["unit"]), 400
    )
    if xs and is_wide(xs):
        made.update_xaxes(type="log")
    return made


def timeline(columns: Columns, now: datetime, picked: Picked = ()) -> go.Figure:
    """When each trial ran, trials that ran at once below each other; the latest of many."""
    started = [p for p, moment in enumerate(columns["started_at"]) if moment is not None]
    started = sorted(started, key=lambda place: columns["started_at"][place])[-MOST_BARS:]
    figure = go.Figure()
    if started:
        zero = columns["started_at"][started[0]]
        spans = [span(columns, place, zero, now) for place in started]
        rows = lanes(spans)
        for state, colour in STATE_COLOURS.items():
            mine = [n for n, place in enumerate(started) if columns["state"][place] == state]
            if mine:
                numbers = [columns["number"][started[n]] for n in mine]
                figure.add_bar(
                    base=[spans[n][0] for n in mine],
                    x=[spans[n][1] - spans[n][0] for n in mine],
                    y=[rows[n] + 1 for n in mine],
                    customdata=[[number] for number in numbers],
                    orientation="h",
                    name=state,
                    marker={
                        "color": colour,
                        "opacity": opacities(numbers, picked),
                        "line": {"color": "#FFFFFF", "width": 1},
                    },
                    hovertemplate="trial %{customdata[0]}: %{x:.1f} s<extra></extra>",
                )
    height = 170 + 26 * (max(rows) + 1 if started else 1)
    made = layout(
        figure, "Timeline", "time since the first trial shown [s]", "trials at once", height
    )
    made.update_layout(barmode="overlay", bargap=0.15)
    return made.update_yaxes(dtick=1, autorange="reversed")


def span(columns: Columns, place: int, zero: datetime, now: datetime) -> tuple[float, float]:
    """When a trial began and ended, in seconds since ``zero``."""
    begin, end = columns["started_at"][place], columns["finished_at"][place]
    if end is None:
        end = now if columns["state"][place] == "running" else begin
    return (begin - zero).total_seconds(), max((end - zero).total_seconds(), 0.0)


def lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """A row for each span, in order of their begin, so that none overlaps in its row."""
    busy: list[tuple[float, int]] = []  # (end, row)
    free: list[int] = []
    found = []
    for begin, end in spans:
        while busy and busy[0][0] <= begin + 0.05:  # clocks of workers and driver differ a little
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, row))
        found.append(row)
    return found


def slice_of(
    trials: list[Row], name: str, metric: str, unit: str, picked: Picked = ()
) -> go.Figure:
    """The objective of complete trials over one setting."""
    mine = with_values(trials, [name])
    values = [trial["params"][name] for trial in mine]
    xs, axis = placed(values)
    numbers = [trial["number"] for trial in mine]
    figure = go.Figure()
    figure.add_scatter(
        x=xs,
        y=[trial["objective"] for trial in mine],
        customdata=[[number] for number in numbers],
        text=[plain(shown(value)) for value in values],
        mode="markers",
        marker={
            "size": 8,
            "color": numbers,
            "colorscale": "Blues",
            "cmin": -max(numbers, default=1),
            "colorbar": {"title": {"text": "trial"}, "thickness": 10},
            "line": {"color": BLUE, "width": 1},
            "opacity": opacities(numbers, picked),
        },
        hovertemplate="trial %{customdata[0]}, %{text}: %{y:.4g}<extra></extra>",
        showlegend=False,
    )
    made = layout(figure, f"Effect of {plain(name)}", plain(name), axis_title(metric, unit))
    return made.update_xaxes(**axis)


def contour(
    trials: list[Row], x: str, y: str, metric: str, goal: str, unit: str, picked: Picked = ()
) -> go.Figure:
    """The objective over two settings: trials, and a surface through them if both are numbers."""
    mine = with_values(trials, [x, y])
    (xs, x_axis), (ys, y_axis) = (placed([t["params"][name] for t in mine]) for name in (x, y))
    values = [trial["objective"] for trial in mine]
    numbers = [trial["number"] for trial in mine]
    scale = {"colorscale": SCALE, "reversescale": goal == "min"}
    figure = go.Figure()
    surface = between(xs, ys, values, x_axis, y_axis)
    if surface is not None:
        figure.add_contour(
            **surface, **scale, showscale=False, opacity=0.55, line={"width": 0}, hoverinfo="skip"
        )
    figure.add_scatter(
        x=xs,
        y=ys,
        customdata=[[number] for number in numbers],
        text=[f"{value:.4g}" for value in values],
        mode="markers",
        marker={
            "size": 9,
            "color": values,
            **scale,
            "colorbar": {"title": {"text": axis_title(metric, unit)}, "thickness": 10},
            "line": {"color": GREY, "width": 1},
            "opacity": opacities(numbers, picked, 1.0),
        },
        hovertemplate="trial %{customdata[0]}: %{text}<extra></extra>",
        showlegend=False,
    )
    made = layout(figure, f"{plain(x)} and {plain(y)}", plain(x), plain(y))
    return made.update_xaxes(**x_axis).update_yaxes(**y_axis)


def with_values(trials: list[Row], names: Sequence[str]) -> list[Row]:
    """Complete trials that have all of the settings; of many, evenly chosen ones."""
    found = [
        trial
        for trial in trials
        if trial["state"] == "complete"
        and trial["objective"] is not None
        and all(trial["params"].get(name) is not None for name in names)
    ]
    return [found[place] for place in thinned(range(len(found)), MOST_DOTS)]


def placed(values: Sequence[Any]) -> tuple[list[Any], Row]:
    """Values as places on an axis, and what the axis must know."""
    if are_numbers(values):
        return list(values), {"type": "log" if is_wide(values) else "linear"}
    texts = [shown(value) for value in values]
    order = sorted(set(texts), key=number_or_text)
    ticks = {"tickvals": list(range(len(order))), "ticktext": [plain(text) for text in order]}
    return [order.index(text) for text in texts], ticks


def between(
    xs: Sequence[float], ys: Sequence[float], values: Sequence[float], x_axis: Row, y_axis: Row
) -> Row | None:
    """A grid of values interpolated between trials; None if an axis holds names, or of few."""
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    if len(xs) < 6 or "type" not in x_axis or "type" not in y_axis:
        return None
    sides = []
    for along, axis in ((xs, x_axis), (ys, y_axis)):
        logs = axis["type"] == "log"
        sides.append(np.array([math.log10(v) if logs else float(v) for v in along]))
    low = [side.min() for side in sides]
    width = [float(np.ptp(side)) or 1.0 for side in sides]
    points = np.column_stack([(s - a) / w for s, a, w in zip(sides, low, width, strict=True)])
    even = np.linspace(0, 1, GRID)
    try:
        found = griddata(points, np.array(values), tuple(np.meshgrid(even, even)), method="linear")
    except QhullError:  # all trials on one line
        return None
    axes = [even * w + a for a, w in zip(low, width, strict=True)]
    x, y = (
        10**axis if about["type"] == "log" else axis
        for axis, about in zip(axes, (x_axis, y_axis), strict=True)
    )
    z = [[None if math.isnan(value) else float(value) for value in row] for row in found]
    return {"x": x.tolist(), "y": y.tolist(), "z": z}


def overlaid(curves: dict[str, Sequence[Sequence[float]]], metric: str, unit: str) -> go.Figure:
    """The curves of several trials, by name."""
    figure = go.Figure()
    dashes = ("solid", "dash", "dot")
    for place, (name, points) in enumerate(curves.items()):
        figure.add_scatter(
            x=[step for step, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            name=plain(name),
            marker={"size": 4},
            line={
                "color": COLOURS[place % len(COLOURS)],
                "dash": dashes[place // len(COLOURS) % 3],
            },
            hovertemplate="step %{x}: %{y:.4g}",
        )
    return layout(figure, "Learning curves", "step", axis_title(metric, unit), height=380)
