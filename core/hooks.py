"""What the host asks of an installed distribution, and what it tells it (pluggy hooks)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

from automl.core.cards import DatasetCard, PluginCard, ProbeCard, TargetCard, TechniqueCard

GROUP = "automl"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Specs:
    """The hooks. An implementation may take any subset of the arguments."""

    @hookspec
    def register_plugins(self, register: Callable[[PluginCard], None]) -> None:
        """Call ``register`` with the card of each architecture plugin on offer."""

    @hookspec
    def register_datasets(self, register: Callable[[DatasetCard], None]) -> None:
        """Call ``register`` with the card of each dataset on offer."""

    @hookspec
    def register_techniques(self, register: Callable[[TechniqueCard], None]) -> None:
        """Call ``register`` with the card of each training technique on offer."""

    @hookspec
    def register_probes(self, register: Callable[[ProbeCard], None]) -> None:
        """Call ``register`` with the card of each probe on offer."""

    @hookspec
    def register_targets(self, register: Callable[[TargetCard], None]) -> None:
        """Call ``register`` with the card of each export target on offer."""

    @hookspec
    def register_commands(self, cli: Any) -> None:
        """Add commands to ``cli``, the Typer application of the ``automl`` command line."""

    @hookspec
    def study_started(self, study: dict[str, Any]) -> None:
        """A search begins or continues; ``study`` has id, name, plugin and dataset."""

    @hookspec
    def trial_finished(self, study: dict[str, Any], trial: dict[str, Any]) -> None:
        """A trial ended; ``trial`` has number, state, value and config."""

    @hookspec
    def study_finished(self, study: dict[str, Any]) -> None:
        """A search stopped; ``study`` also has state and the best trial's number and value."""
