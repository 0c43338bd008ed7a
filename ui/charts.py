"""The charts of the browser application and of the documentation (plotly, no Streamlit)."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's palette: told apart by colour-blind readers, on light and on dark.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#8C8C8C",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)
STATE_COLOURS = {
    "complete": BLUE,
    "pruned": ORANGE,
    "failed": RED,
    "interrupted": PURPLE,
    "running": GREEN,
}
Row = dict[str, Any]
MOST_CURVES = 60
MOST_RANKED = 30


def layout(figure: go.Figure, x: str, y: str, height: int = 340) -> go.Figure:
    """Titles with units, room for the data, no frame."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        xaxis_title=x,
        yaxis_title=y,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="closest",
    )
    return figure


def axis_title(metric: str, unit: str) -> str:
    """A metric with its unit."""
    return f"{metric} [{unit}]" if unit else metric


def by_plugin(trials: list[Row], metric: str, unit: str) -> go.Figure:
    """The objective of every complete trial, a column of points for each plugin."""
    figure = go.Figure()
    done = [t for t in trials if t["state"] == "complete" and t["objective"] is not None]
    for name in sorted({trial["plugin"] for trial in done}):
        mine = [trial for trial in done if trial["plugin"] == name]
        figure.add_box(
            y=[trial["objective"] for trial in mine],
            text=[f"trial {trial['number']}" for trial in mine],
            name=name,
            boxpoints="all",
            pointpos=0,
            fillcolor="rgba(0,0,0,0)",
            line={"color": GREY},
            marker={"color": BLUE, "size": 8},
            showlegend=False,
        )
    return layout(figure, "plugin", axis_title(metric, unit))


def ranking(rows: list[Row], baselines: Row, metric: str, unit: str) -> go.Figure:
    """The best of each plugin on validation and test data, beside baselines; the first few."""
    figure = go.Figure()
    rows = rows[:MOST_RANKED]
    names = [row["plugin"] for row in rows]
    for label, key, colour, symbol in (
        ("validation", "valid", BLUE, "circle"),
        ("test", "test", ORANGE, "diamond"),
    ):
        figure.add_scatter(
            x=[row[key] for row in rows],
            y=names,
            mode="markers",
            name=label,
            marker={"color": colour, "size": 12, "symbol": symbol},
            text=[f"trial {row['reference']}" for row in rows],
            hovertemplate="%{text}: %{x:.4g}",
        )
    for name, scores in baselines.items():
        if metric in scores:
            figure.add_vline(
                x=scores[metric], line={"color": GREY, "dash": "dot"}, annotation_text=name
            )
    made = layout(figure, axis_title(metric, unit), "plugin", 140 + 40 * len(rows))
    return made.update_yaxes(autorange="reversed")


def history(trials: list[Row], metric: str, goal: str, unit: str) -> go.Figure:
    """The objective of every trial and the best so far, over the trials' numbers."""
    figure = go.Figure()
    ordered = sorted((t for t in trials if t["objective"] is not None), key=lambda t: t["number"])
    for state, colour in STATE_COLOURS.items():
        mine = [trial for trial in ordered if trial["state"] == state]
        if mine:
            figure.add_scatter(
                x=[trial["number"] for trial in mine],
                y=[trial["objective"] for trial in mine],
                mode="markers",
                name=state,
                marker={"color": colour, "size": 9},
                hovertemplate="trial %{x}: %{y:.4g}",
            )
    best, numbers, values = None, [], []
    pick = max if goal == "max" else min
    for trial in ordered:
        if trial["state"] == "complete":
            best = trial["objective"] if best is None else pick(best, trial["objective"])
            numbers.append(trial["number"])
            values.append(best)
    figure.add_scatter(
        x=numbers, y=values, mode="lines", name="best so far", line={"color": GREEN, "shape": "hv"}
    )
    return layout(figure, "trial", axis_title(metric, unit))


def intermediate(
    curves: dict[int, list[tuple[int, float]]], states: dict[int, str], metric: str, unit: str
) -> go.Figure:
    """What trials reported on the way; the last ``MOST_CURVES`` of them."""
    figure = go.Figure()
    for number in sorted(curves)[-MOST_CURVES:]:
        steps, values = zip(*curves[number], strict=True)
        figure.add_scatter(
            x=steps,
            y=values,
            mode="lines",
            name=f"trial {number}",
            showlegend=False,
            line={"color": STATE_COLOURS.get(states.get(number, ""), GREY), "width": 1.5},
            opacity=0.8,
            hovertemplate=f"trial {number}, step %{{x}}: %{{y:.4g}}",
        )
    return layout(figure, "step", axis_title(metric, unit))


def importance(shares: dict[str, float]) -> go.Figure:
    """How much of the objective's variation each parameter explains."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = go.Figure()
    figure.add_bar(
        x=[share for _, share in ordered],
        y=[name for name, _ in ordered],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:.2f}",
    )
    return layout(figure, "importance [share]", "", height=max(240, 30 * len(ordered) + 80))


def parallel(trials: list[Row], metric: str, goal: str) -> go.Figure:
    """Each complete trial as a line through its parameters to its objective."""
    complete = [trial for trial in trials if trial["state"] == "complete"]
    names = sorted({name for trial in complete for name in trial["params"]})
    dimensions = [dimension(name, [t["params"].get(name) for t in complete]) for name in names]
    values = [trial["objective"] for trial in complete]
    dimensions.append({"label": metric, "values": values})
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": values, "colorscale": "Viridis", "reversescale": goal == "min"},
            labelangle=-20,
        )
    )
    figure.update_layout(height=420, margin={"l": 60, "r": 60, "t": 90, "b": 20})
    return figure


def dimension(name: str, values: list[Any]) -> Row:
    """One axis of the parallel coordinates; names become ticks, absent values the lowest tick."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > 6:
        wide = min(numbers) > 0 and max(numbers) / min(numbers) > 20
        if not wide:
            return {"label": name, "values": numbers}
        logs = [math.log10(value) for value in numbers]
        ticks = sorted({min(logs), max(logs), (min(logs) + max(logs)) / 2})
        texts = [f"{10**tick:.2g}" for tick in ticks]
        return {"label": name, "values": logs, "tickvals": ticks, "ticktext": texts}
    texts = ["–" if value is None else str(value) for value in values]
    known = sorted(set(texts))
    places = [known.index(text) for text in texts]
    ticks_ = list(range(len(known)))
    return {"label": name, "values": places, "tickvals": ticks_, "ticktext": known}


def learning(
    curve: dict[str, dict[str, list[list[float]]]], metric: str, unit: str, split: str = "valid"
) -> go.Figure:
    """One model's objective on a split over its steps."""
    figure = go.Figure()
    points = curve.get(split, {}).get(metric, [])
    figure.add_scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        mode="lines+markers",
        line={"color": BLUE},
        name=metric,
    )
    return layout(figure, "step", axis_title(metric, unit), height=300)


def latencies(benchmarks: list[Row]) -> go.Figure:
    """Median latency by batch: each file of an export in each runtime, beside eager PyTorch."""
    series: dict[str, dict[str, float]] = {}
    for record in benchmarks:
        if record["p50_us"] is not None:
            file = record["facts"].get("file", "")
            name = " ".join(part for part in (record["runtime"], record["precision"], file) if part)
            series.setdefault(name, {})[f"batch {record['batch']}"] = record["p50_us"]
    figure = go.Figure()
    for number, (name, medians) in enumerate(series.items()):
        figure.add_bar(
            x=list(medians),
            y=list(medians.values()),
            name=name,
            marker={"color": COLOURS[number % len(COLOURS)]},
        )
    return layout(figure, "", "median latency [µs]", height=280)
