"""What is told between two flushes, and how it is written: a few statements in one transaction.

This is the hot path of a search. Statements are built once, so that SQLAlchemy finds them
compiled; values are turned into rows when they are told, so that later edits do not leak in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Connection,
    Insert,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from automl.core.errors import StudyError
from automl.core.record import FINISHED, Evaluation, TrialEnd, TrialStart
from automl.dataset_db.catalogue import upsert
from automl.dataset_db.schema import ARTIFACT, EVALUATION, SCORE, STUDY, TRIAL
from automl.dataset_db.types import encoded, now, whole

Key = tuple[int, int]  # study, number
Values = dict[str, Any]

UNENDED: Values = {
    "state": "running",
    "objective": None,
    "cost": math.inf,
    "step": None,
    "seconds": 0.0,
    "parameters": None,
    "bytes": None,
    "stopped": "",
    "failure_kind": "",
    "finished_at": None,
    "scores": None,
    "failure": None,
}
TOLD = ("seed", "label", "config", "params", "techniques")  # at the start, besides the key
INSERT_TRIAL = insert(TRIAL)
INSERT_TRIALS = insert(TRIAL).returning(TRIAL.c.id, TRIAL.c.study_id, TRIAL.c.number)
OF_KEY = TRIAL.c.id == bindparam("key")
RESTART_TRIAL = (
    update(TRIAL).where(OF_KEY).values({name: bindparam(name) for name in (*TOLD, *UNENDED)})
)
END_TRIAL = update(TRIAL).where(OF_KEY).values({name: bindparam(name) for name in UNENDED})
BETTER = bindparam("cost") < STUDY.c.best_cost
SUMMARISE = (
    update(STUDY)
    .where(STUDY.c.id == bindparam("study"), STUDY.c.owner.in_(("", bindparam("me"))))
    .values(
        active_at=bindparam("active"),
        seconds=func.coalesce(bindparam("spent", type_=STUDY.c.seconds.type), STUDY.c.seconds),
        best_number=case((BETTER, bindparam("number")), else_=STUDY.c.best_number),
        best_value=case((BETTER, bindparam("value")), else_=STUDY.c.best_value),
        best_cost=case((BETTER, bindparam("cost")), else_=STUDY.c.best_cost),
        **{f"n_{state}": STUDY.c[f"n_{state}"] + bindparam(state) for state in FINISHED},
    )
)


@dataclass
class Known:
    """What the store remembers of a study: direction, dataset, plugins, trials' states."""

    goal: str
    dataset: int
    plugins: dict[str, int] = field(default_factory=dict)
    trials: dict[int, tuple[int, str]] = field(default_factory=dict)  # number -> (id, state)


class Batch:
    """Everything told since the last flush."""

    def __init__(self) -> None:
        self.starts: dict[Key, Values] = {}
        self.ends: dict[Key, Values] = {}
        self.scores: dict[tuple[int, int, str, int, str], float | None] = {}
        self.evaluations: dict[tuple[int, int, str, str], Evaluation] = {}
        self.macs: dict[Key, int] = {}
        self.artifacts: dict[tuple[int, int, str], Values] = {}
        self.seconds: dict[int, float] = {}

    def __bool__(self) -> bool:
        return any(vars(self).values())

    # ---------------------------------------------------------------- what is told

    def start(self, study: int, trial: TrialStart, plugin_id: int) -> None:
        """A trial is handed out, perhaps again: what its last end said is void."""
        what = f"of trial {study}/{trial.number}"
        values = {
            "plugin_id": plugin_id,
            "seed": whole(trial.seed, f"the seed {what}"),
            "label": trial.label,
            "config": encoded(trial.config, f"the configuration {what}"),
            "params": encoded(trial.params, f"the parameters {what}"),
            "techniques": encoded(trial.techniques, f"the techniques {what}"),
            "started_at": now(),
        }
        self.ends.pop((study, trial.number), None)
        self.starts[study, trial.number] = values

    def report(self, key: Key, step: int, split: str, scores: dict[str, float]) -> None:
        """Scores at a step."""
        at = whole(step, f"a step of trial {key[0]}/{key[1]}") or 0
        for metric, value in scores.items():
            self.scores[*key, split, at, metric] = number(value)

    def end(self, study: int, end: TrialEnd, goal: str, weights: str | None) -> None:
        """A trial ended; ``weights`` is the path of its weights within the artifact folder."""
        key = (study, end.number)
        self.ends[key] = end_values(end, goal)
        for evaluation in end.evaluations:
            self.evaluate(key, evaluation)
        if weights is not None:
            self.artifacts[*key, "weights"] = {
                "path": weights,
                "sha256": end.weights_sha256,
                "bytes": end.weights_bytes or 0,
            }

    def evaluate(self, key: Key, evaluation: Evaluation, macs: int | None = None) -> None:
        """Scores on a split of a dataset; they replace earlier ones."""
        place = (*key, evaluation.dataset, evaluation.split)
        self.evaluations.pop(place, None)
        scores = {metric: float(value) for metric, value in evaluation.scores.items()}
        self.evaluations[place] = Evaluation(*place[2:], scores, evaluation.reason)
        if macs is not None:
            self.macs[key] = whole(macs, f"the multiply-adds of trial {key[0]}/{key[1]}") or 0

    # ---------------------------------------------------------------- how it is written

    def studies(self) -> set[int]:
        """The studies that anything was told of."""
        return {study for study, _ in self.touched()} | self.seconds.keys()

    def write(self, connection: Connection, known: dict[int, Known], me: str) -> dict[Key, int]:
        """Write everything within the connection's transaction; return the new trials' ids."""
        made = self.write_new(connection, known)
        ids = {key: known[key[0]].trials[key[1]][0] for key in self.touched() if key not in made}
        ids |= made
        self.write_old(connection, ids, made)
        self.write_scores(connection, ids)
        self.write_evaluations(connection, ids)
        self.write_artifacts(connection, ids)
        self.write_summaries(connection, known, me)
        return made

    def touched(self) -> set[Key]:
        """The trials that anything was told of."""
        keyed: Iterable[Iterable[Any]] = (self.scores, self.evaluations, self.artifacts)
        some = {(place[0], place[1]) for places in keyed for place in places}
        return some | self.starts.keys() | self.ends.keys() | self.macs.keys()

    def write_new(self, connection: Connection, known: dict[int, Known]) -> dict[Key, int]:
        """Insert the trials that were never written; started and ended in between is one row."""
        rows = [
            {
                "study_id": study,
                "dataset_id": known[study].dataset,
                "number": number,
                **start,
                **self.ends.get((study, number), UNENDED),
            }
            for (study, number), start in self.starts.items()
            if number not in known[study].trials
        ]
        if not rows:
            return {}
        if len(rows) == 1:
            key = connection.execute(INSERT_TRIAL, rows[0]).inserted_primary_key
            assert key is not None
            return {(rows[0]["study_id"], rows[0]["number"]): int(key[0])}
        inserted = connection.execute(INSERT_TRIALS, rows)
        return {(row.study_id, row.number): row.id for row in inserted}

    def write_old(self, connection: Connection, ids: dict[Key, int], made: dict[Key, int]) -> None:
        """Update the trials that are there already."""
        again = [
            {
                "key": ids[key],
                **{name: start[name] for name in TOLD},
                **self.ends.get(key, UNENDED),
            }
            for key, start in self.starts.items()
            if key not in made
        ]
        ended = [
            {"key": ids[key], **end} for key, end in self.ends.items() if key not in self.starts
        ]
        if again:
            connection.execute(RESTART_TRIAL, again)
        if ended:
            connection.execute(END_TRIAL, ended)
        for key, macs in self.macs.items():
            connection.execute(update(TRIAL).where(TRIAL.c.id == ids[key]).values(macs=macs))

    def write_scores(self, connection: Connection, ids: dict[Key, int]) -> None:
        """Insert or replace scores."""
        rows = [
            {
                "trial_id": ids[study, number],
                "split": split,
                "step": step,
                "metric": metric,
                "value": value,
            }
            for (study, number, split, step, metric), value in self.scores.items()
        ]
        if rows:
            connection.execute(put_rows(connection, SCORE), rows)

    def write_evaluations(self, connection: Connection, ids: dict[Key, int]) -> None:
        """Replace the scores of each evaluated split."""
        rows = []
        for (study, trial, dataset, split), evaluation in self.evaluations.items():
            place = {"trial_id": ids[study, trial], "dataset": dataset, "split": split}
            earlier = [EVALUATION.c[name] == value for name, value in place.items()]
            connection.execute(delete(EVALUATION).where(*earlier))
            scores = evaluation.scores or {"": math.nan}
            rows += [
                {**place, "metric": name, "value": number(value), "reason": evaluation.reason}
                for name, value in scores.items()
            ]
        if rows:
            connection.execute(insert(EVALUATION), rows)

    def write_artifacts(self, connection: Connection, ids: dict[Key, int]) -> None:
        """Insert or replace the files of trials."""
        rows = [
            {"trial_id": ids[study, trial], "kind": kind, **values}
            for (study, trial, kind), values in self.artifacts.items()
        ]
        if rows:
            connection.execute(put_rows(connection, ARTIFACT), rows)

    def write_summaries(self, connection: Connection, known: dict[int, Known], me: str) -> None:
        """Keep each study's own row up to date, so that lists need no other."""
        for study in self.studies():
            taken = connection.execute(SUMMARISE, self.summary(study, me))
            if taken.rowcount != 1:
                raise StudyError(f"study {study} was taken over by another process")
            trials = known[study].trials
            changed = (n for of, n in self.starts.keys() | self.ends.keys() if of == study)
            if any(number in trials and trials[number][1] in FINISHED for number in changed):
                recount(connection, study)

    def summary(self, study: int, me: str) -> Values:
        """What this batch adds to a study's row."""
        ends = {number: end for (of, number), end in self.ends.items() if of == study}
        values: Values = {"study": study, "me": me, "active": now()}
        values["spent"] = self.seconds.get(study)
        for state in FINISHED:
            values[state] = sum(end["state"] == state for end in ends.values())
        complete = [n for n, end in ends.items() if end["state"] == "complete"]
        best = min(complete, key=lambda n: ends[n]["cost"], default=None)
        values["number"] = best
        values["value"] = None if best is None else ends[best]["objective"]
        values["cost"] = math.inf if best is None else ends[best]["cost"]
        return values


def put_rows(connection: Connection, table: Table) -> Insert:
    """An INSERT that replaces what is at the same place; one object per dialect."""
    name = (connection.dialect.name, table.name)
    if name not in PUT_ROWS:
        put = upsert(connection, table)
        place, told = PLACES[table.name]
        PUT_ROWS[name] = put.on_conflict_do_update(
            index_elements=place, set_={column: put.excluded[column] for column in told}
        )
    return PUT_ROWS[name]


PLACES = {  # of a table: the columns that say where a row belongs, and those that may be replaced
    SCORE.name: (("trial_id", "split", "step", "metric"), ("value",)),
    ARTIFACT.name: (("trial_id", "kind"), ("path", "sha256", "bytes")),
}
PUT_ROWS: dict[tuple[str, str], Insert] = {}


def recount(connection: Connection, study: int) -> None:
    """Make a study's summary anew from its trials: a finished one was handed out again."""
    counted = select(TRIAL.c.state, func.count()).where(TRIAL.c.study_id == study)
    rows = connection.execute(counted.group_by(TRIAL.c.state))
    counts = {state: amount for state, amount in rows}
    best = connection.execute(
        select(TRIAL.c.number, TRIAL.c.objective, TRIAL.c.cost)
        .where(TRIAL.c.study_id == study, TRIAL.c.state == "complete")
        .where(TRIAL.c.objective.is_not(None))
        .order_by(TRIAL.c.cost, TRIAL.c.id)
        .limit(1)
    ).first()
    values = {f"n_{state}": counts.get(state, 0) for state in FINISHED}
    number, value, cost = best or (None, None, math.inf)
    connection.execute(
        update(STUDY)
        .where(STUDY.c.id == study)
        .values(**values, best_number=number, best_value=value, best_cost=cost)
    )


def number(value: float | None) -> float | None:
    """A plain float; ``None`` for what is not a number."""
    if value is None:
        return None
    value = float(value)
    return None if math.isnan(value) else value


def cost(value: float | None, goal: str) -> float:
    """The objective, signed so that less is better; infinite where there is none."""
    if value is None:
        return math.inf
    return value if goal == "min" else -value


def end_values(end: TrialEnd, goal: str) -> Values:
    """The columns of a trial that ended."""
    value, what = number(end.value), f"of trial {end.number}"
    scores = {metric: float(score) for metric, score in end.scores.items()}
    failure = vars(end.failure) if end.failure else None
    return {
        "state": end.state,
        "objective": value,
        "cost": cost(value, goal),
        "step": whole(end.step, f"the last step {what}"),
        "seconds": float(end.seconds),
        "parameters": whole(end.parameters, f"the number of parameters {what}"),
        "bytes": whole(end.weights_bytes, f"the size {what}"),
        "stopped": end.stopped,
        "failure_kind": end.failure.kind if end.failure else "",
        "finished_at": None if end.state == "interrupted" else now(),
        "scores": encoded(scores, f"the scores {what}"),
        "failure": None if failure is None else encoded(failure, f"the failure {what}"),
    }
