"""Recorded trials run again: the same, nearly the same, different, or impossible."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

import automl as face
from automl.core.errors import ConfigError, StudyError, UnknownName
from automl.dataset_db import query
from tests.command import automl_process

NOISY = """
for step in range(1, config.n + 1):
    noise = float(torch.rand(1)) / 100
    run.report(step, {"accuracy": config.x * step / config.n + noise, "nll": 1.0})
"""
FAST = {"executor": "inline", "pruner": "none", "sampler": "random"}


def edit(tmp_path: Path, *statements: str) -> None:
    with sqlite3.connect(tmp_path / "models.db") as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_trial_is_the_same_again_and_leaves_no_trace(make_plugin, tmp_path, executor) -> None:
    given = {"executor": executor, "workers": 1, "threads": 1, "pruner": "none"}
    face.search(make_plugin(fit=NOISY), trials=2, **given)
    database = tmp_path / "models.db"
    before = database.read_bytes(), sorted((tmp_path / "artifacts").rglob("*"))
    steps: list[tuple[int, int]] = []
    found = face.replay("1/1", told=lambda *step: steps.append(step))
    assert (found.verdict, found.tolerance, found.first, found.largest) == (
        "identical",
        0.0,
        None,
        None,
    )
    assert found.replayed == found.recorded is not None
    assert not any(vars(found.changes).values())
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert (database.read_bytes(), sorted((tmp_path / "artifacts").rglob("*"))) == before


def test_a_changed_environment_is_named_and_allows_the_tolerance(make_plugin, tmp_path) -> None:
    face.search(make_plugin(fit=NOISY), trials=1, **FAST)
    nudge = "UPDATE score SET value = value * (1 + {}) WHERE step = 2 AND metric = 'accuracy'"
    edit(tmp_path, nudge.format(1e-5))
    found = face.replay("best")
    assert (found.verdict, found.tolerance) == ("different", 0.0)
    edit(
        tmp_path,
        "UPDATE environment SET facts = "
        "json_set(facts, '$.python', '3.0', '$.packages.torch', '0')",
        "UPDATE study SET settings = json_set(settings, '$.place.device', 'cuda:0')",
    )
    found = face.replay("best")
    assert (found.verdict, found.tolerance, found.first) == ("within tolerance", 1e-3, None)
    assert found.largest is not None
    assert (found.largest.step, found.largest.metric) == (2, "accuracy")
    assert found.largest.relative == pytest.approx(1e-5, rel=1e-3)
    changes = found.changes.environment
    assert changes.keys() == {"python", "package torch", "device"}
    assert changes["python"][0] == "3.0"
    assert face.replay("best", tolerance=1e-6).verdict == "different"
    with pytest.raises(ConfigError, match="tolerance=-1 must be 0 or more"):
        face.replay("best", tolerance=-1)


def test_changed_code_is_named_with_the_first_step_that_differs(make_plugin) -> None:
    plugin = Path(make_plugin())
    face.search(str(plugin), trials=1, **FAST)
    code = plugin / "plugin.py"
    code.write_text(
        code.read_text().replace("config.x * step", "config.x * (1 + (step == 2)) * step")
    )
    found = json.loads(automl_process("replay", "1/0", "--json", code=1))
    assert found["verdict"] == "different"
    assert found["changes"]["code"] == {"changed": ["plugin.py"]}
    assert (found["first"]["step"], found["largest"]["relative"]) == (2, 0.5)
    code.write_text(code.read_text().replace("run.report(step", "1 / (3 - step); run.report(step"))
    said = automl_process("replay", "best", code=1)
    assert "First difference beyond the tolerance: accuracy at step 2" in said
    assert "Changed code: changed plugin.py." in said
    assert "The replayed fit failed: ZeroDivisionError" in said


def test_a_trial_that_was_stopped_is_replayed_as_far_as_it_came(make_plugin) -> None:
    slow = "import time\n" + NOISY.replace("noise =", "time.sleep(0.02); noise =")
    plugin = make_plugin(fit=slow)
    stopped = face.search(plugin, trials=1, trial_timeout=0.1, overrides=["n=100"], **FAST)
    found = face.replay(f"{stopped.study}/0")
    assert found.stopped_at is not None
    assert found.stopped_at < 100
    assert (found.verdict, found.state, found.steps) == ("identical", "complete", found.stopped_at)
    settings = {**FAST, "pruner": "median", "warmup": 0.0}
    fast = make_plugin(fit=NOISY, name="fast")
    pruned = face.search(fast, trials=12, overrides=["n=5"], **settings)
    row = query.trials(pruned.study, states=("pruned",))[0]
    found = face.replay(f"{pruned.study}/{row['number']}")
    assert (found.verdict, found.state) == ("identical", "pruned")
    assert found.steps == found.stopped_at < 5
    late = NOISY.replace("noise =", "1 / (3 - step); noise =")
    failed = face.search(make_plugin(fit=late, name="late"), trials=1, **FAST)
    found = face.replay(f"{failed.study}/0")
    assert (found.verdict, found.state, found.steps, found.failure) == (
        "identical",
        "failed",
        2,
        "",
    )


def test_what_cannot_be_replayed_is_one_sentence(make_plugin, tmp_path) -> None:
    broken = make_plugin(fit="raise RuntimeError('boom')", name="broken")
    face.search(broken, trials=1, **FAST)
    with pytest.raises(StudyError, match=r"1/0 cannot be replayed: it is failed \(RuntimeError: b"):
        face.replay("1/0")
    with pytest.raises(UnknownName, match="there is no trial 1/7"):
        face.replay("1/7")
    plugin = make_plugin()
    face.search(plugin, trials=1, **FAST)
    edit(tmp_path, "UPDATE trial SET config = json_set(config, '$.y', 1) WHERE study_id = 2")
    with pytest.raises(StudyError, match=r"2/0 cannot be replayed: no setting named 'y'"):
        face.replay("2/0")
    edit(tmp_path, "UPDATE dataset SET name = 'spirits'")
    with pytest.raises(StudyError, match="cannot be replayed: no dataset named 'spirits'"):
        face.replay("2/0")
    shutil.rmtree(plugin)
    said = automl_process("replay", "2/0", code=2)
    assert "2/0 cannot be replayed: no plugin at" in said
    assert len(said.strip().splitlines()) == 1
