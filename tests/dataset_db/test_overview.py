"""Pages, totals and columns that lists and charts are made of, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from automl.core.errors import ConfigError, UnknownName
from automl.core.record import StudySpec, TrialEnd, TrialStart
from automl.dataset_db import overview, query
from automl.dataset_db.store import Store

VALUES = (0.2, 0.6, 0.4, None, 0.9)  # the fourth trial fails


@pytest.fixture
def studies(store: Store, spec: StudySpec) -> list[int]:
    """Two studies: one with five trials on spirals, one without any on 100%_moons."""
    first = store.create_study(replace(spec, name="First"))
    for number, value in enumerate(VALUES):
        params = {"x": 0.1 * number}
        store.start_trial(first, TrialStart(number, "tested", number, params, params))
        if value is None:
            store.finish_trial(first, TrialEnd(number, "failed"))
            continue
        store.report(first, number, 1, "valid", {"accuracy": value, "nll": 1 - value})
        scores = {"accuracy": value, "nll": 1 - value}
        end = TrialEnd(number, "complete", value, scores, 1, 5.0 - number, 100 * number)
        store.finish_trial(first, end)
    other = {**spec.info, "name": "100%_moons"}
    second = store.create_study(replace(spec, name="Second", dataset="100%_moons", info=other))
    store.close()
    return [first, second]


def names(page: dict) -> list[str]:
    return [row["name"] for row in page["rows"]]


def test_studies_come_in_pages_that_are_filtered_and_ordered(db: str, studies: list[int]) -> None:
    page = overview.study_page(db, limit=1)
    assert (names(page), page["total"]) == (["Second"], 2)
    assert names(overview.study_page(db, limit=1, offset=1)) == ["First"]
    assert names(overview.study_page(db, order="most trials")) == ["First", "Second"]
    assert names(overview.study_page(db, text="SPIRALS first")) == ["First"]
    # Per cent and underscore are themselves, not wildcards.
    assert names(overview.study_page(db, text="0%_m")) == ["Second"]
    assert overview.study_page(db, text="spirals_")["total"] == 0
    assert overview.study_page(db, kind="claim") == {"rows": [], "total": 0}
    with pytest.raises(ConfigError, match="no order 'newst'"):
        overview.study_page(db, order="newst")


def test_totals_count_what_there_is(db: str, studies: list[int]) -> None:
    found = overview.totals(db)
    assert found["studies"] == {"search": 2}
    assert (found["trials"], found["models"], found["plugins"]) == (5, 4, 1)


def test_progress_is_the_best_value_so_far(db: str, studies: list[int]) -> None:
    first, second = studies
    assert overview.progress(studies, db) == {first: [0.2, 0.6, 0.6, 0.9]}
    assert second not in overview.progress(studies, db)


def test_columns_of_all_trials(db: str, studies: list[int]) -> None:
    names = ("state", "objective", "scores.nll", "plugin", "started_at")
    found = overview.trial_columns(studies[0], names, db)
    assert found["number"] == [0, 1, 2, 3, 4]
    assert found["objective"] == list(VALUES)
    assert found["scores.nll"][3] is None
    assert found["scores.nll"][4] == pytest.approx(0.1)
    assert found["state"][3] == "failed"
    assert overview.trial_columns(studies[1], names, db)["number"] == []
    with pytest.raises(UnknownName, match="no study 99"):
        overview.trial_columns(99, names, db)
    with pytest.raises(ConfigError, match="no column 'stat'"):
        overview.trial_columns(studies[0], ["stat"], db)


def test_trials_come_in_pages(db: str, studies: list[int]) -> None:
    first = studies[0]

    def page(**options: object) -> tuple[list[int], int]:
        found = overview.trial_page(first, db, **options)
        return [row["number"] for row in found["rows"]], found["total"]

    assert page(limit=2, offset=2) == ([2, 3], 5)
    assert page(order="objective", limit=2) == ([4, 1], 5)
    assert page(order="seconds", descending=True, limit=2) == ([0, 1], 5)
    assert page(states=["complete"], order="number", descending=True) == ([4, 2, 1, 0], 4)
    assert page(numbers=[1, 3, 77]) == ([1, 3], 2)
    with pytest.raises(UnknownName, match="no study 99"):
        overview.trial_page(99, db)
    assert [row["number"] for row in overview.trials_numbered(first, [4, 0, 8], db)] == [0, 4]
    assert list(query.curves(first, db, metric="accuracy", numbers=[1, 4])) == [1, 4]
