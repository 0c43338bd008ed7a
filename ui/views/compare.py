"""Trials beside each other, whichever studies they are of: settings, scores, curves, code."""

from __future__ import annotations

import difflib
from typing import Any

import pandas as pd
import streamlit as st

from automl.core.errors import UnknownName
from automl.dataset_db import query
from automl.ui import study_charts
from automl.ui.charts import shown
from automl.ui.views.frame import (
    SPLITS,
    chart,
    download,
    empty,
    literal,
    marked,
    number,
    page,
    provenance,
    seconds,
    title,
)
from automl.ui.views.study_trials import MOST_COMPARED

Row = dict[str, Any]
CONTEXT = 3  # lines around a difference
MOST_LINES = 200  # of a difference


@page
def show() -> None:
    """The trials of the address, or those that the reader enters."""
    title("Compare")
    given = st.text_input(
        "Trials to compare",
        key="trials",
        bind="query-params",
        placeholder="1/3, 2/0",
        help=f"Two to {MOST_COMPARED}, as STUDY/NUMBER; or select trials on a study's page.",
    )
    names = list(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
    if not names:
        empty(
            "Enter trials such as 1/3, 2/0, or select some in a chart or table of a study or in a "
            "leaderboard, and press Compare."
        )
        return
    found, missing = looked_up(names[:MOST_COMPARED])
    if missing:
        st.warning(literal(" ".join(missing)), icon=":material/search_off:")
    if len(names) > MOST_COMPARED:
        st.caption(f"The first {MOST_COMPARED} of {len(names)} are shown.")
    if len(found) < 2:
        empty("It takes two trials to compare: add another one.")
        return
    draw(found)


def looked_up(names: list[str]) -> tuple[list[Row], list[str]]:
    """The trials that there are, and a sentence about each that there is not."""
    found, missing = [], []
    for name in names:
        try:
            found.append(query.trial(name, code=True))
        except UnknownName as error:
            missing.append(f"{str(error).rstrip('.')}.")
    return found, missing


def draw(rows: list[Row]) -> None:
    """Figures, settings that differ, curves and code."""
    metrics = {(row["metric"], row["dataset"]) for row in rows}
    if len(metrics) > 1:
        st.caption(
            "These trials have different objectives or datasets: their values do not compare."
        )
    for source in {row["source"]: row for row in rows if row["source"]}.values():
        provenance(source)
    st.header("Results", anchor=False)
    results = beside(rows, facts(rows))
    table(results, "Results of the trials")
    curves_of(rows)
    st.header("Settings that differ", anchor=False)
    settings = beside(rows, differing(rows))
    if settings.empty:
        st.caption("All settings are the same.")
    else:
        table(settings, "Settings that differ")
    download(
        "Save the comparison as CSV",
        lambda: pd.concat([results, settings]).to_csv(),
        "comparison.csv",
    )
    code_of(rows)


def table(frame: pd.DataFrame, alt: str) -> None:
    """A comparison, the names of its lines always in sight."""
    first = st.column_config.Column("trial", width=150)
    st.dataframe(frame, height="content", alt=alt, column_config={"_index": first})


def beside(rows: list[Row], values: dict[str, list[Any]]) -> pd.DataFrame:
    """A line for each value, a column for each trial."""
    names = [row["reference"] for row in rows]
    return pd.DataFrame.from_dict(values, orient="index", columns=names)


def facts(rows: list[Row]) -> dict[str, list[str]]:
    """What was reached and what it took, as texts."""
    found = {
        "paper": [row["plugin"] for row in rows],
        "dataset": [row["dataset"] for row in rows],
        "state": [marked(row["state"]) for row in rows],
        "objective": [f"{row['metric']}, {SPLITS[row['split']]}" for row in rows],
    }
    scored = sorted({name for row in rows for name in row["scores"] or {}})
    scored += [row["metric"] for row in rows if row["metric"] not in scored][:1]
    for name in scored:
        found[name] = [
            number(row["objective"] if name == row["metric"] else (row["scores"] or {}).get(name))
            for row in rows
        ]
    tested = [
        {
            (e["dataset"], e["metric"]): e["value"]
            for e in row["evaluations"]
            if e["split"] == "test"
        }
        for row in rows
    ]
    for dataset, metric in sorted({key for values in tested for key in values if key[1]}):
        found[f"{metric}, test of {dataset}"] = [
            number(values.get((dataset, metric))) for values in tested
        ]
    return found | {
        "training": [seconds(row["seconds"]) for row in rows],
        "steps": [number(row["step"]) for row in rows],
        "parameters": [number(row["parameters"]) for row in rows],
        "multiply-adds, one example": [number(row["macs"]) for row in rows],
        "seed": ["–" if row["seed"] is None else str(row["seed"]) for row in rows],
    }


def differing(rows: list[Row]) -> dict[str, list[str]]:
    """The settings that are not the same in all trials, as texts."""
    settings = [{**row["config"], **techniques(row)} for row in rows]
    everything = {name for values in settings for name in values}
    names = sorted(everything, key=lambda name: (any(name not in s for s in settings), name))
    found = {name: [shown(values.get(name)) for values in settings] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def techniques(row: Row) -> Row:
    """The settings of a trial's techniques, by ``technique.setting``."""
    return {
        f"{name}.{key}": value
        for name, values in (row["techniques"] or {}).items()
        for key, value in (values if isinstance(values, dict) else {"": values}).items()
    }


def curves_of(rows: list[Row]) -> None:
    """The curves of one metric on one split, over each other."""
    choices = sorted(
        {
            (metric, split)
            for row in rows
            for split, metrics in row["curves"].items()
            for metric in metrics
        },
        key=lambda choice: (choice != (rows[0]["metric"], rows[0]["split"]), choice),
    )
    if not choices:
        st.caption("None of these trials has reported on the way, so there are no curves.")
        return
    names = [f"{metric}, {SPLITS.get(split, split)}" for metric, split in choices]
    st.header("Curves", anchor=False)
    chosen = names.index(str(st.selectbox("Curves of", names, key="curve", bind="query-params")))
    metric, split = choices[chosen]
    curves = {
        f"{row['reference']} {row['plugin']}": row["curves"].get(split, {}).get(metric, [])
        for row in rows
    }
    unit = rows[0]["unit"] if metric == rows[0]["metric"] else ""
    figure = study_charts.overlaid({n: p for n, p in curves.items() if p}, metric, unit)
    chart(figure, "comparison", f"{metric} of the trials over their steps")


def code_of(rows: list[Row]) -> None:
    """What differs in the code of two of the trials."""
    st.header("Code", anchor=False)
    names = [row["reference"] for row in rows]
    first, second = rows[0], rows[1]
    if len(rows) > 2:
        left, right = st.columns(2)
        first = rows[names.index(str(left.selectbox("From", names, 0, key="from")))]
        second = rows[names.index(str(right.selectbox("To", names, 1, key="to")))]
    lines = changes(first, second)
    if not lines:
        st.caption("Both trials ran the same code.")
        return
    with st.expander(f"What differs: {len(lines):,} lines with those around them", expanded=True):
        # Wrapped: what scrolls by itself cannot be reached by keyboard.
        st.code("\n".join(lines[:MOST_LINES]), language="diff", wrap_lines=True)
        if len(lines) > MOST_LINES:
            st.caption(f"The first {MOST_LINES} lines.")


def changes(first: Row, second: Row) -> list[str]:
    """The lines that differ between the code of two trials, file by file."""
    found: list[str] = []
    for name in sorted({*first["code"], *second["code"]}):
        old, new = (row["code"].get(name, "").splitlines() for row in (first, second))
        before, after = (f"{row['reference']} {name}" for row in (first, second))
        found += difflib.unified_diff(old, new, before, after, lineterm="", n=CONTEXT)
    return found
