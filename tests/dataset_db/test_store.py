"""The recorder: what is told is found again, all at once or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from automl.core.errors import DatabaseAway, DatabaseError, StudyError, UnknownName
from automl.core.record import (
    FINISHED,
    BarResult,
    ClaimVerdict,
    Evaluation,
    Failure,
    PastTrial,
    RunResult,
    TrialEnd,
)
from automl.dataset_db import query
from automl.dataset_db.batch import Batch
from automl.dataset_db.evidence import BenchmarkRecord, ExportRecord
from automl.dataset_db.schema import CODE, DATASET, ENVIRONMENT, PAPER, PLUGIN, SCORE, TRIAL
from automl.dataset_db.store import Store


def count(store: Store, table: sqlalchemy.Table) -> int:
    """How many rows a table has."""
    with store.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def summary(db: str, study: int) -> dict[str, Any]:
    """A study's own row."""
    keep = ("state", "n_complete", "n_pruned", "n_failed", "best_value", "best_number", "seconds")
    return {key: query.study(study, db)[key] for key in keep}


# ---------------------------------------------------------------- the laws of a recorder

NUMBERS = st.integers(0, 3)
VALUES = st.integers(-40, 40).map(lambda n: n / 8)
ACTIONS = st.one_of(
    st.tuples(st.just("start"), NUMBERS, VALUES),
    st.tuples(
        st.just("report"), NUMBERS, st.integers(0, 2), st.sampled_from(["valid", "train"]), VALUES
    ),
    st.tuples(
        st.just("finish"),
        NUMBERS,
        st.sampled_from([*FINISHED, "interrupted"]),
        st.none() | VALUES,
        st.booleans(),
    ),
    st.tuples(st.just("evaluate"), NUMBERS, st.sampled_from(["a", "b"]), st.none() | VALUES),
    st.just(("flush",)),
    st.just(("reopen",)),
)


class Model:
    """A recorder in memory."""

    def __init__(self, start: Any) -> None:
        self.start = start
        self.trials: dict[int, PastTrial] = {}

    def apply(self, what: str, number: int, *rest: Any) -> None:
        """Take in what a store is told too."""
        known = self.trials.get(number)
        if what == "start":
            told = self.start(number, rest[0])
            known = known or PastTrial(told, "interrupted", None, 0.0)
            changes = {"start": told, "state": "interrupted", "value": None, "seconds": 0.0}
            self.trials[number] = replace(known, scores={}, **changes)
        elif known is None:
            return
        elif what == "report" and rest[1] == "valid":
            reports = {**known.reports, rest[0]: {"accuracy": rest[2]}}
            self.trials[number] = replace(known, reports=reports)
        elif what == "finish":
            state, value, with_test = rest
            ended = {"state": state, "value": value, "scores": {"params": 9.0}, "seconds": 1.5}
            self.trials[number] = replace(known, **ended)
            if with_test:
                self.evaluate(number, Evaluation("a", "test", {"accuracy": 0.5}))
        elif what == "evaluate":
            dataset, value = rest
            scores = {} if value is None else {"accuracy": value}
            reason = "does not fit" if value is None else ""
            self.evaluate(number, Evaluation(dataset, "test", scores, reason))

    def evaluate(self, number: int, evaluation: Evaluation) -> None:
        """The newest evaluation on a dataset comes last and alone."""
        known = self.trials[number]
        others = tuple(e for e in known.evaluations if e.dataset != evaluation.dataset)
        self.trials[number] = replace(known, evaluations=(*others, evaluation))

    def summary(self, spent: float) -> dict[str, Any]:
        """What the study's row must say, but for which of equals is the best."""
        trials = self.trials.values()
        counts = {f"n_{s}": sum(t.state == s for t in trials) for s in FINISHED}
        values = [t.value for t in trials if t.state == "complete" and t.value is not None]
        best = max(values, default=None)
        return {**counts, "state": "running", "best_value": best, "seconds": spent}


def tell(store: Store, study: int, model: Model, what: str, number: int, *rest: Any) -> None:
    """Tell a store of one action; it refuses trials that were never started."""
    if what != "start" and number not in model.trials:
        with pytest.raises(StudyError, match=f"study {study} has no trial {number}"):
            store.report(study, number, 1, "valid", {"accuracy": 0.0})
        return
    if what == "start":
        store.start_trial(study, model.start(number, rest[0]))
    elif what == "report":
        store.report(study, number, rest[0], rest[1], {"accuracy": rest[2], "nll": 1.0})
    elif what == "finish":
        state, value, with_test = rest
        test = (Evaluation("a", "test", {"accuracy": 0.5}),) if with_test else ()
        end = TrialEnd(number, state, value, {"params": 9.0}, 1, 1.5, evaluations=test)
        store.finish_trial(study, end)
    else:
        dataset, value = rest
        scores = {} if value is None else {"accuracy": value}
        reason = "does not fit" if value is None else ""
        store.evaluate_trial(study, number, Evaluation(dataset, "test", scores, reason))


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(ACTIONS, max_size=25))
def test_the_past_is_what_was_told_whenever_it_was_flushed(
    make_store, db, spec, start, actions
) -> None:
    store, model = make_store(), Model(start)
    study = store.create_study(spec)
    for what, *rest in actions:
        if what in ("flush", "reopen"):
            store.tick(study, 2.5)
            store.flush()
        if what == "reopen":
            store.engine.dispose()
            store = make_store()
            store.claim_study(study)
        if rest:
            tell(store, study, model, what, *rest)
            model.apply(what, *rest)
    assert store.past(study) == [model.trials[number] for number in sorted(model.trials)]
    ticked = any(what in ("flush", "reopen") for what, *_ in actions)
    found = summary(db, study)
    best = found.pop("best_number")
    assert found == model.summary(2.5 if ticked else 0.0)
    assert best is None or model.trials[best].value == found["best_value"]
    store.engine.dispose()


def test_a_study_is_found_as_it_was_described(store, db, study, spec) -> None:
    assert store.spec(study) == query.spec(study, db) == spec
    with pytest.raises(UnknownName, match="there is no study 99"):
        query.spec(99, db)
    assert store.find_study(spec.name) == study
    assert store.find_study("another") is None
    again = store.create_study(spec)
    assert store.find_study(spec.name) == again
    store.set_budget(study, 99, 12.5)
    assert store.spec(study) == replace(spec, trials=99, timeout=12.5)


def test_what_studies_share_is_stored_once(store, spec, with_plugin) -> None:
    layout = {"__init__.py": "x = 1\n", "model.py": "y=2  # the same code\n"}
    for changed in (spec, spec, with_plugin(code=layout), with_plugin(version=2)):
        store.create_study(changed)
    tables = (PAPER, PLUGIN, CODE, DATASET, ENVIRONMENT)
    assert [count(store, table) for table in tables] == [1, 3, 3, 1, 1]
    with store.engine.connect() as connection:
        assert len(set(connection.execute(select(CODE.c.normalised)).scalars())) == 2


def test_the_clock_and_the_end_of_a_study(store, db, study, run_trial) -> None:
    assert store.spent(study) == 0.0
    store.tick(study, 3.5)
    assert store.spent(study) == 3.5
    store.flush()
    assert store.spent(study) == 3.5
    run_trial(store, study, 0, 0.25)
    run_trial(store, study, 1, 0.75)
    store.close_study(study, "exhausted", 1, 4.5, "the wall-clock budget is spent")
    row = query.study(study, db)
    assert (row["state"], row["message"]) == ("exhausted", "the wall-clock budget is spent")
    assert (row["seconds"], row["best_number"], row["best_value"]) == (4.5, 1, 0.75)
    assert row["finished_at"] >= row["created_at"]
    store.claim_study(study)
    assert query.study(study, db)["finished_at"] is None


def test_unknown_studies_and_trials_are_named(store, start) -> None:
    for call in (store.spec, store.spent, store.past, store.claim_study):
        with pytest.raises(StudyError, match="there is no study 77: `automl studies` lists them"):
            call(77)
    with pytest.raises(StudyError, match="no study 77"):
        store.start_trial(77, start(0))
    with pytest.raises(UnknownName, match="no trial with id 5"):
        store.record_probe(5, "length", {"x": 1.0})
    with pytest.raises(UnknownName, match="no trial with id 5"):
        store.record_export(5, ExportRecord("cpu", "ok"))


# ---------------------------------------------------------------- values


def test_what_is_told_is_frozen_and_what_comes_back_is_a_copy(store, study, start) -> None:
    told = start(0, config={"layers": [1, 2], "deep": {"x": 1}})
    scores = {"accuracy": 0.5}
    store.start_trial(study, told)
    store.report(study, 0, 1, "valid", scores)
    told.config["layers"].append(3)
    told.config["deep"]["x"] = 2
    scores["accuracy"] = 0.9
    (found,) = store.past(study)
    assert found.start.config == {"layers": [1, 2], "deep": {"x": 1}}
    assert found.reports == {1: {"accuracy": 0.5}}
    found.start.config["layers"].clear()
    assert store.past(study)[0].start.config["layers"] == [1, 2]


def test_odd_numbers_and_texts_survive_or_are_made_harmless(store, study, start) -> None:
    config = {
        "clip": math.inf,
        "low": -math.inf,
        "big": 2**70,
        "none": None,
        "on": True,
        "é": "ü😀",
    }
    store.start_trial(study, start(0, config=config, label="nul \0 half \ud800 whole 😀"))
    store.report(study, 0, 2**40, "valid", {"accuracy": math.nan})
    store.report(study, 0, 2**40 + 1, "valid", {"accuracy": math.inf})
    failure = Failure("TrialError", "nul \0", "half \ud800", "log")
    end = TrialEnd(0, "failed", math.nan, seconds=1.0, parameters=2**50, failure=failure)
    store.finish_trial(study, end)
    (found,) = store.past(study)
    assert found.start.config == config
    assert found.start.label == "nul \ufffd half ? whole 😀"
    assert found.value is None
    reports = list(found.reports.items())
    assert reports[1] == (2**40 + 1, {"accuracy": math.inf})
    assert math.isnan(reports[0][1]["accuracy"])
    assert store.failure(study, 0) == Failure("TrialError", "nul \ufffd", "half ?", "log")


def test_what_is_no_json_is_refused_when_it_is_told(store, study, start) -> None:
    with pytest.raises(DatabaseError, match=r"the configuration of trial 1/0 cannot be recorded"):
        store.start_trial(study, start(0, config={"x": object()}))
    assert store.past(study) == []


def test_numbers_of_libraries_are_plain_numbers(store, study, start) -> None:
    import numpy
    import torch

    store.start_trial(study, start(0))
    store.report(study, 0, numpy.int64(3), "valid", {"accuracy": torch.tensor(0.5)})
    store.finish_trial(study, TrialEnd(0, "complete", numpy.float32(0.25), {}, numpy.int64(3)))
    (found,) = store.past(study)
    assert (found.value, found.reports) == (0.25, {3: {"accuracy": 0.5}})


def test_weights_are_recorded_within_the_artifact_folder(
    store, db, study, run_trial, tmp_path: Path
) -> None:
    weights = store.folder(study) / "trial-00000.safetensors"
    assert store.folder(study).is_absolute()
    run_trial(store, study, 0, weights=weights, weights_bytes=12, weights_sha256="ab" * 32)
    store.flush()
    (artifact,) = query.trial(f"{study}/0", db)["artifacts"]
    assert artifact["path"] == f"study-{study:05d}/trial-00000.safetensors"
    assert (artifact["kind"], artifact["sha256"], artifact["bytes"]) == ("weights", "ab" * 32, 12)
    run_trial(store, study, 0, weights=weights, weights_bytes=13, weights_sha256="cd" * 32)
    store.flush()
    assert [a["bytes"] for a in query.trial(f"{study}/0", db)["artifacts"]] == [13]
    with pytest.raises(DatabaseError, match="outside the artifact folder"):
        run_trial(store, study, 1, weights=tmp_path / "elsewhere.safetensors")


def test_evaluations_replace_earlier_ones_and_keep_the_multiply_adds(
    store, db, study, run_trial
) -> None:
    run_trial(store, study, 0)
    store.evaluate_trial(study, 0, Evaluation("other", "test", {}, "has 5 classes"))
    store.flush()
    assert store.past(study)[0].evaluations == (Evaluation("other", "test", {}, "has 5 classes"),)
    store.evaluate_trial(study, 0, Evaluation("other", "test", {"accuracy": 0.5}), macs=2**40)
    assert store.past(study)[0].evaluations == (Evaluation("other", "test", {"accuracy": 0.5}),)
    assert query.trial(f"{study}/0", db)["macs"] == 2**40


# ---------------------------------------------------------------- all or nothing


@contextmanager
def held(db: str) -> Any:
    """Somebody else writes and does not come to an end."""
    if "://" not in db:
        engine = sqlalchemy.create_engine(f"sqlite:///{db}", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            connection.exec_driver_sql("ROLLBACK")
    else:
        engine = sqlalchemy.create_engine(db.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE trial, study IN ACCESS EXCLUSIVE MODE")
            yield
    engine.dispose()


def test_a_flush_that_must_wait_too_long_keeps_everything_for_the_next(
    make_store, db, spec, run_trial
) -> None:
    store = make_store(busy=0.2)
    study = store.create_study(spec)
    run_trial(store, study, 0, 0.25)
    with held(db), pytest.raises(DatabaseError) as caught:
        store.flush()
    assert "another program is writing to it: wait, or close that" in str(caught.value)
    assert "\n" not in str(caught.value)
    run_trial(store, study, 1, 0.75)
    assert [trial.value for trial in store.past(study)] == [0.25, 0.75]
    assert summary(db, study)["n_complete"] == 2


def test_what_was_committed_unheard_is_not_counted_twice(
    make_store, db, spec, run_trial, start, monkeypatch
) -> None:
    """A server that goes down between a commit and its answer."""
    store = make_store()
    study = store.create_study(spec)
    run_trial(store, study, 0, 0.25)
    store.start_trial(study, start(1))
    store.flush()
    run_trial(store, study, 2, 0.5, evaluations=(Evaluation("a", "test", {"accuracy": 1.0}),))
    store.report(study, 1, 1, "valid", {"accuracy": 0.75, "nll": 0.25})
    store.finish_trial(study, TrialEnd(1, "complete", 0.75, {"accuracy": 0.75, "nll": 0.25}, 1))
    heard, writes = iter([False, True]), store._writing

    @contextmanager
    def unheard() -> Iterator[Any]:
        with writes() as connection:
            yield connection
        if not next(heard):
            raise DatabaseAway("server closed the connection unexpectedly")

    monkeypatch.setattr(store, "_writing", unheard)
    store.flush()
    assert [trial.value for trial in store.past(study)] == [0.25, 0.75, 0.5]
    assert [len(trial.evaluations) for trial in store.past(study)] == [0, 0, 1]
    told = summary(db, study)
    assert (told["n_complete"], told["best_number"], told["best_value"]) == (3, 1, 0.75)
    assert next(heard, None) is None


@pytest.mark.parametrize("step", ["write_scores", "write_evaluations", "write_summaries"])
def test_a_flush_that_fails_midway_leaves_nothing(
    store, db, study, run_trial, monkeypatch, step
) -> None:
    run_trial(store, study, 0)
    store.flush()

    def fail(*args: Any) -> None:
        raise DatabaseError("the disk is gone")

    again = Evaluation("a", "test", {"accuracy": 1.0})
    run_trial(store, study, 1, evaluations=(again,))
    with monkeypatch.context() as patched:
        patched.setattr(Batch, step, fail)
        with pytest.raises(DatabaseError, match="the disk is gone"):
            store.flush()
    assert (count(store, TRIAL), count(store, SCORE)) == (1, 2)
    assert summary(db, study)["n_complete"] == 1
    assert [trial.evaluations for trial in store.past(study)] == [(), (again,)]
    assert (count(store, TRIAL), count(store, SCORE)) == (2, 4)
    assert summary(db, study)["n_complete"] == 2


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path, spec, run_trial) -> None:
    store = Store(tmp_path / "models.db", artifacts=tmp_path)
    study = store.create_study(spec)

    def pages(limit: int) -> None:
        with store.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count={limit}")

    with store.engine.connect() as connection:
        used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    pages(used)
    for number in range(200):
        run_trial(store, study, number)
    with pytest.raises(DatabaseError, match=r"full; free some space; what was recorded before"):
        store.flush()
    pages(10**6)
    assert len(store.past(study)) == 200
    store.close()


# ---------------------------------------------------------------- what comes later


def test_exports_benchmarks_and_probes_hang_on_their_trial(store, db, study, run_trial) -> None:
    run_trial(store, study, 0)
    store.flush()
    key = query.trial(f"{study}/0", db)["id"]
    files = [{"path": "model.onnx", "bytes": 5}]
    export = ExportRecord("cpu", "ok", "exports/1", files, 18, {"max_abs": 1e-7}, {"graph": {}})
    speed = BenchmarkRecord("x86", "onnxruntime", "fp32", 1, {"n": 5}, 10.0, 12.0, 9.0, 10.5, 2**33)
    made = store.record_export(key, export, [speed])
    store.record_benchmarks(made, [replace(speed, batch=32), replace(speed, status="failed")])
    store.record_probe(key, "length", {"n=10": 0.5, "n=20": math.nan})
    store.record_probe(key, "length", {"n=20": 0.25})
    (found,) = query.exports(key, db)
    assert (found["target"], found["files"], found["opset"]) == ("cpu", files, 18)
    assert [b["batch"] for b in found["benchmarks"]] == [1, 32, 1]
    assert found["benchmarks"][0]["memory"] == 2**33
    probes = {p["name"]: p["value"] for p in query.trial(key, db)["probes"]}
    assert probes == {"n=10": 0.5, "n=20": 0.25}


def test_the_latest_verdict_on_a_claim_counts(store, db) -> None:
    bar = BarResult("ours", "accuracy", "d", "accuracy >= 0.5", 0.6, 0.1, None, 0.5, True, "0.7")
    run = RunResult("ours", "d", {"accuracy": 0.6}, {"accuracy": math.inf}, 3)
    verdict = ClaimVerdict(
        "tested", 1, "ff", "it_works", "It works.", "Table 1", "small", "inconclusive",
        (bar,), (run,), (1, 2), "automl reproduce tested",
    )  # fmt: skip
    store.record_claim(verdict)
    store.record_claim(replace(verdict, verdict="reproduced"))
    store.record_claim(replace(verdict, claim="another", plugin="other"))
    (found,) = query.claims(db, plugin="tested")
    assert found["verdict"] == "reproduced"
    assert found["bars"] == [vars(bar)]
    assert found["runs"] == [vars(run)]
    assert found["studies"] == [1, 2]
    assert len(query.claims(db)) == 2
    with pytest.raises(DatabaseError, match="verdict_known"):
        store.record_claim(replace(verdict, verdict="perhaps"))
