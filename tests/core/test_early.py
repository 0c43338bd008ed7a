"""Proposals while few trials are known."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from automl.core import early
from automl.core.early import expected_improvement, normal_scores, propose
from automl.core.sampling import EARLY, FIRST, make_sampler, reached

SPACE = {
    "rate": FloatDistribution(1e-5, 1, log=True),
    "width": IntDistribution(8, 64, step=8),
    "share": FloatDistribution(0, 1),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}


def drawn(seed: int, count: int) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        {
            "rate": float(10 ** rng.uniform(-5, 0)),
            "width": int(8 * rng.integers(1, 9)),
            "share": float(rng.random()),
            "kind": str(rng.choice(["a", "b", "c"])),
        }
        for _ in range(count)
    ]


def quality(one: dict) -> float:
    return -abs(math.log10(one["rate"]) + 2) - abs(one["share"] - 0.3) - (one["kind"] != "b")


def test_expected_improvement_is_that_of_scikit_learn(monkeypatch) -> None:
    monkeypatch.setattr(early, "SPREAD", 0.0)  # all processes are one
    rng = np.random.default_rng(0)
    points, asked, scores = rng.random((7, 3)), rng.random((50, 3)), rng.standard_normal(7)
    found = expected_improvement(points, scores, asked, rng) / early.PROCESSES
    oracle = GaussianProcessRegressor(
        Matern(early.SCALE, "fixed", nu=2.5), alpha=early.NOISE, optimizer=None
    ).fit(points, scores)
    mean, deviation = oracle.predict(asked, return_std=True)
    gain = (mean - scores.max()) / deviation
    wanted = deviation * (gain * norm.cdf(gain) + norm.pdf(gain))
    assert found == pytest.approx(wanted, rel=1e-6)


@settings(max_examples=25)
@given(count=st.integers(1, 12), seed=st.integers(0, 1000), same=st.booleans())
def test_a_proposal_is_of_the_space_and_the_seeds_alone(count: int, seed: int, same: bool) -> None:
    known = drawn(seed, count)
    worth = [0.0 if same else quality(one) for one in known]
    one, two = (propose(SPACE, known, worth, np.random.default_rng(seed)) for _ in range(2))
    assert one == two
    assert one.keys() == SPACE.keys()
    for name, value in one.items():
        assert SPACE[name]._contains(SPACE[name].to_internal_repr(value)), (name, value)


def test_only_the_order_of_what_was_reached_counts() -> None:
    known = drawn(1, 8)
    worth = [quality(one) for one in known]
    worst = worth.index(min(worth))
    diverged = [*worth[:worst], -1e30, *worth[worst + 1 :]]
    nothing = [*worth[:worst], -math.inf, *worth[worst + 1 :]]
    found = [
        propose(SPACE, known, each, np.random.default_rng(3)) for each in (worth, diverged, nothing)
    ]
    assert found[0] == found[1] == found[2]
    scores = normal_scores(worth)
    assert (np.argsort(scores) == np.argsort(worth)).all()
    assert scores.std() == pytest.approx(1)


def test_proposals_lie_where_it_was_good() -> None:
    known = drawn(2, 12)
    worth = [quality(one) for one in known]
    found = [propose(SPACE, known, worth, np.random.default_rng(seed)) for seed in range(20)]
    assert np.mean([quality(one) for one in found]) > np.quantile(worth, 0.8)


def best_of(name: str, seed: int, trials: int) -> float:
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, seed, False))
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, quality(trial.params))
    return study.best_value


def test_ten_trials_of_tpe_beat_ten_at_random() -> None:
    pairs = [(best_of("tpe", seed, 10), best_of("random", seed, 10)) for seed in range(20)]
    assert sum(tpe > random for tpe, random in pairs) > sum(tpe < random for tpe, random in pairs)
    assert np.mean([tpe - random for tpe, random in pairs]) > 0.1


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_a_trial_reached_is_its_best_report_or_value(direction) -> None:
    def trial(**told) -> optuna.trial.FrozenTrial:
        state = optuna.trial.TrialState.COMPLETE if "value" in told else None
        return optuna.trial.create_trial(state=state or optuna.trial.TrialState.PRUNED, **told)

    goal = optuna.study.StudyDirection[direction.upper()]
    sign = 1 if direction == "maximize" else -1
    told = {1: 1.0, 2: 3.0, 3: -1.0, 4: math.nan}
    assert reached(trial(intermediate_values=told), goal) == (3.0 if sign > 0 else 1.0)
    assert reached(trial(intermediate_values=told, value=7.0 * sign), goal) == 7.0
    assert reached(trial(intermediate_values={1: math.nan}), goal) == -math.inf


def test_the_first_are_random_and_processes_leave_every_other_one_to_tpe(monkeypatch) -> None:
    asked: list[int] = []
    study = optuna.create_study(direction="maximize", sampler=make_sampler("tpe", 0, False))

    def noted(space, known, worth, rng):
        asked.append(len(known))
        return propose(space, known, worth, rng)

    monkeypatch.setattr("automl.core.sampling.propose", noted)
    for _ in range(EARLY + 6):
        trial = study.ask(SPACE)
        study.tell(trial, quality(trial.params))
    assert asked == [*range(FIRST, 10), *range(10, EARLY, 2)]


def test_running_trials_are_places_where_nothing_is_gained() -> None:
    study = optuna.create_study(direction="maximize", sampler=make_sampler("tpe", 0, True))
    for one in drawn(4, 6):
        study.add_trial(
            optuna.trial.create_trial(params=one, distributions=SPACE, value=quality(one))
        )
    proposed = [study.ask(SPACE).params for _ in range(4)]  # at once, none of them ended
    rates = [math.log10(one["rate"]) for one in proposed]
    assert max(rates) - min(rates) > 0.5
