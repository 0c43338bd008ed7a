"""The SQL data set of models: every study, trial, curve, line of code and artifact."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl.dataset_db.comparisons import similar as similar
    from automl.dataset_db.corpus_files import export_models as export_models
    from automl.dataset_db.frames import models as models
    from automl.dataset_db.fronts import pareto_front as pareto_front
    from automl.dataset_db.near_duplicates import duplicates as duplicates
    from automl.dataset_db.query import best as best
    from automl.dataset_db.query import claims as claims
    from automl.dataset_db.query import curves as curves
    from automl.dataset_db.query import exports as exports
    from automl.dataset_db.query import info as info
    from automl.dataset_db.query import studies as studies
    from automl.dataset_db.query import study as study
    from automl.dataset_db.query import trial as trial
    from automl.dataset_db.query import trials as trials
    from automl.dataset_db.store import Store as Store

HOME = {
    **dict.fromkeys(
        ("best", "claims", "curves", "exports", "info", "studies", "study", "trial", "trials"),
        "automl.dataset_db.query",
    ),
    "models": "automl.dataset_db.frames",
    "export_models": "automl.dataset_db.corpus_files",
    "pareto_front": "automl.dataset_db.fronts",
    "duplicates": "automl.dataset_db.near_duplicates",
    "similar": "automl.dataset_db.comparisons",
    "Store": "automl.dataset_db.store",
}
__all__ = [*HOME]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): reading records needs neither torch nor optuna."""
    if name not in HOME:
        raise AttributeError(f"module 'automl.dataset_db' has no attribute {name!r}")
    return getattr(importlib.import_module(HOME[name]), name)
