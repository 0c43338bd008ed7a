"""Typed, read-only questions to the model database. Nothing here imports torch.

Rows are plain dictionaries: JSON-able but for times, which are aware ``datetime`` in UTC. Lists
read narrow rows; code, curves and files are fetched for one model at a time. Every function takes
``db``: a file, a URL, or an engine that ``engine.connect`` opened; by default AUTOML_DB, else
``./automl.db``. All raise ``DatabaseError`` if there is no readable database.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, bindparam, func, select, text

from automl.core.errors import UnknownName, did_you_mean
from automl.core.places import artifact_root
from automl.core.record import StudySpec
from automl.dataset_db.catalogue import PAPER_FACTS, plugin_code, study_spec
from automl.dataset_db.columns import among
from automl.dataset_db.engine import REVISIONS, Db, database_url, reading, shown
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
    SOURCE,
    STUDY,
    STUDY_PLUGIN,
    TRIAL,
)

Row = dict[str, Any]
STUDY_COLUMNS = (
    STUDY.c.id,
    STUDY.c.name,
    STUDY.c.kind,
    STUDY.c.state,
    STUDY.c.plugin,
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
    SOURCE.c.name.label("source"),
    SOURCE.c.licence,
    SOURCE.c.origin,
)
TRIAL_COLUMNS = (
    TRIAL.c.id,
    TRIAL.c.study_id.label("study"),
    TRIAL.c.number,
    PLUGIN.c.name.label("plugin"),
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
STUDIES = STUDY.join(DATASET, DATASET.c.id == STUDY.c.dataset_id)
ORIGINS = STUDIES.outerjoin(SOURCE, SOURCE.c.id == STUDY.c.source_id)
TRIALS = TRIAL.join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
MODELS = STUDIES.join(TRIAL, TRIAL.c.study_id == STUDY.c.id).join(
    PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id
)
PLUGIN_COLUMNS = (
    PLUGIN.c.name.label("plugin"),
    PLUGIN.c.version.label("plugin_version"),
    *(PAPER.c[name].label(f"paper_{name}") for name in PAPER_FACTS),
)
# Of one study or trial, and made once: building a query takes longer than these take to run.
WHOLE_STUDY = (
    select(*STUDY_COLUMNS, STUDY.c.owner, STUDY.c.settings, STUDY.c.space, STUDY.c.metrics)
    .add_columns(ENVIRONMENT.c.facts.label("environment"))
    .select_from(ORIGINS.join(ENVIRONMENT, ENVIRONMENT.c.id == STUDY.c.environment_id))
    .where(STUDY.c.id == bindparam("study"))
)
ENTRANTS = (
    select(*PLUGIN_COLUMNS)
    .select_from(PLUGIN.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id))
    .join(STUDY_PLUGIN, STUDY_PLUGIN.c.plugin_id == PLUGIN.c.id)
    .where(STUDY_PLUGIN.c.study_id == bindparam("study"))
    .order_by(PLUGIN.c.name)
)
WHOLE_TRIAL = select(
    *TRIAL_COLUMNS,
    *PLUGIN_COLUMNS[1:],
    TRIAL.c.plugin_id,
    DATASET.c.name.label("dataset"),
    *(DATASET.c.problem, STUDY.c.metric, STUDY.c.goal, STUDY.c.unit, STUDY.c.settings),
    *(STUDY.c.kind, SOURCE.c.name.label("source"), SOURCE.c.licence, SOURCE.c.origin),
).select_from(
    MODELS.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id).outerjoin(
        SOURCE, SOURCE.c.id == STUDY.c.source_id
    )
)
SERIES = (
    select(SCORE.c.split, SCORE.c.metric, SCORE.c.step, SCORE.c.value)
    .where(SCORE.c.trial_id == bindparam("trial"))
    .order_by(SCORE.c.step)
)
EVALUATIONS, ARTIFACTS, EXPORTS, PROBES = (
    select(*columns).where(table.c.trial_id == bindparam("trial")).order_by(table.c.id)
    for table, columns in (
        (EVALUATION, [EVALUATION.c[n] for n in ("dataset", "split", "metric", "value", "reason")]),
        (ARTIFACT, [*ARTIFACT.c]),
        (EXPORT, [*EXPORT.c]),
        (PROBE, [PROBE.c[n] for n in ("probe", "name", "value")]),
    )
)
COMPLETE = (TRIAL.c.state == "complete", TRIAL.c.objective.is_not(None))


def rows(connection: Connection, query: Select[Any], **values: Any) -> list[Row]:
    """The result of a query, with values for its parameters, as dictionaries."""
    return [dict(row._mapping) for row in connection.execute(query, values)]


def study_query() -> Select[Any]:
    """Studies with the name of their dataset and, if they were imported, of their source."""
    return select(*STUDY_COLUMNS, STUDY.c.owner).select_from(ORIGINS)


def honest(row: Row) -> Row:
    """A study whose driver died without a word is interrupted, whatever its row says."""
    if row["state"] == "running" and alive(row["owner"]) is False:
        row["state"] = "interrupted"
    del row["owner"]
    return row


def studies(
    db: Db = None,
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    kind: str | None = None,
    limit: int = LATEST,
    before: int | None = None,
) -> list[Row]:
    """The latest studies, the newest first, one narrow row each.

    Imported ones, of which there may be thousands, come only with ``kind="import"``, or if a plugin
    or a dataset is named. ``before`` takes the number of the last study of a page, to get the page
    after it.
    """
    query = study_query().order_by(STUDY.c.id.desc()).limit(limit)
    equal = {DATASET.c.name: dataset, STUDY.c.kind: kind}
    query = query.where(*(column == value for column, value in equal.items() if value is not None))
    if plugin is not None:
        query = query.where(takes_part(plugin))
    if plugin is None and dataset is None and kind is None:
        query = query.where(STUDY.c.source_id.is_(None))
    if before is not None:
        query = query.where(STUDY.c.id < before)
    with reading(db) as connection:
        return [honest(row) for row in rows(connection, query)]


def takes_part(plugin: str) -> ColumnElement[bool]:
    """The condition that a plugin of that name takes part in a study."""
    mine = select(STUDY_PLUGIN.c.study_id).join(PLUGIN, PLUGIN.c.id == STUDY_PLUGIN.c.plugin_id)
    return STUDY.c.id.in_(mine.where(PLUGIN.c.name == plugin))


def study(number: int, db: Db = None) -> Row:
    """One study with its settings, space, metrics, plugins and environment.

    Raises:
        UnknownName: if there is no such study.
    """
    with reading(db) as connection:
        return whole_study(connection, number)


def whole_study(connection: Connection, number: int) -> Row:
    """See ``study``."""
    found = rows(connection, WHOLE_STUDY, study=number)
    if not found:
        raise no_study(number)
    row = honest(found[0])
    environment = row.pop("environment")
    plugins = [about_plugin(row) for row in rows(connection, ENTRANTS, study=number)]
    return {**row, "plugins": plugins, "environment": environment}


def spec(number: int, db: Db = None) -> StudySpec:
    """What was recorded of a study before its first trial, as the engine needs it back.

    Raises:
        UnknownName: if there is no such study.
    """
    with reading(db) as connection:
        row = connection.execute(select(STUDY).where(STUDY.c.id == number)).first()
        if row is None:
            raise no_study(number)
        return study_spec(connection, row)


def study_of(owner: str, db: Db = None) -> int | None:
    """The study that a process, named as ``owner.owner`` does, runs at the moment."""
    with reading(db) as connection:
        found = connection.execute(select(STUDY.c.id).where(STUDY.c.owner == owner)).scalar()
        return None if found is None else int(found)


def no_study(number: int) -> UnknownName:
    """The error about a study that does not exist."""
    return UnknownName(f"there is no study {number}; `automl studies` lists them")


def own_split(kind: str) -> str:
    """The split that the objective of a study was measured on: imports publish test scores."""
    return "test" if kind == "import" else "valid"


def about_plugin(row: Row) -> Row:
    """Name, version and paper of a plugin, taken from a row that has ``PLUGIN_COLUMNS``."""
    paper = {name: row[f"paper_{name}"] for name in PAPER_FACTS}
    return {"plugin": row["plugin"], "plugin_version": row["plugin_version"], "paper": paper}


def trials(
    study: int,
    db: Db = None,
    *,
    states: Sequence[str] = (),
    order: str = "best",
    limit: int | None = None,
) -> list[Row]:
    """A study's trials: the best first (``order="best"``) or by number (``"number"``)."""
    chosen = [TRIAL.c.study_id == study]
    if states:
        chosen.append(TRIAL.c.state.in_(states))
    by = (TRIAL.c.cost, TRIAL.c.id) if order == "best" else (TRIAL.c.number,)
    if limit is not None:  # ranked by what an index holds: only those shown are read whole
        ranked = select(TRIAL.c.id).where(*chosen).order_by(*by).limit(limit).subquery()
        chosen = [TRIAL.c.id.in_(select(ranked.c.id))]
    query = select(*TRIAL_COLUMNS).select_from(TRIALS).where(*chosen)
    with reading(db) as connection:
        return rows(connection, query.order_by(*by))


def curves(
    study: int,
    db: Db = None,
    *,
    metric: str,
    split: str = "valid",
    numbers: Sequence[int] | None = None,
) -> dict[int, list[tuple[int, float]]]:
    """What the trials of a study reported: number -> [(step, value), ...].

    ``numbers`` are those of the trials that are wanted; by default all.
    """
    query = (
        select(TRIAL.c.number, SCORE.c.step, SCORE.c.value)
        .join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
        .where(TRIAL.c.study_id == study, SCORE.c.metric == metric, SCORE.c.split == split)
        .order_by(TRIAL.c.number, SCORE.c.step)
    )
    found: dict[int, list[tuple[int, float]]] = {}
    with reading(db) as connection:
        if numbers is not None:
            query = query.where(among(connection, TRIAL.c.number, numbers))
        for number, step, value in connection.execute(query):
            found.setdefault(number, []).append((step, value))
    return found


def parse(reference: str) -> tuple[int, int]:
    """Read ``STUDY/NUMBER``.

    Raises:
        UnknownName: if it is not of that form.
    """
    study, slash, number = reference.partition("/")
    if not (slash and study.isdecimal() and number.isdecimal()):
        raise UnknownName(f"no trial {reference!r}: write STUDY/NUMBER such as 3/0, or best")
    return int(study), int(number)


def trial_place(reference: str | int) -> list[ColumnElement[bool]]:
    """The condition that picks one trial, by ``STUDY/NUMBER`` or by its id."""
    if isinstance(reference, int):
        return [TRIAL.c.id == reference]
    study, number = parse(reference)
    return [TRIAL.c.study_id == study, TRIAL.c.number == number]


def trial(reference: str | int, db: Db = None, *, code: bool = False) -> Row:
    """Everything on record about one trial, given as ``STUDY/NUMBER`` or by its id.

    ``code`` adds its plugin's texts by file name.

    Raises:
        UnknownName: if there is no such trial.
    """
    with reading(db) as connection:
        found = rows(connection, WHOLE_TRIAL.where(*trial_place(reference)))
        if not found:
            raise no_trial(reference)
        (row,) = found
        plugin_id = row.pop("plugin_id")
        row |= about_plugin(row)
        for name in PAPER_FACTS:
            del row[f"paper_{name}"]
        row["reference"] = f"{row['study']}/{row['number']}"
        row |= parts(connection, row["id"])
        if code:
            row["code"] = plugin_code(connection, plugin_id)
    row["split"] = own_split(row.pop("kind"))
    return row


def no_trial(reference: str | int) -> UnknownName:
    """The error about a trial that does not exist."""
    study = str(reference).partition("/")[0] if isinstance(reference, str) else "STUDY"
    return UnknownName(f"there is no trial {reference}; `automl trials {study}` lists a study's")


def narrow_trial(connection: Connection, reference: str | int) -> Row:
    """A trial's own row.

    Raises:
        UnknownName: if there is no such trial.
    """
    query = select(*TRIAL_COLUMNS).select_from(TRIALS)
    found = rows(connection, query.where(*trial_place(reference)))
    if not found:
        raise no_trial(reference)
    return found[0]


def parts(connection: Connection, trial_id: int) -> Row:
    """What hangs on a trial: curves, evaluations, files, exports with latency, probes."""
    curve: dict[str, dict[str, list[list[float]]]] = {}
    for split, metric, step, value in connection.execute(SERIES, {"trial": trial_id}):
        curve.setdefault(split, {}).setdefault(metric, []).append([step, value])
    artifacts = rows(connection, ARTIFACTS, trial=trial_id)
    if artifacts:
        root = artifact_root()
        for artifact in artifacts:
            artifact["file"] = str(root / artifact["path"])
    return {
        "curves": curve,
        "evaluations": rows(connection, EVALUATIONS, trial=trial_id),
        "artifacts": artifacts,
        "exports": exports_of(connection, trial_id),
        "probes": rows(connection, PROBES, trial=trial_id),
    }


def exports(reference: str | int, db: Db = None) -> list[Row]:
    """The exports of a trial with their benchmarks, the oldest first.

    Raises:
        UnknownName: if there is no such trial.
    """
    with reading(db) as connection:
        return exports_of(connection, narrow_trial(connection, reference)["id"])


def exports_of(connection: Connection, trial_id: int) -> list[Row]:
    """See ``exports``."""
    made = rows(connection, EXPORTS, trial=trial_id)
    for export in made:
        measured = select(BENCHMARK).where(BENCHMARK.c.export_id == export["id"])
        export["benchmarks"] = rows(connection, measured.order_by(BENCHMARK.c.id))
    return made


def best(
    db: Db = None,
    *,
    plugin: str | None = None,
    dataset: str | None = None,
    study: int | None = None,
) -> str:
    """The best complete trial, as ``STUDY/NUMBER``; among equals the one recorded first.

    Values compare on one dataset and metric only: those of the latest matching study that has a
    complete trial. Searches count; the fits of claims do if there is no search, or by ``study``.

    Raises:
        UnknownName: if there is none.
    """
    equal = {DATASET.c.name: dataset, STUDY.c.id: study}
    given = [column == value for column, value in equal.items() if value is not None]
    has_trial = [TRIAL.c.study_id == STUDY.c.id, *COMPLETE]
    if plugin is not None:
        has_trial.append(TRIAL.c.plugin_id.in_(select(PLUGIN.c.id).where(PLUGIN.c.name == plugin)))
    latest = (
        select(DATASET.c.name, STUDY.c.metric, STUDY.c.goal, STUDY.c.kind)
        .select_from(STUDIES)
        .where(select(TRIAL.c.id).where(*has_trial).exists(), *given)
        .order_by((STUDY.c.kind == "search").desc(), STUDY.c.id.desc())
        .limit(1)
    )
    with reading(db) as connection:
        alike = connection.execute(latest).first()
        if alike is None:
            raise nothing_complete(connection, plugin, dataset, study)
        ranked = (
            select(TRIAL.c.study_id, TRIAL.c.number)
            .select_from(MODELS)
            .where(*has_trial, *given, DATASET.c.name == alike.name, STUDY.c.kind == alike.kind)
            .where(STUDY.c.metric == alike.metric, STUDY.c.goal == alike.goal)
            .order_by(TRIAL.c.cost, TRIAL.c.id)
            .limit(1)
        )
        study_id, number = connection.execute(ranked).one()
    return f"{study_id}/{number}"


def nothing_complete(
    connection: Connection, plugin: str | None, dataset: str | None, study: int | None
) -> UnknownName:
    """The error that says that, and why, there is no best trial."""
    if study is not None:
        whole_study(connection, study)
    hint = ""
    for column, given in ((PLUGIN.c.name, plugin), (DATASET.c.name, dataset)):
        known = connection.execute(select(column).distinct()).scalars().all()
        if given is not None and given not in known:
            hint += did_you_mean(given, known)
    what = {"plugin": plugin, "dataset": dataset, "study": study}
    of = ", ".join(f"{key} {value!r}" for key, value in what.items() if value is not None)
    return UnknownName(
        f"there is no complete trial{' of ' + of if of else ''}; `automl studies` lists what "
        f"there is.{hint}"
    )


def claims(db: Db = None, *, plugin: str | None = None) -> list[Row]:
    """The latest verdict on each claim, with its bars, runs and the command behind it."""
    latest = select(func.max(CLAIM.c.id)).group_by(CLAIM.c.plugin, CLAIM.c.claim, CLAIM.c.scale)
    query = select(CLAIM).where(CLAIM.c.id.in_(latest)).order_by(CLAIM.c.plugin, CLAIM.c.id)
    if plugin is not None:
        query = query.where(CLAIM.c.plugin == plugin)
    with reading(db) as connection:
        return rows(connection, query)


def info(db: Db = None) -> Row:
    """Where the database is, its schema's revision, what it holds and how many bytes."""
    url = db.url if isinstance(db, Engine) else database_url(db)
    with reading(db) as connection:
        tables = (STUDY, TRIAL, SCORE, ARTIFACT, EXPORT, CLAIM)
        counts = {
            f"{table.name} rows": connection.execute(
                select(func.count()).select_from(table)
            ).scalar_one()
            for table in tables
        }
        engine = connection.dialect.name
        if engine == "sqlite":
            size = file_bytes(Path(str(url.database)))
        else:
            query = text("SELECT pg_database_size(current_database())")
            size = int(connection.execute(query).scalar_one())
    root = artifact_root()
    return {
        "url": shown(url),
        "engine": engine,
        "revision": REVISIONS[-1],
        "bytes": size,
        **counts,
        "artifacts": str(root),
        "artifact bytes": folder_bytes(root),
    }


def file_bytes(path: Path) -> int:
    """The size of a SQLite database, what its log holds included."""
    files = (path, Path(f"{path}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def folder_bytes(root: Path) -> int:
    """The size of the files below a folder; searches may add and remove some meanwhile."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total
