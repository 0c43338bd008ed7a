"""The best model of each plugin on each dataset, over all searches on record."""

from __future__ import annotations

from sqlalchemy import func, select

from automl.dataset_db.engine import Db, reading
from automl.dataset_db.query import COMPLETE, MODELS, Row, rows
from automl.dataset_db.schema import DATASET, PLUGIN, STUDY, TRIAL


def bests(db: Db = None, *, plugin: str | None = None) -> list[Row]:
    """A row for each plugin, dataset and metric: the best complete trial of our own searches.

    Among equals the first one counts. Imported records are left out: the leaderboards have them.
    """
    wanted = [] if plugin is None else [PLUGIN.c.name == plugin]
    same = (PLUGIN.c.name, DATASET.c.name, STUDY.c.metric)
    place = func.row_number().over(partition_by=same, order_by=(TRIAL.c.cost, TRIAL.c.id))
    ranked = (
        select(
            PLUGIN.c.name.label("plugin"),
            DATASET.c.name.label("dataset"),
            STUDY.c.metric,
            STUDY.c.goal,
            STUDY.c.unit,
            TRIAL.c.study_id.label("study"),
            TRIAL.c.number,
            TRIAL.c.objective.label("value"),
            place.label("place"),
        )
        .select_from(MODELS)
        .where(*COMPLETE, STUDY.c.source_id.is_(None), STUDY.c.kind == "search", *wanted)
        .subquery()
    )
    first = select(ranked).where(ranked.c.place == 1).order_by(ranked.c.plugin, ranked.c.dataset)
    with reading(db) as connection:
        found = rows(connection, first)
    for row in found:
        del row["place"]
        row["reference"] = f"{row['study']}/{row['number']}"
    return found
