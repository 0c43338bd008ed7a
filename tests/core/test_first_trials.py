"""Configurations from elsewhere as the first trials of a search."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from automl.core.entrants import Job
from automl.core.projection import nearest
from automl.core.search import resume, search
from automl.core.study import Budget, SearchSettings

SETTINGS = SearchSettings(executor="inline", sampler="tpe", pruner="none")
SPACE = """
n, x = trial.suggest_categorical("n", [2, 3, 4]), trial.suggest_float("x", 0, 1)
if x == 0.125:
    from automl.core.api import ConfigError
    raise ConfigError("not this one")
return replace(base, n=n, x=x)
"""


def job(plugin: str, trials: int, *params: dict, **changes) -> Job:
    first = tuple({"plugin": "tested", "params": p, "origin": {"trial": "1/2"}} for p in params)
    return Job((plugin,), Budget(trials=trials), settings=SETTINGS, first=first, **changes)


def configs(recorder, study: int) -> list[dict]:
    return [trial.start.config for trial in recorder.past(study)]


def test_they_follow_trial_0_as_near_as_the_space_allows_and_are_recorded(
    make_plugin, recorder
) -> None:
    wanted = ({"x": 7, "n": 4}, {"x": 0.9, "n": 99, "gone": 1}, {"x": 1.0, "n": 4}, {"x": 0.125})
    study = search(job(make_plugin(space=SPACE), 5, *wanted), recorder).study
    assert configs(recorder, study)[:3] == [
        {"x": 0.5, "n": 3}, {"x": 1.0, "n": 4}, {"x": 0.9, "n": 3}
    ]  # fmt: skip
    assert recorder.spec(study).settings["plugins"]["tested"]["first"] == [
        {"params": {"x": 1.0, "n": 4}, "origin": {"trial": "1/2"}},
        {"params": {"x": 0.9, "n": 3}, "origin": {"trial": "1/2"}},
    ]


@pytest.mark.parametrize("done", [1, 2, 3, 6])
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(make_plugin, recorder, done) -> None:
    plugin = make_plugin(space=SPACE)
    wanted = ({"x": 0.75, "n": 2}, {"x": 0.25}, {"x": 0.875})
    whole = search(job(plugin, 8, *wanted), recorder).study
    part = search(job(plugin, done, *wanted), recorder).study
    resume(part, recorder, trials=8)
    assert configs(recorder, part) == configs(recorder, whole)
    assert [config["x"] for config in configs(recorder, whole)[:4]] == [0.5, 0.75, 0.25, 0.875]


@pytest.mark.parametrize("done", [2, 3, 6])
def test_two_that_are_no_better_than_trial_0_end_it(make_plugin, recorder, done) -> None:
    plugin = make_plugin(space=SPACE)
    wanted = ({"x": 0.25}, {"x": 0.375}, {"x": 0.0625})
    study = search(job(plugin, done, *wanted), recorder).study
    resume(study, recorder, trials=6)
    found = [config["x"] for config in configs(recorder, study)]
    assert found[:3] == [0.5, 0.25, 0.375]
    assert 0.0625 not in found


def test_a_fixed_setting_stays_as_it_is(make_plugin, recorder) -> None:
    started = job(make_plugin(space=SPACE), 2, {"x": 0.75, "n": 2}, overrides=("n=4",))
    study = search(started, recorder).study
    assert configs(recorder, study) == [{"x": 0.5, "n": 4}, {"x": 0.75, "n": 4}]


NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6))


@given(NUMBERS, st.integers(-50, 50), st.integers(0, 50), st.integers(1, 7))
def test_the_nearest_integer_is_allowed_and_nothing_allowed_is_nearer(
    value, low, width, step
) -> None:
    allowed = range(low, low + width + 1, step)
    found = nearest(value, IntDistribution(low, allowed[-1], step=step))
    assert found in allowed
    assert abs(found - value) <= min(abs(other - value) for other in allowed) + 1e-9


@given(NUMBERS, st.floats(-100, 100), st.floats(0, 100))
def test_the_nearest_float_is_the_clipped_one(value, low, width) -> None:
    found = nearest(value, FloatDistribution(low, low + width))
    assert found == min(max(value, low), low + width)


def test_what_is_of_another_kind_has_no_nearest() -> None:
    choices = CategoricalDistribution([1, 0.5, "a", None])
    assert nearest("a", choices) == "a"
    assert nearest(True, choices) is None
    assert nearest("b", choices) is None
    for value in ("3", None, True, math.nan, math.inf):
        assert nearest(value, FloatDistribution(0, 1)) is None
