"""A study's trials as the engine needs them back, in three queries however many there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from automl.core.record import Evaluation, PastTrial, TrialStart
from automl.dataset_db.schema import EVALUATION, PLUGIN, SCORE, TRIAL

COLUMNS = ("id", "number", "state", "seed", "params", "config", "techniques", "label")


def past_trials(connection: Connection, study: int, objectives: Sequence[str]) -> list[PastTrial]:
    """All trials by number, with the validation series of the objectives."""
    reports = past_reports(connection, study, objectives)
    evaluations = past_evaluations(connection, study)
    columns = [TRIAL.c[name] for name in (*COLUMNS, "objective", "seconds", "scores")]
    query = (
        select(*columns, PLUGIN.c.name)
        .join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
        .where(TRIAL.c.study_id == study)
        .order_by(TRIAL.c.number)
    )
    return [
        PastTrial(
            TrialStart(number, plugin, seed, params, config, techniques, label),
            "interrupted" if state == "running" else state,
            objective,
            seconds,
            reports.get(key, {}),
            scores or {},
            evaluations.get(key, ()),
        )
        for (
            key,
            number,
            state,
            seed,
            params,
            config,
            techniques,
            label,
            objective,
            seconds,
            scores,
            plugin,
        ) in connection.execute(query)
    ]


def past_reports(
    connection: Connection, study: int, objectives: Sequence[str]
) -> dict[int, dict[int, dict[str, float]]]:
    """The validation series of the objectives by trial id: step -> objective -> value."""
    query = (
        select(SCORE.c.trial_id, SCORE.c.step, SCORE.c.metric, SCORE.c.value)
        .join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        .where(TRIAL.c.study_id == study, SCORE.c.split == "valid")
        .where(SCORE.c.metric.in_(objectives))
        .order_by(SCORE.c.trial_id, SCORE.c.step)
    )
    found: dict[int, dict[int, dict[str, float]]] = {}
    for key, step, metric, value in connection.execute(query):
        scores = found.setdefault(key, {}).setdefault(step, {})
        scores[metric] = math.nan if value is None else value
    return found


def past_evaluations(connection: Connection, study: int) -> dict[int, tuple[Evaluation, ...]]:
    """The evaluations by trial id, in the order they were made."""
    query = (
        select(EVALUATION)
        .join(TRIAL, TRIAL.c.id == EVALUATION.c.trial_id)
        .where(TRIAL.c.study_id == study)
        .order_by(EVALUATION.c.id)
    )
    found: dict[int, dict[Any, Evaluation]] = {}
    for row in connection.execute(query):
        mine = found.setdefault(row.trial_id, {})
        place = (row.dataset, row.split)
        mine.setdefault(place, Evaluation(*place, {}, row.reason))
        if row.metric:
            mine[place].scores[row.metric] = math.nan if row.value is None else row.value
    return {key: tuple(mine.values()) for key, mine in found.items()}
