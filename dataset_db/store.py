"""The single writer of a study: buffers what the engine tells it, writes it in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, func, insert, select, update

from automl.core.errors import DatabaseAway, DatabaseError, StudyError
from automl.core.places import artifact_root
from automl.core.record import (
    ClaimVerdict,
    Evaluation,
    Failure,
    PastTrial,
    StudySpec,
    StudyState,
    TrialEnd,
    TrialStart,
)
from automl.dataset_db import engine as opening
from automl.dataset_db.batch import Batch, Known
from automl.dataset_db.catalogue import entrants, put_entrants, study_parents, study_spec
from automl.dataset_db.evidence import (
    BenchmarkRecord,
    ExportRecord,
    put_benchmarks,
    put_claim,
    put_export,
    put_probe,
)
from automl.dataset_db.history import past_trials
from automl.dataset_db.owner import alive, here, owner, parts
from automl.dataset_db.schema import STUDY, TRIAL
from automl.dataset_db.types import now

STRANGER_IS_GONE = timedelta(minutes=10)  # a driver on another machine that wrote nothing
RETRY_SECONDS = 0.5  # between two calls of a server that is away


class Store:
    """Implements ``automl.core.record.Recorder`` over SQLite or PostgreSQL.

    Calls that are not durable at once are buffered until ``flush``, which writes all of them in
    one transaction: after a crash the database holds everything up to the last flush and nothing
    half-written. If a flush fails, its content stays buffered. In mid-search a server that is away
    is waited for, so that it may be started anew. Use it from one thread; ``with`` closes it.

    Args:
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``. Created or migrated.
        artifacts: The artifact folder; by default AUTOML_ARTIFACTS, else ``./automl_artifacts``.
        busy: How long to wait for another writer, or for a server that is away, in seconds.

    Raises:
        DatabaseError: if the database cannot be opened for writing.
        MissingExtra: if it is PostgreSQL and the driver is not installed.
    """

    def __init__(
        self,
        db: str | Path | None = None,
        *,
        artifacts: Path | None = None,
        busy: float = opening.BUSY_SECONDS,
    ) -> None:
        self.engine = opening.connect(db, write=True, busy=busy)
        self.artifacts = (artifacts or artifact_root()).resolve()
        self._busy = busy
        self._batch = Batch()
        self._known: dict[int, Known] = {}
        self._unsure = False  # whether the last transaction, which failed, was committed
        self._away: float | None = None  # since when there was no answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush and close the connections."""
        try:
            self.flush()
        finally:
            self.engine.dispose()

    # ---------------------------------------------------------------- studies

    def create_study(self, spec: StudySpec) -> int:
        """Record a study, owned by this process and running; durable at once."""
        name, goal, unit = spec.metrics[0]
        with self._writing() as connection:
            parents = study_parents(connection, spec)
            values = {
                **parents,
                "name": spec.name,
                "plugin": spec.plugin,
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
            key = connection.execute(insert(STUDY).values(**values)).inserted_primary_key
            assert key is not None
            study = int(key[0])
            plugins = put_entrants(connection, study, spec)
        self._known[study] = Known(goal, parents["dataset_id"], plugins)
        return study

    def claim_study(self, study: int) -> None:
        """Take over a study that no living process owns and set it running.

        Raises:
            StudyError: if it does not exist, or another living process runs it (named).
        """
        with self._writing() as connection:
            row = study_row(connection, study)
            refuse_if_run(study, row)
            interrupted = update(TRIAL).where(TRIAL.c.study_id == study, TRIAL.c.state == "running")
            connection.execute(interrupted.values(state="interrupted"))
            taken = connection.execute(
                update(STUDY)
                .where(STUDY.c.id == study, STUDY.c.owner == row.owner)
                .values(
                    owner=owner(), state="running", message="", active_at=now(), finished_at=None
                )
            )
            if taken.rowcount != 1:
                raise StudyError(f"study {study} was taken over by another process just now")
        self._known.pop(study, None)

    def require_idle(self, study: int) -> None:
        """Refuse a study that another living process runs; changes nothing.

        Raises:
            StudyError: if it does not exist, or another living process runs it (named).
        """
        with self._reading() as connection:
            refuse_if_run(study, study_row(connection, study))

    def spec(self, study: int) -> StudySpec:
        """What was recorded at creation, with the current budgets.

        Raises:
            StudyError: if there is no such study.
        """
        with self._reading() as connection:
            return study_spec(connection, study_row(connection, study))

    def find_study(self, name: str) -> int | None:
        """The newest study of that name."""
        with self._reading() as connection:
            query = select(func.max(STUDY.c.id)).where(STUDY.c.name == name)
            return connection.execute(query).scalar()

    def spent(self, study: int) -> float:
        """Wall-clock seconds of its earlier legs, as last told by ``tick`` or ``close_study``."""
        if study in self._batch.seconds:
            return self._batch.seconds[study]
        with self._reading() as connection:
            return float(study_row(connection, study).seconds)

    def tick(self, study: int, seconds: float) -> None:
        """The study's wall-clock so far; written with the next flush."""
        self._study(study)
        self._batch.seconds[study] = float(seconds)

    def set_budget(self, study: int, trials: int | None, timeout: float | None) -> None:
        """Replace the budgets of a study; ``timeout`` in seconds. Durable at once."""
        with self._writing() as connection:
            study_row(connection, study)
            budget = {"budget_trials": trials, "budget_seconds": timeout}
            connection.execute(update(STUDY).where(STUDY.c.id == study).values(**budget))

    def close_study(
        self, study: int, state: StudyState, best: int | None, seconds: float, message: str = ""
    ) -> None:
        """The study stops; this process gives it up. Flushes."""
        self.flush()
        values = {
            "state": state,
            "seconds": float(seconds),
            "message": message,
            "owner": "",
            "active_at": now(),
            "finished_at": now(),
        }
        self._patiently(partial(self._close, study, best, values))

    def _close(self, study: int, best: int | None, values: dict[str, Any]) -> None:
        """Write a study's last values, and its best trial if that is another one by now."""
        with self._writing() as connection:
            row = study_row(connection, study)
            if row.owner not in ("", owner()):
                raise StudyError(f"study {study} was taken over by another process")
            if best is not None and best != row.best_number:
                chosen = select(TRIAL.c.objective, TRIAL.c.cost).where(
                    TRIAL.c.study_id == study, TRIAL.c.number == best
                )
                found = connection.execute(chosen).one()
                values |= {"best_number": best, "best_value": found[0], "best_cost": found[1]}
            connection.execute(update(STUDY).where(STUDY.c.id == study).values(**values))

    def folder(self, study: int) -> Path:
        """Where the study's artifacts lie (absolute)."""
        return self.artifacts / f"study-{study:05d}"

    # ---------------------------------------------------------------- trials

    def start_trial(self, study: int, trial: TrialStart) -> None:
        """A trial is handed out, or handed out again after an interruption (same number)."""
        self._batch.start(study, trial, self._study(study).plugins[trial.plugin])

    def report(
        self, study: int, number: int, step: int, split: str, scores: dict[str, float]
    ) -> None:
        """Scores of a running trial; repeating a step replaces its scores."""
        self._require(study, number)
        self._batch.report((study, number), step, split, scores)

    def finish_trial(self, study: int, trial: TrialEnd) -> None:
        """A trial ended. Its weights, if any, lie in the artifact folder."""
        known = self._require(study, trial.number)
        weights = None if trial.weights is None else self._relative(trial.weights)
        self._batch.end(study, trial, known.goal, weights)

    def evaluate_trial(
        self, study: int, number: int, evaluation: Evaluation, macs: int | None = None
    ) -> None:
        """Scores of a finished trial's model on another split or dataset; replaces earlier ones."""
        self._require(study, number)
        self._batch.evaluate((study, number), evaluation, macs)

    def flush(self) -> None:
        """Write everything since the last flush in one transaction.

        Raises:
            DatabaseError: if it cannot be written; nothing of it is then half-written, and a
                later flush tries again.
            StudyError: if another process has taken over a study meanwhile.
        """
        if self._batch:
            self._patiently(self._write)

    def _write(self) -> None:
        """Write what is buffered in one transaction.

        If it is not known whether the last one was committed, what is there is read again: of what
        is told a second time nothing is then counted twice.
        """
        if self._unsure:
            self._known |= {study: self._look_up(study) for study in self._batch.studies()}
        self._unsure = True
        with self._writing() as connection:
            made = self._batch.write(connection, self._known, owner())
        self._unsure = False
        for (study, number), key in made.items():
            self._known[study].trials[number] = (key, "running")
        for study, number in self._batch.starts.keys() | self._batch.ends.keys():
            end = self._batch.ends.get((study, number), {"state": "running"})
            trials = self._known[study].trials
            trials[number] = (trials[number][0], end["state"])
        self._batch = Batch()

    def past(self, study: int) -> list[PastTrial]:
        """All its trials by number. Those left running are interrupted."""
        self.flush()
        with self._reading() as connection:
            spec = study_spec(connection, study_row(connection, study))
            return past_trials(connection, study, spec.objectives)

    def failure(self, study: int, number: int) -> Failure | None:
        """Why a trial failed; ``None`` if it did not.

        Raises:
            StudyError: if there is no such trial.
        """
        self.flush()
        self._require(study, number)
        with self._reading() as connection:
            place = (TRIAL.c.study_id == study, TRIAL.c.number == number)
            found = connection.execute(select(TRIAL.c.failure).where(*place)).scalar()
        return None if found is None else Failure(**found)

    # ---------------------------------------------------------------- what comes later

    def record_claim(self, verdict: ClaimVerdict) -> int:
        """Record what became of a claim; return the record's id. Durable at once."""
        with self._writing() as connection:
            return put_claim(connection, verdict)

    def record_probe(self, trial: int, probe: str, values: Mapping[str, float]) -> None:
        """Record what a probe measured of the model of a trial (its id). Durable at once.

        Raises:
            UnknownName: if there is no such trial.
        """
        with self._writing() as connection:
            put_probe(connection, trial, probe, values)

    def record_export(
        self, trial: int, export: ExportRecord, benchmarks: Sequence[BenchmarkRecord] = ()
    ) -> int:
        """Record an export of a trial (its id) with its measurements; return the export's id.

        Raises:
            UnknownName: if there is no such trial.
        """
        with self._writing() as connection:
            key = put_export(connection, trial, export)
            put_benchmarks(connection, key, benchmarks)
        return key

    def record_benchmarks(self, export: int, benchmarks: Sequence[BenchmarkRecord]) -> None:
        """Record more measurements of an export (its id). Durable at once.

        Raises:
            UnknownName: if there is no such export.
        """
        with self._writing() as connection:
            put_benchmarks(connection, export, benchmarks)

    # ---------------------------------------------------------------- inside

    def _writing(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction, its errors told in one sentence."""
        return opening.transaction(self.engine)

    def _reading(self) -> AbstractContextManager[Connection]:
        """The same without the writer's lock."""
        return opening.transaction(self.engine, reads=True)

    def _patiently(self, write: Callable[[], None]) -> None:
        """Carry out a transaction that may be repeated, again as long as the server is away."""
        while True:
            try:
                write()
            except DatabaseAway as error:
                self._away = time.monotonic() if self._away is None else self._away
                if time.monotonic() - self._away >= self._busy:
                    raise DatabaseAway(
                        f"{error} (waited {self._busy:g} seconds; `automl resume` continues a "
                        "search from what is on record)"
                    ) from error
                time.sleep(RETRY_SECONDS)
            else:
                self._away = None
                return

    def _study(self, study: int) -> Known:
        """What is known of a study, from memory or, once, from the database."""
        if study not in self._known:
            self._known[study] = self._look_up(study)
        return self._known[study]

    def _look_up(self, study: int) -> Known:
        """What the database knows of a study."""
        with self._reading() as connection:
            row = study_row(connection, study)
            trials = select(TRIAL.c.number, TRIAL.c.id, TRIAL.c.state)
            rows = connection.execute(trials.where(TRIAL.c.study_id == study))
            known = {number: (key, state) for number, key, state in rows}
            return Known(row.goal, row.dataset_id, entrants(connection, study), known)

    def _require(self, study: int, number: int) -> Known:
        """The study, if it has that trial."""
        known = self._study(study)
        if number not in known.trials and (study, number) not in self._batch.starts:
            raise StudyError(f"study {study} has no trial {number}")
        return known

    def _relative(self, path: Path) -> str:
        """A path within the artifact folder, so that the folder may be moved."""
        plain = path.is_relative_to(self.artifacts) and ".." not in path.parts  # as workers do
        try:
            return (path if plain else path.resolve()).relative_to(self.artifacts).as_posix()
        except ValueError:
            raise DatabaseError(
                f"file {path} cannot be recorded: it is outside the artifact folder "
                f"{self.artifacts}"
            ) from None


def study_row(connection: Connection, study: int) -> Row[Any]:
    """The row of a study.

    Raises:
        StudyError: if there is none.
    """
    row = connection.execute(select(STUDY).where(STUDY.c.id == study)).first()
    if row is None:
        raise StudyError(f"there is no study {study}: `automl studies` lists them")
    return row


def refuse_if_run(study: int, row: Row[Any]) -> None:
    """Raise ``StudyError`` if another living process runs the study."""
    living = row.owner != owner() and alive(row.owner)
    if living is None:
        living = now() - row.active_at < STRANGER_IS_GONE
    if living:
        host, pid, _ = parts(row.owner)
        where = "this machine" if here(row.owner) else host
        raise StudyError(f"study {study} is being run by process {pid} on {where}; stop it or wait")
