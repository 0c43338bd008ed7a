"""What a study's models trade against each other: the values of its objectives, and the front."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from automl.core.cards import Metric
from automl.core.objectives import Objectives, front, knee
from automl.dataset_db.catalogue import study_spec
from automl.dataset_db.engine import reading
from automl.dataset_db.query import Row, no_study
from automl.dataset_db.schema import PLUGIN, STUDY, TRIAL


def pareto_front(study: int, db: Any = None) -> Row:
    """The objectives of a study and its complete trials' values, with the front and its knee.

    ``objectives`` are ``{name, goal, unit}``; ``trials`` are ``{number, plugin, values, front}``
    by number; ``knee`` is the number of the recommended one, None without a complete trial. A
    study of one objective has a front of one.

    Raises:
        UnknownName: if there is no such study.
    """
    with reading(db) as connection:
        row = connection.execute(select(STUDY).where(STUDY.c.id == study)).first()
        if row is None:
            raise no_study(study)
        spec = study_spec(connection, row)
        columns = (TRIAL.c.number, PLUGIN.c.name, TRIAL.c.objective, TRIAL.c.scores)
        query = select(*columns).join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
        query = query.where(TRIAL.c.study_id == study, TRIAL.c.state == "complete")
        found = connection.execute(query.order_by(TRIAL.c.number)).all()
    metrics = tuple(Metric(*metric) for metric in spec.metrics)  # type: ignore[arg-type]
    objectives = Objectives(metrics[: len(spec.objectives)])
    plugins = {number: plugin for number, plugin, *_ in found}
    scores = {n: {objectives.first.name: value} | (told or {}) for n, _, value, told in found}
    vectors = {number: objectives.vector(told) for number, told in scores.items()}
    known = {number: vector for number, vector in vectors.items() if vector is not None}
    best = front(known)
    chosen = knee([known[number] for number in best], objectives.weights) if best else None
    return {
        "study": study,
        "objectives": [
            {"name": m.name, "goal": m.goal, "unit": m.unit} for m in objectives.metrics
        ],
        "trials": [
            {
                "number": number,
                "plugin": plugins[number],
                "values": {name: scores[number][name] for name in objectives.names},
                "front": number in best,
            }
            for number in known
        ],
        "knee": None if chosen is None else best[chosen],
    }
