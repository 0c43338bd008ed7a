"""The card of one model: configuration, scores, curve, code, exports, and its export button."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import streamlit as st

from automl.core.cards import TargetCard
from automl.core.discovery import catalogue
from automl.dataset_db import query
from automl.ui import charts
from automl.ui.exporting import GOOD, parity_sentence
from automl.ui.views.frame import (
    SPLITS,
    literal,
    number,
    page,
    parameter,
    provenance,
    remembered,
    seconds,
    state_badge,
)

EXPORT_SECONDS = 900
LARGEST_DOWNLOAD = 100_000_000  # bytes
Row = dict[str, Any]


@page
def show() -> None:
    """The trial of the address, else the best there is."""
    key = remembered("trial", parameter("trial") or query.best())
    given = st.text_input("Trial", key=key, help="STUDY/NUMBER such as 3/0, or best")
    reference = query.best() if given == "best" else given
    st.query_params["trial"] = reference
    row = query.trial(reference, code=True)
    st.header(f"Trial {literal(reference)}")
    state_badge(row["state"])
    paper = row["paper"]
    st.caption(
        f"{literal(row['plugin'])} version {row['plugin_version']} on {literal(row['dataset'])}: "
        f"{literal(paper['title'])} ({paper['year']})"
    )
    provenance(row)
    facts = st.columns(4)
    facts[0].metric(f"{row['metric']}, {SPLITS[row['split']]}", number(row["objective"]))
    facts[1].metric("parameters", number(row["parameters"]))
    facts[2].metric("multiply-adds, one example", number(row["macs"]))
    facts[3].metric("training", seconds(row["seconds"]))
    if row["failure"]:
        st.error(f"{row['failure']['kind']}: {row['failure']['message']}")
        st.code(row["failure"]["traceback"] or row["failure"]["log"], language="text")
    curve, scores, exports, config, code = st.tabs(
        ["Learning curve", "Scores", "Export", "Configuration", "Code"]
    )
    with curve:
        figure = charts.learning(row["curves"], row["metric"], row["unit"], row["split"])
        st.plotly_chart(figure, key="learning")
    with scores:
        draw_scores(row)
    with exports:
        draw_exports(row)
    with config:
        st.json(row["config"])
    with code:
        for name, text in row["code"].items():
            with st.expander(literal(name), expanded=name == "model.py"):
                st.code(text, language="python", line_numbers=True)


def draw_scores(row: Row) -> None:
    """Validation, test and probes."""
    listed = [
        {"split": row["split"], "dataset": row["dataset"], "metric": name, "value": value}
        for name, value in (row["scores"] or {}).items()
    ]
    listed += [
        {
            "split": evaluation["split"],
            "dataset": evaluation["dataset"],
            "metric": evaluation["metric"] or "–",
            "value": evaluation["value"],
            "note": evaluation["reason"],
        }
        for evaluation in row["evaluations"]
    ]
    listed += [
        {"split": "probe", "dataset": p["probe"], "metric": p["name"], "value": p["value"]}
        for p in row["probes"]
    ]
    if listed:
        st.dataframe(listed, hide_index=True, width="stretch")
    else:
        st.caption("No scores: the trial has not reported.")


def draw_exports(row: Row) -> None:
    """Export buttons, then what was exported with parity and latency."""
    kept = any(artifact["kind"] == "weights" for artifact in row["artifacts"])
    if not kept:
        st.caption("Only complete trials keep weights, so there is nothing to export.")
        return
    targets = [card.name for card in catalogue().cards(TargetCard)]
    target = st.selectbox("Kind of runtime", targets)
    if st.button(f"Export to {target}", type="primary"):
        with st.spinner("Exporting, verifying and measuring; this takes about half a minute"):
            said = told("export", row["reference"], str(target))
        if said:
            st.error(said)
        row = query.trial(row["reference"])
    if not row["exports"]:
        st.caption("Not exported yet.")
    newest = {made["target"]: made["id"] for made in row["exports"]}
    for made in reversed(row["exports"]):
        draw_export(made)
        good = made["status"] in GOOD and newest[made["target"]] == made["id"]
        if good and st.button(f"Measure {made['target']} again", key=f"measure-{made['id']}"):
            with st.spinner("Measuring"):
                said = told("benchmark", row["reference"], made["target"])
            if said:
                st.error(said)
            else:
                st.rerun()


def told(command: str, reference: str, target: str) -> str:
    """Run ``automl export`` or ``benchmark`` in a process of its own; what went wrong, or nothing.

    Nothing is exported or measured inside the browser's process.
    """
    called = [sys.executable, "-m", "automl.ui.cli", command, reference]
    called += ["--target", target, "--json"]
    try:
        done = subprocess.run(
            called, capture_output=True, text=True, timeout=EXPORT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"It took longer than {EXPORT_SECONDS} seconds and was stopped."
    failed = (done.stderr.strip().splitlines() or ["It failed."])[-1]
    if done.returncode == 2:
        return failed
    try:
        (made,) = json.loads(done.stdout)["targets"]
    except ValueError:
        return failed
    status = made.get("status", "ok")
    return "" if status in GOOD else f"{status}: {made['message']}"


def draw_export(made: Row) -> None:
    """One export: status, parity, latency, files."""
    parity = made["parity"]
    good = made["status"] in GOOD
    title = f"{literal(made['target'])}: {literal(made['status'])}"
    with st.expander(title, expanded=True, icon=":material/check:" if good else ":material/error:"):
        if parity.get("metric"):
            st.markdown(literal(parity_sentence(parity)))
        if made["benchmarks"]:
            st.plotly_chart(charts.latencies(made["benchmarks"]), key=f"latency-{made['id']}")
        for file in made["files"]:
            path = Path(made["folder"]) / file["name"]
            if not path.exists():
                st.caption(f"{literal(file['name'])} is no longer in {literal(made['folder'])}.")
            elif file["bytes"] <= LARGEST_DOWNLOAD:
                label = f"Download {file['name']} ({file['bytes'] / 1000:.0f} kB)"
                key = f"file-{made['id']}-{file['name']}"
                st.download_button(label, path.read_bytes(), file["name"], key=key)
