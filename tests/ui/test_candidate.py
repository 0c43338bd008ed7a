"""``automl check``: what a file is told, stage by stage, and the exit codes."""

import json
from pathlib import Path

import pytest

from automl.core.errors import ConfigError, DatabaseError
from automl.core.sandbox import lockdown
from automl.plugins.lemur.source import SMALL
from automl.ui.candidate import Candidate, check
from tests.command import automl

GOOD = SMALL.read_text()
DATA = "digits:test=0.5,valid=0.5"


def verdict(tmp_path: Path, code: str, **options):
    """The report on a text, and the stage that failed."""
    file = tmp_path / "model.py"
    file.write_text(code)
    task = "image-classification"
    report = check(Candidate(file, task, DATA, **{"settings": ("lr=0.1",), **options}))
    failed = [stage for stage in report["stages"] if stage["state"] == "failed"]
    return report, failed[0] if failed else None


def changed(old: str, new: str) -> str:
    """The small network with one line changed."""
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("code", "stage", "kind", "message"),
    [
        ("import socket\n" + GOOD, "policy", "forbidden", "model.py:1: import of 'socket'"),
        ("def broken(:", "policy", "forbidden", "model.py:1: this is no Python"),
        (GOOD.replace("class Net", "class Network"), "format", "error", "no class Net"),
        (GOOD + "\nraise ValueError('at import')\n", "import", "error", "at import"),
        (GOOD + "\nnn.os = nn.modules.utils.os if False else None\nwhile True: pass\n", "import",
         "timeout", "too long"),
        (changed("nn.Linear(channels,", "nn.Linear(channels + 1,"), "shapes", "error",
         "RuntimeError"),
        (changed("out_shape[0])", "7)"), "shapes", "error", "(2, 10) is wanted"),
        (changed("loss.backward()", "loss.nothing()"), "training", "error", "AttributeError"),
        (changed("loss.backward()", "(loss * float('nan')).backward()"), "training", "error",
         "nan"),
        (changed("self.optimizer.step()", "pass"), "score", "", "no better than chance"),
    ],
    ids=(
        "import", "syntax", "format", "raises", "hangs", "forward", "answer", "train", "nan",
        "idle",
    ),
)  # fmt: skip
def test_a_file_fails_at_the_stage_it_fails_at(tmp_path, code, stage, kind, message) -> None:
    seconds = 8.0 if kind == "timeout" else 60.0
    report, failed = verdict(tmp_path, code, seconds=seconds)
    assert report["verdict"] == "failed"
    assert (failed["stage"], failed["ending"]) == (stage, kind)
    assert message in failed["detail"]
    states = [entry["state"] for entry in report["stages"]]
    position = states.index("failed")
    assert set(states[:position]) <= {"passed"}
    assert set(states[position + 1 :]) <= {"not reached"}


def test_what_slips_by_the_policy_meets_the_sandbox(tmp_path: Path) -> None:
    code = "import torch\nfind = torch.serialization.__dict__['os']\nfind.listdir('/root')\n"
    report, failed = verdict(tmp_path, code + GOOD.replace("from __future__", "# from __future__"))
    assert (failed["stage"], failed["ending"]) == ("import", "forbidden")
    assert report["score"] is None


def test_nothing_runs_where_nothing_can_be_confined(tmp_path: Path, monkeypatch) -> None:
    from automl.core.errors import SandboxError

    monkeypatch.setattr(lockdown, "unavailable", lambda: "this kernel has none")
    with pytest.raises(SandboxError, match="cannot be confined here"):
        verdict(tmp_path, GOOD)


def test_the_question_may_be_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is of task 'image-classification', not 'forecasting'"):
        check(Candidate(SMALL, "forecasting", DATA))
    with pytest.raises(ConfigError, match="can$"):
        check(Candidate(SMALL, "tabular-classification", "spirals"))
    with pytest.raises(ConfigError, match="cannot be read"):
        check(Candidate(tmp_path / "nowhere.py", "image-classification", DATA))
    with pytest.raises(ConfigError, match="epoch=0 must be at least 1"):
        verdict(tmp_path, GOOD, epochs=0)
    with pytest.raises(DatabaseError):
        verdict(tmp_path, GOOD, novel=True)


def test_the_command_prints_one_object_and_exits_by_the_verdict(tmp_path: Path) -> None:
    found = json.loads(automl("check", str(SMALL), "-d", DATA, "-s", "lr=0.1", "--json"))
    assert found["verdict"] == "passed"
    assert [stage["state"] for stage in found["stages"]] == ["passed"] * 6
    assert found["score"]["value"] > found["score"]["needed"] > found["score"]["chance"]
    bad = tmp_path / "bad.py"
    bad.write_text("import socket\n" + GOOD)
    told = automl("check", str(bad), "-d", DATA, code=1)
    assert "failed" in told
    assert "import of 'socket'" in told
    assert "no dataset named 'digit'" in automl("check", str(bad), "-d", "digit", code=2)


def test_known_code_is_not_novel(tmp_path: Path) -> None:
    search = ["search", "-p", "lemur", "-d", DATA, "-n", "1", "-s", "epoch=1"]
    automl(*search, "--executor", "inline")
    again = tmp_path / "again.py"
    again.write_text("# another name and a remark\n" + GOOD)
    options = ["-d", DATA, "-s", "lr=0.1", "--novel", "--json"]
    found = json.loads(automl("check", str(again), *options, code=1))
    assert found["stages"][-1]["stage"] == "novelty"
    assert found["stages"][-1]["state"] == "failed"
    assert found["same_code"]
