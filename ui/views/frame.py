"""What all pages share: errors in one sentence, empty states, figures, pages, charts, downloads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec

import plotly.graph_objects as go
import streamlit as st

from automl.core.errors import AutoMLError
from automl.ui.views import places

P = ParamSpec("P")
STATE_COLOURS = {
    "complete": "green",
    "running": "blue",
    "exhausted": "green",
    "interrupted": "violet",
    "pruned": "orange",
    "failed": "red",
}
STATE_MARKS = {  # beside the word: colour alone tells nothing to some
    "complete": "●",
    "exhausted": "●",
    "running": "▶",
    "interrupted": "◆",
    "pruned": "✕",
    "failed": "▲",
}
REFRESH_SECONDS = 3
SPLITS = {"valid": "validation", "test": "test"}
PICTURES = ("PNG", "SVG")
ICON = re.compile(r":(?=[\w+/-]+:)")


def page(draw: Callable[P, None]) -> Callable[P, None]:
    """A page, or part of one, that says what is wrong and what to do instead of a traceback."""

    @wraps(draw)
    def shown(*args: P.args, **options: P.kwargs) -> None:
        try:
            draw(*args, **options)
        except AutoMLError as error:
            st.info(literal(error), icon=":material/info:")

    return shown


def title(text: str, *, of: str = "") -> None:
    """A page's heading; ``of`` is a line under it."""
    st.title(literal(text), anchor=False)
    if of:
        st.caption(literal(of))


def empty(sentence: str, command: str = "") -> None:
    """What to do where there is nothing to show yet; ``command`` can be copied."""
    st.info(sentence + (f": `{command}`" if command else ""), icon=":material/info:")


def parameter(name: str) -> str:
    """A value of the page's address, so that a view can be bookmarked."""
    return str(st.query_params.get(name, ""))


def remembered(name: str, default: Any) -> str:
    """The key of a widget that starts at the address's value, or at ``default``."""
    key = f"chosen-{name}"
    if key not in st.session_state:
        st.session_state[key] = default
    return key


# ---------------------------------------------------------------- values in words


def inert(text: object) -> str:
    """Text in which ``:name:`` is no icon: Streamlit draws those wherever it finds them."""
    return ICON.sub(":\u2060", str(text))


def literal(text: object) -> str:
    """Text from the database, with nothing in it that Markdown would interpret."""
    escaped = inert(text)
    for character in "\\`*_{}[]()#+-.!|<>~$:":
        escaped = escaped.replace(character, "\\" + character)
    return escaped


def state_badge(state: str) -> None:
    """A state in its colour and in words."""
    colours: Any = STATE_COLOURS
    st.badge(f"{STATE_MARKS.get(state, '○')} {state}", color=colours.get(state, "gray"))


def marked(state: str) -> str:
    """A state with its mark, for a table's cell."""
    return f"{STATE_MARKS.get(state, '○')} {state}"


def number(value: float | int | None) -> str:
    """A number to four digits; a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def seconds(value: float | None) -> str:
    """Seconds to a tenth, longer times in minutes or hours; a dash where none were recorded."""
    if value is None:
        return "–"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def ago(moment: datetime | None) -> str:
    """How long ago something was, in one unit; a dash where it is not known."""
    if moment is None:
        return "–"
    passed = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if passed >= size:
            many = int(passed // size)
            return f"{many} {unit}{'s' if many > 1 else ''} ago"
    return "just now"


def provenance(row: dict[str, Any]) -> None:
    """Where imported records come from and under which licence; nothing for our own."""
    if row["source"]:
        licence = row["licence"] or "no licence stated"
        said = f"Imported from {row['source']}: {licence}, {row['origin']}"
        st.caption(literal(said))


# ---------------------------------------------------------------- parts of pages


def figures(values: Mapping[str, str]) -> None:
    """A row of figures with their names, which wraps where the window is narrow."""
    with st.container(horizontal=True, gap="large", key="figures"):
        for name, value in values.items():
            st.metric(name, value, width="content")


def turned(key: str = "page") -> int:
    """The page of a list that the address or the reader asks for; 1 is the first."""
    found = str(st.session_state.get(key) or parameter(key))
    return max(1, int(found)) if found.isdecimal() and len(found) < 9 else 1


def restart(key: str = "page") -> None:
    """Back to the first page: another filter or order makes another list."""
    if key in st.session_state:
        st.session_state[key] = 1


def pager(total: int, size: int, key: str = "page") -> None:
    """Below a list: which rows are shown, and the other pages; kept in the address."""
    pages = max(1, -(-total // size))
    at = min(turned(key), pages)
    first, last = (at - 1) * size + 1, min(at * size, total)
    with st.container(horizontal=True, vertical_alignment="center"):
        if pages > 1:
            st.pagination(pages, default=1, key=key, bind="query-params")
        st.caption(f"{first:,} to {last:,} of {total:,}" if total else "none")


def chart(
    figure: go.Figure, key: str, alt: str, *, on_select: Callable[[], None] | None = None
) -> None:
    """A chart that tells a screen reader what it shows, and that can be saved as a picture."""
    kind = str(st.session_state.get("pictures", PICTURES[0])).lower()
    config = {
        "displaylogo": False,
        "toImageButtonOptions": {"format": kind, "filename": key.split("-")[0], "scale": 2},
        "modeBarButtonsToRemove": ["autoScale2d"],
    }
    options: dict[str, Any] = {} if on_select is None else {"on_select": on_select}
    st.plotly_chart(figure, key=key, config=config, alt=alt, **options)


def pictures() -> None:
    """In which format a chart's camera button saves it."""
    st.segmented_control(
        "The camera button of a chart saves",
        PICTURES,
        default=PICTURES[0],
        required=True,
        key="pictures",
        persist_state="session",
    )


def download(label: str, make: Callable[[], str], name: str) -> None:
    """A button that makes a CSV file when it is pressed."""
    st.download_button(
        label,
        make,
        name,
        "text/csv",
        key=f"save-{name}",
        on_click="ignore",
        icon=":material/download:",
    )


def opener(label: str, key: str, page_: str, parameter_: str, values: Sequence[str]) -> Any:
    """A column of a table whose cells lead to a page about their row.

    ``values`` are the page's parameter, row by row.
    """

    def clicked() -> None:
        row = st.session_state[key]["row"]
        if row < len(values):
            st.session_state["going"] = (page_, {parameter_: values[row]})

    return st.column_config.ButtonColumn(
        label, type="tertiary", alignment="left", pinned=True, key=key, on_click=clicked
    )


def follow() -> None:
    """Go where a cell of a table led, if one was pressed; callbacks cannot."""
    if "going" in st.session_state:
        name, parameters = st.session_state.pop("going")
        places.go(name, **parameters)
