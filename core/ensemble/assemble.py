"""From a study's models to an ensemble on record: predict, choose, put together, evaluate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from automl.core.cards import Metric
from automl.core.data import Dataset, Split
from automl.core.discovery import catalogue
from automl.core.ensemble.plugin import EnsemblePlugin
from automl.core.ensemble.selection import Told, chosen
from automl.core.entrants import Entrant
from automl.core.errors import StudyError
from automl.core.observer import Observer, Silent
from automl.core.plan import ListPlan
from automl.core.record import Recorder, StudySpec, TrialStart
from automl.core.search import describe, drive
from automl.core.study import Budget, SearchSettings, StudyResult
from automl.core.trial import TrialTask, load_model

BATCH = 256
AGREEMENT = 1e-3  # between a model's own evaluation and the scores of its outputs


@dataclass(frozen=True)
class Candidate:
    """A complete trial whose model may become a member."""

    trial: str  # STUDY/NUMBER
    plugin: str
    task: TrialTask
    weights: str  # relative to the artifact folder
    sha256: str

    def member(self) -> dict[str, Any]:
        """As an ensemble's configuration holds it."""
        return {
            "trial": self.trial,
            "plugin": self.task.plugin,
            "config": self.task.config,
            "weights": self.weights,
            "sha256": self.sha256,
        }


def assemble(
    spec: StudySpec,
    candidates: Sequence[Candidate],
    recorder: Recorder,
    *,
    study: int,
    size: int,
    observer: Observer | None = None,
    told: Told = lambda done, total: None,
) -> StudyResult:
    """Choose members among the ``candidates`` of a study, and record the ensemble as a study.

    ``size`` is the number of additions; see ``selection.chosen``. The objective is the study's
    first one, on the validation split; the test split is touched once, by the ensemble.

    Raises:
        StudyError: if the problem's answers cannot be averaged, or fewer than two models can.
    """
    observer = observer or Silent()
    dataset = catalogue().dataset(spec.dataset)
    if dataset.problem.averaging is None or dataset.problem.score is None:
        raise StudyError(
            f"study {study} learns {dataset.problem.name!r}, whose answers cannot be averaged: "
            "ensembles are of classifiers, regressions, forecasts and operators"
        )
    valid = dataset.split("valid")
    able, predictions = predicted(candidates, dataset, valid, observer)
    if len(able) < 2:
        raise StudyError(
            f"study {study} has {len(able)} models that can be averaged, and an ensemble needs "
            "two: let more trials complete"
        )
    metric = Metric(*spec.metrics[0])  # type: ignore[arg-type]
    order = chosen(dataset.problem, metric, predictions, valid.examples, size, told)
    members = sorted(set(order))
    if len(members) == 1:
        observer.notice(f"no combination beats trial {able[members[0]].trial} alone")
    config = {
        "models": json.dumps([able[index].member() for index in members]),
        "order": json.dumps([members.index(index) for index in order]),
    }
    return record(spec, config, dataset, recorder, observer, study)


def predicted(
    candidates: Sequence[Candidate], dataset: Dataset, valid: Split, observer: Observer
) -> tuple[list[Candidate], list[Tensor]]:
    """What each model says of the validation split; those that cannot be averaged are left out."""
    able, predictions = [], []
    for candidate in candidates:
        try:
            predictions.append(prediction(candidate, dataset, valid))
            able.append(candidate)
        except Exception as error:  # noqa: BLE001  foreign code: one model is not the ensemble
            observer.notice(f"trial {candidate.trial} of {candidate.plugin} is left out: {error}")
    return able, predictions


def prediction(candidate: Candidate, dataset: Dataset, valid: Split) -> Tensor:
    """A model's predictions (examples, ...), if they are all that its own evaluation looks at.

    Raises:
        StudyError: if the scores of its outputs are not those of its evaluation.
        CheckpointError: if its weights are gone.
    """
    problem = dataset.problem
    assert problem.averaging is not None
    assert problem.score is not None
    plugin, model, config, _ = load_model(candidate.task)
    parts = []
    with torch.no_grad():
        for batch in valid.batches(BATCH):
            parts.append(problem.averaging.prediction(model(x=batch["x"])))
        own = plugin.evaluate(model, config, valid)
    found = torch.cat(parts)
    scores = problem.score(problem.averaging.outputs(found), valid.examples)
    name = problem.objective.name
    ours = float(scores[name].double().mean())
    if abs(ours - own[name]) > AGREEMENT * max(1.0, abs(own[name])):
        raise StudyError(
            f"the {name} of its outputs is {ours:.4g}, its own evaluation says {own[name]:.4g}"
        )
    return found


def record(
    spec: StudySpec,
    config: dict[str, Any],
    dataset: Dataset,
    recorder: Recorder,
    observer: Observer,
    study: int,
) -> StudyResult:
    """Put the members together as the one trial of a study of its own."""
    plugin = EnsemblePlugin()
    start = TrialStart(0, plugin.name, spec.seed, {}, config, label=f"of study {study}")
    first = spec.objectives[0]
    search = SearchSettings(executor="inline", device="cpu", seed=spec.seed, objectives=first)
    entrants = [Entrant(plugin, plugin.name, plugin.defaults, {})]
    settings = {
        "search": search.to_dict(),
        "plugins": {plugin.name: entrants[0].facts},
        "ensemble_of": study,
        "list": [vars(start)],
    }
    about = describe(entrants, dataset, settings, Budget(trials=1), f"ensemble of study {study}")
    made = recorder.create_study(about)
    return drive(made, about, ListPlan([start]), recorder, observer, ("cpu",))
