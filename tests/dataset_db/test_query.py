"""Reading: the best by direction, complete and disjoint pages, and parts when asked for."""

from __future__ import annotations

import json
import math
import operator
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import event, update

from automl.core.errors import ConfigError, UnknownName
from automl.core.record import Evaluation, Failure, StudySpec, TrialEnd
from automl.dataset_db import engine as opening
from automl.dataset_db import models, query
from automl.dataset_db.schema import TRIAL
from automl.dataset_db.store import Store

MIN = (("gap", "min", "%"), ("accuracy", "max", ""))


@pytest.fixture
def fill(store: Store, spec: StudySpec, run_trial):
    """Records a study with these objectives and closes it; returns its number."""

    def make(*values: float | None, **changes: object) -> int:
        chosen = replace(spec, **changes)
        study = store.create_study(chosen)
        plugin = chosen.plugins[0].name
        for number, value in enumerate(values):
            state = "failed" if value is None else "complete"
            failure = Failure("ValueError", "no") if value is None else None
            run_trial(
                store, study, number, value, x=value, state=state, failure=failure, plugin=plugin
            )
        store.close_study(study, "complete", None, 1.0)
        return study

    return make


# ---------------------------------------------------------------- best


def test_the_best_follows_the_direction_of_the_metric(db, fill) -> None:
    high = fill(0.25, 0.75, None, 0.5)
    low = fill(0.25, 0.75, None, 0.125, metrics=MIN, dataset="tours", info={"problem": "tsp"})
    assert query.best(db, study=high) == f"{high}/1"
    assert query.best(db, study=low) == f"{low}/3"
    assert query.best(db, dataset="spirals") == f"{high}/1"
    assert query.best(db, dataset="tours") == f"{low}/3"
    assert [t["number"] for t in query.trials(high, db)] == [1, 3, 0, 2]
    assert [t["number"] for t in query.trials(low, db)] == [3, 0, 1, 2]
    assert [t["number"] for t in query.trials(low, db, order="number")] == [0, 1, 2, 3]
    assert [t["number"] for t in query.trials(low, db, states=("failed",))] == [2]
    assert len(query.trials(low, db, limit=2)) == 2


def test_a_study_row_knows_its_best(db, store, fill, run_trial, spec) -> None:
    low = fill(0.5, 0.125, 0.25, metrics=MIN)
    row = query.study(low, db)
    assert (row["best_value"], row["best_number"]) == (0.125, 1)
    study = store.create_study(spec)
    for number, value in enumerate([0.5, 0.75, 0.75, 0.25]):
        run_trial(store, study, number, value)
        store.flush()
    assert query.study(study, db)["best_number"] == 1  # among equals, the first


def test_best_compares_within_the_dataset_of_the_latest_search(db, fill) -> None:
    first = fill(0.9)
    other = {"dataset": "tours", "info": {"problem": "tsp"}}
    better, latest = fill(0.7, **other), fill(0.6, **other)
    fill(0.8, kind="claim", **other)
    fill(None)
    assert query.best(db) == f"{better}/0"
    assert query.best(db, plugin="tested") == f"{better}/0"
    assert query.best(db, study=latest) == f"{latest}/0"
    assert query.best(db, dataset="spirals") == f"{first}/0"


def test_without_a_search_the_fits_of_claims_count(db, fill) -> None:
    claim = fill(0.5, 0.75, kind="claim")
    assert query.best(db, plugin="tested") == f"{claim}/1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "there is no complete trial; `automl studies` lists what there is."),
        ({"plugin": "testde"}, "of plugin 'testde'; `automl studies` lists"),
        ({"plugin": "testde"}, "Did you mean 'tested'?"),
        ({"dataset": "spiral"}, "Did you mean 'spirals'?"),
        ({"study": 1}, "of study 1"),
        ({"study": 9}, "there is no study 9"),
    ],
)
def test_no_best_says_why(db, fill, given, said: str) -> None:
    fill(None)
    with pytest.raises(UnknownName) as caught:
        query.best(db, **given)
    assert said in str(caught.value)


# ---------------------------------------------------------------- one thing


def test_everything_about_a_trial(db, store, spec, start, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "artifacts"))
    study = store.create_study(spec)
    store.start_trial(study, start(0, techniques={"noise": {"eta": 0.1}}, label="paper"))
    store.report(study, 0, 2, "valid", {"accuracy": 0.5})
    store.report(study, 0, 1, "valid", {"accuracy": 0.25})
    store.report(study, 0, 1, "train", {"accuracy": 0.75})
    weights = store.folder(study) / "w.safetensors"
    end = TrialEnd(
        0, "complete", 0.5, {"accuracy": 0.5}, 2, 1.5, 10, weights, 40, "ab", stopped="budget"
    )
    store.finish_trial(study, end)
    store.evaluate_trial(study, 0, Evaluation("spirals", "test", {"accuracy": 0.4}), 123)
    store.flush()
    row = query.trial(f"{study}/0", db, code=True)
    assert row == query.trial(row["id"], db, code=True)
    assert row["reference"] == f"{study}/0"
    assert row["code"] == spec.plugins[0].code
    assert row["curves"]["valid"]["accuracy"] == [[1, 0.25], [2, 0.5]]
    assert row["curves"]["train"]["accuracy"] == [[1, 0.75]]
    assert row["paper"] == spec.plugins[0].paper
    assert row["settings"] == spec.settings
    assert row["artifacts"][0]["file"] == str(weights)
    assert (row["macs"], row["parameters"], row["stopped"]) == (123, 10, "budget")
    assert [(e["split"], e["value"]) for e in row["evaluations"]] == [("test", 0.4)]
    assert query.study(study, db)["environment"] == spec.environment
    assert query.curves(study, db, metric="accuracy") == {0: [(1, 0.25), (2, 0.5)]}
    assert query.exports(f"{study}/0", db) == []
    json.dumps({k: v for k, v in row.items() if not k.endswith("_at")})


@pytest.mark.parametrize("given", ["1/9", 99, "x", "1", "1/", "1/x", "²/0", "1/0/0", "-1/0"])
def test_an_unknown_trial_is_named(db, fill, given) -> None:
    fill(0.5)
    with pytest.raises(UnknownName, match=str(given)):
        query.trial(given, db)


def test_lists_of_studies_are_filtered_and_paged(db, fill) -> None:
    for number in range(5):
        fill(0.5, name=f"study {number}", kind="claim" if number == 2 else "search")
    assert [row["id"] for row in query.studies(db, limit=2)] == [5, 4]
    assert [row["id"] for row in query.studies(db, limit=2, before=4)] == [3, 2]
    assert [row["id"] for row in query.studies(db, kind="claim")] == [3]
    assert query.studies(db, plugin="other") == []
    assert query.studies(db, dataset="other") == []
    with pytest.raises(UnknownName, match="there is no study 9; `automl studies` lists them"):
        query.study(9, db)


def test_info_counts_and_measures(db, fill, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "files"))
    fill(0.5, 0.75)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "w").write_bytes(b"12345")
    found = query.info(db)
    assert (found["study rows"], found["trial rows"], found["score rows"]) == (1, 2, 4)
    assert found["revision"] == opening.REVISIONS[-1]
    assert found["engine"] == ("postgresql" if "://" in db else "sqlite")
    assert found["bytes"] > 10_000
    assert found["artifact bytes"] == 5


# ---------------------------------------------------------------- the data set


def test_models_are_one_row_each_with_what_was_asked_for(db, fill, spec, with_plugin) -> None:
    first = fill(0.25, 0.75, None)
    code = {**spec.plugins[0].code, "model.py": "y = 3\n"}
    fill(0.5, plugins=with_plugin(code=code).plugins)
    frame = models(db, code=True, curves=True, evaluations=True)
    assert list(frame["objective"]) == [0.75, 0.5, 0.25]
    assert list(frame["config"]) == [{"x": x, "n": 3} for x in (0.75, 0.5, 0.25)]
    assert frame["code"][0] is frame["code"][2]
    assert frame["code"][0] == spec.plugins[0].code
    assert frame["code"][0]["__init__.py"] is frame["code"][1]["__init__.py"]
    assert frame["curves"][0]["valid"]["accuracy"] == [(1, 0.75)]
    assert frame["evaluations"][0] == []
    assert frame["started_at"].dt.tz is not None
    assert frame["parameters"].dtype == "Int64"
    assert frame.attrs["next"] is None
    assert len(models(db, study=first)) == 2
    assert list(models(db, states="failed")["failure"]) == ["ValueError"]
    assert len(models(db, states=("complete", "failed"))) == 4
    assert "config" not in models(db, config=False)
    assert list(models(db, columns=["objective", "plugin"], limit=1)) == ["objective", "plugin"]
    assert list(models(db, columns=["plugin", "plugin"])) == ["plugin"]
    assert models(db, plugin="other").empty
    assert models(db, dataset="spirals", plugin="tested", limit=None).shape[0] == 3


@pytest.mark.parametrize("order_by", ["objective", "trial_id", "seconds", "parameters"])
@pytest.mark.parametrize("states", ["complete", ("complete", "failed")])
def test_pages_are_complete_and_disjoint(db, fill, order_by: str, states) -> None:
    numbers = random.Random(0)
    fill(*(numbers.choice([None, 0.25, 0.5, 0.75]) for _ in range(23)))
    fill(*(numbers.choice([None, 0.25, 0.5, 0.75]) for _ in range(20)), metrics=MIN)
    whole = models(db, states=states, order_by=order_by, limit=None)
    pages, mark = [], None
    while not pages or mark is not None:
        pages.append(models(db, states=states, order_by=order_by, limit=4, after=mark))
        mark = pages[-1].attrs["next"]
    assert all(len(page) == 4 for page in pages[:-1])
    joined = pd.concat(pages, ignore_index=True)
    assert list(joined["trial_id"]) == list(whole["trial_id"])
    assert joined["trial_id"].is_unique


def test_a_page_is_not_shifted_by_what_is_written_meanwhile(db, store, fill) -> None:
    fill(0.25, 0.5, 0.75, 0.875)
    first = models(db, limit=2)
    fill(0.9375)
    second = models(db, limit=2, after=first.attrs["next"])
    assert [*first["objective"], *second["objective"]] == [0.875, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": ["objektive"]}, "Did you mean 'objective'?"),
        ({"order_by": "objektive"}, "Did you mean 'objective'?"),
        ({"limit": 0}, "limit=0 must be at least 1, or None for everything"),
        ({"after": "page 2"}, "after='page 2' marks no page ordered by objective"),
        ({"after": '["seconds", 1.0, 1]'}, "marks no page ordered by objective"),
        ({"after": '["objective", "x", 1]'}, "marks no page ordered by objective"),
        ({"after": "[NaN, NaN, 1e999]"}, "marks no page ordered by objective"),
        ({"after": f'["objective", 0.5, {2**70}]'}, "marks no page ordered by objective"),
        ({"where": {"study": 1e30}}, "filter study: 1e+30 is larger than any number on record"),
        ({"where": {"step": {"<": 2**64}}}, "is larger than any number on record can be"),
        ({"where": {"seconds": 10**400}}, "is larger than any number on record can be"),
        ({"where": {"objective": [0.5, math.nan]}}, "nan compares with nothing"),
    ],
)
def test_questions_that_make_no_sense(db, store, given, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        models(db, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize("document", [7, 0.5, "7", None, True, [1, 2], {"a": math.inf}])
def test_a_document_may_be_any_value(db, store, fill, document) -> None:
    fill(0.5, 0.25)
    with store.engine.begin() as connection:
        connection.execute(update(TRIAL).where(TRIAL.c.number == 0).values(scores=document))
    assert models(db, columns=["scores"])["scores"][0] == document


OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, listed: value in listed,
    "between": lambda value, ends: ends[0] <= value <= ends[1],
}


@pytest.mark.parametrize("column", ["objective", "study", "bytes", "config.x"])
@pytest.mark.parametrize("name", OPERATORS)
def test_numbers_are_compared_as_python_does(db, fill, column: str, name: str) -> None:
    """Whatever their kind, and whether the larger or the smaller objective is the better."""
    values = (0.25, -0.5, 0.0, 2.0, 0.5)
    fill(*values)
    fill(*values, metrics=MIN, dataset="tours", info={"problem": "tsp"})
    named = column.replace("config.", "")
    if named == "x":
        held = list(models(db)["config"].map(lambda config: config["x"]))
    else:
        held = list(models(db)[named])
    held = [value for value in held if value is not pd.NA]
    for number in (-1, 0, 0.25, 0.5, 1, 1.0, 1.5, 2, 3e9, 1e11, math.inf):
        if name == "between":
            told: Any = [-0.5, number]
        else:
            told = [number, 0.5] if name == "in" else number
        if number == math.inf and name in ("=", "in", "!="):
            continue  # JSON holds no infinite number
        found = models(db, where={column: {name: told}})
        assert len(found) == sum(OPERATORS[name](value, told) for value in held), number


def test_hostile_texts_are_only_texts(db, fill, with_plugin) -> None:
    name = "'; DROP TABLE trial; --"
    study = fill(0.5, plugins=with_plugin(name=name).plugins, name=name)
    assert query.best(db, plugin=name) == f"{study}/0"
    assert list(models(db, plugin=name)["plugin"]) == [name]
    assert models(db, plugin="' OR 1=1").empty


def test_a_number_that_never_was_is_missing(db, store, study, start) -> None:
    store.start_trial(study, start(0))
    store.finish_trial(study, TrialEnd(0, "complete", None))
    store.flush()
    assert math.isnan(models(db)["objective"][0])
    assert models(db)["parameters"].isna().all()
    with pytest.raises(UnknownName):
        query.best(db)


def test_the_first_page_of_the_best_does_not_sort_everything(tmp_path: Path) -> None:
    path = str(tmp_path / "models.db")
    opening.connect(path, write=True).dispose()
    plans: list[str] = []

    @event.listens_for(opening.reader(opening.database_url(path)), "before_cursor_execute")
    def explain(connection, cursor, statement, parameters, context, executemany) -> None:
        if "trial.cost" in statement:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("\n".join(row[3] for row in cursor.fetchall()))

    models(path, limit=50, after='["objective", 0.5, 7]')
    ranking = plans[0].partition("SCAN anon_1")[0]
    assert "COVERING INDEX ix_trial_best (state=? AND cost>?)" in ranking
    assert "TEMP B-TREE" not in ranking
    models(path, limit=50, study=1)
    assert "ix_trial_study_best (study_id=? AND state=?)" in plans[1]
