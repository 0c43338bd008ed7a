"""What earlier studies suggest to a new one, on both engines."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.core.errors import ConfigError, UnknownName
from automl.core.record import StudySpec
from automl.dataset_db.lemur.importer import import_lemur
from automl.dataset_db.store import Store
from automl.dataset_db.transfer import (
    Newcomer,
    Past,
    by_metadata,
    correlation,
    first_trials,
    portfolio,
)
from tests.dataset_db.test_lemur import record, wheel
from tests.dataset_db.test_ranking import ABOUT, NET

PROBLEM = "tabular-classification"
BASE = {"x": 0.5, "n": 3}


def info(train: int, inputs: int = 2, classes: int = 2) -> dict:
    """A dataset's facts."""
    return {
        "problem": PROBLEM, "sizes": {"train": train}, "shapes": {"x": [inputs]},
        "classes": classes,
    }  # fmt: skip


NEW = Newcomer("tested", "new", info(1000), "accuracy", BASE)


@pytest.fixture
def searched(store: Store, spec: StudySpec, run_trial):
    """Records a search on a dataset: the value that each x reached."""

    def make(dataset: str, facts: dict, found: dict[float, float], **changes) -> int:
        study = store.create_study(replace(spec, dataset=dataset, info=facts, **changes))
        for number, (x, value) in enumerate(found.items()):
            run_trial(store, study, number, value, x=x)
        store.close_study(study, "complete", None, 1.0)
        return study

    return make


def xs(found: list[dict]) -> list[float]:
    return [each["params"]["x"] for each in found]


def test_the_best_of_similar_datasets_come_first_with_where_they_come_from(db, searched) -> None:
    near = searched("near", info(2000), {0.5: 0.6, 0.1: 0.9, 0.2: 0.7, 0.3: 0.5})
    searched("far", info(10**6, 3000, 1000), {0.5: 0.1, 0.9: 0.9})
    found = first_trials(NEW, db=db)
    assert xs(found) == [0.1, 0.2]  # not 0.3, which is worse than trial 0, nor what is far
    assert found[0]["origin"] == {
        "trial": f"{near}/1", "dataset": "near", "similarity": 0.75, "value": 0.9
    }  # fmt: skip
    assert xs(first_trials(NEW, count=1, db=db)) == [0.1]
    assert xs(first_trials(NEW, "far", db=db)) == [0.9]
    assert xs(first_trials(NEW, str(near), db=db)) == [0.1, 0.2]


def test_other_plugins_problems_and_metrics_do_not_count(db, searched) -> None:
    searched("near", info(1000), {0.1: 0.9})
    for other in (
        replace(NEW, plugin="another"),
        replace(NEW, metric="nll"),
        replace(NEW, info={**NEW.info, "problem": "regression"}),
    ):
        assert first_trials(other, db=db) == []


def test_landmarks_outweigh_metadata(db, searched) -> None:
    scale = [0.1, 0.2, 0.3, 0.4, 0.6]
    searched("new", info(1000), {x: x for x in scale})
    searched("alike", info(1500), {x: x + 0.1 for x in scale} | {0.95: 0.9})
    searched("opposite", info(1000), {x: 1 - x for x in scale} | {0.05: 0.99})
    found = first_trials(replace(NEW, base={}), db=db)
    assert {0.95, 0.6} <= set(xs(found))  # the new dataset's own best, and of the one alike
    assert "opposite" not in {each["origin"]["dataset"] for each in found}


def test_a_wrong_source_is_refused_in_one_sentence(db, searched) -> None:
    study = searched("near", info(1000), {0.1: 0.9})
    images = replace(NEW, info={**NEW.info, "problem": "image-classification"})
    for newcomer, source, error, text in (
        (NEW, "99", UnknownName, "no search or import 99"),
        (NEW, "neer", UnknownName, "Did you mean 'near'"),
        (images, "near", ConfigError, "only one of the same problem"),
        (images, str(study), ConfigError, "only one of the same problem"),
    ):
        with pytest.raises(error, match=text):
            first_trials(newcomer, source, db=db)
    with pytest.raises(ConfigError, match="warm_trials=0"):
        first_trials(NEW, count=0, db=db)


def test_published_trials_of_a_network_count_by_its_name(db: str, tmp_path: Path) -> None:
    files = dict(ABOUT)
    for name in ("cnn", "rnn"):
        files[f"ab/nn/nn/{name}.py"] = NET
        told = [record(uid, score, duration=None) for uid, score in enumerate((0.75, 0.5))]
        files[f"ab/nn/stat/train/img-classification_svhn_acc_{name}/1.json"] = json.dumps(told)
    import_lemur(wheel(tmp_path / "some.whl", files), db)
    facts = {**info(1000), "problem": "image-classification"}
    newcomer = Newcomer("lemur", "digits", facts, "accuracy", {}, ("cnn",))
    found = first_trials(newcomer, db=db)
    assert [each["origin"]["value"] for each in found] == [0.75, 0.5]
    assert {"lr", "prm.lr", "batch"} <= found[0]["params"].keys()
    assert first_trials(replace(newcomer, networks=("gnn",)), db=db) == []


RANKS = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1), max_size=8)
PASTS = st.lists(
    st.builds(Past, st.text(max_size=3), st.floats(0.1, 1), st.floats(0, 1), RANKS), max_size=5
)


@given(PASTS, st.integers(1, 6))
def test_a_portfolio_is_distinct_short_and_nowhere_all_in_vain(pasts, count) -> None:
    chosen = portfolio(pasts, count)
    assert len(chosen) == len(set(chosen)) <= count
    for name in chosen:
        assert any(past.ranks.get(name, 2.0) < past.start for past in pasts)
    assert chosen == portfolio(pasts, count + 1)[: len(chosen)]


def test_a_portfolio_covers_datasets_before_it_repeats() -> None:
    one = Past("one", 1.0, 1.0, {"a": 0.0, "b": 0.1, "c": 0.2})
    two = Past("two", 0.9, 1.0, {"d": 0.0, "b": 0.9})
    assert portfolio([one, two], 3) == ["a", "d", "b"]


NUMBER = st.integers(1, 10**6)


@given(NUMBER, NUMBER, NUMBER, NUMBER)
def test_similarity_by_metadata_is_symmetric_and_greatest_for_equals(a, b, c, d) -> None:
    one, other = info(a, b), info(c, d)
    assert by_metadata(one, one) == 1.0
    assert 0 < by_metadata(one, other) <= 1
    assert by_metadata(one, other) == pytest.approx(by_metadata(other, one))


def test_a_correlation_needs_five_shared_scores_that_differ() -> None:
    five = {name: float(place) for place, name in enumerate("abcde")}
    assert correlation(five, five) == pytest.approx(1)
    assert correlation(five, {name: -value for name, value in five.items()}) == pytest.approx(-1)
    assert correlation(five, {name: 1.0 for name in five}) is None
    assert correlation(five, {"a": 1.0}) is None
