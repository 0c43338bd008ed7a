"""The tables as SQLAlchemy Core sees them: what ``store`` writes and ``query`` reads."""

from __future__ import annotations

from sqlalchemy import Table

from automl.dataset_db import tables


def table(name: str) -> Table:
    """The table of that name."""
    return tables.METADATA.tables[name]


PAPER, PLUGIN, CODE, PLUGIN_CODE = map(table, ("paper", "plugin", "code", "plugin_code"))
STUDY_PLUGIN = table("study_plugin")
DATASET, ENVIRONMENT = table("dataset"), table("environment")
STUDY, TRIAL, SCORE, EVALUATION = map(table, ("study", "trial", "score", "evaluation"))
ARTIFACT, EXPORT, BENCHMARK = map(table, ("artifact", "export", "benchmark"))
PROBE, CLAIM = table("probe_result"), table("claim_result")
SOURCE, SOURCE_FILE, FLAG, DEVICE_RUN = map(table, ("source", "source_file", "flag", "device_run"))
