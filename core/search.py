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
import torch
from optuna.distributions import BaseDistribution, distribution_to_json

from automl.core import checkpoint, costs
from automl.core.cards import Metric
from automl.core.choosing import check, check_strategies, shape, suited
from automl.core.cluster import connection
from automl.core.data import Dataset
from automl.core.driver import Driver
from automl.core.entrants import (
    Entrant,
    Job,
    changes_since,
    enter,
    recorded_entrants,
    reference,
    resolve,
)
from automl.core.errors import StudyError
from automl.core.executors import Executor, InlineExecutor, ProcessExecutor, cuda_or_cpu
from automl.core.garbage import settled
from automl.core.objectives import Objectives
from automl.core.observer import Observer, Silent
from automl.core.plan import ListPlan, Plan, SearchPlan
from automl.core.provenance import environment
from automl.core.record import FINISHED, PastTrial, PluginRecord, Recorder, StudySpec, TrialStart
from automl.core.study import Budget, SearchSettings, StudyResult
from automl.core.tournament import TournamentPlan

NAMED = 3  # plugins in the name of a study; more are counted
MEMORY_SHARE = 0.9  # of the machine, divided among the workers


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


@connection.leaving()
def search(job: Job, recorder: Recorder, observer: Observer | None = None) -> StudyResult:
    """Run a new study to its end and return how it stands.

    Raises:
        AutoMLError: for anything the user can put right; nothing is recorded then.
    """
    devices_for(job.settings)  # a cluster that does not answer is refused before data is loaded
    dataset, entrants = enter(job, observer or Silent())
    job = replace(job, settings=fair(job, len(entrants), observer or Silent()))
    return begin(job, {}, dataset, entrants, recorder, observer)


def begin(
    job: Job,
    facts: Mapping[str, Any],
    dataset: Dataset,
    entrants: list[Entrant],
    recorder: Recorder,
    observer: Observer | None,
) -> StudyResult:
    """Record a new search, its settings with some more ``facts``, and run it to its end."""
    job = replace(job, settings=with_objectives(job.settings, dataset))
    job = replace(job, settings=with_sampler(job, entrants, dataset, observer or Silent()))
    devices = devices_for(job.settings)
    plans = search_plans(entrants, dataset, job.settings)
    wanted = sum(len(each.first) for each in entrants)
    entrants = [replace(each, first=plans[each.plugin.name].first) for each in entrants]
    if left_out := wanted - sum(len(each.first) for each in entrants):
        (observer or Silent()).notice(
            f"{left_out} of {wanted} first configurations are left out: the plugin refuses them, "
            "or they equal others within this space"
        )
    settings = {
        "search": job.settings.to_dict(),
        "plugins": {entrant.plugin.name: entrant.facts for entrant in entrants},
        "place": place(job.settings, devices),
        **facts,
    }
    spec = describe(entrants, dataset, settings, job.budget, job.name)
    space = {name: described(plan.distributions) for name, plan in plans.items()}
    spec = replace(spec, space=space)
    study = recorder.create_study(spec)
    if "forked_from" in facts and observer is not None:
        observer.notice(
            f"Study {study} is a fork of study {facts['forked_from']}: a search of its own with "
            "the changed code and what was left of the budget, which tries the other's best "
            "configuration early."
        )
    return drive(
        study, spec, joined(plans, aims(dataset, job.settings)), recorder, observer, devices
    )


@connection.leaving()
def run_list(job: ListJob, recorder: Recorder, observer: Observer | None = None) -> StudyResult:
    """Run a fixed list of trials as a study of kind ``claim``."""
    plugin, dataset = resolve(job.plugin, job.dataset)
    entrants = [Entrant(plugin, reference(job.plugin), plugin.defaults, {})]
    devices = devices_for(job.settings)
    settings = {
        "search": job.settings.to_dict(),
        "plugins": {plugin.name: entrants[0].facts},
        "place": place(job.settings, devices),
        "evaluate": {label: list(names) for label, names in job.evaluate.items()},
        "probes": {label: list(names) for label, names in job.probes.items()},
        "list": [vars(trial) for trial in job.trials],
    }
    spec = describe(entrants, dataset, settings, Budget(trials=len(job.trials)), job.name)
    spec = replace(spec, kind="claim")
    study = recorder.create_study(spec)
    return drive(study, spec, ListPlan(list(job.trials)), recorder, observer, devices)


@connection.leaving()
def resume(
    study: int,
    recorder: Recorder,
    *,
    trials: int | None = None,
    timeout: float | None = None,
    accept_changes: bool = False,
    ray_address: str | None = None,
    observer: Observer | None = None,
) -> StudyResult:
    """Continue a study from the database alone, within its budgets or new total ones.

    ``ray_address`` has this leg run on another cluster than the one on record.

    Unfinished trials go on from their checkpoints; finished ones are never run again. Trials of
    other code are not comparable: with ``accept_changes`` a search whose plugins have changed
    since it began is forked, see ``fork``; without, it is refused.

    Raises:
        StudyError: if it does not exist, is running elsewhere, or its plugins have changed.
        AutoMLError: as for ``search``.
    """
    recorder.require_idle(study)  # a fork, which claims nothing, included
    spec = recorder.spec(study)
    budget = Budget(trials or spec.trials, timeout or spec.timeout)
    spec = replace(spec, trials=budget.trials, timeout=budget.timeout)
    spec = spec if ray_address is None else moved(spec, ray_address)
    devices = devices_for(SearchSettings.from_dict(spec.settings["search"]))
    dataset, entrants = recorded_entrants(spec)
    changes = changes_since(spec, entrants)
    if changes and accept_changes and spec.kind == "search":
        return fork(study, spec, dataset, entrants, recorder, observer)
    if changes:
        raise StudyError(refusal(study, spec, changes))
    plan = make_plan(entrants, dataset, spec.settings)
    recorder.claim_study(study)
    recorder.set_budget(study, budget.trials, budget.timeout)
    return drive(study, spec, plan, recorder, observer, devices)


def moved(spec: StudySpec, ray_address: str) -> StudySpec:
    """The study on another Ray cluster.

    Raises:
        ConfigError: if it does not run on one.
    """
    chosen = SearchSettings.from_dict({**spec.settings["search"], "ray_address": ray_address})
    return replace(spec, settings={**spec.settings, "search": chosen.to_dict()})


def refusal(study: int, spec: StudySpec, changes: Mapping[str, list[str]]) -> str:
    """Why a study is not continued with other code, and what to do instead."""
    told = "; ".join(f"plugin {name!r}: {', '.join(said)}" for name, said in changes.items())
    instead = {
        "search": f"fork it with `automl resume {study} --accept-changes`",
        "claim": f"check the claims of the new code with `automl reproduce {spec.plugin}`",
    }
    return (
        f"study {study} began with other code ({told}), so its later trials would not be "
        f"comparable with its earlier ones: undo the change, or {instead[spec.kind]}"
    )


def fork(
    study: int,
    spec: StudySpec,
    dataset: Dataset,
    entrants: list[Entrant],
    recorder: Recorder,
    observer: Observer | None,
) -> StudyResult:
    """A new search with the settings of a recorded one, the code of now and what is left to spend.

    Each plugin's second trial is the best configuration of its old trials, as far as its space
    still has it. The old study stays as it is.

    Raises:
        StudyError: if nothing of the budgets in ``spec`` is left.
    """
    past = recorder.past(study)
    trials = spec.trials and spec.trials - sum(trial.state in FINISHED for trial in past)
    timeout = spec.timeout and spec.timeout - recorder.spent(study)
    if min(left for left in (trials, timeout) if left is not None) <= 0:
        raise StudyError(
            f"study {study} has spent its budget, which leaves nothing for a fork: give a larger "
            "total with --trials or --timeout"
        )
    settings = SearchSettings.from_dict(spec.settings["search"])
    job = Job((), Budget(trials, timeout), dataset.name, settings=settings, name=spec.name)
    first = {
        plugin: (
            {"params": best.start.params, "origin": {"trial": f"{study}/{best.start.number}"}},
        )
        for plugin, best in best_trials(past, aims(dataset, settings).first).items()
    }
    entrants = [replace(each, first=first.get(each.plugin.name, ())) for each in entrants]
    return begin(job, {"forked_from": study}, dataset, entrants, recorder, observer)


def best_trials(past: list[PastTrial], objective: Metric) -> dict[str, PastTrial]:
    """Each plugin's best complete trial; the earlier wins a tie."""
    sign = 1 if objective.goal == "max" else -1
    found: dict[str, PastTrial] = {}
    for trial in past:
        if trial.state == "complete" and trial.value is not None:
            best = found.setdefault(trial.start.plugin, trial)
            if sign * trial.value > sign * (best.value or 0.0):
                found[trial.start.plugin] = trial
    return found


def fair(job: Job, plugins: int, observer: Observer) -> SearchSettings:
    """Settings under which no plugin's trial keeps the others from theirs.

    Where several compete for wall-clock, a trial has half of what each could have in all, unless
    ``trial_timeout`` says otherwise; it then ends at its next report, and its model is kept.
    """
    settings, timeout = job.settings, job.budget.timeout
    if plugins < 2 or timeout is None or settings.trial_timeout:
        return settings
    workers = worker_count(settings, devices_for(settings))
    share = timeout * min(workers, plugins) / (2 * plugins)
    observer.notice(
        f"a trial ends at its first report after {share:.0f} seconds, so that all {plugins} "
        "plugins get their turns; --trial-timeout sets it"
    )
    return replace(settings, turn=share)


def aims(dataset: Dataset, settings: SearchSettings) -> Objectives:
    """What a search improves on a dataset."""
    return Objectives.choose(dataset.problem, settings.objective_names)


def with_objectives(settings: SearchSettings, dataset: Dataset) -> SearchSettings:
    """The settings with their objectives in order, if nothing of them contradicts the rest.

    Raises:
        ConfigError: if an objective does not exist or cannot be measured, or the sampler or the
            pruner cannot work with them.
    """
    objectives = aims(dataset, settings)
    check_strategies(settings.sampler, settings.pruner, len(objectives.metrics))
    costs.check(settings, objectives)
    names = ",".join(objectives.names) if settings.objectives else ""
    return replace(settings, objectives=names)


def with_sampler(
    job: Job, entrants: list[Entrant], dataset: Dataset, observer: Observer
) -> SearchSettings:
    """The settings with ``auto`` decided, so that a resumed search goes on with the same sampler.

    Raises:
        ConfigError: if the sampler cannot search a plugin's space.
    """
    settings = job.settings
    if settings.sampler not in ("auto", "gp", "cmaes"):
        return settings  # the others take any space
    looked_at = replace(settings, sampler="random")
    plans = search_plans(entrants, dataset, looked_at)
    if settings.sampler != "auto":
        for name, plan in plans.items():
            check(settings.sampler, shape(plan), name)
        return settings
    chosen, why = "tpe", "several plugins compete, each in a space of its own"
    if len(plans) == 1:
        objectives = len(aims(dataset, settings).metrics)
        chosen, why = suited(shape(next(iter(plans.values()))), job.budget.trials, objectives)
    observer.notice(f"sampler {chosen}: {why}")
    return replace(settings, sampler=chosen)


# ---------------------------------------------------------------- plans


def make_plan(entrants: list[Entrant], dataset: Dataset, settings: Mapping[str, Any]) -> Plan:
    """The plan that recorded settings describe: a claim's list or a search."""
    if "list" in settings:
        return ListPlan([TrialStart(**trial) for trial in settings["list"]])
    chosen = SearchSettings.from_dict(settings["search"])
    return joined(search_plans(entrants, dataset, chosen), aims(dataset, chosen))


def search_plans(
    entrants: list[Entrant], dataset: Dataset, settings: SearchSettings
) -> dict[str, SearchPlan]:
    """A search of each plugin's space."""
    parallel = worker_count(settings, devices_for(settings)) > 1
    plans = {
        each.plugin.name: SearchPlan(
            each.plugin,
            each.base,
            dataset.info,
            settings,
            aims(dataset, settings),
            pinned=dict(each.pinned),
            techniques=each.techniques,
            parallel=parallel,
        )
        for each in entrants
    }
    for each in entrants:
        plans[each.plugin.name].begin_with(each.first)
    return plans


def joined(plans: Mapping[str, SearchPlan], objectives: Objectives) -> Plan:
    """The only search, or the tournament of several."""
    if len(plans) > 1:
        return TournamentPlan(plans, objectives)
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
    objectives = aims(dataset, SearchSettings.from_dict(settings["search"])).metrics
    metrics = (*objectives, *(m for m in dataset.problem.metrics if m not in objectives))
    who = names if len(cards) <= NAMED else f"{len(cards)} plugins"
    return StudySpec(
        name=name or f"{who} on {dataset.name}",
        kind="search",
        plugins=tuple(
            PluginRecord(card.name, card.version, vars(card.paper), each.code)
            for card, each in zip(cards, entrants, strict=True)
        ),
        dataset=dataset.name,
        info=dataset.info.to_dict(),
        metrics=tuple((metric.name, metric.goal, metric.unit) for metric in metrics),
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
        checkpoint.sweep(recorder.folder(study))
        with executor_for(settings, devices, recorder.folder(study)) as executor:
            driver = Driver(study, spec, plan, executor, recorder, observer)
            driver.restore(past, recorder.spent(study))
            driver.observer.study_started(study, spec, past)
            with settled():
                return driver.run()
    except StudyError as error:
        recorder.close_study(study, "failed", None, recorder.spent(study), str(error))
        raise


def devices_for(settings: SearchSettings) -> tuple[str, ...]:
    """The devices that trials may have: of this machine, or of a Ray cluster, which is joined."""
    if settings.executor == "ray":
        return connection.join(settings)
    return cuda_or_cpu(settings.device)


def worker_count(settings: SearchSettings, devices: tuple[str, ...]) -> int:
    """How many trials run at once: as asked, else one per CUDA device, else one per core."""
    if settings.executor == "inline":
        return 1
    if settings.workers:
        return settings.workers
    if settings.executor == "ray" or devices[0] != "cpu":
        return len(devices)
    return len(os.sched_getaffinity(0))


def thread_count(settings: SearchSettings, devices: tuple[str, ...]) -> int:
    """Threads of torch in a trial: this process's own, or of a worker its share of the cores."""
    if settings.executor == "inline":
        return torch.get_num_threads()
    cores = connection.cpus() if settings.executor == "ray" else os.cpu_count() or 1
    return settings.threads or max(1, cores // worker_count(settings, devices))


def place(settings: SearchSettings, devices: tuple[str, ...]) -> dict[str, Any]:
    """Where the trials run, as recorded with a study: what its settings leave to the machine."""
    return {"device": devices[0], "threads": thread_count(settings, devices)}


@contextmanager
def executor_for(
    settings: SearchSettings, devices: tuple[str, ...], folder: Path
) -> Iterator[Executor]:
    """The executor that the settings ask for, closed afterwards."""
    executor: Executor
    if settings.executor == "inline":
        executor = InlineExecutor(devices[0])
    elif settings.executor == "ray":
        from automl.core.cluster.executor import RayExecutor

        workers, threads = worker_count(settings, devices), thread_count(settings, devices)
        memory = settings.memory_mb * 10**6 or None
        executor = RayExecutor(workers, devices, folder, memory, threads)
    else:
        workers = worker_count(settings, devices)
        total = psutil.virtual_memory().total
        limit = settings.memory_mb * 10**6 or int(MEMORY_SHARE * total / workers)
        executor = ProcessExecutor(workers, devices, folder, limit, thread_count(settings, devices))
    try:
        yield executor
    finally:
        executor.close()
