"""A model's code, and how code and settings differ from another trial's."""

from __future__ import annotations

import io
import zipfile
from difflib import unified_diff
from typing import Any

import streamlit as st

from automl.dataset_db import query
from automl.ui.views.frame import literal, number

Row = dict[str, Any]
OFFERED = 50  # trials of the same study to compare with
MODEL_FILE = "model.py"


def draw(row: Row) -> None:
    """The texts that the trial ran, as they were recorded."""
    if not row["code"]:
        st.caption("No code is on record.")
        return
    st.download_button(
        "Download the code (ZIP)",
        zipped(row["code"]),
        f"{file_name(row)}-code.zip",
        "application/zip",
        key="code-zip",
        on_click="ignore",
        icon=":material/download:",
    )
    for name, text in row["code"].items():
        only = len(row["code"]) == 1
        with st.expander(literal(name), expanded=only or name == MODEL_FILE):
            st.code(text, language="python", line_numbers=True, wrap_lines=True)


def file_name(row: Row) -> str:
    """What downloads of a trial are called."""
    return f"{row['plugin']}-{row['study']}-{row['number']}".replace("/", "-")


def zipped(code: dict[str, str]) -> bytes:
    """Texts as a ZIP archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in code.items():
            archive.writestr(name.replace("..", "_").lstrip("/"), text)
    return packed.getvalue()


def compare(row: Row) -> None:
    """Another trial beside this one: scores, settings, code."""
    offered = [
        f"{row['study']}/{other['number']}"
        for other in query.trials(row["study"], limit=OFFERED)
        if other["number"] != row["number"]
    ]
    chosen = st.selectbox(
        "Compare with trial",
        offered,
        0 if offered else None,
        key="other",
        accept_new_options=True,
        placeholder="STUDY/NUMBER",
        help="One of this study's, the best first, or STUDY/NUMBER of any other.",
    )
    if not chosen:
        st.caption("Choose a trial, or write STUDY/NUMBER such as 3/0.")
        return
    other = query.trial(chosen, code=True)
    mine, yours = row["reference"], other["reference"]
    facts = [
        ("plugin", row["plugin"], other["plugin"]),
        ("dataset", row["dataset"], other["dataset"]),
        (row["metric"], number(row["objective"]), number(value_of(other, row["metric"]))),
        ("parameters", number(row["parameters"]), number(other["parameters"])),
        ("multiply-adds", number(row["macs"]), number(other["macs"])),
        ("seconds", number(row["seconds"]), number(other["seconds"])),
    ]
    st.dataframe(
        [{"": name, f"trial {mine}": one, f"trial {yours}": two} for name, one, two in facts],
        hide_index=True,
        width="stretch",
    )
    st.subheader("Settings that differ", anchor=False)
    changed = differences(row["config"], other["config"])
    if changed:
        st.dataframe(
            [{"setting": n, f"trial {mine}": a, f"trial {yours}": b} for n, a, b in changed],
            hide_index=True,
            width="stretch",
        )
    else:
        st.caption("None: the settings are the same.")
    st.subheader("Code that differs", anchor=False)
    found = code_differences(row, other)
    if not found:
        st.caption("None: both ran the same code.")
    for name, text in found.items():
        with st.expander(literal(name), expanded=len(found) == 1):
            st.code(text, language="diff", wrap_lines=True)


def value_of(trial: Row, metric: str) -> Any:
    """A trial's score by a metric, if it has that one."""
    return (trial["scores"] or {}).get(metric)


def differences(one: Row, other: Row) -> list[tuple[str, str, str]]:
    """The settings whose values differ; a dash where there is none of that name."""
    names = sorted(one.keys() | other.keys())
    return [
        (name, str(one.get(name, "–")), str(other.get(name, "–")))
        for name in names
        if one.get(name) != other.get(name)
    ]


def code_differences(one: Row, other: Row) -> dict[str, str]:
    """By file the lines that make ``one``'s code of ``other``'s."""
    found = {}
    for name in sorted(one["code"].keys() | other["code"].keys()):
        before, after = other["code"].get(name, ""), one["code"].get(name, "")
        if before != after:
            lines = unified_diff(
                before.splitlines(), after.splitlines(),
                f"trial {other['reference']}", f"trial {one['reference']}", lineterm="",
            )  # fmt: skip
            found[name] = "\n".join(lines)
    return found
