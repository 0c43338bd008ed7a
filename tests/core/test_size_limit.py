"""A model that is larger than allowed costs no training and never wins."""

from pathlib import Path

import pytest

import automl
from automl.core.errors import ConfigError
from automl.dataset_db import query
from automl.ui.options import largest


def test_too_large_models_are_not_trained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    db = str(tmp_path / "a.db")
    common = {"db": db, "executor": "inline", "overrides": ("steps=6", "eval_every=3", "depth=2")}
    free = automl.search("selu", "digits", trials=1, **common)
    size = query.trial(f"{free.study}/0", db)["parameters"]
    found = automl.search("selu", "digits", trials=4, max_parameters=size - 1, **common)
    rows = query.trials(found.study, db)
    assert len(rows) == 4
    first = next(row for row in rows if row["number"] == 0)  # the defaults, one number too large
    assert (first["state"], first["stopped"], first["parameters"]) == ("pruned", "size", size)
    assert query.trial(f"{found.study}/0", db)["curves"] == {}
    for row in rows:
        assert (row["parameters"] > size - 1) == (row["stopped"] == "size")
    if found.best is not None:
        assert query.trial(f"{found.study}/{found.best.trial}", db)["parameters"] < size


@pytest.mark.parametrize(
    ("parameters", "flash_kb", "allowed"),
    [(0, 0, 0), (1000, 0, 1000), (0, 116, 25_000), (1000, 116, 1000), (90_000, 116, 25_000)],
)
def test_both_limits_hold(parameters: int, flash_kb: float, allowed: int) -> None:
    assert largest(parameters, flash_kb) == allowed


@pytest.mark.parametrize(
    ("given", "said"),
    [((-1, 0), "--max-params must be 0 or more"), ((0, -2.0), "--max-flash-kb must be 0 or more"),
     ((0, 10.0), "leaves no room beside the code"), ((0, float("nan")), "--max-flash-kb must")],
)  # fmt: skip
def test_impossible_limits_are_refused(given: tuple[int, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        largest(*given)
