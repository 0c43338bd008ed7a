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
from optuna.distributions import distribution_to_json

from automl.core.cards import TechniqueCard
from automl.core.data import Dataset
from automl.core.discovery import catalogue
from automl.core.driver import Driver, Observer
from automl.core.errors import ConfigError, StudyError
from automl.core.executors import Executor, InlineExecutor, ProcessExecutor, cuda_or_cpu
from automl.core.plan import ListPlan, Plan, SearchPlan
from automl.core.plugin import Plugin
from automl.core.provenance import code_hash, environment, source
from automl.core.record import Recorder, StudySpec, TrialStart
from automl.core.settings import Settings
from automl.core.study import Budget, SearchSettings, StudyResult
from automl.core.technique import Technique

MEMORY_SHARE = 0.9  # of the machine, divided among the workers


@dataclass(frozen=True)
class Job:
    """What to search. ``overrides`` are texts like ``hidden=64``: they leave the space.

    ``plugin`` is a name or the folder of an unpackaged plugin; ``dataset`` is a name, optionally
    with options (``tsp:n=5-10``), and defaults to the plugin's own.
    """

    plugin: str
    budget: Budget
    dataset: str = ""
    overrides: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    settings: SearchSettings = field(default_factory=SearchSettings)
    name: str = ""


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
    plugin, dataset = resolve(job.plugin, job.dataset)
    base = plugin.full if job.settings.full else plugin.defaults
    base = base.updated(job.overrides)
    pinned = {text.partition("=")[0].strip() for text in job.overrides}
    check_techniques(plugin, dataset, job.techniques)
    settings = {
        "search": job.settings.to_dict(),
        "base": base.to_dict(),
        "pinned": {name: base.to_dict()[name] for name in sorted(pinned)},
        "techniques": list(job.techniques),
        "reference": reference(job.plugin),
    }
    devices = cuda_or_cpu(job.settings.device)
    plan = search_plan(plugin, dataset, settings)
    spec = describe(plugin, dataset, settings, job.budget, job.name)
    space = {k: json.loads(distribution_to_json(v)) for k, v in plan.distributions.items()}
    spec = replace(spec, space=space)
    study = recorder.create_study(spec)
    return drive(study, spec, plan, recorder, observer, devices)


def run_list(job: ListJob, recorder: Recorder, observer: Observer | None = None) -> StudyResult:
    """Run a fixed list of trials as a study of kind ``claim``."""
    plugin, dataset = resolve(job.plugin, job.dataset)
    settings = {
        "search": job.settings.to_dict(),
        "base": plugin.defaults.to_dict(),
        "pinned": {},
        "techniques": [],
        "reference": reference(job.plugin),
        "evaluate": {label: list(names) for label, names in job.evaluate.items()},
        "probes": {label: list(names) for label, names in job.probes.items()},
        "list": [vars(trial) for trial in job.trials],
    }
    devices = cuda_or_cpu(job.settings.device)
    spec = describe(plugin, dataset, settings, Budget(trials=len(job.trials)), job.name)
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
    plugin, dataset = resolve(spec.settings["reference"], spec.dataset)
    devices = cuda_or_cpu(spec.settings["search"]["device"])
    plan = make_plan(plugin, dataset, spec.settings)
    recorder.claim_study(study)
    recorder.set_budget(study, budget.trials, budget.timeout)
    changed = code_hash(source(plugin.card)) != code_hash(spec.code)
    if observer is not None and changed:
        observer.notice(
            f"The code of plugin {plugin.name!r} has changed since study {study} began: "
            "its earlier and later trials may not be comparable."
        )
    return drive(study, spec, plan, recorder, observer, devices)


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


def make_plan(plugin: Plugin[Any, Any], dataset: Dataset, settings: Mapping[str, Any]) -> Plan:
    """The plan that recorded settings describe: a claim's list or a search."""
    if "list" in settings:
        return ListPlan([TrialStart(**trial) for trial in settings["list"]])
    return search_plan(plugin, dataset, settings)


def search_plan(
    plugin: Plugin[Any, Any], dataset: Dataset, settings: Mapping[str, Any]
) -> SearchPlan:
    """The search that recorded settings describe."""
    chosen = SearchSettings.from_dict(settings["search"])
    base: Settings = type(plugin.defaults).from_dict(settings["base"])
    return SearchPlan(
        plugin,
        base,
        dataset.info,
        chosen,
        pinned=dict(settings["pinned"]),
        techniques=tuple(settings["techniques"]),
        parallel=worker_count(chosen, cuda_or_cpu(chosen.device)) > 1,
    )


def describe(
    plugin: Plugin[Any, Any],
    dataset: Dataset,
    settings: dict[str, Any],
    budget: Budget,
    name: str,
) -> StudySpec:
    """Everything that is recorded of a study before its first trial."""
    metrics = tuple((m.name, m.goal, m.unit) for m in dataset.problem.metrics)
    return StudySpec(
        name=name or f"{plugin.name} on {dataset.name}",
        kind="search",
        plugin=plugin.name,
        plugin_version=plugin.card.version,
        paper=vars(plugin.paper),
        code=source(plugin.card),
        dataset=dataset.name,
        info=dataset.info.to_dict(),
        metrics=metrics,
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
