"""Two inputs that Streamlit lacks: a square to put points in, and a grid of pixels to draw on.

Both are scripts of our own without any library; what they are given is drawn as numbers and text,
never as markup. The pages offer the same input as text or by example for those who cannot point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(__file__).with_name("pads")
Row = dict[str, Any]


@cache
def component(name: str) -> Any:
    """A registered component, once a process."""
    style = (FOLDER / "pads.css").read_text()
    script = (FOLDER / f"{name}.js").read_text()
    html = '<div class="pad"></div>'
    return st.components.v2.component(f"automl_{name}", html=html, css=style, js=script)


def point_pad(
    points: list[list[float]], lines: list[Row], *, key: str, changed: Callable[[], None]
) -> None:
    """The unit square: a click puts a point, a drag moves it, a click on a point takes it away.

    ``lines`` are drawn through positions of ``points``: ``{"points": [0, 2, 0], "dashed": false}``.
    ``changed`` finds the new points in ``st.session_state[key].points``.
    """
    component("points")(key=key, data={"points": points, "lines": lines}, on_points_change=changed)


def pixel_pad(
    rows: int, columns: int, pixels: list[float], *, key: str, changed: Callable[[], None]
) -> None:
    """A grid of shares of black to draw on with mouse, finger or keyboard.

    ``changed`` finds the new values, row by row, in ``st.session_state[key].pixels``.
    """
    given = {"rows": rows, "columns": columns, "pixels": pixels}
    component("pixels")(key=key, data=given, on_pixels_change=changed)
