"""Several plugins under one budget: exact, fair, repeatable, resumable, faults contained."""

from collections import Counter
from dataclasses import replace

import pytest

from automl.core.cards import Metric
from automl.core.entrants import Job
from automl.core.errors import AutoMLError, ConfigError
from automl.core.objectives import Objectives
from automl.core.observer import Silent
from automl.core.search import resume, search
from automl.core.study import Budget, SearchSettings
from automl.core.tournament import HOPELESS, Tally, TournamentPlan
from automl.dataset_db import models, query, ranking
from automl.ui import actions

INLINE = SearchSettings(executor="inline", sampler="random", pruner="none")
SPACE = 'return replace(base, x={low} + ({high} - {low}) * trial.suggest_float("x", 0, 1))'
DATASET = "spirals:train_size=200"


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notice(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)


@pytest.fixture
def rivals(make_plugin) -> tuple[str, ...]:
    """Three plugins, of which the second is the best and the last the worst."""
    ranges = {"good": (0.5, 0.7), "better": (0.8, 0.9), "bad": (0.0, 0.4)}
    return tuple(
        make_plugin(name=name, space=SPACE.format(low=low, high=high))
        for name, (low, high) in ranges.items()
    )


def turns(recorder, study: int) -> list[str]:
    return [trial.start.plugin for trial in recorder.past(study)]


def test_every_plugin_gets_a_trial_and_the_best_gets_most(rivals, recorder) -> None:
    job = Job(rivals, Budget(trials=30), DATASET, settings=INLINE)
    result = search(job, recorder)
    had = turns(recorder, result.study)
    assert had[:3] == ["bad", "better", "good"]
    counts = Counter(had)
    assert counts["better"] > counts["good"] >= counts["bad"] >= 2
    assert result.best is not None
    assert result.best.plugin == "better"
    assert set(result.best.test) == {"accuracy", "nll"}
    assert [standing.plugin for standing in result.standings] == ["better", "good", "bad"]
    assert {s.plugin: s.trials for s in result.standings} == dict(counts)
    spec = recorder.spec(result.study)
    assert set(spec.space) == {"good", "better", "bad"}
    assert spec.plugin == "bad, better, good"


@pytest.mark.parametrize("workers", [2, 4])
def test_the_budget_is_exact_in_parallel(rivals, recorder, workers) -> None:
    settings = replace(INLINE, executor="processes", workers=workers)
    result = search(Job(rivals, Budget(trials=9), DATASET, settings=settings), recorder)
    assert result.complete == 9
    assert [t.start.number for t in recorder.past(result.study)] == list(range(9))


def test_the_same_seed_gives_the_same_tournament_also_when_resumed(rivals, recorder) -> None:
    settings = replace(INLINE, sampler="tpe")

    def history(study: int) -> list[tuple[str, dict]]:
        return [(t.start.plugin, t.start.config) for t in recorder.past(study)]

    whole = search(Job(rivals, Budget(trials=16), DATASET, settings=settings), recorder)
    again = search(Job(rivals, Budget(trials=16), DATASET, settings=settings), recorder)
    part = search(Job(rivals, Budget(trials=7), DATASET, settings=settings), recorder)
    rest = resume(part.study, recorder, trials=16)
    assert history(whole.study) == history(again.study) == history(rest.study)
    assert rest.best == replace(whole.best, test=rest.best.test)
    assert rest.standings == whole.standings


def test_a_plugin_that_only_fails_does_not_take_down_the_rest(make_plugin, recorder) -> None:
    plugins = (make_plugin(name="sound"), make_plugin(name="broken", fit="raise OSError('no')"))
    result = search(Job(plugins, Budget(trials=12), DATASET, settings=INLINE), recorder)
    assert (result.state, result.failed, result.complete) == ("complete", 2, 10)
    assert [(s.plugin, s.value is None) for s in result.standings] == [
        ("sound", False),
        ("broken", True),
    ]


def test_a_plugin_that_only_fails_has_no_more_turns_unless_all_do() -> None:
    plan = TournamentPlan({"sound": None, "broken": None}, Objectives((Metric("accuracy", "max"),)))
    plan.tallies["sound"] = Tally(500, 0, [(0.5,)] * 500)
    plan.tallies["broken"] = Tally(HOPELESS, HOPELESS - 1)
    assert plan.turn() == "broken"  # it promises more: so little was tried
    plan.tallies["broken"].failed = HOPELESS
    assert plan.turn() == "sound"
    plan.tallies["sound"] = Tally(HOPELESS + 1, HOPELESS + 1)
    assert plan.turn() == "broken"


def test_if_all_fail_the_study_does(make_plugin, recorder) -> None:
    fit = "raise OSError('no')"
    plugins = (make_plugin(name="one", fit=fit), make_plugin(name="two", fit=fit))
    result = search(Job(plugins, Budget(trials=50), DATASET, settings=INLINE), recorder)
    assert result.state == "failed"
    assert result.failed == INLINE.max_failures


def test_settings_name_their_plugin(rivals, recorder) -> None:
    job = Job(rivals, Budget(trials=3), DATASET, ("good.n=2", "bad.n=1"), settings=INLINE)
    study = search(job, recorder).study
    configs = {t.start.plugin: t.start.config for t in recorder.past(study)}
    assert (configs["good"]["n"], configs["better"]["n"], configs["bad"]["n"]) == (2, 3, 1)
    for text in ("n=2", "other.n=2"):
        with pytest.raises(ConfigError, match="names no plugin: several compete"):
            search(replace(job, overrides=(text,)), recorder)


def test_a_slow_plugin_leaves_time_for_the_others(make_plugin, recorder) -> None:
    slow = """
    for step in range(1, 10_000):
        time.sleep(0.02)
        run.report(step, {"accuracy": config.x, "nll": 1.0})
    """
    plugins = (make_plugin(name="a_slow", fit=slow), make_plugin(name="b_fast"))
    listener = Listener()
    job = Job(plugins, Budget(timeout=8), DATASET, settings=replace(INLINE, max_failures=50))
    result = search(job, recorder, listener)
    assert "a trial ends at its first report after 2 seconds" in " ".join(listener.told)
    assert {s.plugin for s in result.standings if s.value is not None} == {"a_slow", "b_fast"}


@pytest.mark.usefixtures("ready_nursery")
def test_who_never_reports_does_not_keep_the_others_waiting(make_plugin, recorder) -> None:
    plugins = (make_plugin(name="never", fit="time.sleep(600)"), make_plugin(name="quick"))
    settings = replace(INLINE, executor="processes", workers=1)
    budget = Budget(trials=2, timeout=30)
    result = search(Job(plugins, budget, DATASET, settings=settings), recorder)
    assert [(t.start.plugin, t.state) for t in recorder.past(result.study)] == [
        ("never", "failed"),
        ("quick", "complete"),
    ]


def test_what_cannot_take_part_is_left_out_or_refused(rivals, recorder) -> None:
    listener = Listener()
    job = Job((), Budget(trials=2), "spirals:train_size=200", settings=INLINE)
    short = ("ctm.steps=2", "ctm.iterations=2", "gradnoise.steps=2")
    spec = recorder.spec(search(replace(job, overrides=short), recorder, listener).study)
    taking_part = {plugin.name for plugin in spec.plugins}
    assert {"ctm", "gradnoise", "ntk_svm", "selu", "spiking"} <= taking_part
    assert "continual" not in taking_part
    assert any("continual does not take part: dataset" in text for text in listener.told)
    assert any("not every one is tried" in text for text in listener.told)
    with pytest.raises(ConfigError, match="cannot learn dataset"):
        search(Job((*rivals, "ptrnet"), Budget(trials=3), DATASET, settings=INLINE), recorder)
    with pytest.raises(ConfigError, match="name a dataset for several plugins"):
        search(Job(rivals, Budget(trials=3), settings=INLINE), recorder)
    with pytest.raises(AutoMLError, match="no technique named"):
        search(
            Job(rivals, Budget(trials=3), DATASET, techniques=("no",), settings=INLINE), recorder
        )


def test_one_leaderboard_for_all_searches_on_a_dataset(rivals, make_plugin, recorder) -> None:
    study = search(Job(rivals, Budget(trials=9), DATASET, settings=INLINE), recorder).study
    alone = make_plugin(name="alone", space="return replace(base, x=0.95)")
    job = Job((alone,), Budget(trials=2), DATASET, settings=INLINE)
    other = search(job, recorder).study
    board = ranking.leaderboard(DATASET)
    assert [(r["rank"], r["plugin"]) for r in board["rows"]] == [
        (1, "alone"), (2, "better"), (3, "good"), (4, "bad"),
    ]  # fmt: skip
    assert board["rows"][0]["reference"] == query.best(study=other)
    assert board["rows"][0]["test"] == pytest.approx(0.95)
    assert board["rows"][1]["reference"] == query.best(study=study)
    assert board["rows"][2]["test"] is None  # no winner, so never scored on the test split
    assert board == ranking.leaderboard()
    assert ranking.ranked_datasets() == [DATASET]
    assert set(models(study=study)["plugin"]) == {"good", "better", "bad"}
    assert set(models(plugin="better")["plugin"]) == {"better"}
    assert query.best(plugin="good").startswith(f"{study}/")
    assert [row["id"] for row in query.studies(plugin="better")] == [study]
    with pytest.raises(AutoMLError, match="nothing was searched on dataset 'spirls'"):
        ranking.leaderboard("spirls")


def test_the_model_of_any_plugin_is_found_again(rivals, recorder) -> None:
    study = search(Job(rivals, Budget(trials=6), DATASET, settings=INLINE), recorder).study
    recorder.flush()
    for trial in recorder.past(study):
        row = actions.show(f"{study}/{trial.start.number}", code=True)
        assert row["plugin"] == trial.start.plugin
        assert actions.task_of(row).plugin.endswith(f"plugin_{row['plugin']}")


@pytest.mark.slow
def test_digits_are_learnt_and_ranked_across_papers(recorder) -> None:
    short = (
        "selu.steps=200", "selu.depth=2", "selu.width=64", "ctm.steps=250", "ctm.warmup=10",
        "ctm.iterations=6", "ctm.d_model=32", "ctm.d_input=32",
        "spiking.steps=150", "spiking.time_steps=8",
    )  # fmt: skip
    plugins = ("selu", "ctm", "spiking", "ntk_svm")
    settings = replace(INLINE, seed=1)
    job = Job(plugins, Budget(trials=4), "digits", short, settings=settings)
    result = search(job, recorder)
    assert (result.complete, result.failed) == (4, 0)
    board = ranking.leaderboard("digits")
    assert {row["plugin"] for row in board["rows"]} == set(plugins)
    assert board["rows"][0]["test"] > 0.9
    assert all(row["value"] > 0.3 for row in board["rows"])  # a tenth would be chance
