"""What all pages share: errors in one sentence, the state kept in the address, formats."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import streamlit as st

from automl.core.errors import AutoMLError

STATE_COLOURS = {
    "complete": "green",
    "running": "blue",
    "exhausted": "orange",
    "interrupted": "violet",
    "pruned": "orange",
    "failed": "red",
}
REFRESH_SECONDS = 3
SPLITS = {"valid": "validation", "test": "test"}


def page(draw: Callable[[], None]) -> Callable[[], None]:
    """A page that says what is wrong, and what to do, instead of a traceback."""

    @wraps(draw)
    def shown() -> None:
        try:
            draw()
        except AutoMLError as error:
            st.info(str(error), icon=":material/info:")

    return shown


def parameter(name: str) -> str:
    """A value of the page's address, so that a view can be bookmarked."""
    return str(st.query_params.get(name, ""))


def remembered(name: str, default: Any) -> str:
    """The key of a widget that starts at the address's value, or at ``default``."""
    key = f"chosen-{name}"
    if key not in st.session_state:
        st.session_state[key] = default
    return key


def literal(text: object) -> str:
    """Text from the database, with nothing in it that Markdown would interpret."""
    escaped = str(text)
    for character in "\\`*_{}[]()#+-.!|<>~$:":
        escaped = escaped.replace(character, "\\" + character)
    return escaped


def state_badge(state: str) -> None:
    """A state in its colour and in words."""
    colours: Any = STATE_COLOURS
    st.badge(state, color=colours.get(state, "gray"))


def number(value: float | int | None) -> str:
    """A number to four digits; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def seconds(value: float | None) -> str:
    """Seconds to a tenth; a dash where none were recorded."""
    return "–" if value is None else f"{value:.1f} s"


def provenance(row: dict[str, Any]) -> None:
    """Where imported records come from and under which licence; nothing for our own."""
    if row["source"]:
        said = f"Imported from {row['source']}: {row['licence']}, {row['origin']}"
        st.caption(literal(said))
