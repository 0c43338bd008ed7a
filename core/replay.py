"""Run a recorded trial again, compare what it reports, and say what has changed since."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from automl.core.data import DataInfo, Dataset, Scores
from automl.core.discovery import catalogue
from automl.core.entrants import Entrant, check_techniques, recorded_entrant
from automl.core.errors import AutoMLError, ConfigError, StudyError
from automl.core.executors import Executor, cuda_or_cpu
from automl.core.provenance import code_changes, environment
from automl.core.record import StudySpec, TrialEnd, TrialStart, TrialState
from automl.core.run import Decision, Report
from automl.core.search import executor_for, place
from automl.core.study import SearchSettings
from automl.core.trial import TrialTask

TOLERANCE = 1e-3  # relative; other kernels add up in another order
IDLE_SECONDS = 0.5
Curve = Mapping[int, Scores]  # step -> metric -> value on the validation split
Facts = Mapping[str, Any]
Told = Callable[[int, int], None]  # hears of each step, and of the last one to come


@dataclass(frozen=True)
class Recorded:
    """A trial on record, with its study."""

    reference: str
    spec: StudySpec
    start: TrialStart
    state: TrialState
    stopped: str  # as in ``TrialEnd``
    step: int | None  # of ``value``
    value: float | None  # of the objective
    curve: Curve
    failure: str = ""

    @property
    def whole(self) -> bool:
        """Whether the fit came to its own end; otherwise a replay stops at its last report."""
        return self.state == "complete" and not self.stopped


@dataclass(frozen=True)
class Difference:
    """A metric that is not the same bit for bit; ``None`` where there is no report of it."""

    step: int
    metric: str
    recorded: float | None
    replayed: float | None
    relative: float | None  # to the larger of the two; ``None`` if one is missing

    def beyond(self, tolerance: float) -> bool:
        """Whether it is larger than a relative tolerance."""
        return self.relative is None or self.relative > tolerance


@dataclass(frozen=True)
class Changes:
    """What is not as it was when the trial's study began: fact -> (then, now)."""

    environment: dict[str, tuple[Any, Any]]
    data: dict[str, tuple[Any, Any]]
    code: dict[str, list[str]]  # changed, added, removed -> names of the plugin's files


@dataclass(frozen=True)
class Replay:
    """What came of running a trial again. ``recorded`` and ``replayed`` are the final scores."""

    trial: str
    verdict: Literal["identical", "within tolerance", "different"]
    tolerance: float
    state: TrialState  # on record
    stopped_at: int | None  # the step at which the fit was stopped; ``None``: its own end
    steps: int  # reports on record
    metric: str
    recorded: float | None
    replayed: float | None
    first: Difference | None  # the first one beyond the tolerance
    largest: Difference | None
    changes: Changes
    failure: str  # of the replayed fit
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The stable machine output of ``automl replay``."""
        return asdict(self)


def replay(
    trial: Recorded, *, tolerance: float | None = None, told: Told = lambda step, last: None
) -> Replay:
    """Fit a recorded trial once more, in a folder of its own that is deleted afterwards.

    It has the recorded configuration, seed, executor, threads and kind of device; nothing is
    recorded. ``tolerance`` is relative: by default nothing may differ where nothing has changed,
    and ``TOLERANCE`` holds elsewhere.

    Raises:
        ConfigError: if the tolerance is not a number from 0 on.
        StudyError: if the trial never reported, or what it needs is not there any more.
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise ConfigError(f"tolerance={tolerance:g} must be 0 or more")
    if not trial.curve:
        why = f" ({trial.failure})" if trial.failure else ""
        raise StudyError(
            f"trial {trial.reference} cannot be replayed: it is {trial.state}{why} and never "
            "reported a score to compare with"
        )
    entrant, dataset = found_again(trial)
    before, settings, devices = placed(trial.spec)
    with (
        tempfile.TemporaryDirectory(prefix="automl-replay-") as folder,
        torch_threads(before["threads"]),
        executor_for(settings, devices, Path(folder)) as executor,
    ):
        curve, end = run(trial, settings, executor, folder, told)
        now = place(settings, devices)
    changes = changes_of(trial, entrant, dataset.info, now)
    return compared(trial, curve, end, changes, tolerance)


def found_again(trial: Recorded) -> tuple[Entrant, Dataset]:
    """The plugin and the dataset of a trial as they are now.

    Raises:
        StudyError: if there is one no more, or the plugin takes the trial's settings no more.
    """
    name = trial.start.plugin
    try:
        entrant = recorded_entrant(trial.spec, name)
        dataset = catalogue().dataset(trial.spec.dataset)
        check_techniques(entrant.plugin, dataset, tuple(trial.start.techniques))
        type(entrant.plugin.defaults).from_dict(trial.start.config)
    except AutoMLError as error:
        raise StudyError(f"trial {trial.reference} cannot be replayed: {error}") from error
    return entrant, dataset


def placed(spec: StudySpec) -> tuple[dict[str, Any], SearchSettings, tuple[str, ...]]:
    """Where a study's trials ran; settings and devices that have one run there again.

    A CUDA device that this machine does not have becomes its CPU. On a Ray cluster trials run in
    the same worker processes as on this machine, so one of those stands in for it.
    """
    settings = SearchSettings.from_dict(spec.settings["search"])
    if settings.executor == "ray":
        settings = replace(settings, executor="processes", ray_address="local")
    before = spec.settings.get("place") or place(settings, cuda_or_cpu("auto"))
    try:
        devices = cuda_or_cpu(before["device"].partition(":")[0])[:1]
    except ConfigError:
        devices = ("cpu",)
    return before, replace(settings, workers=1, threads=before["threads"]), devices


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch with so many threads in this process, where an inline executor fits."""
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def run(
    trial: Recorded, settings: SearchSettings, executor: Executor, folder: str, told: Told
) -> tuple[Curve, TrialEnd]:
    """Fit the trial to its end, or to the step of its last report; what it reports."""
    curve: dict[int, Scores] = {}
    ends: list[TrialEnd] = []
    last = max(trial.curve)

    def on_report(number: int, report: Report) -> Decision:
        curve[report.step] = {name: float(value) for name, value in report.scores.items()}
        told(report.step, last)
        if trial.whole or report.step < last:
            return "continue"
        return "stop" if trial.state == "complete" else "prune"

    start = trial.start
    task = TrialTask(
        plugin=trial.spec.settings["plugins"][start.plugin]["reference"],
        dataset=trial.spec.dataset,
        config=start.config,
        number=start.number,
        seed=start.seed,
        folder=folder,
        techniques=start.techniques,
        device=executor.devices[0],
        amp=settings.amp,  # type: ignore[arg-type]
        compile=settings.compile,
    )
    executor.start(task)
    while not ends:
        executor.wait(IDLE_SECONDS, on_report, ends.append)
        for number, heard in executor.running().items():
            if 0 < settings.stall_timeout < time.monotonic() - heard:
                silence = f"reported nothing for {settings.stall_timeout:g} seconds"
                end = executor.kill(number, "timeout", silence)
                ends += [] if end is None else [end]
    return curve, ends[0]


# ---------------------------------------------------------------- comparing


def differences(recorded: Curve, replayed: Curve) -> Iterator[Difference]:
    """Every score that is not the same bit for bit, by step."""
    for step in sorted(recorded.keys() | replayed.keys()):
        before, after = recorded.get(step, {}), replayed.get(step, {})
        for metric in dict.fromkeys((*before, *after)):
            yield from difference(step, metric, before.get(metric), after.get(metric))


def difference(
    step: int, metric: str, before: float | None, after: float | None
) -> Iterator[Difference]:
    """One score's difference, or none."""
    if before is None or after is None:
        yield Difference(step, metric, before, after, None)
    elif before != after:
        size = abs(before - after) / max(abs(before), abs(after))
        yield Difference(step, metric, before, after, size)


def compared(
    trial: Recorded, curve: Curve, end: TrialEnd, changes: Changes, tolerance: float | None
) -> Replay:
    """The verdict on a replayed fit; its ``seconds`` are those of the fit."""
    if tolerance is None:
        tolerance = TOLERANCE if any(vars(changes).values()) else 0.0
    metric = trial.spec.metrics[0][0]
    found = list(differences(trial.curve, curve))
    if trial.value is not None:
        found += difference(trial.step or max(trial.curve), metric, trial.value, end.value)
    beyond = [each for each in found if each.beyond(tolerance)]
    failure = "" if end.failure is None else f"{end.failure.kind}: {end.failure.message}"
    different = "different" if beyond or failure else "within tolerance"
    return Replay(
        trial=trial.reference,
        verdict=different if found or failure else "identical",  # type: ignore[arg-type]
        tolerance=tolerance,
        state=trial.state,
        stopped_at=None if trial.whole else max(trial.curve),
        steps=len(trial.curve),
        metric=metric,
        recorded=trial.value,
        replayed=end.value,
        first=beyond[0] if beyond else None,
        largest=max(found, key=lambda each: math.inf if each.relative is None else each.relative)
        if found
        else None,
        changes=changes,
        failure=failure,
        seconds=end.seconds,
    )


def changes_of(trial: Recorded, entrant: Entrant, info: DataInfo, now: Facts) -> Changes:
    """What has changed since the trial's study began; ``now`` tells where the replay ran."""
    (plugin,) = [each for each in trial.spec.plugins if each.name == trial.start.plugin]
    before = plain(trial.spec.environment) | trial.spec.settings.get("place", {})
    return Changes(
        changed(before, plain(environment()) | {key: now[key] for key in now if key in before}),
        changed(trial.spec.info, info.to_dict()),
        code_changes(plugin.code, entrant.code),
    )


def plain(facts: Facts) -> dict[str, Any]:
    """An environment with each package a fact of its own; how much memory there is changes none."""
    packages = facts.get("packages", {})
    other = {key: value for key, value in facts.items() if key not in ("packages", "memory_bytes")}
    return other | {f"package {name}": version for name, version in packages.items()}


def changed(before: Facts, after: Facts) -> dict[str, tuple[Any, Any]]:
    """The facts that differ, as (before, after)."""
    return {
        name: (before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        # as JSON: records have lists for tuples
        if json.dumps(before.get(name), sort_keys=True)
        != json.dumps(after.get(name), sort_keys=True)
    }
