"""Answers of the database that pages ask for again and again, kept for a short time.

What is kept is told apart by the study's last activity, so that a page never shows less than what
was recorded; it is bounded in number and age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from automl.core.places import database
from automl.dataset_db import overview, query
from automl.ui.importance import importances

Row = dict[str, Any]
MOST_EXPLAINED = 1000  # trials whose settings are compared
MOST_BEST = 200


def stamp(about: Row) -> str:
    """What changes whenever something is recorded of a study."""
    counts = [about[name] for name in ("n_complete", "n_pruned", "n_failed")]
    return f"{database()} {about['id']} {about['name']} {about['active_at']} {counts}"


@st.cache_data(ttl=60, max_entries=50, show_spinner=False)
def lines(marks: tuple[str, ...], _studies: tuple[int, ...]) -> list[list[float]]:
    """The best value so far of studies."""
    found = overview.progress(_studies)
    return [found.get(study, []) for study in _studies]


def sparklines(rows: Sequence[Row]) -> list[list[float]]:
    """The best value so far of each study of a page."""
    return lines(tuple(map(stamp, rows)), tuple(row["id"] for row in rows))


@st.cache_data(ttl=60, max_entries=24, show_spinner=False)
def columns(mark: str, _study: int, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """Columns of all trials of a study."""
    return overview.trial_columns(_study, names)


@st.cache_data(ttl=60, max_entries=12, show_spinner=False)
def explained(mark: str, _study: int, numbers: tuple[int, ...]) -> list[Row]:
    """Trials with their settings."""
    found = overview.trials_numbered(_study, numbers)
    return [{**trial, "params": trial["params"] or trial["config"]} for trial in found]


@st.cache_data(ttl=60, max_entries=24, show_spinner=False)
def curves(mark: str, _study: int, metric: str, split: str, numbers: tuple[int, ...]) -> Any:
    """What trials reported."""
    return query.curves(_study, metric=metric, split=split, numbers=numbers)


@st.cache_data(ttl=300, max_entries=48, show_spinner="Working out which settings matter")
def shares(mark: str, plugin: str, _space: Row, _trials: list[Row], goal: str) -> dict[str, float]:
    """The importance of a plugin's settings."""
    return importances(_space, _trials, goal)
