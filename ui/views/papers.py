"""Soon."""

import streamlit as st


def show() -> None:
    """Nothing yet."""
    st.title("…")
