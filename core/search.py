"""Start a study or continue one: from names and budgets to a running driver."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from optuna.distributions import BaseDistribution, distribution_to_json

from automl.core.cards import PluginCard, TechniqueCard
from automl.core.data import Dataset
from automl.core.discovery import catalogue
from automl.core.driver import Driver, Observer, Silent
from automl.core.errors import AutoMLError, ConfigError, StudyError
from automl.core.executors import Executor, InlineExecutor, ProcessExecutor, cuda_or_cpu
from automl.core.plan import ListPlan, Plan, SearchPlan
from automl.core.plugin import Plugin
from automl.core.provenance import code_hash, environment, source
from automl.core.record import PluginRecord, Recorder, StudySpec, TrialStart
from automl.core.settings import Settings
from automl.core.study import Budget, SearchSettings, StudyResult
from automl.core.technique import Technique
from automl.core.tournament import TournamentPlan

NAMED = 3  # plugins in the name of a study; more are counted
MEMORY_SHARE = 0.9  # of the machine, divided among the workers


@dataclass(frozen=True)
class Job:
    """What to search.

    ``plugins`` are names or folders of unpackaged plugins; several compete under one budget, and
    none means all that can learn the dataset. ``dataset`` is a name, optionally with options
    (``tsp:n=5-10``); that of a single plugin by default. ``overrides`` are texts like
    ``hidden=64``, or ``selu.hidden=64`` where several compete: they leave the space.
    """

    plugins: tuple[str, ...]
    budget: Budget
    dataset: str = ""
    overrides: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    settings: SearchSettings = field(default_factory=SearchSettings)
    name: str = ""


@dataclass(frozen=True)
class Entrant:
    """A plugin that takes part in a study, with what is recorded of its part."""

    plugin: Plugin[Any, Any]
    reference: str  # what loads it: its name or its folder
    base: Settings
    pinned: Mapping[str, Any]  # settings that left the space
    techniques: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """As recorded in a study's settings."""
        return {
            "reference": self.reference,
            "base": self.base.to_dict(),
            "pinned": dict(self.pinned),
            "techniques": list(self.techniques),
        }

    @classmethod
    def recorded(cls, plugin: Plugin[Any, Any], facts: Mapping[str, Any]) -> Entrant:
        """The opposite of ``facts``."""
        base: Settings = type(plugin.defaults).from_dict(facts["base"])
        techniques = tuple(facts["techniques"])
        return cls(plugin, facts["reference"], base, facts["pinned"], techniques)


@dataclass(frozen=True)
class ListJob:
    """A fixed list of trials: the runs of a claim on one dataset.

    ``evaluate`` names, for each label of a trial, the datasets whose test split is scored, and
    ``probes`` what is measured on them beside the metrics.
    """

    plugin: str
    dataset: str
    trials: tuple[TrialStart, ...]
    evaluate: Mapping[str, tuple[str, ...]]
    settings: SearchSettings
    name: str
    probes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def search(job: Job, recorder: Recorder, observer: Observer | None = None) -> StudyResult:
    """Run a new study to its end and return how it stands.

    Raises:
        AutoMLError: for anything the user can put right; nothing is recorded then.
    """
    dataset, entrants = enter(job, observer or Silent())
    job = replace(job, settings=fair(job, len(entrants), observer or Silent()))
    settings = {
        "search": job.settings.to_dict(),
        "plugins": {entrant.plugin.name: entrant.facts for entrant in entrants},
    }
    devices = cuda_or_cpu(job.settings.device)
    plans = search_plans(entrants, dataset, job.settings)
    spec = describe(entrants, dataset, settings, job.budget, job.name)
    space = {name: described(plan.distributions) for name, plan in plans.items()}
    spec = replace(spec, space=space)
    study = recorder.create_study(spec)
    return drive(study, spec, joined(plans, dataset), recorder, observer, devices)


def run_list(job: ListJob, recorder: Recorder, observer: Observer | None = None) -> StudyResult:
    """Run a fixed list of trials as a study of kind ``claim``."""
    plugin, dataset = resolve(job.plugin, job.dataset)
    entrants = [Entrant(plugin, reference(job.plugin), plugin.defaults, {})]
    settings = {
        "search": job.settings.to_dict(),
        "plugins": {plugin.name: entrants[0].facts},
        "evaluate": {label: list(names) for label, names in job.evaluate.items()},
        "probes": {label: list(names) for label, names in job.probes.items()},
        "list": [vars(trial) for trial in job.trials],
    }
    devices = cuda_or_cpu(job.settings.device)
    spec = describe(entrants, dataset, settings, Budget(trials=len(job.trials)), job.name)
    spec = replace(spec, kind="claim")
    study = recorder.create_study(spec)
    return drive(study, spec, ListPlan(list(job.trials)), recorder, observer, devices)


def resume(
    study: int,
    recorder: Recorder,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    observer: Observer | None = None,
) -> StudyResult:
    """Continue a study from the database alone, within its budgets or new total ones.

    Unfinished trials go on from their checkpoints; finished ones are never run again.

    Raises:
        StudyError: if it does not exist or is running elsewhere.
        AutoMLError: as for ``search``.
    """
    spec = recorder.spec(study)
    budget = Budget(trials or spec.trials, timeout or spec.timeout)
    spec = replace(spec, trials=budget.trials, timeout=budget.timeout)
    dataset, entrants = recorded_entrants(study, spec, observer or Silent())
    devices = cuda_or_cpu(spec.settings["search"]["device"])
    plan = make_plan(entrants, dataset, spec.settings)
    recorder.claim_study(study)
    recorder.set_budget(study, budget.trials, budget.timeout)
    return drive(study, spec, plan, recorder, observer, devices)


# ---------------------------------------------------------------- who takes part


def recorded_entrants(
    study: int, spec: StudySpec, observer: Observer
) -> tuple[Dataset, list[Entrant]]:
    """The dataset and the plugins of a study on record; told if their code has changed since.

    Raises:
        AutoMLError: as ``resolve``.
    """
    entrants = []
    for recorded in spec.plugins:
        facts = spec.settings["plugins"][recorded.name]
        plugin, _ = resolve(facts["reference"], spec.dataset)
        entrants.append(Entrant.recorded(plugin, facts))
        if code_hash(source(plugin.card)) != code_hash(recorded.code):
            observer.notice(
                f"The code of plugin {plugin.name!r} has changed since study {study} began: "
                "its earlier and later trials may not be comparable."
            )
    return catalogue().dataset(spec.dataset), entrants


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
    references = job.plugins or learners(dataset)
    able: dict[str, str] = {}
    for given in references:
        try:
            plugin, _ = resolve(given, job.dataset)
            check_techniques(plugin, dataset, job.techniques)
            able[plugin.name] = given
        except AutoMLError as error:
            if job.plugins:
                raise
            observer.notice(f"{given} does not take part: {error}")
    if not able:
        raise ConfigError(
            f"no installed plugin can learn dataset {dataset.name!r} (problem "
            f"{dataset.problem.name!r}): `automl plugins` lists what each one learns"
        )
    warn_of_small_budget(job, able, observer)
    own = own_overrides(job.overrides, able)
    found = [entrant(catalogue().plugin(ref), ref, job, own[name]) for name, ref in able.items()]
    return dataset, sorted(found, key=lambda each: each.plugin.name)


def fair(job: Job, plugins: int, observer: Observer) -> SearchSettings:
    """Settings under which no plugin's trial keeps the others from theirs.

    Where several compete for wall-clock, a trial has half of what each could have in all, unless
    ``trial_timeout`` says otherwise; it then ends at its next report, and its model is kept.
    """
    settings, timeout = job.settings, job.budget.timeout
    if plugins < 2 or timeout is None or settings.trial_timeout:
        return settings
    workers = worker_count(settings, cuda_or_cpu(settings.device))
    share = timeout * min(workers, plugins) / (2 * plugins)
    observer.notice(
        f"a trial ends at its first report after {share:.0f} seconds, so that all {plugins} "
        "plugins get their turns; --trial-timeout sets it"
    )
    return replace(settings, turn=share)


def learners(dataset: Dataset) -> tuple[str, ...]:
    """The installed plugins whose card names the dataset's problem."""
    cards = catalogue().cards(PluginCard)
    return tuple(card.name for card in cards if dataset.problem.name in card.problems)


def warn_of_small_budget(job: Job, able: Mapping[str, str], observer: Observer) -> None:
    """Say so if not every plugin gets a trial."""
    if job.budget.trials is not None and job.budget.trials < len(able):
        observer.notice(
            f"{len(able)} plugins compete, but the budget has {job.budget.trials} trials: not "
            "every one is tried"
        )


def own_overrides(
    overrides: tuple[str, ...], plugins: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Each plugin's own settings out of texts like ``selu.depth=8``.

    Raises:
        ConfigError: if one names none of the plugins.
    """
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
    return Entrant(plugin, reference(given), base, own, job.techniques)


def resolve(plugin_reference: str, dataset_name: str) -> tuple[Plugin[Any, Any], Dataset]:
    """The plugin and the dataset, if the one can learn the other.

    Raises:
        UnknownName, BrokenPlugin: see ``Catalogue``.
        ConfigError: if the plugin cannot learn the dataset's problem.
        DataError: if it refuses the dataset for another reason.
    """
    card = catalogue().plugin_card(plugin_reference)
    dataset = catalogue().dataset(dataset_name or card.dataset)
    if dataset.problem.name not in card.problems:
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


# ---------------------------------------------------------------- plans


def make_plan(entrants: list[Entrant], dataset: Dataset, settings: Mapping[str, Any]) -> Plan:
    """The plan that recorded settings describe: a claim's list or a search."""
    if "list" in settings:
        return ListPlan([TrialStart(**trial) for trial in settings["list"]])
    chosen = SearchSettings.from_dict(settings["search"])
    return joined(search_plans(entrants, dataset, chosen), dataset)


def search_plans(
    entrants: list[Entrant], dataset: Dataset, settings: SearchSettings
) -> dict[str, SearchPlan]:
    """A search of each plugin's space."""
    parallel = worker_count(settings, cuda_or_cpu(settings.device)) > 1
    return {
        each.plugin.name: SearchPlan(
            each.plugin,
            each.base,
            dataset.info,
            settings,
            pinned=dict(each.pinned),
            techniques=each.techniques,
            parallel=parallel,
        )
        for each in entrants
    }


def joined(plans: Mapping[str, SearchPlan], dataset: Dataset) -> Plan:
    """The only search, or the tournament of several."""
    if len(plans) > 1:
        return TournamentPlan(plans, dataset.problem.objective)
    return next(iter(plans.values()))


def described(space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """A space as JSON."""
    return {name: json.loads(distribution_to_json(value)) for name, value in space.items()}


def describe(
    entrants: list[Entrant],
    dataset: Dataset,
    settings: dict[str, Any],
    budget: Budget,
    name: str,
) -> StudySpec:
    """Everything that is recorded of a study before its first trial."""
    cards = [each.plugin.card for each in entrants]
    names = ", ".join(card.name for card in cards)
    who = names if len(cards) <= NAMED else f"{len(cards)} plugins"
    return StudySpec(
        name=name or f"{who} on {dataset.name}",
        kind="search",
        plugins=tuple(
            PluginRecord(card.name, card.version, vars(card.paper), source(card)) for card in cards
        ),
        dataset=dataset.name,
        info=dataset.info.to_dict(),
        metrics=tuple((m.name, m.goal, m.unit) for m in dataset.problem.metrics),
        space={},
        settings=settings,
        environment=environment(),
        trials=budget.trials,
        timeout=budget.timeout,
        seed=settings["search"]["seed"],
    )


def drive(
    study: int,
    spec: StudySpec,
    plan: Plan,
    recorder: Recorder,
    observer: Observer | None,
    devices: tuple[str, ...],
) -> StudyResult:
    """Run the driver over whatever is on record for the study."""
    settings = SearchSettings.from_dict(spec.settings["search"])
    try:
        past = recorder.past(study)
        with executor_for(settings, devices, recorder.folder(study)) as executor:
            driver = Driver(study, spec, plan, executor, recorder, observer)
            driver.restore(past, recorder.spent(study))
            driver.observer.study_started(study, spec, past)
            return driver.run()
    except StudyError as error:
        recorder.close_study(study, "failed", None, recorder.spent(study), str(error))
        raise


def worker_count(settings: SearchSettings, devices: tuple[str, ...]) -> int:
    """How many trials run at once: as asked, else one per CUDA device, else one per core."""
    if settings.executor == "inline":
        return 1
    if settings.workers:
        return settings.workers
    return len(devices) if devices[0] != "cpu" else len(os.sched_getaffinity(0))


@contextmanager
def executor_for(
    settings: SearchSettings, devices: tuple[str, ...], folder: Path
) -> Iterator[Executor]:
    """The executor that the settings ask for, closed afterwards."""
    executor: Executor
    if settings.executor == "inline":
        executor = InlineExecutor(devices[0])
    else:
        workers = worker_count(settings, devices)
        total = psutil.virtual_memory().total
        limit = settings.memory_mb * 10**6 or int(MEMORY_SHARE * total / workers)
        executor = ProcessExecutor(workers, devices, folder, limit, settings.threads)
    try:
        yield executor
    finally:
        executor.close()
