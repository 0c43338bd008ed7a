"""The charts of the browser application: one look, one palette, titles with units (plotly)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's palette: told apart by colour-blind readers, on light and on dark.
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#8C8C8C",
)  # fmt: skip
SKY = "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY)
# Of continuous values, low to high: no end is lost on a light or a dark background.
SCALE = [[0.0, BLUE], [0.5, "#A3A9AD"], [1.0, ORANGE]]
STATE_COLOURS = {
    "complete": BLUE,
    "pruned": ORANGE,
    "failed": RED,
    "interrupted": PURPLE,
    "running": GREEN,
    "waiting": GREY,
}
STATE_SYMBOLS = {
    "pruned": "x",
    "failed": "triangle-up",
    "interrupted": "diamond",
    "running": "star",
}
FAINT = 0.12  # opacity of what is not selected, while something is
MOST_POINTS = 1000  # of a chart; it stays interactive
MOST_CURVES = 60
MOST_RANKED = 30
# The columns of all trials of a study that its charts are drawn from.
NARROW = ("state", "objective", "plugin", "started_at", "finished_at")
Row = dict[str, Any]
Columns = Mapping[str, list[Any]]
Picked = Collection[int]


def layout(figure: go.Figure, title: str, x: str, y: str, height: int = 340) -> go.Figure:
    """A title, axes with units, room for the data, no frame; zoom stays when data are added."""
    figure.update_layout(
        title=heading(title),
        height=height,
        margin={"l": 10, "r": 10, "t": 44, "b": 10},
        xaxis_title=x,
        yaxis_title=y,
        legend={"orientation": "h", "yref": "container", "y": 0, "x": 0, "font": {"size": 12}},
        hovermode="closest",
        uirevision="kept",
    )
    figure.update_xaxes(automargin=True)
    return figure.update_yaxes(automargin=True)


def heading(title: str) -> Row:
    """A chart's title, at its upper left."""
    place = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "yref": "container"}
    return {"text": title, "font": {"size": 15}, "pad": {"t": 8}, **place}


def plain(text: object) -> str:
    """Text from the database, with nothing in it that plotly would interpret."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def axis_title(metric: str, unit: str) -> str:
    """A metric with its unit."""
    return plain(f"{metric} [{unit}]" if unit else metric)


def thinned(places: Sequence[int], most: int = MOST_POINTS, keep: Iterable[int] = ()) -> list[int]:
    """At most about ``most`` of many places, evenly, and those to keep."""
    if len(places) <= most:
        return list(places)
    even = {places[int(n * len(places) / most)] for n in range(most)}
    return sorted(even | set(keep))


def opacities(numbers: Sequence[int], picked: Picked, usual: float = 0.85) -> list[float] | float:
    """The selected trials stand out; without a selection all do."""
    if not picked:
        return usual
    return [usual if number in picked else FAINT for number in numbers]


def best_steps(columns: Columns, goal: str) -> list[int]:
    """The places of a study's columns at which the best value so far improves."""
    best, found = math.inf, []
    sign = -1 if goal == "max" else 1
    for place, (state, value) in enumerate(
        zip(columns["state"], columns["objective"], strict=True)
    ):
        if state == "complete" and value is not None and sign * value < best:
            best = sign * value
            found.append(place)
    return found


def history(columns: Columns, metric: str, goal: str, unit: str, picked: Picked = ()) -> go.Figure:
    """The objective of trials and the best so far, over the trials' numbers."""
    numbers, states, values = columns["number"], columns["state"], columns["objective"]
    steps = best_steps(columns, goal)
    known = [place for place, value in enumerate(values) if value is not None]
    drawn = thinned(known, keep=[*steps, *(p for p in known if numbers[p] in picked)])
    figure = go.Figure()
    for state, colour in STATE_COLOURS.items():
        mine = [place for place in drawn if states[place] == state]
        if mine:
            figure.add_scatter(
                x=[numbers[place] for place in mine],
                y=[values[place] for place in mine],
                customdata=[[numbers[place]] for place in mine],
                mode="markers",
                name=state,
                marker={
                    "color": colour,
                    "size": 8,
                    "symbol": STATE_SYMBOLS.get(state, "circle"),
                    "opacity": opacities([numbers[place] for place in mine], picked),
                },
                hovertemplate="trial %{x}: %{y:.4g}",
            )
    if steps:
        figure.add_scatter(
            x=[*(numbers[place] for place in steps), numbers[-1]],
            y=[*(values[place] for place in steps), values[steps[-1]]],
            mode="lines",
            name="best so far",
            line={"color": GREEN, "shape": "hv", "width": 2},
            hovertemplate="best from trial %{x}: %{y:.4g}",
        )
    return layout(figure, "Optimisation history", "trial", axis_title(metric, unit))


def intermediate(
    curves: Mapping[int, Sequence[tuple[int, float]]],
    states: Mapping[int, str],
    metric: str,
    unit: str,
    picked: Picked = (),
) -> go.Figure:
    """What trials reported on the way."""
    figure = go.Figure()
    for number in sorted(curves, key=lambda number: (number in picked, number)):
        steps, values = zip(*curves[number], strict=True)
        state = states.get(number, "")
        figure.add_scatter(
            x=steps,
            y=values,
            customdata=[[number]] * len(steps),
            mode="lines+markers",
            showlegend=False,
            line={"color": STATE_COLOURS.get(state, GREY), "width": 1.5},
            marker={"size": 3},
            opacity=0.8 if not picked or number in picked else FAINT,
            hovertemplate=f"trial {number} ({state}), step %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    return layout(figure, "Intermediate values", "step", axis_title(metric, unit))


def by_plugin(columns: Columns, metric: str, unit: str, picked: Picked = ()) -> go.Figure:
    """The objective of complete trials, a column of points for each plugin."""
    figure = go.Figure()
    done = [
        place
        for place, state in enumerate(columns["state"])
        if state == "complete" and columns["objective"][place] is not None
    ]
    for name in sorted({columns["plugin"][place] for place in done}):
        mine = thinned([p for p in done if columns["plugin"][p] == name], MOST_POINTS // 4)
        figure.add_box(
            y=[columns["objective"][place] for place in mine],
            customdata=[[columns["number"][place]] for place in mine],
            text=[f"trial {columns['number'][place]}" for place in mine],
            name=plain(name),
            boxpoints="all",
            pointpos=0,
            fillcolor="rgba(0,0,0,0)",
            line={"color": GREY},
            marker={"color": BLUE, "size": 7},
            selectedpoints=[n for n, place in enumerate(mine) if columns["number"][place] in picked]
            if picked
            else None,
            showlegend=False,
        )
    return layout(figure, "Objective by paper", "", axis_title(metric, unit))


def ranking(rows: list[Row], marks: Mapping[str, float], metric: str, unit: str) -> go.Figure:
    """The best of each plugin on validation and test data; the first few, beside known figures.

    ``marks`` are names and values of baselines and of papers' own figures.
    """
    figure = go.Figure()
    rows = rows[:MOST_RANKED]
    for label, key, imported, colour, symbol in (
        ("validation", "valid", False, BLUE, "circle"),
        ("test", "test", False, ORANGE, "diamond"),
        ("test, imported record", "test", True, PURPLE, "square"),
    ):
        mine = [row for row in rows if bool(row["source"]) == imported and row[key] is not None]
        if mine:
            figure.add_scatter(
                x=[row[key] for row in mine],
                y=[plain(row["plugin"]) for row in mine],
                mode="markers",
                name=label,
                marker={"color": colour, "size": 11, "symbol": symbol},
                text=[f"trial {row['reference']}" for row in mine],
                hovertemplate="%{y}, %{text}: %{x:.4g}",
            )
    for name, value in marks.items():
        figure.add_vline(
            x=value,
            line={"color": GREY, "dash": "dot"},
            annotation={"text": plain(name), "font": {"size": 11}, "textangle": -90},
        )
    height = 150 + 28 * len(rows)
    made = layout(
        figure, f"Best of each paper: {plain(metric)}", axis_title(metric, unit), "", height
    )
    order = [plain(row["plugin"]) for row in rows]
    return made.update_yaxes(categoryorder="array", categoryarray=order[::-1], showgrid=True)


def importance(shares: dict[str, float]) -> go.Figure:
    """How much of the objective's variation each parameter explains."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = go.Figure()
    figure.add_bar(
        x=[share for _, share in ordered],
        y=[plain(name) for name, _ in ordered],
        orientation="h",
        marker={"color": BLUE},
        hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )
    height = max(340, 24 * len(ordered) + 110)
    return layout(figure, "Parameter importance", "importance [share]", "", height)


def is_wide(numbers: Sequence[float]) -> bool:
    """Whether positive numbers differ by so much that their logarithms show more."""
    return min(numbers) > 0 and max(numbers) / min(numbers) > 20


def are_numbers(values: Sequence[Any]) -> bool:
    """Whether values are numbers, and not just a few different ones."""
    found = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return len(found) == len(values) and len(set(found)) > 6


def number_or_text(text: str) -> tuple[float, str]:
    """Sorts numbers by value, before names."""
    try:
        return float(text), ""
    except ValueError:
        return math.inf, text


def shown(value: Any) -> str:
    """A setting as a short text; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
    return layout(figure, "Learning curve", "step", axis_title(metric, unit), height=320)


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
    return layout(figure, "Latency", "", "median latency [µs]", height=300)
