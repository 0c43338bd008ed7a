"""The single writer of a study: buffers what the engine tells it, writes it in one transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from automl.core.errors import StudyError
from automl.core.record import (
    ClaimVerdict,
    Evaluation,
    Failure,
    PastTrial,
    StudySpec,
    StudyState,
    TrialEnd,
    TrialStart,
    TrialState,
)
from automl.dataset_db import engine as opening
from automl.dataset_db.catalogue import study_parents, study_texts
from automl.dataset_db.tables import (
    Artifact,
    Benchmark,
    ClaimResult,
    Export,
    ProbeResult,
    Score,
    Study,
    Trial,
)
from automl.dataset_db.tables import Evaluation as EvaluationRow
from automl.dataset_db.types import now

STUDY, TRIAL, SCORE = Study.__table__, Trial.__table__, Score.__table__  # type: ignore[attr-defined]
EVALUATION, ARTIFACT = EvaluationRow.__table__, Artifact.__table__  # type: ignore[attr-defined]
EXPORT, BENCHMARK = Export.__table__, Benchmark.__table__  # type: ignore[attr-defined]
PROBE, CLAIM = ProbeResult.__table__, ClaimResult.__table__  # type: ignore[attr-defined]
STRANGER_IS_GONE = timedelta(minutes=10)  # a driver on another machine that wrote nothing
Write = Callable[[Connection], None]


def owner() -> str:
    """This process: host, number and start, so that a reused number is not taken for us."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def alive(text: str) -> bool | None:
    """Whether the process that ``owner`` named still runs; ``None`` on another machine."""
    host, _, rest = text.rpartition(":")[0].rpartition(":")
    if not text:
        return False
    if host != socket.gethostname():
        return None
    try:
        return f"{psutil.Process(int(rest)).create_time():.0f}" == text.rpartition(":")[2]
    except psutil.Error:
        return False


class Store:
    """Implements ``automl.core.record.Recorder`` over SQLite or PostgreSQL.

    Calls that are not durable at once are buffered until ``flush``, which writes all of them in
    one transaction: after a crash the database holds everything up to the last flush and nothing
    half-written. If a flush fails, its content stays buffered.
    """

    def __init__(self, db: str | None = None, *, artifacts: Path | None = None) -> None:
        self.engine = opening.connect(db, write=True)
        self.artifacts = (artifacts or opening.artifact_root()).resolve()
        dialect = {"sqlite": sqlite, "postgresql": postgresql}[self.engine.dialect.name]
        put = dialect.insert(SCORE)
        key = ["trial_id", "split", "step", "metric"]
        self._put_scores = put.on_conflict_do_update(key, set_={"value": put.excluded.value})
        self._ids: dict[tuple[int, int], int] = {}  # (study, number) -> trial id
        self._specs: dict[int, StudySpec] = {}
        self._clear()

    def close(self) -> None:
        """Flush and close the connections."""
        self.flush()
        self.engine.dispose()

    # ---------------------------------------------------------------- studies

    def create_study(self, spec: StudySpec) -> int:
        """Record a study, owned by this process and running; durable at once."""
        with self._transaction() as connection:
            parents = study_parents(connection, spec)
            name, goal, unit = spec.metrics[0]
            values = {
                **parents,
                "name": spec.name,
                "kind": spec.kind,
                "state": "running",
                "metric": name,
                "goal": goal,
                "unit": unit,
                "metrics": [list(metric) for metric in spec.metrics],
                "settings": spec.settings,
                "space": spec.space,
                "seed": spec.seed,
                "budget_trials": spec.trials,
                "budget_seconds": spec.timeout,
                "owner": owner(),
            }
            study = connection.execute(insert(STUDY).values(**values)).inserted_primary_key
            assert study is not None
            return int(study[0])

    def claim_study(self, study: int) -> None:
        """Take over a study that no living process owns; see ``Recorder``."""
        with self._transaction() as connection:
            row = connection.execute(
                select(STUDY.c.owner, STUDY.c.active_at).where(STUDY.c.id == study)
            ).first()
            if row is None:
                raise StudyError(f"there is no study {study}; `automl studies` lists them")
            living = alive(row.owner)
            if living is None:
                living = now() - row.active_at < STRANGER_IS_GONE
            if living and row.owner != owner():
                host, pid, _ = row.owner.rsplit(":", 2)
                where = "this machine" if host == socket.gethostname() else host
                raise StudyError(
                    f"study {study} is being run by process {pid} on {where}; stop it or wait"
                )
            taken = connection.execute(
                update(STUDY)
                .where(STUDY.c.id == study, STUDY.c.owner == row.owner)
                .values(owner=owner(), state="running", message="", active_at=now())
            )
            if taken.rowcount != 1:
                raise StudyError(f"study {study} was taken over by another process just now")

    def spec(self, study: int) -> StudySpec:
        """What was recorded at creation, with the current budgets."""
        if study not in self._specs:
            with self._transaction() as connection:
                row = connection.execute(select(STUDY).where(STUDY.c.id == study)).first()
                if row is None:
                    raise StudyError(f"there is no study {study}; `automl studies` lists them")
                self._specs[study] = StudySpec(
                    **study_texts(connection, row),
                    name=row.name,
                    kind=row.kind,
                    metrics=tuple((n, g, u) for n, g, u in row.metrics),
                    space=row.space,
                    settings=row.settings,
                    trials=row.budget_trials,
                    timeout=row.budget_seconds,
                    seed=row.seed,
                )
        return self._specs[study]

    def spent(self, study: int) -> float:
        """Wall-clock seconds of its earlier legs."""
        with self._transaction() as connection:
            query = select(STUDY.c.seconds).where(STUDY.c.id == study)
            return float(connection.execute(query).scalar_one())

    def tick(self, study: int, seconds: float) -> None:
        """The study's wall-clock so far; written with the next flush that writes anything."""
        self._seconds[study] = seconds

    def set_budget(self, study: int, trials: int | None, timeout: float | None) -> None:
        """Replace the budgets of a study."""
        self._specs[study] = replace(self.spec(study), trials=trials, timeout=timeout)
        with self._transaction() as connection:
            connection.execute(
                update(STUDY)
                .where(STUDY.c.id == study)
                .values(budget_trials=trials, budget_seconds=timeout)
            )

    def find_study(self, name: str) -> int | None:
        """The newest study of that name."""
        with self._transaction() as connection:
            query = select(func.max(STUDY.c.id)).where(STUDY.c.name == name)
            return connection.execute(query).scalar()

    def close_study(
        self, study: int, state: StudyState, best: int | None, seconds: float, message: str = ""
    ) -> None:
        """The study stops; this process gives it up. Flushes."""
        self.flush()
        with self._transaction() as connection:
            connection.execute(
                update(STUDY)
                .where(STUDY.c.id == study)
                .values(
                    state=state,
                    seconds=seconds,
                    message=message,
                    owner="",
                    active_at=now(),
                    finished_at=now(),
                )
            )

    def folder(self, study: int) -> Path:
        """Where the study's artifacts lie."""
        return self.artifacts / f"study-{study:05d}"

    # ---------------------------------------------------------------- trials

    def start_trial(self, study: int, trial: TrialStart) -> None:
        """A trial is handed out, or handed out again (same number)."""
        self._starts[study, trial.number] = trial

    def report(
        self, study: int, number: int, step: int, split: str, scores: dict[str, float]
    ) -> None:
        """Scores of a running trial; repeating a step replaces its scores."""
        for metric, value in scores.items():
            self._scores[study, number, split, step, metric] = value

    def finish_trial(self, study: int, trial: TrialEnd) -> None:
        """A trial ended."""
        self._ends[study, trial.number] = trial

    def evaluate_trial(
        self, study: int, number: int, evaluation: Evaluation, macs: int | None = None
    ) -> None:
        """Scores of a finished trial's model on another split or dataset."""
        self._evaluations.append((study, number, evaluation, macs))

    def flush(self) -> None:
        """Write everything since the last flush in one transaction."""
        if not (self._starts or self._scores or self._ends or self._evaluations):
            return
        known = dict(self._ids)
        try:
            with self._transaction() as connection:
                self._write_starts(connection)
                self._write_ends(connection)
                self._write_scores(connection)
                self._write_evaluations(connection)
                self._write_summaries(connection)
        except BaseException:
            self._ids = known
            raise
        self._clear()

    def _clear(self) -> None:
        self._starts: dict[tuple[int, int], TrialStart] = {}
        self._ends: dict[tuple[int, int], TrialEnd] = {}
        self._scores: dict[tuple[int, int, str, int, str], float] = {}
        self._evaluations: list[tuple[int, int, Evaluation, int | None]] = []
        self._seconds: dict[int, float] = {}

    def _write_starts(self, connection: Connection) -> None:
        again = [key for key in self._starts if self._id(connection, *key, missing_ok=True)]
        if again:
            connection.execute(
                update(TRIAL).where(TRIAL.c.id == bindparam("key")),
                [{"key": self._ids[key], "state": "running", "finished_at": None} for key in again],
            )
        new = [key for key in self._starts if key not in self._ids]
        if not new:
            return
        rows = [start_values(study, self._starts[study, number]) for study, number in new]
        inserted = connection.execute(
            insert(TRIAL).returning(TRIAL.c.id, TRIAL.c.study_id, TRIAL.c.number), rows
        )
        for row in inserted:
            self._ids[row.study_id, row.number] = row.id

    def _write_ends(self, connection: Connection) -> None:
        if not self._ends:
            return
        rows, files = [], []
        for (study, number), end in self._ends.items():
            key = self._id(connection, study, number)
            rows.append({"key": key, **end_values(end)})
            if end.weights is not None:
                path = os.path.relpath(end.weights, self.artifacts)
                files.append(
                    {
                        "trial_id": key,
                        "kind": "weights",
                        "path": path,
                        "sha256": end.weights_sha256,
                        "bytes": end.weights_bytes,
                    }
                )
            self._evaluations += [(study, number, e, None) for e in end.evaluations]
        connection.execute(update(TRIAL).where(TRIAL.c.id == bindparam("key")), rows)
        if files:
            connection.execute(insert(ARTIFACT), files)

    def _write_scores(self, connection: Connection) -> None:
        if self._scores:
            rows = [
                {
                    "trial_id": self._id(connection, study, number),
                    "split": split,
                    "step": step,
                    "metric": metric,
                    "value": value,
                }
                for (study, number, split, step, metric), value in self._scores.items()
            ]
            connection.execute(self._put_scores, rows)

    def _write_evaluations(self, connection: Connection) -> None:
        rows = []
        for study, number, evaluation, macs in self._evaluations:
            key = self._id(connection, study, number)
            common = {
                "trial_id": key,
                "dataset": evaluation.dataset,
                "split": evaluation.split,
                "reason": evaluation.reason,
            }
            scores: Iterable[tuple[str, float | None]] = evaluation.scores.items()
            rows += [
                {**common, "metric": metric, "value": value}
                for metric, value in (scores if evaluation.scores else [("", None)])
            ]
            if macs is not None:
                connection.execute(update(TRIAL).where(TRIAL.c.id == key).values(macs=macs))
        if rows:
            connection.execute(insert(EVALUATION), rows)

    def _write_summaries(self, connection: Connection) -> None:
        """Keep each study's own row up to date, so that lists need no other."""
        studies = {key[0] for key in self._starts} | {key[0] for key in self._ends}
        for study in studies | {key[0] for key in self._scores}:
            ends = [end for (of, _), end in self._ends.items() if of == study]
            values: dict[str, Any] = {"active_at": now()}
            if study in self._seconds:
                values["seconds"] = self._seconds[study]
            for state in ("complete", "pruned", "failed"):
                count = sum(end.state == state for end in ends)
                if count:
                    column = STUDY.c[f"n_{state}"]
                    values[column.name] = column + count
            connection.execute(update(STUDY).where(STUDY.c.id == study).values(**values))
            self._write_best(connection, study, ends)

    def _write_best(self, connection: Connection, study: int, ends: list[TrialEnd]) -> None:
        complete = [e for e in ends if e.state == "complete" and e.value is not None]
        if not complete:
            return
        largest = self.spec(study).metrics[0][1] == "max"
        pick = max if largest else min
        best = pick(complete, key=lambda end: end.value or 0.0)
        column = STUDY.c.best_value
        better = column < best.value if largest else column > best.value
        connection.execute(
            update(STUDY)
            .where(STUDY.c.id == study, column.is_(None) | better)
            .values(best_value=best.value, best_number=best.number)
        )

    def _id(
        self, connection: Connection, study: int, number: int, missing_ok: bool = False
    ) -> int | None:
        """The key of a trial, from memory or, once, from the database."""
        if (study, number) not in self._ids:
            if missing_ok and (study, -1) not in self._ids:
                return None  # a study that this process created: nothing is older than we are
            query = select(TRIAL.c.id).where(TRIAL.c.study_id == study, TRIAL.c.number == number)
            found = connection.execute(query).scalar()
            if found is None:
                if missing_ok:
                    return None
                raise StudyError(f"study {study} has no trial {number}")
            self._ids[study, number] = int(found)
        return self._ids[study, number]

    def past(self, study: int) -> list[PastTrial]:
        """All its trials by number. Those left running are interrupted."""
        self.flush()
        with self._transaction() as connection:
            metric = self.spec(study).metrics[0][0]
            reports: dict[int, dict[int, float]] = {}
            query = (
                select(SCORE.c.trial_id, SCORE.c.step, SCORE.c.value)
                .join(TRIAL, TRIAL.c.id == SCORE.c.trial_id)
                .where(TRIAL.c.study_id == study, SCORE.c.split == "valid")
                .where(SCORE.c.metric == metric)
            )
            for key, step, value in connection.execute(query):
                reports.setdefault(key, {})[step] = value
            evaluations = self._past_evaluations(connection, study)
            trials = connection.execute(
                select(TRIAL).where(TRIAL.c.study_id == study).order_by(TRIAL.c.number)
            )
            found = []
            self._ids[study, -1] = -1  # trials of earlier legs may be handed out again
            for row in trials:
                self._ids[study, row.number] = row.id
                start = TrialStart(
                    row.number, row.seed, row.params, row.config, row.techniques, row.label
                )
                state: TrialState = "interrupted" if row.state == "running" else row.state
                found.append(
                    PastTrial(
                        start,
                        state,
                        row.value,
                        row.seconds,
                        reports.get(row.id, {}),
                        evaluations.get(row.id, ()),
                    )
                )
            return found

    def _past_evaluations(
        self, connection: Connection, study: int
    ) -> dict[int, tuple[Evaluation, ...]]:
        query = (
            select(EVALUATION)
            .join(TRIAL, TRIAL.c.id == EVALUATION.c.trial_id)
            .where(TRIAL.c.study_id == study)
            .order_by(EVALUATION.c.id)
        )
        found: dict[int, dict[tuple[str, str], Evaluation]] = {}
        for row in connection.execute(query):
            mine = found.setdefault(row.trial_id, {})
            known = mine.get((row.dataset, row.split))
            scores = known.scores if known else {}
            if row.value is not None:
                scores = {**scores, row.metric: row.value}
            mine[row.dataset, row.split] = Evaluation(row.dataset, row.split, scores, row.reason)
        return {key: tuple(mine.values()) for key, mine in found.items()}

    def failure(self, study: int, number: int) -> Failure | None:
        """Why a trial failed."""
        self.flush()
        with self._transaction() as connection:
            query = select(TRIAL.c.failure).where(
                TRIAL.c.study_id == study, TRIAL.c.number == number
            )
            found = connection.execute(query).scalar()
            return Failure(**found) if found else None

    # ---------------------------------------------------------------- what comes later

    def record_claim(self, verdict: ClaimVerdict) -> None:
        """Record what became of a claim. Durable at once."""
        values = asdict(verdict)
        for key in ("bars", "runs", "studies"):
            values[key] = list(values[key])
        with self._transaction() as connection:
            connection.execute(insert(CLAIM).values(**values))

    def record_probe(self, trial_id: int, probe: str, numbers: dict[str, float]) -> None:
        """Record what a probe measured of a trial's model. Durable at once."""
        rows = [
            {"trial_id": trial_id, "probe": probe, "name": name, "value": value}
            for name, value in numbers.items()
        ]
        with self._transaction() as connection:
            connection.execute(insert(PROBE), rows)

    def record_export(
        self, trial_id: int, values: dict[str, Any], benchmarks: list[dict[str, Any]]
    ) -> int:
        """Record an export and its measurements; return its id. Durable at once."""
        with self._transaction() as connection:
            made = connection.execute(insert(EXPORT).values(trial_id=trial_id, **values))
            assert made.inserted_primary_key is not None
            key = int(made.inserted_primary_key[0])
            if benchmarks:
                rows = [{"export_id": key, **record} for record in benchmarks]
                connection.execute(insert(BENCHMARK), rows)
            return key

    def _transaction(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction, its errors told in one sentence."""
        return opening.transaction(self.engine)


def start_values(study: int, trial: TrialStart) -> dict[str, Any]:
    """The columns of a trial that is handed out."""
    return {
        "study_id": study,
        "number": trial.number,
        "state": "running",
        "seed": trial.seed,
        "label": trial.label,
        "config": trial.config,
        "params": trial.params,
        "techniques": trial.techniques,
        "started_at": now(),
    }


def end_values(end: TrialEnd) -> dict[str, Any]:
    """The columns of a trial that ended."""
    return {
        "state": end.state,
        "value": end.value,
        "step": end.step,
        "seconds": end.seconds,
        "parameters": end.parameters,
        "bytes": end.weights_bytes,
        "stopped": end.stopped,
        "scores": dict(end.scores),
        "failure": vars(end.failure) if end.failure else None,
        "finished_at": None if end.state == "interrupted" else now(),
    }
