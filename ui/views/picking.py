"""The trials of a study that are selected: in one chart or the table, for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st


class Picks:
    """The selection of one study, kept while the session lasts.

    Attributes:
        numbers: The selected trials' numbers; empty means all.
        origin: The chart or table that it was made in.
    """

    def __init__(self, study: int) -> None:
        self.place = f"picks-{study}"
        self.numbers: frozenset[int] = frozenset()
        self.origin = ""
        self.numbers, self.origin = st.session_state.get(self.place, (self.numbers, self.origin))

    def key(self, name: str) -> str:
        """A widget's key; it changes when the selection moves elsewhere, so that it forgets."""
        return f"{name}-{self.place}-{st.session_state.get(f'{self.place}-{name}', 0)}"

    def set(self, numbers: Sequence[int], origin: str) -> None:
        """Select trials in a chart or table; none there ends the selection."""
        if self.origin and self.origin != origin:
            self.forget(self.origin)
        self.numbers, self.origin = frozenset(numbers), origin if numbers else ""
        st.session_state[self.place] = (self.numbers, self.origin)

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
