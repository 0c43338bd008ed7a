"""Samplers and pruners: what they propose, whom they stop, and that a resume goes on alike."""

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.core.choosing import Shape, suited
from automl.core.entrants import Job
from automl.core.errors import ConfigError
from automl.core.objectives import ranks
from automl.core.observer import Silent
from automl.core.pruning import Rungs, power_law
from automl.core.record import TrialStart
from automl.core.sampling import derived_seed, make_sampler
from automl.core.search import resume, search
from automl.core.study import Budget, SearchSettings

INLINE = SearchSettings(executor="inline", sampler="random", pruner="none")
# Two numbers; and a space in which one exists only where the other is large.
PLANE = """
x = trial.suggest_float("x", 0, 1)
return replace(base, x=x, n=trial.suggest_int("n", 2, 9))
"""
CONDITIONAL = """
x = trial.suggest_float("x", 0, 1)
return replace(base, x=x, n=trial.suggest_int("n", 2, 9) if x > 0.5 else 2)
"""
# Goes on from its checkpoint, and writes down each step that it does.
STEPS = """
import pathlib
kept = run.restore() or {"step": 0}
steps = pathlib.Path(r"%s")
for step in range(kept["step"] + 1, config.n + 1):
    with steps.open("a") as file:
        file.write(f"{config.x:.6f} {step}\\n")
    scores = {"accuracy": config.x * step / config.n, "nll": 1.0}
    run.report(step, scores, state=lambda: {"step": step})
"""


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notice(self, text: str) -> None:
        """Keep it."""
        self.told.append(text)


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_a_resumed_model_of_the_space_goes_on_alike(make_plugin, recorder, sampler) -> None:
    plugin = make_plugin(space=PLANE)
    settings = replace(INLINE, sampler=sampler)
    whole = search(Job((plugin,), Budget(trials=24), settings=settings), recorder)
    part = search(Job((plugin,), Budget(trials=15), settings=settings), recorder)
    resume(part.study, recorder, trials=24)
    expected, found = (
        [trial.start.params for trial in recorder.past(study)]
        for study in (whole.study, part.study)
    )
    assert expected == found
    assert whole.best is not None
    assert whole.best.value > 0.7  # trial 0 has 0.5


def test_auto_says_what_it_chose_and_keeps_to_it(make_plugin, recorder) -> None:
    listener = Listener()
    settings = replace(INLINE, sampler="auto")
    job = Job((make_plugin(space=PLANE),), Budget(trials=4), settings=settings)
    study = search(job, recorder, listener).study
    assert "sampler qmc: 4 trials are too few for a model of the space" in listener.told
    assert recorder.spec(study).settings["search"]["sampler"] == "qmc"
    conditional = make_plugin(space=CONDITIONAL, name="conditional")
    search(replace(job, plugins=(conditional,)), recorder, listener)
    assert "sampler tpe: the space is conditional" in listener.told


@pytest.mark.parametrize(
    ("space", "trials", "sampler"),
    [
        (Shape(5, 0, ()), 5, "qmc"),
        (Shape(5, 0, ()), 12, "tpe"),
        (Shape(5, 0, ()), 100, "gp"),
        (Shape(5, 0, ()), 5000, "cmaes"),
        (Shape(5, 0, ()), None, "tpe"),
        (Shape(5, 2, ()), 100, "tpe"),
        (Shape(5, 0, ("x",)), 5, "tpe"),
    ],
)
def test_what_suits_a_space(space, trials, sampler) -> None:
    assert suited(space, trials)[0] == sampler


@pytest.mark.parametrize(
    ("sampler", "space", "reason"),
    [
        ("gp", CONDITIONAL, "n are not in every configuration"),
        ("cmaes", CONDITIONAL, "n are not in every configuration"),
        ("cmaes", 'return replace(base, x=trial.suggest_float("x", 0, 1))', "the space has 1"),
    ],
)
def test_a_sampler_that_cannot_search_the_space_is_refused(
    make_plugin, recorder, sampler, space, reason
) -> None:
    job = Job((make_plugin(space=space),), Budget(trials=4))
    with pytest.raises(ConfigError, match=reason):
        search(replace(job, settings=replace(INLINE, sampler=sampler)), recorder)


@pytest.mark.parametrize("pruner", ["hyperband", "patience", "extrapolation"])
def test_the_hopeless_are_pruned(make_plugin, recorder, pruner) -> None:
    body = """
    for step in range(1, config.n + 1):
        run.report(step, {"accuracy": config.x * (1 - 0.5 * step**-0.5), "nll": 1.0})
    """
    if pruner == "patience":  # only who no longer improves
        body = body.replace("(1 - 0.5 * step**-0.5)", "(1 - 0.01 * step)")
    settings = replace(INLINE, pruner=pruner, warmup=0.2)
    job = Job((make_plugin(fit=body),), Budget(trials=25), overrides=("n=20",), settings=settings)
    result = search(job, recorder)
    past = recorder.past(result.study)
    pruned = [trial for trial in past if trial.state == "pruned"]
    assert 0 < len(pruned) < len(past)
    assert min(max(trial.reports) for trial in pruned) >= 4
    # the best configuration is among those that were trained to the end
    best = max(past, key=lambda trial: trial.start.config["x"])
    if pruner != "hyperband":  # its brackets stop early whoever is not among the best so far
        assert best.state == "complete"


def test_asha_pauses_and_goes_on_from_the_checkpoint(make_plugin, recorder, tmp_path) -> None:
    steps = tmp_path / "steps"
    settings = replace(INLINE, pruner="asha", warmup=0.1)
    plugin = make_plugin(fit=STEPS % steps)
    job = Job((plugin,), Budget(trials=12), overrides=("n=20",), settings=settings)
    result = search(job, recorder)
    assert (result.state, result.complete + result.pruned) == ("complete", 12)
    assert result.best is not None
    done = steps.read_text().splitlines()
    assert len(done) == len(set(done))  # no step was done twice
    assert len(done) < 12 * 20 / 2
    past = recorder.past(result.study)
    best = max(past, key=lambda trial: trial.start.config["x"])
    assert (best.start.number, best.state) == (result.best.trial, "complete")
    assert not list(recorder.folder(result.study).glob("*checkpoint*"))


def test_a_paused_trial_is_paused_after_a_resume(make_plugin, recorder, tmp_path) -> None:
    settings = replace(INLINE, pruner="asha", warmup=0.1, executor="inline")
    plugin = make_plugin(fit=STEPS % (tmp_path / "steps") + "    time.sleep(0.02)\n")
    budget = Budget(trials=12, timeout=0.9)
    job = Job((plugin,), budget, overrides=("n=20",), settings=settings)
    first = search(job, recorder)
    assert first.state == "exhausted"
    result = resume(first.study, recorder, timeout=60)
    assert (result.state, result.complete + result.pruned) == ("complete", 12)
    assert result.complete >= 1
    done = (tmp_path / "steps").read_text().splitlines()
    assert len(done) - len(set(done)) <= 1  # the one that the clock interrupted


TWENTY_STEPS = """
kept = run.restore() or {{"step": 0}}
for step in range(kept["step"] + 1, 21):
    run.report(step, {{"accuracy": {value}, "nll": 1.0}}, state=lambda: {{"step": step}})
"""


def three_rungs(make_plugin, value: str) -> str:
    """A plugin of 20 steps, of which the first, third and ninth tenth may be rungs."""
    fit = TWENTY_STEPS.format(value=value)
    plugin = make_plugin(fit=fit, space=PLANE.replace("2, 9", "9, 40"))
    code = Path(plugin) / "plugin.py"
    code.write_text(code.read_text().replace("setting(3", "setting(20"))
    return plugin


@pytest.mark.parametrize("sampler", ["gp", "cmaes"])
def test_a_sampler_learns_from_paused_trials_before_any_is_complete(
    make_plugin, recorder, sampler
) -> None:
    plugin = three_rungs(make_plugin, "config.x * step")
    settings = replace(INLINE, sampler=sampler, pruner="asha", warmup=0.1)
    study = search(Job((plugin,), Budget(trials=26), settings=settings), recorder).study
    found = [trial.start.params["x"] for trial in recorder.past(study)]
    assert sum(found[-8:]) / 8 > 0.65  # at random it is 0.5


class CtrlC(Listener):
    """Presses Ctrl-C as a trial begins, once; counts how often each trial was handed out."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.at, self.starts = at, Counter[int]()

    def trial_started(self, trial: TrialStart) -> None:
        self.starts[trial.number] += 1
        if trial.number == self.at:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_what_a_promoted_trial_came_to_is_told_to_the_sampler(
    make_plugin, recorder, sampler
) -> None:
    # what is good early is bad in the end
    plugin = three_rungs(make_plugin, "config.x + (1 - 2 * config.x) * step / 20")
    settings = replace(INLINE, sampler=sampler, pruner="asha", warmup=0.1)
    job = Job((plugin,), Budget(trials=26), settings=settings)
    watched = CtrlC(None)
    whole = search(job, recorder, watched)
    past = recorder.past(whole.study)
    promoted = [n for n, times in watched.starts.items() if times > 1]
    assert any(past[number].state == "complete" for number in promoted)
    part = search(job, recorder, CtrlC(22))
    assert part.state == "interrupted"
    assert resume(part.study, recorder).state == "complete"
    again = recorder.past(part.study)
    assert [trial.start.params for trial in again] == [trial.start.params for trial in past]
    assert [(t.state, t.value) for t in again] == [(t.state, t.value) for t in past]


def test_a_trial_that_fails_while_it_is_paused_is_not_run_again(make_plugin, recorder) -> None:
    body = """
    try:
        for step in range(1, config.n + 1):
            run.report(step, {"accuracy": config.x * step / config.n, "nll": 1.0})
    except BaseException:
        if config.x == 0.5:  # trial 0
            raise RuntimeError("no room for the checkpoint")
        raise
    """
    settings = replace(INLINE, pruner="asha", warmup=0.1)
    job = Job((make_plugin(fit=body),), Budget(trials=6), overrides=("n=20",), settings=settings)
    result = search(job, recorder)
    assert (result.failed, result.complete + result.pruned) == (1, 5)
    assert recorder.past(result.study)[0].state == "failed"


def test_several_plugins_pause_side_by_side(make_plugin, recorder, tmp_path) -> None:
    settings = replace(INLINE, pruner="asha", warmup=0.1)
    plugins = tuple(
        make_plugin(fit=STEPS % (tmp_path / name), name=name) for name in ("one", "two")
    )
    overrides = ("one.n=20", "two.n=20")
    job = Job(plugins, Budget(trials=14), "spirals:train_size=200", overrides, settings=settings)
    result = search(job, recorder)
    assert (result.state, result.complete + result.pruned) == ("complete", 14)
    for name in ("one", "two"):
        done = (tmp_path / name).read_text().splitlines()
        assert len(done) == len(set(done))


@given(st.data(), st.integers(1, 3))
def test_rungs_end_with_a_model_and_promote_the_best_third(data, objectives) -> None:
    vector = st.tuples(*[st.floats(0, 1)] * objectives)
    vectors = data.draw(st.lists(vector, min_size=1, max_size=40))
    rungs = Rungs(1, 27)
    running = list(enumerate(vectors))
    while running:
        number, value = running.pop(0)
        for step in range(1, 28):
            if rungs.passed.get(number, 0) < len(rungs.levels) and rungs.pauses(
                number, step, value
            ):
                break
        if not running:
            promoted = rungs.promote(final=True)
            if promoted is not None:
                running.append((promoted, vectors[promoted]))
    assert rungs.through()
    for rung, scores in enumerate(rungs.scores[1:]):
        assert len(scores) <= max(1, len(rungs.scores[rung]))
    front = {n for n, rank in enumerate(ranks(vectors)) if rank == 0}
    assert front & rungs.through()


def test_a_power_law_is_read_off_at_the_last_step() -> None:
    import numpy as np

    steps = np.arange(1.0, 8.0)
    forecast, deviation = power_law(steps, 0.9 - 0.4 * steps**-0.5, 100.0)
    assert forecast == pytest.approx(0.9 - 0.4 * 100**-0.5, abs=1e-6)
    assert deviation < 1e-6


SPACE = {
    "rate": optuna.distributions.FloatDistribution(1e-5, 1, log=True),
    "width": optuna.distributions.IntDistribution(8, 64, step=8),
    "kind": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
}


def test_random_search_draws_what_optunas_does() -> None:
    ours = make_sampler("random", 3, False)
    study = optuna.create_study(sampler=ours)
    for number in range(5):
        trial = study.ask()
        theirs = optuna.samplers.RandomSampler(derived_seed(3, "random", number))
        for name, range_ in SPACE.items():
            expected = theirs.sample_independent(study, None, name, range_)
            assert trial._suggest(name, range_) == expected
        study.tell(trial, 0.0)
