"""Typed, read-only questions to the model database. Nothing here imports torch.

Rows are plain dictionaries: JSON-able but for times, which are aware ``datetime`` in UTC. Lists
read narrow rows; code, curves and files are fetched for one model at a time. Every function takes
``db``, a file or URL; by default AUTOML_DB, else ``./automl.db``. All raise ``DatabaseError`` if
there is no readable database.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, select

from automl.core.errors import UnknownName
from automl.dataset_db.catalogue import plugin_code
from automl.dataset_db.engine import artifact_root, database_url, reading, revision, shown
from automl.dataset_db.owner import alive
from automl.dataset_db.schema import (
    ARTIFACT,
    BENCHMARK,
    CLAIM,
    DATASET,
    ENVIRONMENT,
    EVALUATION,
    EXPORT,
    PAPER,
    PLUGIN,
    PROBE,
    SCORE,
    STUDY,
    TRIAL,
)

Row = dict[str, Any]
STUDY_COLUMNS = (
    STUDY.c.id,
    STUDY.c.name,
    STUDY.c.kind,
    STUDY.c.state,
    PLUGIN.c.name.label("plugin"),
    PLUGIN.c.version.label("plugin_version"),
    DATASET.c.name.label("dataset"),
    DATASET.c.problem,
    STUDY.c.metric,
    STUDY.c.goal,
    STUDY.c.unit,
    STUDY.c.best_value,
    STUDY.c.best_number,
    STUDY.c.n_complete,
    STUDY.c.n_pruned,
    STUDY.c.n_failed,
    STUDY.c.budget_trials,
    STUDY.c.budget_seconds,
    STUDY.c.seconds,
    STUDY.c.seed,
    STUDY.c.message,
    STUDY.c.created_at,
    STUDY.c.active_at,
    STUDY.c.finished_at,
)
TRIAL_COLUMNS = (
    TRIAL.c.id,
    TRIAL.c.study_id.label("study"),
    TRIAL.c.number,
    TRIAL.c.state,
    TRIAL.c.label,
    TRIAL.c.objective,
    TRIAL.c.step,
    TRIAL.c.seconds,
    TRIAL.c.parameters,
    TRIAL.c.macs,
    TRIAL.c.bytes,
    TRIAL.c.seed,
    TRIAL.c.stopped,
    TRIAL.c.config,
    TRIAL.c.params,
    TRIAL.c.techniques,
    TRIAL.c.scores,
    TRIAL.c.failure,
    TRIAL.c.started_at,
    TRIAL.c.finished_at,
)
LATEST = 100  # studies in a list


def rows(connection: Connection, query: Select[Any]) -> list[Row]:
    """The result of a query as dictionaries."""
    return [dict(row._mapping) for row in connection.execute(query)]


def study_query() -> Select[Any]:
    """Studies with the names of their plugin and dataset."""
    joined = STUDY.join(PLUGIN, PLUGIN.c.id == STUDY.c.plugin_id).join(
        DATASET, DATASET.c.id == STUDY.c.dataset_id
    )
    return select(*STUDY_COLUMNS, STUDY.c.owner).select_from(joined)


def honest(row: Row) -> Row:
    """A study whose driver died without a word is interrupted, whatever its row says."""
    if row["state"] == "running" and alive(row["owner"]) is False:
        row["state"] = "interrupted"
    del row["owner"]
    return row


def studies(
    db: str | None = None,
    *,
    plugin: str | None = None,
    kind: str | None = None,
    limit: int = LATEST,
) -> list[Row]:
    """The latest studies, the newest first, one narrow row each."""
    query = study_query().order_by(STUDY.c.id.desc()).limit(limit)
    if plugin is not None:
        query = query.where(PLUGIN.c.name == plugin)
    if kind is not None:
        query = query.where(STUDY.c.kind == kind)
    with reading(db) as connection:
        return [honest(row) for row in rows(connection, query)]


def study(number: int, db: str | None = None) -> Row:
    """One study with its settings, space, metrics, paper and environment.

    Raises:
        UnknownName: if there is no such study.
    """
    more = (STUDY.c.settings, STUDY.c.space, STUDY.c.metrics, STUDY.c.plugin_id)
    query = study_query().add_columns(*more, STUDY.c.environment_id, PLUGIN.c.paper_id)
    with reading(db) as connection:
        found = rows(connection, query.where(STUDY.c.id == number))
        if not found:
            raise UnknownName(f"there is no study {number}; `automl studies` lists them")
        row = honest(found[0])
        paper = rows(connection, select(PAPER).where(PAPER.c.id == row.pop("paper_id")))
        facts = select(ENVIRONMENT.c.facts).where(ENVIRONMENT.c.id == row.pop("environment_id"))
        return {
            **row,
            "paper": {key: value for key, value in paper[0].items() if key != "id"},
            "environment": connection.execute(facts).scalar_one(),
        }


def trials(
    study: int,
    db: str | None = None,
    *,
    states: Sequence[str] = (),
    order: str = "best",
    limit: int | None = None,
) -> list[Row]:
    """A study's trials: the best first (``order="best"``) or by number (``"number"``)."""
    query = select(*TRIAL_COLUMNS).where(TRIAL.c.study_id == study)
    if states:
        query = query.where(TRIAL.c.state.in_(states))
    by = (TRIAL.c.cost, TRIAL.c.id) if order == "best" else (TRIAL.c.number,)
    with reading(db) as connection:
        return rows(connection, query.order_by(*by).limit(limit))


def curves(
    study: int, db: str | None = None, *, metric: str, split: str = "valid"
) -> dict[int, list[tuple[int, float]]]:
    """What the trials of a study reported: number -> [(step, value), ...]."""
    query = (
        select(TRIAL.c.number, SCORE.c.step, SCORE.c.value)
        .join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        .where(TRIAL.c.study_id == study, SCORE.c.metric == metric, SCORE.c.split == split)
        .order_by(TRIAL.c.number, SCORE.c.step)
    )
    found: dict[int, list[tuple[int, float]]] = {}
    with reading(db) as connection:
        for number, step, value in connection.execute(query):
            found.setdefault(number, []).append((step, value))
    return found


def parse(reference: str) -> tuple[int, int]:
    """Read ``STUDY/NUMBER``.

    Raises:
        UnknownName: if it is not of that form.
    """
    study, slash, number = reference.partition("/")
    if not (slash and study.isdigit() and number.isdigit()):
        raise UnknownName(f"no trial {reference!r}: write STUDY/NUMBER such as 3/0, or best")
    return int(study), int(number)


def trial(reference: str, db: str | None = None, *, code: bool = False) -> Row:
    """Everything on record about one trial, given as ``STUDY/NUMBER``; its code on request.

    Raises:
        UnknownName: if there is no such trial.
    """
    study_id, number = parse(reference)
    query = select(*TRIAL_COLUMNS).where(TRIAL.c.study_id == study_id, TRIAL.c.number == number)
    with reading(db) as connection:
        found = rows(connection, query)
        if not found:
            raise UnknownName(
                f"there is no trial {reference}; `automl trials {study_id}` lists the study's"
            )
        row = found[0]
        row["reference"] = reference
        row |= parts(connection, row["id"])
        plugin_id = select(STUDY.c.plugin_id).where(STUDY.c.id == study_id)
        if code:
            row["code"] = plugin_code(connection, connection.execute(plugin_id).scalar_one())
    about = study(study_id, db)
    keep = ("plugin", "plugin_version", "dataset", "problem", "metric", "goal", "unit", "paper")
    return {**row, **{key: about[key] for key in keep}, "settings": about["settings"]}


def parts(connection: Connection, trial_id: int) -> Row:
    """What hangs on a trial: curves, evaluations, files, exports with latency, probes."""

    def of(table: Any, *columns: Any) -> list[Row]:
        query = select(*(columns or table.c)).where(table.c.trial_id == trial_id)
        return rows(connection, query)

    curve: dict[str, dict[str, list[list[float]]]] = {}
    series = select(SCORE.c.split, SCORE.c.metric, SCORE.c.step, SCORE.c.value)
    ordered = series.where(SCORE.c.trial_id == trial_id).order_by(SCORE.c.step)
    for split, metric, step, value in connection.execute(ordered):
        curve.setdefault(split, {}).setdefault(metric, []).append([step, value])
    evaluations = of(
        EVALUATION,
        EVALUATION.c.dataset,
        EVALUATION.c.split,
        EVALUATION.c.metric,
        EVALUATION.c.value,
        EVALUATION.c.reason,
    )
    exports = of(EXPORT)
    for export in exports:
        measured = select(BENCHMARK).where(BENCHMARK.c.export_id == export["id"])
        export["benchmarks"] = rows(connection, measured)
    root = artifact_root()
    artifacts = of(ARTIFACT)
    for artifact in artifacts:
        artifact["file"] = str(root / artifact["path"])
    return {
        "curves": curve,
        "evaluations": evaluations,
        "artifacts": artifacts,
        "exports": exports,
        "probes": of(PROBE, PROBE.c.probe, PROBE.c.name, PROBE.c.value),
    }


def best(
    db: str | None = None,
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    study: int | None = None,
) -> str:
    """The best complete trial of a search, as ``STUDY/NUMBER``.

    Values compare on one dataset only: without ``dataset`` or ``study`` it is the dataset of the
    latest search with a complete trial.

    Raises:
        UnknownName: if there is none.
    """
    joined = (
        TRIAL.join(STUDY, STUDY.c.id == TRIAL.c.study_id)
        .join(PLUGIN, PLUGIN.c.id == STUDY.c.plugin_id)
        .join(DATASET, DATASET.c.id == STUDY.c.dataset_id)
    )
    chosen = [TRIAL.c.state == "complete"]
    if study is not None:
        chosen.append(STUDY.c.id == study)
    else:
        chosen.append(STUDY.c.kind == "search")
    if plugin is not None:
        chosen.append(PLUGIN.c.name == plugin)
    if dataset is not None:
        chosen.append(DATASET.c.name == dataset)
    with reading(db) as connection:
        if dataset is None and study is None:
            latest = select(DATASET.c.name).select_from(joined).where(*chosen)
            name = connection.execute(latest.order_by(STUDY.c.id.desc()).limit(1)).scalar()
            chosen.append(DATASET.c.name == name)
        query = select(TRIAL.c.study_id, TRIAL.c.number).select_from(joined).where(*chosen)
        found = connection.execute(query.order_by(TRIAL.c.cost, TRIAL.c.id).limit(1)).first()
    if found is None:
        what = {"plugin": plugin, "dataset": dataset, "study": study}
        given = ", ".join(f"{key} {value!r}" for key, value in what.items() if value is not None)
        raise UnknownName(
            f"there is no complete trial{' of ' + given if given else ''}; "
            "`automl studies` lists what there is"
        )
    return f"{found[0]}/{found[1]}"


def claims(db: str | None = None, *, plugin: str | None = None) -> list[Row]:
    """The latest verdict on each claim, with its bars, runs and the command behind it."""
    latest = select(func.max(CLAIM.c.id)).group_by(CLAIM.c.plugin, CLAIM.c.claim, CLAIM.c.scale)
    query = select(CLAIM).where(CLAIM.c.id.in_(latest)).order_by(CLAIM.c.plugin, CLAIM.c.id)
    if plugin is not None:
        query = query.where(CLAIM.c.plugin == plugin)
    with reading(db) as connection:
        return rows(connection, query)


def info(db: str | None = None) -> Row:
    """Where the database is, its schema's revision, what it holds and how many bytes."""
    url = database_url(db)
    with reading(db) as connection:
        tables = (STUDY, TRIAL, SCORE, ARTIFACT, EXPORT, CLAIM)
        counts = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }
        found = revision(connection.engine)
    size = None
    if url.get_backend_name() == "sqlite":
        size = Path(str(url.database)).stat().st_size
    root = artifact_root()
    files = [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else []
    return {
        "url": shown(url),
        "revision": found,
        "bytes": size,
        **{f"{name} rows": count for name, count in counts.items()},
        "artifacts": str(root),
        "artifact bytes": sum(path.stat().st_size for path in files),
    }
