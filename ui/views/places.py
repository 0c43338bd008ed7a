"""The pages there are, and how one leads to another."""

from __future__ import annotations

from importlib import import_module

import streamlit as st

# module -> title and icon, in the order of the menu; the module's name is the page's address
PLACES = {
    "home": ("Studies", ":material/list:"),
    "start": ("Start", ":material/add_circle:"),
    "jobs": ("Jobs", ":material/pending_actions:"),
    "study": ("Study", ":material/show_chart:"),
    "compare": ("Compare", ":material/compare_arrows:"),
    "model": ("Model", ":material/deployed_code:"),
    "ranking": ("Leaderboards", ":material/leaderboard:"),
    "papers": ("Papers", ":material/article:"),
    "data": ("Data sets", ":material/dataset:"),
}

# Captions, code and what lies on the primary colour have more contrast than Streamlit's own, and
# what comes and goes keeps its room.
STYLE = """<style>
[data-testid="stMainBlockContainer"] {padding: 4.5rem clamp(1rem, 4vw, 4rem) 3rem;}
[data-testid="stMetric"] {padding: .1rem 0;}
[data-testid="stHeading"] h1 {overflow-wrap: anywhere;}
[data-testid="stCaptionContainer"] {color: inherit; opacity: .8;}
[data-testid="stBaseButton-primary"], [data-tag] {--on: light-dark(#FFFFFF, #11151A);}
[data-testid="stBaseButton-primary"] *, [data-tag] * {color: var(--on) !important;}
[data-testid="stCode"] code span {min-width: 0; overflow-wrap: anywhere;}
[data-testid="stCode"] .token {color: inherit !important;}
[data-testid="stCode"] .token.comment {color: light-dark(#5B6470, #A5AFBC) !important;}
[data-testid="stCode"] .token:is(.keyword, .boolean, .builtin, .decorator, .parameter)
  {color: light-dark(#0067A3, #6CC1EE) !important;}
[data-testid="stCode"] .token:is(.string, .number, .triple-quoted-string)
  {color: light-dark(#8A4500, #F0B35A) !important;}
[data-testid="stCode"] .token.inserted {color: light-dark(#11663A, #7BD8A0) !important;}
[data-testid="stCode"] .token.deleted {color: light-dark(#A32020, #FF9E9E) !important;}
.st-key-figures {row-gap: .25rem;}
.st-key-picked {min-height: 2.75rem;}
</style>"""


def place(name: str, first: str = "home") -> st.Page:
    """One page; ``first`` is the one without an address of its own."""
    title, icon = PLACES[name]
    show = import_module(f"automl.ui.views.{name}").show
    return st.Page(show, title=title, icon=icon, url_path=name, default=name == first)


def run(first: str = "home") -> None:
    """Draw the menu and the page that the address names."""
    st.html(STYLE)
    st.navigation([place(name, first) for name in PLACES], position="top").run()


def go(name: str, **parameters: str) -> None:
    """Leave for another page."""
    st.switch_page(place(name), query_params=parameters)


def link(label: str, name: str, *, icon: str | None = None, **parameters: str) -> None:
    """A link to another page; ``label`` is Markdown."""
    st.page_link(place(name), label=label, icon=icon, query_params=parameters)
