"""Everything a plugin author imports. Names load on first use, so a light one stays light."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import BaseTrial as Trial

    from automl.core.cards import DatasetCard as DatasetCard
    from automl.core.cards import Metric as Metric
    from automl.core.cards import Paper as Paper
    from automl.core.cards import PluginCard as PluginCard
    from automl.core.cards import ProbeCard as ProbeCard
    from automl.core.cards import TargetCard as TargetCard
    from automl.core.cards import TechniqueCard as TechniqueCard
    from automl.core.claims import Bar as Bar
    from automl.core.claims import Claim as Claim
    from automl.core.claims import ClaimRun as ClaimRun
    from automl.core.data import Batch as Batch
    from automl.core.data import DataInfo as DataInfo
    from automl.core.data import Dataset as Dataset
    from automl.core.data import ExampleScores as ExampleScores
    from automl.core.data import Outputs as Outputs
    from automl.core.data import Problem as Problem
    from automl.core.data import Scores as Scores
    from automl.core.data import Split as Split
    from automl.core.data import SplitName as SplitName
    from automl.core.errors import ConfigError as ConfigError
    from automl.core.errors import DataError as DataError
    from automl.core.errors import ExportError as ExportError
    from automl.core.errors import MissingExtra as MissingExtra
    from automl.core.errors import PolicyError as PolicyError
    from automl.core.errors import SandboxError as SandboxError
    from automl.core.hooks import hookimpl as hookimpl
    from automl.core.plugin import Axis as Axis
    from automl.core.plugin import Exportable as Exportable
    from automl.core.plugin import Plugin as Plugin
    from automl.core.plugin import Supervised as Supervised
    from automl.core.problems import FORECASTING as FORECASTING
    from automl.core.problems import IMAGE_CLASSIFICATION as IMAGE_CLASSIFICATION
    from automl.core.problems import OPERATOR_LEARNING as OPERATOR_LEARNING
    from automl.core.problems import SEQUENCE_CLASSIFICATION as SEQUENCE_CLASSIFICATION
    from automl.core.problems import TABULAR_CLASSIFICATION as TABULAR_CLASSIFICATION
    from automl.core.problems import TABULAR_REGRESSION as TABULAR_REGRESSION
    from automl.core.problems import operator_learning as operator_learning
    from automl.core.problems import relative_h1 as relative_h1
    from automl.core.problems import relative_l2 as relative_l2
    from automl.core.record import RunResult as RunResult
    from automl.core.rnn import ExportableRNN as ExportableRNN
    from automl.core.run import Run as Run
    from automl.core.sandbox import policy as policy
    from automl.core.sandbox.channel import Frame as Frame
    from automl.core.sandbox.host import Limits as Limits
    from automl.core.sandbox.host import Sandbox as Sandbox
    from automl.core.sandbox.host import require_sandbox as require_sandbox
    from automl.core.sandbox.script import load_code as load_code
    from automl.core.settings import Settings as Settings
    from automl.core.settings import setting as setting
    from automl.core.technique import Probe as Probe
    from automl.core.technique import Technique as Technique
    from automl.core.train import Descent as Descent
    from automl.core.train import Training as Training
    from automl.core.train import mean_scores as mean_scores
    from automl.core.train import sgd as sgd

HOMES = {
    "automl.core.cards": (
        "DatasetCard", "Metric", "Paper", "PluginCard", "ProbeCard", "TargetCard", "TechniqueCard",
    ),
    "automl.core.claims": ("Bar", "Claim", "ClaimRun"),
    "automl.core.data": (
        "Batch", "DataInfo", "Dataset", "ExampleScores", "Outputs", "Problem", "Scores", "Split",
        "SplitName",
    ),
    "automl.core.errors": (
        "ConfigError", "DataError", "ExportError", "MissingExtra", "PolicyError", "SandboxError",
    ),
    "automl.core.hooks": ("hookimpl",),
    "automl.core.plugin": ("Axis", "Exportable", "Plugin", "Supervised"),
    "automl.core.problems": (
        "FORECASTING", "IMAGE_CLASSIFICATION", "OPERATOR_LEARNING", "SEQUENCE_CLASSIFICATION",
        "TABULAR_CLASSIFICATION", "TABULAR_REGRESSION", "operator_learning", "relative_h1",
        "relative_l2",
    ),
    "automl.core.record": ("RunResult",),
    "automl.core.rnn": ("ExportableRNN",),
    "automl.core.run": ("Run",),
    "automl.core.sandbox": ("policy",),
    "automl.core.sandbox.channel": ("Frame",),
    "automl.core.sandbox.host": ("Limits", "Sandbox", "require_sandbox"),
    "automl.core.sandbox.script": ("load_code",),
    "automl.core.settings": ("Settings", "setting"),
    "automl.core.technique": ("Probe", "Technique"),
    "automl.core.train": ("Descent", "Training", "mean_scores", "sgd"),
}  # fmt: skip
HOME = {name: module for module, names in HOMES.items() for name in names}
__all__ = [
    "Trial",
    *HOME,
]


def __getattr__(name: str) -> Any:
    """Import ``name`` from where it lives (PEP 562)."""
    if name == "Trial":
        return importlib.import_module("optuna.trial").BaseTrial
    if name not in HOME:
        raise AttributeError(f"module 'automl.core.api' has no attribute {name!r}")
    return getattr(importlib.import_module(HOME[name]), name)
