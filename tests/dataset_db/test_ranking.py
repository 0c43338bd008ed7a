"""Leaderboards over our searches and imported networks, each told where it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from automl.core.errors import ConfigError, UnknownName
from automl.core.record import StudySpec
from automl.dataset_db import query, ranking
from automl.dataset_db.lemur.importer import import_lemur
from automl.dataset_db.store import Store
from tests.dataset_db.test_lemur import NET, published, record, wheel

ABOUT = {path: text for path, text in published().items() if path.endswith("METADATA")}
SVHN = {"name": "svhn", "problem": "image-classification"}
SCORES = {"cnn-1": (0.5, 0.75), "cnn-2": (0.25, 0.375), "rnn": (0.625, 0.125)}


@pytest.fixture
def imported(db: str, tmp_path: Path) -> str:
    """Three networks on one dataset, two trials of each at one epoch, and one on two metrics."""
    files = ABOUT | {f"ab/nn/nn/{name}.py": NET for name in (*SCORES, "seg")}
    for name, scores in SCORES.items():
        told = [record(uid, score, duration=None) for uid, score in enumerate(scores)]
        files[f"ab/nn/stat/train/img-classification_svhn_acc_{name}/1.json"] = json.dumps(told)
    for task, metric in (("img-segmentation", "iou"), ("img-captioning", "bleu")):
        place = f"ab/nn/stat/train/{task}_coco_{metric}_seg/1.json"
        files[place] = json.dumps([record(0, 0.5)])
    import_lemur(wheel(tmp_path / "some.whl", files), db)
    return db


def test_imported_networks_are_ranked_with_source_licence_and_origin(imported: str) -> None:
    board = ranking.leaderboard("svhn", imported)
    assert [(row["rank"], row["plugin"], row["value"]) for row in board["rows"]] == [
        (1, "cnn-1", 0.75), (2, "rnn", 0.625), (3, "cnn-2", 0.375),
    ]  # fmt: skip
    first = board["rows"][0]
    assert (first["split"], first["valid"], first["test"]) == ("test", None, 0.75)
    assert (first["source"], first["family"], first["trials"]) == ("lemur-9.9.9", "cnn", 2)
    assert first["licence"] == "MIT License"
    assert first["origin"].startswith("https://")
    assert (first["seconds"], first["parameters"]) == (None, None)
    assert query.trial(first["reference"], imported)["objective"] == 0.75


def test_the_best_come_first_up_to_a_limit(imported: str) -> None:
    board = ranking.leaderboard("svhn", imported, limit=2)
    assert ([row["plugin"] for row in board["rows"]], board["total"]) == (["cnn-1", "rnn"], 3)
    assert len(ranking.leaderboard("svhn", imported, limit=None)["rows"]) == 3
    with pytest.raises(ConfigError, match="limit=0"):
        ranking.leaderboard("svhn", imported, limit=0)


def test_searches_and_imports_compete_on_one_dataset(
    imported: str, store: Store, spec: StudySpec, run_trial
) -> None:
    study = store.create_study(replace(spec, dataset="svhn", info=SVHN))
    run_trial(store, study, 0, 0.6875)
    store.close_study(study, "complete", 0, 1.0)
    board = ranking.leaderboard(None, imported)  # that of the latest search
    assert board["dataset"] == "svhn"
    assert [row["plugin"] for row in board["rows"]] == ["cnn-1", "tested", "rnn", "cnn-2"]
    ours = board["rows"][1]
    assert (ours["split"], ours["valid"], ours["test"]) == ("valid", 0.6875, None)
    assert (ours["source"], ours["licence"], ours["origin"]) == (None, None, None)
    assert ranking.ranked_datasets(imported) == ["svhn", "coco"]


def test_each_metric_of_a_dataset_has_a_leaderboard(imported: str) -> None:
    assert ranking.leaderboard("coco", imported)["metrics"] == ["bleu", "iou"]
    assert ranking.leaderboard("coco", imported, metric="iou")["metric"] == "iou"
    with pytest.raises(UnknownName, match="Did you mean 'iou'"):
        ranking.leaderboard("coco", imported, metric="iuo")
    with pytest.raises(UnknownName, match="Did you mean 'svhn'"):
        ranking.leaderboard("svnh", imported)


def test_an_imported_study_and_trial_tell_their_source(imported: str) -> None:
    listed = query.studies(imported, kind="import")
    assert {row["source"] for row in listed} == {"lemur-9.9.9"}
    row = query.trial(f"{listed[0]['id']}/0", imported)
    assert (row["source"], row["split"]) == ("lemur-9.9.9", "test")
    assert (row["seed"], row["started_at"]) == (None, None)


@pytest.mark.parametrize(
    ("words", "value"),
    [("82.6 %", 0.826), ("best 0.945", 0.945), ("0.536, 0.516", None), ("curves only", None)],
)
def test_a_papers_own_figure_is_a_number_if_it_is_one(words: str, value: float | None) -> None:
    assert ranking.number_in(words) == value
