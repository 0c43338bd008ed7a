"""Fixtures for all tests: a database of their own, and plugins written on the spot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest
import torch

from automl.core.discovery import catalogue

INIT = """
from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="{name}",
    target=f"{{__name__}}.plugin:Tested",
    paper=Paper("A paper", 2020),
    problems=("tabular-classification",),
    dataset="spirals:train_size=200",
)

@hookimpl
def register_plugins(register):
    register(CARD)
"""

PLUGIN = """
import os, sys, time
from dataclasses import dataclass, replace
import torch
from torch import nn
from automl.core.api import Plugin, Settings, setting
from . import CARD

@dataclass(frozen=True)
class Config(Settings):
    x: float = setting(0.5, low=0, high=1)
    n: int = setting(3, low=1, high=100)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
    def forward(self, x):
        return {{"logits": self.layer(x)}}

class Tested(Plugin):
    card = CARD
    defaults = Config()
    full = Config()

    def space(self, trial, base, data):
{space}

    def build(self, config, data):
        return Model()

    def steps(self, config):
        return config.n

    def fit(self, model, config, run):
{fit}

    def evaluate(self, model, config, split):
        return {{"accuracy": config.x, "nll": 1 - config.x}}

    def example(self, config, data):
        return {{"x": torch.zeros(2, 2)}}
"""
SPACE = 'return replace(base, x=trial.suggest_float("x", 0, 1))'
FIT = """
for step in range(1, config.n + 1):
    run.report(step, {"accuracy": config.x * step / config.n, "nll": 1.0})
"""
PluginMaker = Callable[..., str]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests measure behaviour, not speed; two cores are shared by all of them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes the user's database, or the folder it is started in."""
    monkeypatch.setenv("AUTOML_DB", str(tmp_path / "models.db"))
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def make_plugin(tmp_path: Path) -> Iterator[PluginMaker]:
    """Write an unpackaged plugin with the given bodies of ``fit`` and ``space``.

    The catalogue forgets it afterwards: it would take part in later tests' tournaments.
    """

    def make(fit: str = FIT, space: str = SPACE, name: str = "tested", init: str = INIT) -> str:
        folder = tmp_path / f"plugin_{name}"
        folder.mkdir()
        (folder / "__init__.py").write_text(dedent(init).format(name=name))
        body: dict[str, Any] = {
            key: indent(dedent(text).strip(), " " * 8)
            for key, text in {"fit": fit, "space": space}.items()
        }
        (folder / "plugin.py").write_text(dedent(PLUGIN).format(**body))
        return str(folder)

    yield make
    catalogue.cache_clear()
