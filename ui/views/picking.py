"""The trials of a study that are selected: in one chart or the table, for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

import streamlit as st

from automl.core.errors import UnknownName

ADDRESS = "picked"  # of a page's address
LONGEST = 400  # characters; a longer selection is kept while its page is open


class Picks:
    """The selection of one study, kept in the page's address.

    Attributes:
        numbers: The selected trials' numbers; empty means all.
        origin: The chart or table that it was made in, or the address that it came with.

    Raises:
        UnknownName: if the address names no trials.
    """

    def __init__(self, study: int, known: Collection[int]) -> None:
        self.place = f"picks-{study}"
        self.numbers: frozenset[int]
        self.origin: str
        address = str(st.query_params.get(ADDRESS, ""))
        self.numbers, self.origin, told = st.session_state.get(self.place, (frozenset(), "", ""))
        if address != told:  # a bookmark, or the browser's way back
            runs = runs_in(address)
            self.forget(self.origin)
            self.numbers = frozenset(n for n in known if any(n in run for run in runs))
            self.origin = ADDRESS if self.numbers else ""
            self.tell()

    @property
    def is_told(self) -> bool:
        """Whether the address holds the selection: a very long one is kept without it."""
        return len(text_of(self.numbers)) <= LONGEST

    def tell(self) -> None:
        """Keep the selection, in the address too, so that it can be bookmarked."""
        text = text_of(self.numbers) if self.is_told else ""
        st.session_state[self.place] = (self.numbers, self.origin, text)
        if not text:
            st.query_params.pop(ADDRESS, None)
        elif st.query_params.get(ADDRESS) != text:
            st.query_params[ADDRESS] = text

    def key(self, name: str) -> str:
        """A widget's key; it changes when the selection moves elsewhere, so that it forgets."""
        return f"{name}-{self.place}-{st.session_state.get(f'{self.place}-{name}', 0)}"

    def set(self, numbers: Sequence[int], origin: str) -> None:
        """Select trials in a chart or table; none there ends the selection."""
        if self.origin and self.origin != origin:
            self.forget(self.origin)
        self.numbers, self.origin = frozenset(numbers), origin if numbers else ""
        self.tell()

    def clear(self) -> None:
        """Select nothing."""
        self.forget(self.origin)
        self.set((), "")

    def forget(self, name: str) -> None:
        """Let a widget start anew."""
        counter = f"{self.place}-{name}"
        st.session_state[counter] = st.session_state.get(counter, 0) + 1

    def from_chart(self, name: str) -> Callable[[], None]:
        """What to call when points of a chart are selected; they carry their trial's number."""
        key = self.key(name)

        def selected() -> None:
            points = st.session_state[key]["selection"]["points"]
            self.set(numbers_of(points), name)

        return selected

    def from_table(self, name: str, numbers: Sequence[int]) -> Callable[[], None]:
        """What to call when rows of a table are selected; ``numbers`` are its rows' trials."""
        key = self.key(name)

        def selected() -> None:
            rows = st.session_state[key]["selection"]["rows"]
            self.set([numbers[row] for row in rows if row < len(numbers)], name)

        return selected


def numbers_of(points: Sequence[dict[str, object]]) -> list[int]:
    """The trials that a chart's points stand for; lines that are no trials have none."""
    found = []
    for point in points:
        data = point.get("customdata")
        if isinstance(data, list | tuple) and data:
            found.append(int(data[0]))
    return list(dict.fromkeys(found))


def text_of(numbers: Collection[int]) -> str:
    """Numbers as ``0-4,7``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def runs_in(text: str) -> list[range]:
    """The opposite of ``text_of``.

    Raises:
        UnknownName: if it is no such text, or longer than one ever is.
    """
    if not text:
        return []
    if len(text) > LONGEST or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise UnknownName(f"{ADDRESS}={text[:40]!r} names no trials: it takes numbers like 0-4,7")
    ends = (run.partition("-") for run in text.split(","))
    return [range(int(first), int(last or first) + 1) for first, _, last in ends]
