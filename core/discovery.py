"""Find what installed distributions offer; import only what is asked for."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from automl.core.cards import (
    Card,
    DatasetCard,
    PluginCard,
    ProbeCard,
    TargetCard,
    TechniqueCard,
)
from automl.core.errors import BrokenPlugin, ConfigError, UnknownName, did_you_mean
from automl.core.hooks import GROUP, Specs

if TYPE_CHECKING:
    from automl.core.data import Dataset
    from automl.core.plugin import Plugin

K = TypeVar("K", bound=Card)
HOOKS: dict[type[Card], str] = {
    PluginCard: "register_plugins",
    DatasetCard: "register_datasets",
    TechniqueCard: "register_techniques",
    ProbeCard: "register_probes",
    TargetCard: "register_targets",
}
NOUNS = {
    PluginCard: "plugin",
    DatasetCard: "dataset",
    TechniqueCard: "technique",
    ProbeCard: "probe",
    TargetCard: "target",
}


@dataclass
class Offer:
    """One entry point: what it offers, or why it could not be loaded."""

    name: str
    module: str
    distribution: str = ""
    version: str = ""
    problem: str = ""  # empty when it loaded
    cards: list[Card] = field(default_factory=list)


@cache
def identity(distribution: Distribution) -> tuple[str, str]:
    """Name and version of a distribution, which it parses anew whenever it is asked."""
    return distribution.name, distribution.version


class Catalogue:
    """All that installed distributions offer, found through the entry-point group ``automl``.

    Each entry point is loaded and asked by itself, so a broken one is reported and never takes
    down the rest. ``AUTOML_PLUGINS=a,b`` restricts the entries that are loaded;
    an empty value loads none.
    """

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        found = list(entries) if entries is not None else list(entry_points(group=GROUP))
        allowed = os.environ.get("AUTOML_PLUGINS")
        if entries is None and allowed is not None:
            names = {name.strip() for name in allowed.split(",")}
            found = [entry for entry in found if entry.name in names]
        self.manager = pluggy.PluginManager(GROUP)
        self.manager.add_hookspecs(Specs)
        self._alone = pluggy.PluginManager(GROUP)  # holds one module at a time
        self._alone.add_hookspecs(Specs)
        self.offers: list[Offer] = []
        self._cards: dict[tuple[type[Card], str], tuple[Card, Offer]] = {}
        self._folders: dict[Path, PluginCard] = {}  # loaded ones, as they were named
        self._datasets: dict[str, Dataset] = {}  # made ones; every trial asks
        for entry in sorted(found, key=lambda entry: entry.name):
            self._add(entry)

    def _add(self, entry: EntryPoint) -> None:
        distribution, version = ("", "") if entry.dist is None else identity(entry.dist)
        offer = Offer(entry.name, entry.value, distribution, version)
        self.offers.append(offer)
        try:
            self._register(offer, entry.load())
        except Exception as error:  # noqa: BLE001  foreign code: reported, never fatal
            offer.problem = f"{type(error).__name__}: {error}"
            offer.cards.clear()

    def _register(self, offer: Offer, module: ModuleType, shadow: bool = False) -> None:
        self._alone.register(module, offer.name)
        try:
            self._alone.check_pending()
            for hook in HOOKS.values():
                getattr(self._alone.hook, hook)(register=offer.cards.append)
        finally:
            self._alone.unregister(module)
        for card in offer.cards:
            known = self._cards.get((type(card), card.name))
            if known is not None and not shadow:
                raise BrokenPlugin(
                    f"{NOUNS[type(card)]} {card.name!r} is offered by both "
                    f"{known[1].distribution or known[1].module!r} and "
                    f"{offer.distribution or offer.module!r}; uninstall one of them"
                )
        for card in offer.cards:
            self._cards[type(card), card.name] = (card, offer)
        self._datasets.clear()  # a name may stand for another one now
        self.manager.register(module, offer.module)

    def cards(self, kind: type[K]) -> list[K]:
        """Every card of one kind, sorted by name."""
        found = [card for (of, _), (card, _) in self._cards.items() if of is kind]
        return sorted(cast("list[K]", found), key=lambda card: card.name)

    def offer_of(self, card: Card) -> Offer:
        """The entry point that registered ``card``."""
        return self._cards[type(card), card.name][1]

    def card(self, kind: type[K], name: str) -> K:
        """Return one card.

        Raises:
            BrokenPlugin: if the entry point of that name failed to load.
            UnknownName: if nothing of that kind has that name.
        """
        if (kind, name) in self._cards:
            return cast("K", self._cards[kind, name][0])
        for offer in self.offers:
            if offer.name == name and offer.problem:
                raise BrokenPlugin(
                    f"plugin {name!r} ({offer.module}) failed to load: {offer.problem}"
                )
        noun = NOUNS[kind]
        known = [card.name for card in self.cards(kind)]
        raise UnknownName(
            f"no {noun} named {name!r}.{did_you_mean(name, known)} "
            f"Known: {', '.join(known) or 'none'}."
        )

    def architectures(self) -> list[PluginCard]:
        """The plugins that can be searched, by name: those that learn some type of problem."""
        return [card for card in self.cards(PluginCard) if card.problems]

    def plugin_card(self, reference: str) -> PluginCard:
        """Return the card for a plugin's name, or for the folder of an unpackaged plugin."""
        if os.sep in reference or reference.startswith("."):
            folder = Path(reference).absolute()
            if folder not in self._folders:
                self._folders[folder] = self.add_folder(Path(reference))
            return self._folders[folder]
        return self.card(PluginCard, reference)

    def plugin(self, reference: str) -> Plugin[Any, Any]:
        """Import and instantiate a plugin by name, or by the path of its folder.

        Raises:
            UnknownName, BrokenPlugin: see ``card``.
        """
        card = self.plugin_card(reference)
        made = card.load()
        try:
            plugin = made()
        except TypeError as error:
            raise BrokenPlugin(f"plugin {card.name!r} is incomplete: {error}") from error
        return cast("Plugin[Any, Any]", plugin)

    def dataset(self, spec: str) -> Dataset:
        """Return the dataset for ``name`` or ``name:option=value,option=value``.

        Raises:
            UnknownName: if no dataset has that name.
            ConfigError: if an option is unknown or has a wrong value.
        """
        if spec in self._datasets:
            return self._datasets[spec]
        name, _, options = spec.partition(":")
        card = self.card(DatasetCard, name)
        given: dict[str, str] = {}
        for option in filter(None, options.split(",")):
            key, equals, value = option.partition("=")
            if not equals:
                raise ConfigError(f"dataset option {option!r} in {spec!r} must be NAME=VALUE")
            given[key.strip()] = value.strip()
        made: Dataset = card.load().from_options(card, given)
        self._datasets[spec] = made
        return made

    def add_folder(self, folder: Path) -> PluginCard:
        """Load an unpackaged plugin from its folder and return its card.

        What it offers goes before what is installed under the same names.

        Raises:
            UnknownName: if the folder holds no package.
            BrokenPlugin: if it fails to load or offers no plugin.
        """
        path = folder.resolve()
        if not (path / "__init__.py").is_file():
            raise UnknownName(
                f"no plugin at {str(folder)!r}: the folder needs an __init__.py. "
                "`automl new-plugin NAME` writes one."
            )
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        name = f"automl_folder_{digest}_{path.name}"
        offer = next((offer for offer in self.offers if offer.module == name), None)
        if offer is None:
            offer = Offer(path.name, name, distribution=str(folder))
            self.offers.append(offer)
            try:
                self._register(offer, import_folder(name, path), shadow=True)
            except Exception as error:  # noqa: BLE001  foreign code again
                offer.problem = f"{type(error).__name__}: {error}"
        if offer.problem:
            self.offers.remove(offer)
            raise BrokenPlugin(f"plugin {str(folder)!r} failed to load: {offer.problem}")
        cards = [card for card in offer.cards if isinstance(card, PluginCard)]
        if not cards:
            raise BrokenPlugin(f"{str(folder)!r} registers no plugin: implement register_plugins")
        return cards[0]


def import_folder(name: str, path: Path) -> ModuleType:
    """Import the package at ``path`` under ``name``, with its submodules importable."""
    spec = importlib.util.spec_from_file_location(
        name, path / "__init__.py", submodule_search_locations=[str(path)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@cache
def catalogue() -> Catalogue:
    """The catalogue of this process, read once."""
    return Catalogue()
