"""Warm starts from the database to the trials: what the user is told and what is run."""

import pytest

import automl
from automl.core.errors import ConfigError
from automl.core.observer import Silent
from automl.dataset_db import query

FAST = {"executor": "inline", "pruner": "none"}
NEAR, NEW = "spirals:train_size=300", "spirals:train_size=200"


class Listening(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def notice(self, text: str) -> None:
        self.heard.append(text)


def test_a_search_goes_on_from_what_a_similar_one_found(make_plugin) -> None:
    plugin = make_plugin()
    listening = Listening()
    cold = automl.search(plugin, NEAR, trials=6, warm_start=True, observer=listening, **FAST)
    assert listening.heard == ["cold start: no similar search of tested is on record"]
    best = query.trials(cold.study, limit=2)
    for source in ("auto", cold.study, NEAR):
        listening.heard.clear()
        warm = automl.search(
            plugin, NEW, trials=4, warm_start=source, warm_trials=2, observer=listening, **FAST
        )
        assert f"2 of tested on '{NEAR}' (similarity 0." in listening.heard[0]
        found = sorted(query.trials(warm.study, limit=9), key=lambda row: row["number"])
        assert [row["config"]["x"] for row in found[:3]] == [
            0.5, *(row["config"]["x"] for row in best)
        ]  # fmt: skip
        first = query.study(warm.study)["settings"]["plugins"]["tested"]["first"]
        assert [each["origin"]["trial"] for each in first] == [
            f"{cold.study}/{row['number']}" for row in best
        ]


def test_a_source_without_trials_of_the_plugin_is_refused(make_plugin) -> None:
    study = automl.search(make_plugin(name="other"), NEAR, trials=1, **FAST).study
    plugin = make_plugin()
    for source in (study, NEAR):
        with pytest.raises(ConfigError, match="no complete trial of tested"):
            automl.search(plugin, NEW, trials=1, warm_start=source, **FAST)
    with pytest.raises(ConfigError, match="warm_trials=0"):
        automl.search(plugin, NEW, trials=1, warm_start=True, warm_trials=0, **FAST)
    assert len(query.studies()) == 1
