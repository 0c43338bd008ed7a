"""What was exported of a model, with parity and latency; export, measure, download."""

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
from automl.ui.views.frame import literal
from automl.ui.views.model_code import file_name

EXPORT_SECONDS = 900
LARGEST_DOWNLOAD = 100_000_000  # bytes
Row = dict[str, Any]


def draw(row: Row) -> None:
    """The weights, export buttons, then what was exported with parity and latency."""
    weights = [artifact for artifact in row["artifacts"] if artifact["kind"] == "weights"]
    if not weights:
        st.caption("Only complete trials keep weights, so there is nothing to export.")
        return
    path = Path(weights[0]["file"])
    if not path.exists():
        st.warning(
            literal(
                f"The weights are no longer at {path}: put the file back, or set AUTOML_ARTIFACTS "
                "to the folder that holds it."
            ),
            icon=":material/warning:",
        )
    else:
        name = f"{file_name(row)}.safetensors"
        file_download(path, f"Download the weights ({size(path.stat().st_size)})", name, "weights")
        row = new_export(row)
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
                st.error(literal(said))
            else:
                st.rerun()


def new_export(row: Row) -> Row:
    """The choice of a target and its button; the record, with what was just exported."""
    targets = [card.name for card in catalogue().cards(TargetCard)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = st.selectbox("Kind of runtime", targets, width=200)
        pressed = st.button(f"Export to {target}", type="primary", icon=":material/ios_share:")
    if not pressed:
        return row
    with st.spinner("Exporting, verifying and measuring; this takes about half a minute"):
        said = told("export", row["reference"], str(target))
    if said:
        st.error(literal(said))
    return query.trial(row["reference"])


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
        if made["message"]:
            st.caption(literal(made["message"]))
        if parity.get("metric"):
            st.markdown(literal(parity_sentence(parity)))
        if made["benchmarks"]:
            st.plotly_chart(
                charts.latencies(made["benchmarks"]), key=f"latency-{made['id']}",
                alt=f"Latency of the export to {made['target']}",
            )  # fmt: skip
        files = [(file, Path(made["folder"]) / file["name"]) for file in made["files"]]
        with st.container(horizontal=True):
            for file, path in files:
                if path.exists():
                    label = f"{file['name']} ({size(file['bytes'])})"
                    file_download(path, label, path.name, f"file-{made['id']}-{file['name']}")
        gone = [file["name"] for file, path in files if not path.exists()]
        if gone:
            said = f"No longer in {made['folder']}: {', '.join(gone)}. Export it again."
            st.caption(literal(said))


def size(count: int) -> str:
    """Bytes in kB or MB."""
    return f"{count / 1000:.0f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def file_download(path: Path, label: str, name: str, key: str) -> None:
    """A button that reads the file when it is pressed; none for what is too large to send."""
    if path.stat().st_size > LARGEST_DOWNLOAD:
        st.caption(literal(f"{path} is too large to send from here: copy it."))
        return
    st.download_button(
        label, path.read_bytes, name, key=key, on_click="ignore", icon=":material/download:"
    )


def config_download(row: Row) -> None:
    """The configuration as a JSON file."""
    told_ = {name: row[name] for name in ("plugin", "dataset", "seed", "config", "techniques")}
    st.download_button(
        "Download the configuration (JSON)",
        json.dumps(told_, indent=2, default=str),
        f"{file_name(row)}.json",
        "application/json",
        key="config-json",
        on_click="ignore",
        icon=":material/download:",
    )
