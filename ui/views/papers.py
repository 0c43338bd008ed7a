"""The papers behind the plugins: what each learns, what was reproduced, its best results."""

from __future__ import annotations

from typing import Any

import streamlit as st

from automl.core.cards import PluginCard
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, DatabaseError
from automl.dataset_db import query
from automl.dataset_db.bests import bests
from automl.ui.views import places
from automl.ui.views.frame import literal, number, page, parameter, title
from automl.ui.views.helping import asked, step

Row = dict[str, Any]
SHOWN_RESULTS = 3  # on a card of the gallery
ALL = "all"
COLOURS = {"reproduced": "green", "not reproduced": "red", "inconclusive": "orange"}


@page
def show() -> None:
    """The gallery, or the paper that the address names."""
    chosen = parameter("plugin")
    if chosen:
        one(catalogue().card(PluginCard, chosen))
    else:
        gallery()


def on_record(plugin: str | None = None) -> tuple[list[Row], list[Row]]:
    """Verdicts and best results; none, and why, where no database can be read."""
    try:
        return query.claims(plugin=plugin), bests(plugin=plugin)
    except DatabaseError as error:
        st.info(literal(error), icon=":material/info:")
        return [], []


# ---------------------------------------------------------------- gallery


def gallery() -> None:
    """A card for each plugin, by what it learns."""
    title("Papers")
    cards = catalogue().architectures()
    problems = sorted({problem for card in cards for problem in card.problems})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.selectbox("That learn", [ALL, *problems], key="problem", width=280)
        text = st.text_input("Filter by name or title", key="filter", width=280)
    verdicts, results = on_record()
    found = [
        card
        for card in sorted(cards, key=lambda card: -card.paper.year)
        if wanted in (ALL, *card.problems)
        and text.lower() in f"{card.name} {card.paper.title} {card.summary}".lower()
    ]
    reproduced = sum(row["verdict"] == "reproduced" for row in verdicts)
    checked = f"; {reproduced} of {len(verdicts)} claims checked here reproduced"
    st.caption(
        f"{len(found)} of {len(cards)} plugins, the latest paper first{checked * bool(verdicts)}"
    )
    for first in range(0, len(found), 2):
        for column, card in zip(st.columns(2), found[first : first + 2], strict=False):
            with column.container(border=True, height="stretch"):
                draw_card(card, verdicts, results)
    broken = [offer for offer in catalogue().offers if offer.problem]
    for offer in broken:
        st.warning(literal(f"Plugin {offer.name} failed to load: {offer.problem}"))


def draw_card(card: PluginCard, verdicts: list[Row], results: list[Row]) -> None:
    """One paper in the gallery."""
    heading(card)
    claims_line([row for row in verdicts if row["plugin"] == card.name])
    mine = [row for row in results if row["plugin"] == card.name]
    for row in mine[:SHOWN_RESULTS]:
        unit = f" {row['unit']}" if row["unit"] not in ("", "share") else ""
        st.caption(
            literal(f"{row['dataset']}: {row['metric']} {number(row['value'])}{unit}"),
        )
    if not mine:
        st.caption("No search of it is on record yet.")
    with st.container(horizontal=True, vertical_alignment="center"):
        step(
            "Claims and results", "papers", icon=":material/article:", key=f"open-{card.name}",
            plugin=card.name,
        )  # fmt: skip
        places.link("Search with it", "start", icon=":material/add_circle:", plugin=card.name)


def heading(card: PluginCard) -> None:
    """Title, year, link and what it learns."""
    paper = card.paper
    name = literal(paper.title)
    st.markdown(f"##### [{name}]({paper.url})" if paper.url else f"##### {name}")
    authors = f"{paper.authors} · " if paper.authors else ""
    st.caption(literal(f"{authors}{paper.year} · plugin {card.name}, version {card.version}"))
    if card.summary:
        st.markdown(literal(card.summary))
    with st.container(horizontal=True, gap="small"):
        for problem in card.problems:
            st.badge(literal(problem), color="blue")


def claims_line(mine: list[Row]) -> None:
    """How many claims were reproduced here."""
    if not mine:
        st.caption("Its claims were not checked here yet.")
        return
    with st.container(horizontal=True, gap="small"):
        for verdict, colour in COLOURS.items():
            count = sum(row["verdict"] == verdict for row in mine)
            if count:
                colours: Any = colour
                st.badge(f"{count} {verdict}", color=colours)


# ---------------------------------------------------------------- one paper


def one(card: PluginCard) -> None:
    """A paper with its results and its claims."""
    step("All papers", "papers", icon=":material/arrow_back:", key="back")
    heading(card)
    verdicts, results = on_record(card.name)
    places.link("Search with it", "start", icon=":material/add_circle:", plugin=card.name)
    st.subheader("Best results", anchor=False)
    if not results:
        st.info(
            f"No search of it is on record. Start one: `automl search --plugin {card.name}`",
            icon=":material/info:",
        )
    for row in results:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"**{literal(row['dataset'])}** · {literal(row['metric'])} "
                f"{number(row['value'])} (validation)",
                width="content",
            )
            places.link(f"Model {row['reference']}", "model", trial=row["reference"])
    st.subheader("Claims", anchor=False)
    try:
        stated = asked("claims", plugin=card.name)
    except AutoMLError as error:
        st.info(literal(error), icon=":material/info:")
        stated = []
    checked = {row["claim"] for row in verdicts}
    for row in verdicts:
        claim(row)
    for row in stated:
        if row["claim"] not in checked:
            unchecked(card.name, row)


def claim(row: Row) -> None:
    """A claim with its verdict, its figures and the command behind them."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{literal(row['claim'])}**", width="content")
            colour: Any = COLOURS[row["verdict"]]
            st.badge(row["verdict"], color=colour)
        st.markdown(literal(row["statement"]))
        st.caption(literal(row["source"]))
        met = {True: "yes", False: "no", None: "no result"}
        bars = [
            {
                "met": met[bar["met"]],
                "run": bar["run"],
                "test split of": bar["on"],
                "bar": bar["bar"],
                "ours": bar["ours"],
                "spread": bar["spread"],
                "paper": bar["paper"],
            }
            for bar in row["bars"]
        ]
        st.dataframe(bars, hide_index=True, width="stretch", key=f"bars-{row['id']}")
        st.code(row["command"], language="bash", wrap_lines=True)


def unchecked(plugin: str, row: Row) -> None:
    """A claim that nobody has checked on this database."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{literal(row['claim'])}**", width="content")
            st.badge("not checked here", color="gray")
        st.markdown(literal(row["statement"]))
        st.caption(literal(row["source"]))
        full = " --full" if row["scale"] == "full" else ""
        command = f"automl reproduce {plugin} --claim {row['claim']}{full}"
        st.code(command, language="bash", wrap_lines=True)
