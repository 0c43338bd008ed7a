"""Pictures of examples and of answers: images, points, fields, series (plotly, no Streamlit)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from automl.ui.charts import BLUE, GREY, ORANGE

Array = NDArray[np.float64]
Row = dict[str, Any]
FIELD_SCALE = "Viridis"
PLAIN: Row = {"visible": False, "fixedrange": True}
POINT_PROBLEMS = ("convex-hull", "delaunay", "tsp")
MOST_SERIES = 8  # lines of one picture


def array(value: Any) -> Array:
    """Nested lists as numbers; ``None`` is NaN."""
    return np.asarray(value, dtype=np.float64)


def bare(figure: go.Figure, height: int, title: str = "") -> go.Figure:
    """No axes, no frame, room for a short title."""
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 28 if title else 4, "b": 4},
        title={"text": escaped(title), "font": {"size": 13}, "x": 0.5, "xanchor": "center"},
        showlegend=False,
        dragmode=False,
    )
    return figure


def escaped(text: str) -> str:
    """Text without the tags that plotly would interpret."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def image(pixels: Any, title: str = "", height: int = 150) -> go.Figure:
    """An image (channels, height, width) or (height, width): grey, or red, green and blue."""
    found = array(pixels)
    if found.ndim == 3 and found.shape[0] == 3:
        low, high = np.nanmin(found), np.nanmax(found)
        shown = (np.moveaxis(found, 0, -1) - low) / max(high - low, 1e-9) * 255
        figure = go.Figure(go.Image(z=shown.astype(np.uint8)))
    else:
        plane = found[0] if found.ndim == 3 else found
        figure = go.Figure(go.Heatmap(z=plane, colorscale="Greys", showscale=False))
        figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(**PLAIN)
    figure.update_yaxes(**PLAIN, scaleanchor="x", constrain="domain")
    figure.update_xaxes(constrain="domain")
    return bare(figure, height, title)


def field(
    values: Any,
    title: str = "",
    limits: tuple[float, float] | None = None,
    scale: str = FIELD_SCALE,
    height: int = 260,
) -> go.Figure:
    """A scalar field (height, width); ``limits`` are the values of the first and last colour."""
    ends = {} if limits is None else {"zmin": limits[0], "zmax": limits[1]}
    bar = {"thickness": 10, "len": 0.9}
    figure = go.Figure(go.Heatmap(z=array(values), colorscale=scale, colorbar=bar, **ends))
    figure.update_xaxes(**PLAIN, constrain="domain")
    figure.update_yaxes(**PLAIN, scaleanchor="x", constrain="domain")
    return bare(figure, height, title)


def pair(given: Array, answer: Array, height: int = 150) -> go.Figure:
    """The first channels of an input and of its answer, side by side, each in its own colours."""
    figure = go.Figure()
    for i, values in enumerate((given, answer)):
        plane = values[0] if values.ndim == 3 else values
        figure.add_heatmap(
            z=plane, colorscale=FIELD_SCALE, showscale=False,
            xaxis=f"x{i + 1}", yaxis=f"y{i + 1}", name=("input", "output")[i],
        )  # fmt: skip
    figure.update_layout(
        xaxis={**PLAIN, "domain": [0, 0.48], "constrain": "domain"},
        xaxis2={**PLAIN, "domain": [0.52, 1], "constrain": "domain"},
        yaxis={**PLAIN, "scaleanchor": "x", "constrain": "domain"},
        yaxis2={**PLAIN, "scaleanchor": "x2", "constrain": "domain", "anchor": "x2"},
    )
    return bare(figure, height, "input | output")


def series(values: Any, title: str = "", height: int = 170) -> go.Figure:
    """Series (steps, channels) or (steps,) as lines."""
    found = array(values)
    found = found[:, None] if found.ndim == 1 else found.reshape(len(found), -1)
    figure = go.Figure()
    for channel in range(min(found.shape[1], MOST_SERIES)):
        figure.add_scatter(y=found[:, channel], mode="lines", line={"width": 1.5})
    bare(figure, height, title)
    return figure.update_layout(margin={"l": 30, "b": 24})


def points(
    places: Any, answer: Sequence[int], problem: str, title: str = "", height: int = 230
) -> go.Figure:
    """Points in the plane with a hull, a triangulation or a tour of 1-based positions."""
    found = array(places)
    figure = go.Figure()
    for line in lines(answer, problem, len(found)):
        figure.add_scatter(
            x=found[line, 0], y=found[line, 1], mode="lines", line={"color": BLUE, "width": 2},
            hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=found[:, 0],
        y=found[:, 1],
        mode="markers",
        marker={"color": ORANGE, "size": 7, "line": {"color": GREY, "width": 1}},
        text=[f"point {i + 1}" for i in range(len(found))],
        hovertemplate="%{text}: %{x:.3f}, %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(**PLAIN, range=[-0.05, 1.05], constrain="domain")
    figure.update_yaxes(**PLAIN, range=[-0.05, 1.05], scaleanchor="x", constrain="domain")
    return bare(figure, height, title)


def lines(answer: Sequence[int], problem: str, count: int) -> list[list[int]]:
    """Closed lines through 0-based positions: the hull, the tour, or each triangle.

    ``answer`` is 1-based, ends at the first 0 and may hold what is out of range (of a model that
    has not learnt): that is left out.
    """
    named: list[int] = []
    for position in answer:
        if position <= 0:
            break
        named.append(int(position) - 1)
    if problem == "delaunay":
        triples = [named[i : i + 3] for i in range(0, len(named) - len(named) % 3, 3)]
    else:
        triples = [named]
    inside = [[i for i in line if i < count] for line in triples]
    return [[*line, line[0]] for line in inside if len(line) > 1]


def shares(names: Sequence[str], values: Sequence[float], height: int = 260) -> go.Figure:
    """A bar for each class, the largest in colour."""
    top = max(range(len(values)), key=lambda i: values[i]) if values else 0
    figure = go.Figure(
        go.Bar(
            x=list(values),
            y=[str(name) for name in names],
            orientation="h",
            marker={"color": [BLUE if i == top else GREY for i in range(len(values))]},
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    figure.update_layout(
        height=max(height, 22 * len(values) + 40),
        margin={"l": 8, "r": 8, "t": 8, "b": 30},
        xaxis={"title": "share", "range": [0, 1], "fixedrange": True},
        yaxis={"type": "category", "autorange": "reversed", "fixedrange": True},
    )
    return figure


def dot(edges: list[list[str]], layers: list[Row]) -> str:
    """A model's layers and the flow of data between them, in Graphviz's language."""
    about = {row["name"]: row for row in layers}
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    said = [
        "digraph { rankdir=TB; bgcolor=transparent; nodesep=0.25; ranksep=0.3;",
        'node [shape=box style="rounded,filled" fillcolor="#E8F1F8" color="#0072B2" '
        'fontcolor="#1A1F26" fontname="sans-serif" fontsize=11 height=0.3];',
        'edge [color="#8C8C8C" fontcolor="#8C8C8C" fontname="sans-serif" fontsize=9];',
    ]
    for name in names:
        row = about.get(name)
        text = name if row is None else label(row)
        said.append(f"{quoted(name)} [label={quoted(text)}];")
    for before, after in edges:
        gives = about[before]["gives"] if before in about else ""
        said.append(f"{quoted(before)} -> {quoted(after)} [label={quoted(' ' + gives)}];")
    return "\n".join([*said, "}"])


def label(row: Row) -> str:
    """Name and kind of a layer, with its parameters and calls."""
    more = f"\n{row['parameters']:,} parameters" if row["parameters"] else ""
    often = f" ×{row['calls']}" if row["calls"] > 1 else ""
    return f"{row['name']}  {row['kind']}{often}{more}"


def quoted(text: str) -> str:
    """A string of Graphviz's language, whatever it holds."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{plain}"'
