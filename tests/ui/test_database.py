"""``automl db …`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automl.core.record import PluginRecord, StudySpec, TrialEnd, TrialStart
from automl.dataset_db.store import Store
from tests.command import automl

CODE = "def net(x):\n" + "\n".join(f"    x = layer(x, {n})" for n in range(30)) + "\n    return x\n"
PAPER = {"title": "A paper", "year": 2020, "arxiv": "", "authors": ""}


@pytest.fixture
def db(tmp_path: Path, monkeypatch) -> str:
    """A database with a search of two alike plugins: a failed trial and a complete one each."""
    plugins = tuple(PluginRecord(name, 1, PAPER, {"net.py": CODE}) for name in ("one", "two"))
    facts = {"info": {"problem": "tabular-classification"}, "environment": {}, "settings": {}}
    spec = StudySpec(
        **facts, name="tested", kind="search", plugins=plugins, dataset="spirals", space={},
        metrics=(("accuracy", "max", ""),), trials=4, timeout=None, seed=0,
    )  # fmt: skip
    path = str(tmp_path / "models.db")
    monkeypatch.setenv("AUTOML_DB", path)
    monkeypatch.setenv("AUTOML_ARTIFACTS", str(tmp_path / "artifacts"))
    with Store() as store:
        study = store.create_study(spec)
        for number in range(4):
            plugin = ("one", "two")[number % 2]
            store.start_trial(study, TrialStart(number, plugin, number, {}, {"lr": 0.1}))
            end = TrialEnd(number, "failed", None, {}, 0, 0.1)
            if number > 1:
                end = TrialEnd(number, "complete", 0.5, {"accuracy": 0.5}, 1, 0.1)
            store.finish_trial(study, end)
        store.close_study(study, "complete", 2, 1.0)
    return path


def command(*words: str, **options) -> str:
    return automl("db", *words, **options)


def test_duplicates(db: str) -> None:
    said = command("duplicates")
    assert "2 networks, 1 of them distinct; 1 groups with the same code" in said
    assert "The same code: 2 networks, one, two\n" in said
    assert json.loads(command("duplicates", "--json"))["distinct"] == 1
    assert "must be from 0.5 to 1" in command("duplicates", "--threshold", "2", code=2)


def test_export(db: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert f"Wrote {path}: 2 all." in command("export", str(path))
    assert json.loads(path.read_text().splitlines()[0])["code"] == CODE
    said = command("export", str(tmp_path / "hf"), "--format", "hf")
    assert "Split test is empty: there are too few groups of near-duplicates." in said
    told = json.loads(command("export", str(tmp_path / "p"), "--template", "write", "--json"))
    assert told["rows"] == {"all": 2}
    assert "exists already" in command("export", str(path), code=2)


def test_move(db: str, tmp_path: Path) -> None:
    said = command("move", db, str(tmp_path / "other.db"))
    assert f"from {db} to {tmp_path / 'other.db'}; all verified." in said
    assert "holds rows in table" in command("move", db, str(tmp_path / "other.db"), code=2)


def test_prune_says_what_and_asks(db: str) -> None:
    assert "This would delete rows: 2 trial; 0 files" in command("prune", "--failed", "--dry-run")
    assert "Aborted" in command("prune", "--failed", given="n\n", code=1)
    assert json.loads(command("prune", "--failed", "--dry-run", "--json"))["rows"] == {"trial": 2}
    assert "Deleted rows: 2 trial" in command("prune", "--failed", "--yes")
    assert command("prune", "--failed") == "There is nothing to delete.\n"
    assert "nothing to prune was named" in command("prune", code=2)
    assert "must be a duration" in command("prune", "--failed", "--older-than", "soon", code=2)
