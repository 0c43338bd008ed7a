"""One trial, from a task to its result. Runs in a worker or in the driver's own process."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

# Draws a random number when it is imported, and scikit-learn imports it: never in mid-trial, where
# the first trial of a worker would then differ from the others.
import rich.style  # noqa: F401
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.cards import Metric, ProbeCard, TechniqueCard
from automl.core.costs import exceeded, measure, shapes
from automl.core.data import Dataset, Scores, SplitName
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, CheckpointError, TrialError
from automl.core.plugin import Plugin
from automl.core.profile import macs, parameter_count
from automl.core.record import Evaluation, Failure, TrialEnd, TrialState
from automl.core.run import Best, Decision, Report, Run, Stop
from automl.core.technique import Technique
from automl.core.train import Training

STATES: dict[Decision, TrialState] = {
    "continue": "complete",
    "stop": "complete",
    "prune": "pruned",
    "interrupt": "interrupted",
}


@dataclass(frozen=True)
class TrialTask:
    """All that a worker needs to run one trial; plain values only, so it travels anywhere."""

    plugin: str
    dataset: str
    config: dict[str, Any]
    number: int
    seed: int
    folder: str  # of the study's artifacts
    techniques: dict[str, dict[str, Any]] = field(default_factory=dict)
    device: str = "cpu"
    amp: Literal["off", "bf16", "fp16"] = "off"
    compile: bool = False
    objective: str = ""  # the first one; by default the problem's
    priced: bool = False  # whether the model's costs are recorded
    runtime: str = ""  # the export target that they are measured on; empty: none is needed
    limits: dict[str, float] = field(default_factory=dict)  # of costs, beyond which it is pruned
    evaluate: tuple[tuple[str, SplitName], ...] = ()  # (dataset, split) to score after the fit
    probes: tuple[str, ...] = ()  # to measure on each of those datasets, as PROBE.NAME

    @property
    def weights(self) -> Path:
        """Where the fitted model's weights go."""
        return Path(self.folder) / f"trial-{self.number:05d}.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished fit is kept."""
        return Path(self.folder) / f"trial-{self.number:05d}.checkpoint.safetensors"


def run_trial(task: TrialTask, on_report: Callable[[Report], Decision]) -> TrialEnd:
    """Build, fit and keep one model; whatever goes wrong becomes a failed trial, not an error."""
    started = time.monotonic()
    try:
        end = fit(task, on_report, started)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the boundary to foreign code
        failure = Failure(type(error).__name__, str(error), traceback.format_exc(limit=-12))
        end = TrialEnd(task.number, "failed", seconds=time.monotonic() - started, failure=failure)
    if end.state != "interrupted":
        task.checkpoint.unlink(missing_ok=True)
    return end


def fit(task: TrialTask, on_report: Callable[[Report], Decision], started: float) -> TrialEnd:
    """The happy path of ``run_trial``."""
    plugin, dataset = catalogue().plugin(task.plugin), catalogue().dataset(task.dataset)
    config = type(plugin.defaults).from_dict(task.config)
    device = torch.device(task.device)
    seed_everything(task.seed)
    model = plugin.build(config, dataset.info).to(device)
    costs = costs_of(task, plugin, model, config, dataset, fitted=False)
    if too_much := exceeded(costs, task.limits):
        return finished(beyond(task, model, costs, too_much), started)
    objective = named(dataset, task.objective)
    run = Run(
        dataset,
        task.seed,
        device,
        techniques=make_techniques(task),
        amp=task.amp,
        compile=task.compile,
        on_report=checked(dataset, costs, on_report),
        checkpoint_path=task.checkpoint,
        best=Best(model, objective) if keeps_best(config) else None,
    )
    built = shapes(model)
    decision = fitted(plugin, model, config, run)
    if not run.history:
        raise TrialError("fit returned without a report: call run.report at least once")
    last, state = run.history[-1], STATES[decision]
    if run.best is not None and state == "complete":
        last = run.best.restore() or last
    if state == "complete" and (shapes(model) != built or (task.runtime and len(costs) == 1)):
        costs = costs_of(task, plugin, model, config, dataset, fitted=True)
    end = TrialEnd(
        task.number,
        state,
        value=last.scores[objective.name],
        scores=last.scores | costs,
        step=last.step,
        parameters=parameter_count(model),
        stopped="budget" if decision == "stop" else "",
    )
    if state != "complete":
        return finished(end, started)
    if too_much := exceeded(costs, task.limits):
        return finished(beyond(task, model, end.scores, too_much), started, step=end.step)
    size, digest = checkpoint.save_weights(task.weights, model, {"plugin": plugin.name})
    evaluations = tuple(
        evaluate(plugin, model, config, name, split, task.probes) for name, split in task.evaluate
    )
    kept = {"weights": task.weights, "weights_bytes": size, "weights_sha256": digest}
    return finished(end, started, evaluations=evaluations, **kept)


def named(dataset: Dataset, metric: str) -> Metric:
    """The metric of that name; by default the problem's objective."""
    return next((m for m in dataset.problem.metrics if m.name == metric), dataset.problem.objective)


def costs_of(
    task: TrialTask,
    plugin: Plugin[Any, Any],
    model: nn.Module,
    config: Any,
    dataset: Dataset,
    *,
    fitted: bool,
) -> Scores:
    """What the model costs. One that cannot be exported before it is fitted is measured then."""
    if not task.priced:
        return {}
    try:
        return measure(plugin, model, config, dataset, task.runtime)
    except Exception:
        if fitted:
            raise
        return measure(plugin, model, config, dataset, "")


def beyond(task: TrialTask, model: nn.Module, scores: Scores, why: str) -> TrialEnd:
    """The end of a trial whose model costs more than the search allows."""
    parameters = parameter_count(model)
    return TrialEnd(task.number, "pruned", scores=scores, parameters=parameters, stopped=why)


def keeps_best(config: Any) -> bool:
    """Whether a setting asks for the weights of the best report."""
    return isinstance(config, Training) and config.keep == "best"


def finished(end: TrialEnd, started: float, **changes: Any) -> TrialEnd:
    """``end`` with its duration and whatever else is known now."""
    return TrialEnd(**{**vars(end), **changes, "seconds": time.monotonic() - started})


def fitted(plugin: Plugin[Any, Any], model: nn.Module, config: Any, run: Run) -> Decision:
    """Fit, continuing from a checkpoint if there is a sound one; return how the fit ended."""
    try:
        plugin.fit(model, config, run)
    except Stop as stop:
        return stop.decision
    except CheckpointError as error:
        if run.checkpoint_path is None or not run.checkpoint_path.exists() or run.history:
            raise
        # A damaged checkpoint costs the work since the start, not the trial.
        print(f"starting over: {error}")  # noqa: T201  goes to the trial's log
        run.checkpoint_path.unlink()
        seed_everything(run.seed)
        fresh = plugin.build(config, run.data.info)
        model.load_state_dict(fresh.state_dict())
        return fitted(plugin, model, config, run)
    return "continue"


def checked(
    dataset: Dataset, costs: Scores, on_report: Callable[[Report], Decision]
) -> Callable[[Report], Decision]:
    """``on_report`` with the costs, behind a check that exactly the metrics are reported."""
    names = {metric.name for metric in dataset.problem.metrics}

    def check(report: Report) -> Decision:
        if report.scores.keys() != names:
            raise TrialError(
                f"reported {sorted(report.scores)} at step {report.step}, but the metrics of "
                f"{dataset.problem.name!r} are {sorted(names)}"
            )
        return on_report(replace(report, costs=costs))

    return check


def make_techniques(task: TrialTask) -> tuple[Technique, ...]:
    """The techniques of a task, with their settings and a seed each."""
    made = []
    for position, (name, settings) in enumerate(task.techniques.items()):
        kind: type[Technique] = catalogue().card(TechniqueCard, name).load()
        chosen = type(kind.defaults).from_dict(settings)
        made.append(kind(chosen, task.seed + 1 + position))
    return tuple(made)


def evaluate(
    plugin: Plugin[Any, Any],
    model: nn.Module,
    config: Any,
    name: str,
    split: SplitName,
    probes: tuple[str, ...] = (),
) -> Evaluation:
    """Score a fitted model on one split of a dataset; a refusal becomes the reason."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        data = catalogue().dataset(name)
        scores = dict(plugin.evaluate(model, config, data.split(split).to(device)))
        for probe in probes:
            measured = (
                catalogue().card(ProbeCard, probe).load()().measure(plugin, model, config, data)
            )
            scores |= {f"{probe}.{key}": value for key, value in measured.items()}
        return Evaluation(name, split, scores)
    except AutoMLError as error:
        return Evaluation(name, split, {}, str(error))
    except Exception as error:  # noqa: BLE001  foreign code: no score is not the end of a study
        return Evaluation(name, split, {}, f"{type(error).__name__}: {error}")


def load_model(task: TrialTask) -> tuple[Plugin[Any, Any], nn.Module, Any, Dataset]:
    """The fitted model of a finished trial: plugin, model, config and dataset.

    Raises:
        CheckpointError: if the weights are missing, damaged or of another model.
    """
    plugin, dataset = catalogue().plugin(task.plugin), catalogue().dataset(task.dataset)
    config = type(plugin.defaults).from_dict(task.config)
    model: nn.Module = plugin.build(config, dataset.info)
    checkpoint.load_weights(task.weights, model)
    return plugin, model.to(torch.device(task.device)).eval(), config, dataset


def examine(task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
    """Score a finished trial's model on ``task.evaluate``; count its work for one example.

    The count is ``None`` for a model that PyTorch's counter cannot follow.
    """
    plugin, model, config, dataset = load_model(task)
    found = tuple(
        evaluate(plugin, model, config, name, split, task.probes) for name, split in task.evaluate
    )
    one = {key: value[:1] for key, value in plugin.example(config, dataset.info).items()}
    try:
        return found, macs(model.cpu(), one)
    except Exception as error:  # noqa: BLE001  a missing figure is not the end of a study
        print(f"multiply-accumulates not counted: {error}")  # noqa: T201  goes to the log
        return found, None


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (build and dropout draw from them)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # it would write down a trace of this call for each device that is not there
        torch.default_generator.manual_seed(seed)
