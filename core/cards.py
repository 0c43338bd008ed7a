"""What a distribution says about the things it offers, readable without importing torch.

A card is registered by a hook in a package's light ``__init__``; what it stands for lives at
``target`` and is imported when somebody asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from automl.core.errors import BrokenPlugin


@dataclass(frozen=True)
class Paper:
    """The publication behind a plugin; ``arxiv`` is its identifier, e.g. ``1506.03134``."""

    title: str
    year: int
    arxiv: str = ""
    authors: str = ""

    @property
    def url(self) -> str:
        """The paper's page on arXiv, or an empty string."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is; ``goal`` is its direction."""

    name: str
    goal: Literal["min", "max"]
    unit: str = ""
    doc: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A named offer; ``target`` is ``package.module:Attribute``."""

    name: str
    target: str
    summary: str = ""

    def load(self) -> Any:
        """Import and return what the card stands for.

        Raises:
            BrokenPlugin: if the target cannot be imported.
        """
        module, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            raise BrokenPlugin(
                f"{self.name!r} ({self.target}) failed to load: {type(error).__name__}: {error}"
            ) from error


@dataclass(frozen=True, kw_only=True)
class PluginCard(Card):
    """An architecture plugin: its target is a subclass of ``Plugin``.

    ``problems`` names the problem types that it can learn; ``dataset`` is what a search learns
    when the user names none; ``version`` is raised when its numbers may move.
    """

    paper: Paper
    problems: tuple[str, ...]
    dataset: str
    version: int = 1


@dataclass(frozen=True, kw_only=True)
class DatasetCard(Card):
    """A dataset: its target is a subclass of ``Dataset``, ``options`` preset its fields."""

    problem: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TechniqueCard(Card):
    """A way of training any gradient-trained architecture: a subclass of ``Technique``."""


@dataclass(frozen=True, kw_only=True)
class ProbeCard(Card):
    """A measurement of a fitted model beyond the metric: a subclass of ``Probe``."""

    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TargetCard(Card):
    """A kind of runtime to export to: an object with ``prepare``, ``verify``, ``benchmark``."""
