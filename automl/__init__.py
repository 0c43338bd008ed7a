"""AutoML over research papers: search their architectures, keep every model, ship the winner.

import automl
result = automl.search("ptrnet", trials=5)
automl.models(plugin="ptrnet", code=True)
automl.export_model(f"{result.study}/{result.best.trial}")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl.dataset_db.frames import models as models
    from automl.ui.actions import check_plugin as check_plugin
    from automl.ui.actions import probe as probe
    from automl.ui.actions import reproduce as reproduce
    from automl.ui.actions import resume as resume
    from automl.ui.actions import search as search
    from automl.ui.ensembling import ensemble as ensemble
    from automl.ui.exporting import benchmark as benchmark_model  # noqa: F401
    from automl.ui.exporting import export as export_model  # noqa: F401
    from automl.ui.replaying import replay as replay

HOME = {
    "models": "automl.dataset_db.frames:models",
    "benchmark_model": "automl.ui.exporting:benchmark",
    "export_model": "automl.ui.exporting:export",
    "ensemble": "automl.ui.ensembling:ensemble",
    "replay": "automl.ui.replaying:replay",
    **{
        name: f"automl.ui.actions:{name}"
        for name in ("check_plugin", "probe", "reproduce", "resume", "search")
    },
}
__all__ = [*HOME]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562): ``import automl`` costs nothing."""
    if name not in HOME:
        raise AttributeError(f"module 'automl' has no attribute {name!r}")
    module, _, attribute = HOME[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
