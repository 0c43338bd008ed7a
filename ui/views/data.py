"""The datasets: their facts, pictures of their examples, who learns them and how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from automl.core.cards import DatasetCard
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, DatabaseError
from automl.dataset_db.bests import bests
from automl.ui import pictures
from automl.ui.views import places
from automl.ui.views.frame import figures, literal, number, page, parameter, title
from automl.ui.views.helping import asked, limits_text, step

Row = dict[str, Any]
ALL = "all"
SAMPLES = 8
WIDTH = 170  # of a picture, in pixels: two beside each other on a telephone
COLUMNS_SHOWN = 16  # of a table's row
LONGEST_LIST = 24  # numbers of an example that are written out


@page
def show() -> None:
    """The list, or the dataset that the address names."""
    chosen = parameter("dataset")
    if chosen:
        one(chosen)
    else:
        listing()


def on_record() -> list[Row]:
    """Best results; none where there is no database yet."""
    try:
        return bests()
    except DatabaseError:
        return []


def listing() -> None:
    """A card for each dataset, by problem."""
    title("Data sets")
    cards = [card for card in catalogue().cards(DatasetCard) if card.problem != "any"]
    problems = sorted({card.problem for card in cards})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.selectbox("Problem", [ALL, *problems], key="problem", width=280)
        text = st.text_input("Filter by name", key="filter", width=280)
    learners = catalogue().architectures()
    results = on_record()
    found = [
        card
        for card in cards
        if wanted in (ALL, card.problem) and text.lower() in f"{card.name} {card.summary}".lower()
    ]
    st.caption(f"{len(found)} of {len(cards)} data sets")
    for first in range(0, len(found), 3):
        for column, card in zip(st.columns(3), found[first : first + 3], strict=False):
            with column.container(border=True, height="stretch"):
                st.markdown(f"##### {literal(card.name)}")
                st.badge(literal(card.problem), color="blue")
                st.caption(literal(card.summary))
                able = [p.name for p in learners if card.problem in p.problems]
                st.caption(literal(f"Learnt by {', '.join(able) or 'no installed plugin'}"))
                best = best_of([r for r in results if r["dataset"].partition(":")[0] == card.name])
                if best:
                    st.caption(literal(best))
                with st.container(horizontal=True, vertical_alignment="center"):
                    step(
                        "Look", "data", icon=":material/visibility:", key=f"open-{card.name}",
                        dataset=card.name,
                    )  # fmt: skip
                    places.link("Search", "start", icon=":material/add_circle:", dataset=card.name)
    st.caption(
        "Your own tables, arrays and images: `automl search --data table.csv --target column`, or "
        "the page Start."
    )


def best_of(rows: list[Row]) -> str:
    """The best result of some, in words: of the metric and data that most were searched on."""
    if not rows:
        return ""
    place = max(
        {(row["dataset"], row["metric"]) for row in rows},
        key=lambda key: sum((row["dataset"], row["metric"]) == key for row in rows),
    )
    mine = [row for row in rows if (row["dataset"], row["metric"]) == place]
    best = (max if mine[0]["goal"] == "max" else min)(mine, key=lambda row: row["value"])
    on = f" on {best['dataset']}" if ":" in best["dataset"] else ""
    return f"Best: {best['plugin']}, {best['metric']} {number(best['value'])}{on}"


# ---------------------------------------------------------------- one dataset


def one(spec: str) -> None:
    """A dataset with its examples."""
    name = spec.partition(":")[0]
    card = catalogue().card(DatasetCard, name)
    step("All data sets", "data", icon=":material/arrow_back:", key="back")
    title(spec)
    st.caption(literal(card.summary))
    problem = card.problem
    try:
        about = asked("dataset", spec=spec)
        problem = about["problem"]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(literal(problem), color="blue")
            places.link("Search on it", "start", icon=":material/add_circle:", dataset=spec)
        facts(about)
        examples(spec, about)
    except AutoMLError as error:  # files of the user's, or an extra, are missing
        st.info(literal(error), icon=":material/info:")
    who_learns(
        card.name, problem, [row for row in on_record() if row["dataset"].partition(":")[0] == name]
    )


def facts(about: Row) -> None:
    """Sizes, licence, shapes, options."""
    classes = {"classes": about["classes"]} if about["classes"] else {}
    figures({name: number(size) for name, size in {**about["sizes"], **classes}.items()})
    st.caption(literal(f"Licence: {about['licence'] or 'not stated'}"))
    with st.expander("What a batch holds, and options"):
        st.dataframe(
            [
                {
                    "name": key,
                    "shape": " × ".join("any" if axis is None else str(axis) for axis in shape)
                    or "a number",
                    "meaning": about["batch"].get(key, ""),
                }
                for key, shape in about["shapes"].items()
            ],
            hide_index=True,
            width="stretch",
        )
        if about["options"]:
            st.dataframe(
                [
                    {
                        "option": row["name"], "now": str(row["value"]),
                        "allowed": limits_text(row), "meaning": row["doc"],
                    }
                    for row in about["options"]
                ],
                hide_index=True,
                width="stretch",
            )  # fmt: skip


def examples(spec: str, about: Row) -> None:
    """Pictures of examples, from wherever the reader asks."""
    st.subheader("Examples", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.selectbox("Split", ["train", "valid", "test"], 2, key="split", width=160)
        last = max(0, (about["sizes"].get(split) or SAMPLES) - SAMPLES)
        start = st.number_input("From example", 0, last, 0, SAMPLES, key=f"from-{split}", width=160)
    found = asked("samples", spec=spec, split=split, start=start, count=SAMPLES)
    pictured = [draw for each in found["examples"] if (draw := picture(each, about)) is not None]
    if not pictured:
        written(found["examples"], about["facts"].get("words", ()))
        return
    with st.container(horizontal=True):
        for at, (figure, caption) in enumerate(pictured):
            with st.container(width=WIDTH):
                st.plotly_chart(
                    figure, key=f"example-{at}", config={"displayModeBar": False},
                    alt=f"Example {found['start'] + at}: {caption or about['problem']}",
                )  # fmt: skip
                if caption:
                    st.caption(literal(caption))


def picture(example: Row, about: Row) -> tuple[Any, str] | None:
    """A figure of an example with what the data say of it; ``None`` for what has no picture."""
    problem = about["problem"]
    if problem in pictures.POINT_PROBLEMS:
        count = example.get("length", len(example["points"]))
        figure = pictures.points(example["points"][:count], example["target"], problem)
        return figure, f"{count} points"
    x = example.get("x")
    if not isinstance(x, list):
        return None
    found = np.asarray(x, dtype=float)
    answer = np.asarray(example.get("target"), dtype=object)
    if problem == "operator-learning":
        return pictures.pair(found, np.asarray(example["target"], dtype=float)), ""
    if found.ndim == 4:
        found = found[0]
    if found.ndim == 3:
        return pictures.image(found), label_of(answer, about)
    if found.ndim == 2 and min(found.shape) > 1:
        return pictures.series(found), label_of(answer, about)
    return None


def label_of(answer: Any, about: Row) -> str:
    """A target in words."""
    if answer.shape == () and isinstance(answer.item(), int):
        names = about["facts"].get("class_names", ())
        at = answer.item()
        return str(names[at]) if 0 <= at < len(names) else f"class {at}"
    values = answer.ravel().tolist()
    return short(values) if values != [None] else ""


def written(found: list[Row], words: Sequence[str]) -> None:
    """Examples as a table: flat inputs by column, anything else in a row.

    Whole numbers are read as ``words`` where there are any; 0 pads.
    """
    table = []
    for each in found:
        row: Row = {}
        for name, value in each.items():
            flat = np.asarray(value, dtype=object).ravel().tolist() if value is not None else []
            if name == "x" and len(flat) <= COLUMNS_SHOWN:
                row |= {f"x{i + 1}": part for i, part in enumerate(flat)}
            elif words and all(isinstance(n, int) and 0 <= n < len(words) for n in flat):
                row[name] = " ".join(str(words[n]) for n in flat if n) or "–"
            else:
                row[name] = short(flat)
        table.append(row)
    st.dataframe(table, hide_index=True, width="stretch")


def short(values: list[Any]) -> str:
    """Some numbers, then how many more."""
    said = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values[:LONGEST_LIST])
    more = len(values) - LONGEST_LIST
    return f"{said}, … {more} more" if more > 0 else said


def who_learns(name: str, problem: str, results: list[Row]) -> None:
    """The plugins that can learn it, with their best result."""
    st.subheader("Who learns it", anchor=False)
    able = [each for each in catalogue().architectures() if problem in each.problems]
    if not able:
        st.caption("No installed plugin learns this problem.")
    for plugin in able:
        mine = [row for row in results if row["plugin"] == plugin.name]
        with st.container(horizontal=True, vertical_alignment="center"):
            said = ", ".join(
                f"{row['metric']} {number(row['value'])}"
                + (f" on {row['dataset']}" if row["dataset"] != name else "")
                for row in mine
            )
            st.markdown(
                f"**{literal(plugin.name)}** · {literal(said or 'not searched on it yet')}",
                width="content",
            )
            places.link("Paper", "papers", plugin=plugin.name)
            for row in mine:
                places.link(f"Model {row['reference']}", "model", trial=row["reference"])
