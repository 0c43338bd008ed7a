"""Ensembles: chosen by a law, recorded as a model, exported as one graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import automl
from automl.core.ensemble.selection import chosen, costs
from automl.core.errors import AutoMLError
from automl.core.places import artifact_root
from automl.core.problems import IMAGE_CLASSIFICATION, TABULAR_REGRESSION
from automl.dataset_db import query
from automl.ui.cli import app

COMMON = {"executor": "inline", "sampler": "random", "pruner": "none", "seed": 1}
SHORT = ("selu.steps=60", "selu.depth=2", "selu.width=32", "spiking.epochs=1", "spiking.hidden=64")


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99), st.sampled_from(["mse", "mae"]))
def test_no_ensemble_is_worse_than_its_best_model(models, size, seed, name) -> None:
    draw = torch.Generator().manual_seed(seed)
    batch = {"target": torch.rand(12, 2, generator=draw)}
    predictions = [torch.rand(12, 2, generator=draw) for _ in range(models)]
    metric = next(m for m in TABULAR_REGRESSION.metrics if m.name == name)
    order = chosen(TABULAR_REGRESSION, metric, predictions, batch, size)
    prefixes = [torch.stack([predictions[i] for i in order[:k]]).mean(0) for k in range(1, size)]
    mean = torch.stack([predictions[index] for index in order]).mean(0)
    alone = [costs(TABULAR_REGRESSION, metric, each, batch) for each in predictions]
    assert order[0] == alone.index(min(alone))
    whole = costs(TABULAR_REGRESSION, metric, mean, batch)[0]
    assert whole <= min(alone)[0] + 1e-6
    for shorter in prefixes[: len(order) - 1]:
        assert whole <= costs(TABULAR_REGRESSION, metric, shorter, batch)[0] + 1e-6


def test_models_that_err_in_opposite_ways_are_put_together() -> None:
    batch = {"target": torch.zeros(4, 1)}
    predictions = [torch.full((4, 1), v) for v in (0.5, -1.0, 0.6)]
    metric = TABULAR_REGRESSION.metrics[0]
    assert chosen(TABULAR_REGRESSION, metric, predictions, batch, 5) == [0, 1, 0]


def test_equal_accuracies_are_told_apart_by_likelihood() -> None:
    batch = {"target": torch.tensor([0, 1])}
    weak = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    sure = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    metric = IMAGE_CLASSIFICATION.metrics[0]
    assert chosen(IMAGE_CLASSIFICATION, metric, [weak, sure], batch, 3) == [1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with a search of two plugins on digits."""
    folder = tmp_path_factory.mktemp("ensemble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOML_DB", str(folder / "models.db"))
        patch.setenv("AUTOML_ARTIFACTS", str(folder / "artifacts"))
        found = automl.search(("selu", "spiking"), "digits", trials=5, overrides=SHORT, **COMMON)
    return folder, found.study


@pytest.fixture
def study(made: tuple[Path, int], tmp_path: Path, monkeypatch) -> int:
    """That search, in a copy of its folder."""
    folder, number = made
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.setenv("AUTOML_DB", str(tmp_path / "copy" / "models.db"))
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "copy" / "artifacts"))
    monkeypatch.chdir(tmp_path)
    return number


def test_an_ensemble_is_a_model_like_any_other(study) -> None:
    result = automl.ensemble(study, size=6)
    row = query.trial(f"{result.study}/0")
    members = json.loads(row["config"]["models"])
    order = json.loads(row["config"]["order"])
    assert len(members) > 1
    best = query.trial(f"{study}/{query.study(study)['best_number']}")
    assert row["objective"] >= best["objective"]
    assert row["step"] == len(order) == len(row["curves"]["valid"]["accuracy"])
    assert row["parameters"] > sum(query.trial(member["trial"])["parameters"] for member in members)
    assert {e["split"] for e in row["evaluations"]} == {"test"}
    assert automl.replay(f"{result.study}/0").verdict == "identical"
    # One graph, whose answers are the mean of the members' probabilities.
    import onnxruntime

    from automl.core.trial import load_model
    from automl.ui.actions import task_of

    report = automl.export_model(f"{result.study}/0", precision="fp32")["targets"][0]
    assert report["status"] == "ok"
    session = onnxruntime.InferenceSession(Path(report["folder"]) / "model.onnx")
    x = torch.rand(7, 1, 8, 8)
    (logits,) = session.run(None, {"x": x.numpy()})
    expected = torch.zeros(7, 10)
    for index in order:
        _, model, _, _ = load_model(task_of(query.trial(members[index]["trial"])))
        with torch.no_grad():
            expected += model(x=x)["logits"].softmax(-1) / len(order)
    np.testing.assert_allclose(torch.tensor(logits).softmax(-1), expected, atol=1e-4)


def test_a_search_ends_with_its_ensemble(tmp_path: Path) -> None:
    command = ["search", "--plugin", "selu", "--dataset", "digits", "--executor", "inline"]
    command += ["--trials", "3", "--pruner", "none", "--set", "steps=40", "--set", "depth=2"]
    db = str(tmp_path / "a.db")
    found = CliRunner().invoke(app, [*command, "--ensemble", "4", "--json", "--db", db])
    told = json.loads(found.stdout)
    assert told["ensemble"]["best"]["plugin"] == "ensemble"
    assert told["ensemble"]["best"]["value"] >= told["best"]["value"]
    assert told["ensemble"]["study"] == told["study"] + 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ensemble", "99"], "there is no study 99"),
        (["ensemble", "{study}", "--size", "0"], "size=0 must be at least 1"),
        (["ensemble", "{study}", "--candidates", "1"], "an ensemble needs two"),
        (["search", "--plugin", "ensemble", "--dataset", "digits"], "is not searched"),
    ],
)
def test_what_makes_no_ensemble_is_one_sentence(study, arguments, said) -> None:
    found = CliRunner().invoke(app, [text.format(study=study) for text in arguments])
    assert isinstance(found.exception, AutoMLError)
    assert said in str(found.exception)


def test_answers_that_cannot_be_averaged_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = {**COMMON, "overrides": ("steps=2", "eval_every=1", "hidden=8")}
    found = automl.search("ptrnet", "convex-hull:n=5,train_size=50", trials=2, **common)
    with pytest.raises(AutoMLError, match="cannot be averaged"):
        automl.ensemble(found.study)


def test_an_ensemble_of_an_ensemble_is_refused(study) -> None:
    made = automl.ensemble(study, size=2)
    with pytest.raises(AutoMLError, match="is an ensemble"):
        automl.ensemble(made.study)


def test_a_member_whose_file_has_changed_is_noticed(study) -> None:
    made = automl.ensemble(study, size=6)
    members = json.loads(query.trial(f"{made.study}/0")["config"]["models"])
    path = artifact_root() / members[0]["weights"]
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert "is not what trial" in str(automl.replay(f"{made.study}/0").failure)


def test_a_model_whose_file_is_gone_is_left_out(study: int) -> None:
    gone = query.trial(f"{study}/{query.study(study)['best_number']}")
    Path(gone["artifacts"][0]["file"]).unlink()
    made = automl.ensemble(study, size=3)
    members = json.loads(query.trial(f"{made.study}/0")["config"]["models"])
    assert gone["reference"] not in [member["trial"] for member in members]


def test_an_ensemble_is_chosen_and_judged_by_its_studys_objective(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = {**COMMON, "overrides": ("steps=40", "depth=2"), "objectives": "nll"}
    found = automl.search("selu", "digits", trials=3, **common)
    made = automl.ensemble(found.study, size=4)
    assert made.best.metric == query.study(made.study)["metric"] == "nll"
    assert made.best.value <= found.best.value + 1e-6


def test_a_model_alone_is_not_bettered_by_itself() -> None:
    batch = {"target": torch.rand(50, 1, generator=torch.Generator().manual_seed(0))}
    only = torch.rand(50, 1, generator=torch.Generator().manual_seed(1))
    for metric in TABULAR_REGRESSION.metrics:
        assert chosen(TABULAR_REGRESSION, metric, [only], batch, 9) == [0]
