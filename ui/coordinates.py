"""Parallel coordinates with one axis below the other: they fit a telephone, and need no WebGL."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from automl.ui.charts import (
    FAINT,
    GREY,
    SCALE,
    Picked,
    Row,
    are_numbers,
    axis_title,
    is_wide,
    layout,
    number_or_text,
    plain,
    shown,
    thinned,
)

GLYPH = 0.018  # width of a letter on a telephone, as a share of an axis
MOST_LINES = 300
LEVELS = 12  # colours of the lines: a trace each, as hundreds of them draw slowly
ROW = 62  # pixels between two axes
MOST_TICKS = 5
ABSENT = 0.15  # share of an axis between absent values and the least number


@dataclass(frozen=True)
class Axis:
    """One setting, or the objective: where each trial lies on it, from 0 to 1."""

    label: str
    places: list[float]
    texts: list[str]  # each trial's value
    ticks: list[tuple[float, str]]


def parallel(
    trials: list[Row], metric: str, goal: str, unit: str, order: Sequence[str], picked: Picked = ()
) -> go.Figure:
    """Complete trials as lines through their settings, the first of ``order``, to the objective."""
    complete = [t for t in trials if t["state"] == "complete" and t["objective"] is not None]
    complete = [complete[place] for place in thinned(range(len(complete)), MOST_LINES)]
    axes = [axis(plain(name), [t["params"].get(name) for t in complete]) for name in order]
    axes.append(axis(axis_title(metric, unit), [t["objective"] for t in complete]))
    figure = go.Figure()
    for place, one in enumerate(axes):
        scale(figure, one, -place)
    groups: dict[tuple[bool, int], list[int]] = defaultdict(list)
    for place, trial in enumerate(complete):
        share = axes[-1].places[place]
        level = round((1 - share if goal == "min" else share) * (LEVELS - 1))
        groups[not picked or trial["number"] in picked, level].append(place)
    colours = sample_colorscale(SCALE, [level / (LEVELS - 1) for level in range(LEVELS)])
    for (stands_out, level), places in sorted(groups.items()):
        lines(figure, axes, [(complete[p]["number"], p) for p in places])
        figure.data[-1].update(
            line={"color": colours[level], "width": 1.2}, opacity=0.7 if stands_out else FAINT
        )
    layout(figure, "Parallel coordinates", "", "", height=70 + ROW * len(axes))
    figure.update_xaxes(visible=False, range=[-0.02, 1.02], fixedrange=True)
    return figure.update_yaxes(visible=False, range=[0.35 - len(axes), 0.55], fixedrange=True)


def lines(figure: go.Figure, axes: list[Axis], trials: Sequence[tuple[int, int]]) -> None:
    """Trials (number, place among all) as lines of one colour, with a point on each axis."""
    columns: dict[str, list[Any]] = {"x": [], "y": [], "customdata": [], "text": []}
    for number, place in trials:
        for row, one in enumerate(axes):
            columns["x"].append(one.places[place])
            columns["y"].append(-row)
            columns["customdata"].append([number])
            columns["text"].append(f"trial {number}<br>{one.label}: {one.texts[place]}")
        for values in columns.values():
            values.append(None)  # the line ends
    figure.add_scatter(
        **columns, mode="lines+markers", marker={"size": 4}, showlegend=False,
        hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def scale(figure: go.Figure, of: Axis, height: float) -> None:
    """An axis with its name above and its ticks below."""
    figure.add_shape(
        type="line", x0=0, x1=1, y0=height, y1=height, line={"color": GREY, "width": 1}
    )
    figure.add_annotation(
        x=0, y=height, text=f"<b>{of.label}</b>", xanchor="left", yanchor="bottom",
        showarrow=False, font={"size": 12},
    )  # fmt: skip
    free = 0.0  # where the last text ends
    for place, text in of.ticks:
        side = "left" if place < 0.1 else "right" if place > 0.9 else "center"
        width = GLYPH * len(text)
        begin = place - {"left": 0, "center": width / 2, "right": width}[side]
        if begin < free:
            continue  # on a telephone they would lie over each other
        free = begin + width
        figure.add_annotation(
            x=place, y=height, text=text, xanchor=side, yanchor="top", showarrow=False,
            font={"size": 11},
        )  # fmt: skip


def axis(label: str, values: Sequence[Any]) -> Axis:
    """Numbers by size, or by their logarithms; names evenly; absent values first."""
    texts = [plain(shown(value)) for value in values]
    present = [value for value in values if value is not None]
    if are_numbers(present):
        wide = is_wide(present)
        sizes = [math.log10(value) if wide else float(value) for value in present]
        low, width = min(sizes), max(sizes) - min(sizes)
        first = ABSENT if len(present) < len(values) else 0.0
        shares = iter((size - low) / width for size in sizes)
        places = [0.0 if v is None else first + (1 - first) * next(shares) for v in values]
        ticks = [(0.0, shown(None))] if first else []
        for share in (0.0, 0.5, 1.0):
            size = low + share * width
            text = f"{10**size if wide else size:.3g}"
            ticks.append((first + (1 - first) * share, text))
        return Axis(label, places, texts, ticks)
    known = sorted(set(texts), key=lambda text: (text != "–", number_or_text(text)))
    even = [place / max(1, len(known) - 1) for place in range(len(known))]
    marked = thinned(range(len(known) - 1), MOST_TICKS - 1)
    ticks = [(even[place], known[place]) for place in [*marked, len(known) - 1]]
    return Axis(label, [even[known.index(text)] for text in texts], texts, ticks)
