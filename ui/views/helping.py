"""Answers of the helper process, kept; and how lists of settings read."""

from __future__ import annotations

from typing import Any

import streamlit as st

from automl.ui.asking import ask
from automl.ui.views import places

Row = dict[str, Any]


@st.cache_data(show_spinner="Asking the engine …", max_entries=300)
def asked(question: str, **given: Any) -> Any:
    """The answer to a question of ``automl.ui.insight``; the same question is asked once.

    Raises:
        AutoMLError: see ``ask``; an error is not kept.
    """
    return ask(question, **given)


def range_text(distribution: Row | None) -> str:
    """What of a setting is searched, in words."""
    if distribution is None:
        return "–"
    facts = distribution["attributes"]
    if "choices" in facts:
        return " | ".join(str(choice) for choice in facts["choices"])
    step = facts.get("step")
    steps = f", steps of {step:g}" if step not in (None, 1) else ""
    return f"{facts['low']:g} to {facts['high']:g}{steps}{', log' if facts.get('log') else ''}"


def limits_text(setting: Row) -> str:
    """Which values a setting may have at all."""
    if setting["choices"]:
        return " | ".join(str(choice) for choice in setting["choices"])
    low, high = setting["low"], setting["high"]
    if low is None and high is None:
        return {"bool": "true | false", "str": "text"}.get(setting["kind"], "any number")
    if low is None or high is None:
        return f"from {low:g}" if high is None else f"up to {high:g}"
    return f"{low:g} to {high:g}"


def setting_rows(settings: list[Row]) -> list[Row]:
    """A table of settings: searched ones first."""
    rows = [
        {
            "setting": row["name"],
            "searched": range_text(row.get("searched")),
            "start": f"{row['value']} {row['unit']}".strip(),
            "meaning": row["doc"],
            "allowed": limits_text(row),
        }
        for row in settings
    ]
    return sorted(rows, key=lambda row: row["searched"] == "–")


def step(label: str, page: str, *, icon: str, key: str, **parameters: str) -> None:
    """A link to the page that is shown already, with other parameters.

    ``places.link`` would show such a link as the place where the reader is.
    """
    if st.button(label, icon=icon, key=key, type="tertiary"):
        places.go(page, **parameters)
