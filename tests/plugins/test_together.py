"""Papers that compose: techniques of one on architectures of another, probes on record."""

import json

import pytest

from automl.core.errors import ConfigError
from automl.core.observer import Silent
from automl.ui import actions

TINY_CTM = ["steps=6", "iterations=3", "d_model=16", "d_input=16", "eval_every=3"]
FAST = {"executor": "inline", "pruner": "none", "trials": 1}


def test_gradient_noise_goes_with_a_machine_that_thinks() -> None:
    result = actions.search(
        "ctm", "digits", techniques=["gradnoise"], overrides=TINY_CTM, **FAST
    )  # fmt: skip
    assert result.best is not None
    row = actions.show(f"{result.study}/{result.best.trial}")
    assert set(row["techniques"]) == {"gradnoise"}
    assert "eta" in json.dumps(row["params"])


def test_two_techniques_go_together_on_a_stream() -> None:
    result = actions.search(
        "selu", "digit-stream:size=64,tasks=2", techniques=["gradnoise", "continual"],
        overrides=["steps=12", "eval_every=6", "width=16", "depth=2", "batch_size=32"], **FAST,
    )  # fmt: skip
    assert result.complete == 1
    row = actions.show(f"{result.study}/0")
    assert set(row["techniques"]) == {"gradnoise", "continual"}


@pytest.mark.parametrize(
    ("plugin", "dataset", "technique", "reason"),
    [
        ("ntk_svm", "digits", "gradnoise", "solved for, not descended"),
        ("ctm", "digits", "continual", "has no tasks that come one after another"),
        ("continual", "digit-stream", "gradnoise", "its methods are what a technique would add"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(plugin, dataset, technique, reason) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        actions.search(plugin, dataset, techniques=[technique], **FAST)
    assert "\n" not in str(caught.value)


def test_a_tournament_with_a_technique_says_who_cannot_take_part() -> None:
    told: list[str] = []

    class Listener(Silent):
        def notice(self, text: str) -> None:
            told.append(text)

    result = actions.search(
        (), "digits", techniques=["gradnoise"], observer=Listener(), timeout=0.5,
        executor="inline", pruner="none",
    )  # fmt: skip
    assert result.state in ("exhausted", "complete", "interrupted")
    assert any("ntk_svm does not take part: technique 'gradnoise'" in text for text in told)
    assert all(standing.plugin != "ntk_svm" for standing in result.standings)


def test_a_probe_of_a_paper_is_on_record_beside_the_model() -> None:
    result = actions.search("ctm", "digits", overrides=TINY_CTM, **FAST)
    reference = f"{result.study}/0"
    numbers = actions.probe(reference, "thought_trace")
    recorded = {
        row["name"]: row["value"]
        for row in actions.show(reference)["probes"]
        if row["probe"] == "thought_trace"
    }
    assert recorded == pytest.approx(numbers, nan_ok=True)
