"""Who takes part in a search: plugins that can learn the dataset, with settings of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automl.core.cards import PluginCard, TechniqueCard
from automl.core.data import Dataset
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, ConfigError, StudyError
from automl.core.observer import Observer
from automl.core.plugin import Plugin
from automl.core.provenance import code_changes, source
from automl.core.record import StudySpec
from automl.core.settings import Settings
from automl.core.study import Budget, SearchSettings
from automl.core.technique import Technique


@dataclass(frozen=True)
class Job:
    """What to search.

    ``plugins`` are names or folders of unpackaged plugins; several compete under one budget, and
    none means all that can learn the dataset. ``dataset`` is a name, optionally with options
    (``tsp:n=5-10``); that of a single plugin by default. ``overrides`` are texts like
    ``hidden=64``, or ``selu.hidden=64`` where several compete: they leave the space. ``first``
    holds what to try right after trial 0, in this order: ``{plugin, params, origin}`` each, with
    settings or parameters by name and where they come from; see ``SearchPlan.begin_with``.
    """

    plugins: tuple[str, ...]
    budget: Budget
    dataset: str = ""
    overrides: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    settings: SearchSettings = field(default_factory=SearchSettings)
    name: str = ""
    first: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Entrant:
    """A plugin that takes part in a study, with what is recorded of its part."""

    plugin: Plugin[Any, Any]
    reference: str  # what loads it: its name or its folder
    base: Settings
    pinned: Mapping[str, Any]  # settings that left the space
    techniques: tuple[str, ...] = ()
    first: tuple[Mapping[str, Any], ...] = ()  # what to try after trial 0: params and origin

    @property
    def code(self) -> dict[str, str]:
        """The texts that its fits run, by file name: the plugin's and those of its settings."""
        return source(self.plugin.card) | self.base.texts()

    @property
    def facts(self) -> dict[str, Any]:
        """As recorded in a study's settings."""
        return {
            "reference": self.reference,
            "base": self.base.to_dict(),
            "pinned": dict(self.pinned),
            "techniques": list(self.techniques),
            "first": [dict(each) for each in self.first],
        }

    @classmethod
    def recorded(cls, plugin: Plugin[Any, Any], facts: Mapping[str, Any]) -> Entrant:
        """The opposite of ``facts``."""
        base: Settings = type(plugin.defaults).from_dict(facts["base"])
        techniques = tuple(facts["techniques"])
        first = tuple(facts.get("first", ()))  # older studies have none
        return cls(plugin, facts["reference"], base, facts["pinned"], techniques, first)


def recorded_entrants(spec: StudySpec) -> tuple[Dataset, list[Entrant]]:
    """The dataset and the plugins of a study on record, with the code that they have now.

    Raises:
        StudyError: if a plugin no longer takes its recorded settings.
        AutoMLError: as ``resolve``.
    """
    return catalogue().dataset(spec.dataset), [
        recorded_entrant(spec, recorded.name) for recorded in spec.plugins
    ]


def recorded_entrant(spec: StudySpec, name: str) -> Entrant:
    """A plugin of a study on record. Raises as ``recorded_entrants``."""
    facts = spec.settings["plugins"][name]
    plugin, _ = resolve(facts["reference"], spec.dataset)
    try:
        return Entrant.recorded(plugin, facts)
    except ConfigError as error:
        raise StudyError(
            f"plugin {name!r} has changed and no longer takes its recorded settings: {error}"
        ) from error


def changes_since(spec: StudySpec, entrants: list[Entrant]) -> dict[str, list[str]]:
    """By name how each changed plugin differs from its record: ``{"a": ["changed plugin.py"]}``."""
    found = {}
    for recorded, entrant in zip(spec.plugins, entrants, strict=True):
        before, after = recorded.version, entrant.plugin.card.version
        said = [] if before == after else [f"version {before} is now {after}"]
        files = code_changes(recorded.code, entrant.code)
        said += [f"{what} {', '.join(names)}" for what, names in files.items()]
        if said:
            found[recorded.name] = said
    return found


def enter(job: Job, observer: Observer) -> tuple[Dataset, list[Entrant]]:
    """The dataset and the plugins that take part, by name.

    Raises:
        ConfigError: if there is none, or a named one cannot; without names it is left out, said so.
        AutoMLError: as ``resolve`` and ``check_techniques``.
    """
    if len(job.plugins) == 1:
        plugin, dataset = resolve(job.plugins[0], job.dataset)
        check_techniques(plugin, dataset, job.techniques)
        return dataset, [entrant(plugin, job.plugins[0], job, job.overrides)]
    if not job.dataset:
        raise ConfigError(
            "name a dataset for several plugins to learn: `automl datasets` lists them"
        )
    dataset = catalogue().dataset(job.dataset)
    for name in job.techniques:
        catalogue().card(TechniqueCard, name)  # a wrong name is one mistake, not one a plugin
    able: dict[str, tuple[str, Plugin[Any, Any]]] = {}
    for given in job.plugins or learners(dataset):
        try:
            plugin, _ = resolve(given, job.dataset)
            check_techniques(plugin, dataset, job.techniques)
            able[plugin.name] = (given, plugin)
        except AutoMLError as error:
            if job.plugins:
                raise
            observer.notice(f"{given} does not take part: {error}")
    if not able:
        who = "plugin that learns it takes part" if learners(dataset) else "plugin learns it"
        raise ConfigError(
            f"dataset {dataset.name!r} is of problem {dataset.problem.name!r}, and no installed "
            f"{who}: `automl plugins` lists what each one learns"
        )
    warn_of_small_budget(job, len(able), observer)
    own = own_overrides(job.overrides, tuple(able))
    found = [entrant(plugin, given, job, own[name]) for name, (given, plugin) in able.items()]
    return dataset, sorted(found, key=lambda each: each.plugin.name)


def learners(dataset: Dataset) -> tuple[str, ...]:
    """The installed plugins whose card names the dataset's problem."""
    cards = catalogue().cards(PluginCard)
    return tuple(card.name for card in cards if dataset.problem.name in card.problems)


def warn_of_small_budget(job: Job, plugins: int, observer: Observer) -> None:
    """Say so if not every plugin gets a trial."""
    if job.budget.trials is not None and job.budget.trials < plugins:
        observer.notice(
            f"{plugins} plugins compete, but the budget has {job.budget.trials} trials: not "
            "every one is tried"
        )


def own_overrides(
    overrides: tuple[str, ...], plugins: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Each plugin's own settings out of texts like ``selu.depth=8``; all are an only plugin's.

    Raises:
        ConfigError: if one names none of the plugins.
    """
    if len(plugins) == 1:
        return {plugins[0]: tuple(text.removeprefix(f"{plugins[0]}.") for text in overrides)}
    found: dict[str, tuple[str, ...]] = dict.fromkeys(plugins, ())
    for text in overrides:
        name, dot, rest = text.partition(".")
        if not dot or name not in found:
            raise ConfigError(
                f"setting {text!r} names no plugin: several compete, so write "
                f"PLUGIN.NAME=VALUE with one of {', '.join(plugins)}"
            )
        found[name] += (rest,)
    return found


def entrant(plugin: Plugin[Any, Any], given: str, job: Job, overrides: tuple[str, ...]) -> Entrant:
    """A plugin with the settings that its trials start from."""
    base = (plugin.full if job.settings.full else plugin.defaults).updated(overrides)
    pinned = {text.partition("=")[0].strip() for text in overrides}
    values = base.to_dict()
    own = {name: values[name] for name in sorted(pinned)}
    first = tuple(
        {"params": dict(each["params"]), "origin": each["origin"]}
        for each in job.first
        if each["plugin"] == plugin.name
    )
    return Entrant(plugin, reference(given), base, own, job.techniques, first)


def resolve(plugin_reference: str, dataset_name: str) -> tuple[Plugin[Any, Any], Dataset]:
    """The plugin and the dataset, if the one can learn the other.

    Raises:
        UnknownName, BrokenPlugin: see ``Catalogue``.
        ConfigError: if the plugin cannot learn the dataset's problem.
        DataError: if it refuses the dataset for another reason.
    """
    card = catalogue().plugin_card(plugin_reference)
    dataset = catalogue().dataset(dataset_name or card.dataset)
    if card.problems and dataset.problem.name not in card.problems:
        raise ConfigError(
            f"plugin {card.name!r} cannot learn dataset {dataset.name!r}: its problem is "
            f"{dataset.problem.name!r}, the plugin learns {', '.join(card.problems)}. "
            "`automl datasets` lists the datasets with their problems."
        )
    plugin = catalogue().plugin(plugin_reference)
    plugin.check_data(dataset.info)
    return plugin, dataset


def check_techniques(
    plugin: Plugin[Any, Any], dataset: Dataset, techniques: tuple[str, ...]
) -> None:
    """Refuse a technique that does not exist or cannot be combined with the plugin.

    Raises:
        UnknownName: if there is no technique of that name.
        ConfigError: saying why it cannot work.
    """
    for name in techniques:
        kind: type[Technique] = catalogue().card(TechniqueCard, name).load()
        reason = plugin.no_techniques or kind.refusal(plugin, dataset.info)
        if reason:
            raise ConfigError(
                f"technique {name!r} cannot be combined with plugin {plugin.name!r}: {reason}"
            )


def reference(plugin: str) -> str:
    """A plugin's name, or the absolute path of its folder."""
    return str(Path(plugin).resolve()) if os.sep in plugin or plugin.startswith(".") else plugin
