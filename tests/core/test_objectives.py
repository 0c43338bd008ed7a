"""Several objectives: fronts, knees, limits on costs, and searches that improve all at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import automl
from automl.core.cards import Metric
from automl.core.driver import Progress
from automl.core.entrants import Job
from automl.core.errors import ConfigError, UnknownName
from automl.core.objectives import Objectives, Vector, crowding, front, knee, order, ranks
from automl.core.pruning import FEW, MedianRule
from automl.core.record import TrialStart
from automl.core.search import resume, search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import query
from automl.dataset_db.fronts import pareto_front
from automl.ui.cli import app
from automl.ui.options import size_in_bytes

INLINE = SearchSettings(executor="inline", sampler="random", objectives="accuracy,nll")
SIZED = replace(INLINE, objectives="accuracy,params")
# Accuracy falls with x where likelihood rises: every x in [0, 1] is a compromise; y only harms.
SPACE = """
x = trial.suggest_float("x", 0, 1)
return replace(base, x=x, n=trial.suggest_int("n", 2, 9))
"""
TRADE = """
for step in range(1, 7):
    share = step / 6
    run.report(step, {"accuracy": share * (1 - config.x - config.n / 20), "nll": -share * config.x})
"""
VECTORS = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.tuples(*[st.integers(0, 4).map(float)] * m), min_size=1, max_size=25)
)


def dominates(one: Vector, other: Vector) -> bool:
    """Whether it is as good in every objective and better in one."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- fronts


@given(VECTORS)
def test_a_point_is_one_front_behind_the_last_that_dominates_it(points) -> None:
    found = ranks(points)
    for point, rank in zip(points, found, strict=True):
        behind = [found[i] for i, other in enumerate(points) if dominates(other, point)]
        assert rank == max(behind, default=-1) + 1


@given(VECTORS)
def test_the_driver_keeps_the_front_that_the_database_tells(points) -> None:
    progress = Progress()
    for number, vector in enumerate(points):
        progress.consider(TrialStart(number, "p", 0, {}, {}), vector)
    assert sorted(progress.front) == sorted(front(dict(enumerate(points))))


@given(VECTORS)
def test_better_fronts_come_first_and_no_point_is_lost(points) -> None:
    found = order(points)
    assert sorted(found) == list(range(len(points)))
    places = ranks(points)[found]
    assert (np.diff(places) >= 0).all()


def test_the_ends_of_a_front_are_least_crowded_and_the_knee_bends_most() -> None:
    points = [(0.0, 1.0), (0.1, 0.2), (0.15, 0.19), (0.5, 0.1), (1.0, 0.0)]
    apart = crowding(np.array(points))
    assert np.isinf(apart[[0, 4]]).all()
    assert apart[2] < apart[3]
    assert knee(points, (1.0, 1.0)) == 1
    assert knee([(3.0, 3.0)], (1.0, 1.0)) == 0


def test_costs_together_weigh_as_much_as_metrics_together() -> None:
    metrics = [Metric(name, "min") for name in ("nll", "params", "latency_ms")]
    assert Objectives(tuple(metrics)).weights == (1.0, 0.5, 0.5)


# ---------------------------------------------------------------- pruning


def test_the_median_rule_prunes_the_worse_half_of_the_fronts() -> None:
    rule = MedianRule(first=2)
    for number in range(FEW):
        rule.report(number, 2, (number / 10, 1 - number / 10))
    rule.report(20, 2, (0.05, 0.2))  # on a front of its own making
    assert not rule.prunes(20, 2)
    rule.report(21, 1, (0.95, 0.95))
    assert not rule.prunes(21, 1)  # too early
    rule.report(21, 2, (0.9, 0.9))
    assert rule.prunes(21, 2)
    rule.report(22, 1, (-1.0, 2.0))
    rule.report(22, 2, (0.9, 0.9))
    assert not rule.prunes(22, 2)  # it has been better


def test_the_median_rule_keeps_a_third_of_few_and_half_of_many() -> None:
    rule = MedianRule(first=1)
    places = np.random.default_rng(0).permutation(200)
    kept = {}
    for number, place in enumerate(places.tolist()):
        rule.report(number, 1, (float(place),))
        kept[number] = not rule.prunes(number, 1)
        better = int((places[:number] < place).sum())
        assert kept[number] == (better <= (1 / 3 if number < FEW else 1 / 2) * number)
    assert kept[0]  # nothing to compare it with
    assert 80 < sum(kept.values()) < 120


def test_a_step_that_is_repeated_counts_once() -> None:
    rule = MedianRule(first=1)
    rule.report(0, 1, (0.5,))
    rule.report(0, 1, (0.4,))
    assert not rule.prunes(0, 1)
    rule.report(1, 1, (0.45,))
    assert not rule.prunes(1, 1)


@pytest.mark.parametrize("pruner", ["median", "asha"])
def test_trials_are_stopped_by_all_objectives(make_plugin, recorder, pruner) -> None:
    plugin = make_plugin(space=SPACE, fit=TRADE)
    settings = replace(INLINE, pruner=pruner, warmup=0.2)
    result = search(Job((plugin,), Budget(trials=30), settings=settings), recorder)
    assert result.complete + result.pruned == 30
    assert result.pruned > 5
    past = recorder.past(result.study)
    objectives = Objectives((Metric("accuracy", "max"), Metric("nll", "min")))
    last = {t.start.number: objectives.vector(t.reports[max(t.reports)]) for t in past}
    stopped = {t.start.number for t in past if t.state == "pruned"}
    # All report step 1: there what was stopped is worse by rank on average.
    early = {n: objectives.vector(t.reports[1]) for n, t in enumerate(past)}
    places = dict(zip(early, ranks(list(early.values())), strict=True))
    kept = [places[n] for n in places if n not in stopped]
    assert np.mean([places[n] for n in stopped]) > np.mean(kept)
    assert {c.trial for c in result.front} <= last.keys() - stopped


# ---------------------------------------------------------------- searches


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "nsga3", "qmc"])
def test_a_search_of_several_objectives_is_resumed_alike(make_plugin, recorder, sampler) -> None:
    plugin = make_plugin(space=SPACE, fit=TRADE)
    settings = replace(INLINE, sampler=sampler, pruner="median")
    trials = 17 if sampler == "gp" else 26  # a process after 10 trials, a generation after 20
    whole = search(Job((plugin,), Budget(trials=trials), settings=settings), recorder)
    part = search(Job((plugin,), Budget(trials=12), settings=settings), recorder)
    again = resume(part.study, recorder, trials=trials)
    first, second = (recorder.past(study) for study in (whole.study, part.study))
    assert [t.start.params for t in first] == [t.start.params for t in second]
    assert [t.state for t in first] == [t.state for t in second]
    assert again.front == whole.front
    assert again.best.trial == whole.best.trial


def test_the_front_is_stored_and_its_knee_is_the_winner(make_plugin, recorder, monkeypatch) -> None:
    plugin = make_plugin(space=SPACE, fit=TRADE)
    result = search(Job((plugin,), Budget(trials=12), settings=INLINE), recorder)
    stored = pareto_front(result.study)
    assert [aim["name"] for aim in stored["objectives"]] == ["accuracy", "nll"]
    on_front = {row["number"]: row["values"] for row in stored["trials"] if row["front"]}
    assert on_front == {point.trial: point.values for point in result.front}
    assert stored["knee"] == result.best.trial == query.study(result.study)["best_number"]
    values = [point.values["accuracy"] for point in result.front]
    assert values == sorted(values, reverse=True)
    assert result.best.test  # the knee alone was scored on the test split
    told = CliRunner().invoke(app, ["front", str(result.study)])
    assert "knee" in told.stdout
    assert f"{len(on_front)} of {len(stored['trials'])} models" in told.stdout


def test_the_first_objective_need_not_be_the_problems(make_plugin, recorder) -> None:
    plugin = make_plugin(space=SPACE, fit=TRADE)
    settings = replace(INLINE, objectives="nll")
    result = search(Job((plugin,), Budget(trials=8), settings=settings), recorder)
    values = [t.value for t in recorder.past(result.study) if t.state == "complete"]
    assert (result.best.metric, result.best.value, result.front) == ("nll", min(values), ())
    assert min(values) < 0
    assert query.study(result.study)["metric"] == "nll"


def test_plugins_compete_by_fronts(make_plugin, recorder) -> None:
    good, bad = (
        make_plugin(name="good", space=SPACE, fit=TRADE),
        make_plugin(
            name="bad", space=SPACE, fit=TRADE.replace("(1 -", "(0.1 -").replace("-share", "share")
        ),
    )
    dataset = "spirals:train_size=200"
    result = search(Job((good, bad), Budget(trials=24), dataset, settings=INLINE), recorder)
    had = {standing.plugin: standing.trials for standing in result.standings}
    assert had["good"] > had["bad"]
    assert {point.plugin for point in result.front} == {"good"}


# ---------------------------------------------------------------- costs


def test_costs_are_measured_on_the_export(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = {"executor": "inline", "overrides": ("steps=6", "eval_every=3", "width=32")}
    found = automl.search(
        "selu", "digits", trials=2, objectives="latency_ms,accuracy,params,bytes", **common
    )
    stored = pareto_front(found.study)
    names = ["accuracy", "latency_ms", "params", "bytes"]  # metrics before costs
    assert [aim["name"] for aim in stored["objectives"]] == names
    first = next(row for row in stored["trials"] if row["number"] == 0)
    row = query.trial(f"{found.study}/0")
    assert row["parameters"] == first["values"]["params"]
    assert 0 < first["values"]["latency_ms"] < 100
    numbers = 4 * first["values"]["params"]
    assert numbers <= first["values"]["bytes"] < numbers + 50_000  # weights and graph
    plain = automl.search("selu", "digits", trials=1, **common)
    assert query.trial(f"{plain.study}/0")["objective"] == first["values"]["accuracy"]
    bounds = {"max_latency_ms": first["values"]["latency_ms"] / 1e3, "max_bytes": 10**9}
    slow = automl.search("selu", "digits", trials=1, **bounds, **common)
    row = query.trial(f"{slow.study}/0")
    assert (row["state"], row["stopped"], row["curves"]) == ("pruned", "latency", {})
    assert slow.best is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "acuracy"], "no objective 'acuracy'"),
        (["--objective", "params"], "are costs only"),
        (["--objective", "accuracy", "--objective", "accuracy"], "named twice"),
        (["--max-latency-ms", "5", "--target", "cppu"], "cppu"),
        (["--max-latency-ms", "5", "--target", "vr"], "cannot be measured within a search"),
        (["--target", "web"], "changes nothing"),
        (["--max-latency-ms", "-1"], "max_latency_ms=-1.0 must be at least 0"),
        (["--max-bytes", "much"], "'much' must be a size"),
        (["--sampler", "nsga2"], "needs several objectives"),
        (["--sampler", "cmaes", "--objective", "accuracy", "--objective", "nll"], "one objective"),
        (["--pruner", "hyperband", "--objective", "accuracy", "--objective", "nll"], "one objec"),
    ],
)
def test_contradictions_are_one_sentence_and_record_nothing(tmp_path, options, said) -> None:
    db = tmp_path / "a.db"
    command = ["search", "--plugin", "selu", "--dataset", "digits", "--trials", "1"]
    found = CliRunner().invoke(app, [*command, "--db", str(db), *options])
    assert isinstance(found.exception, (ConfigError, UnknownName)), found.output
    assert said in str(found.exception)
    assert not db.exists() or query.studies(str(db)) == []


def test_sizes_are_read_in_the_usual_units() -> None:
    given = ("500", "500kB", "2MB", "1.5 MB", "1g", "0")
    assert [size_in_bytes(text) for text in given] == [500, 500_000, 2 * 10**6, 1_500_000, 10**9, 0]
    for text in ("", "2TB", "-1", "MB"):
        with pytest.raises(ConfigError, match="must be a size"):
            size_in_bytes(text)


def test_json_lists_the_front(tmp_path: Path) -> None:
    options = ["--objective", "accuracy", "--objective", "params", "--set", "steps=6"]
    command = [
        "search",
        "--plugin",
        "selu",
        "--dataset",
        "digits",
        "--executor",
        "inline",
        "--json",
    ]
    db = str(tmp_path / "a.db")
    found = CliRunner().invoke(app, [*command, "--trials", "2", "--db", db, *options])
    told = json.loads(found.stdout)
    assert {row["trial"] for row in told["front"]} <= {0, 1}
    assert set(told["front"][0]["values"]) == {"accuracy", "params"}
