"""The command line: machine output, exit codes, misuse in one sentence."""

import json
from pathlib import Path

import pytest

from tests.command import automl, automl_process
from tests.dataset_db.test_lemur import record, wheel
from tests.dataset_db.test_ranking import ABOUT

ROOT = Path(__file__).parents[2]

FAST = ["--executor", "inline", "--pruner", "none"]


def test_from_a_search_to_everything_that_can_be_asked_of_it(make_plugin, tmp_path) -> None:
    plugin = make_plugin()
    found = json.loads(automl("search", "-p", plugin, "-n", "3", *FAST, "--json"))
    assert found["study"] == 1
    assert found["state"] == "complete"
    assert found["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    assert found["best"].keys() >= {"trial", "value", "metric", "config"}
    best = f"1/{found['best']['trial']}"
    (study,) = json.loads(automl("studies", "--json"))
    assert (study["n_complete"], study["best_value"]) == (3, found["best"]["value"])
    listed = json.loads(automl("trials", "1", "--json"))
    assert [row["objective"] for row in listed] == sorted(
        (row["objective"] for row in listed), reverse=True
    )
    assert json.loads(automl("best", "--json"))["reference"] == best
    shown = json.loads(automl("show", "best", "--code", "--json"))
    assert "def fit" in shown["code"]["plugin.py"]
    assert shown["curves"]["valid"]["accuracy"][-1][1] == found["best"]["value"]
    assert json.loads(automl("db", "info", "--json"))["trial rows"] == 3
    more = json.loads(automl("resume", "1", "--trials", "5", "--json"))
    assert more["trials"]["complete"] == 5
    code = Path(plugin) / "plugin.py"
    code.write_text(code.read_text() + "# touched\n")
    assert "changed plugin.py" in automl("resume", "1", "--trials", "6", code=2)
    fork = json.loads(automl("resume", "1", "--trials", "6", "--accept-changes", "--json"))
    assert (fork["study"], fork["trials"]["complete"]) == (2, 1)
    assert "Winner" in automl("search", "-p", plugin, "-n", "1", *FAST)
    for command in (["studies"], ["trials", "1"], ["best"], ["show", best], ["claims"]):
        assert automl(*command).strip()


def test_plugins_are_listed_with_the_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "broken_thing.py").write_text("raise RuntimeError('boom')")
    info = tmp_path / "broken_thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[automl]\nbroken = broken_thing\n")
    rows = json.loads(automl_process("plugins", "--json", PYTHONPATH=str(tmp_path)))
    states = {row["name"]: row["status"] for row in rows}
    assert states["ptrnet"] == "ok"
    assert states["broken"] == "broken: RuntimeError: boom"
    (row,) = [row for row in rows if row["name"] == "ptrnet"]
    assert row.keys() >= {"name", "version", "status", "problems", "paper"}
    automl_process("plugins", "--check", code=1, PYTHONPATH=str(tmp_path))
    assert "boom" in automl_process("search", "-p", "broken", code=2, PYTHONPATH=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "say what to search: a plugin (--plugin ptrnet), or data"),
        (["search", "-p", "ptrnt"], "Did you mean 'ptrnet'?"),
        (["search", "-p", "./nowhere"], "needs an __init__.py"),
        (["search", "-p", "ptrnet", "-d", "spirals"], "cannot learn dataset 'spirals'"),
        (["search", "-p", "ptrnet", "-d", "tsp:n=40"], "teacher='optimal' with n='40'"),
        (["search", "-p", "ptrnet", "-s", "hidden=0"], "hidden=0 must be at least 2 units"),
        (["search", "-p", "ptrnet", "-s", "hiden=9"], "Did you mean 'hidden'?"),
        (["search", "-p", "ptrnet", "-n", "0"], "trials=0 must be at least 1"),
        (["search", "-p", "ptrnet", "-n", "-1"], "trials=-1 must be at least 1"),
        (["search", "-p", "ptrnet", "-t", "0"], "timeout=0 must be more than 0 seconds"),
        (["search", "-p", "ptrnet", "-t", "soon"], "must be a duration such as 90"),
        (
            ["search", "-p", "ptrnet", "--sampler", "tp"],
            "must be one of auto, tpe, gp, cmaes, nsga2, nsga3, qmc, random",
        ),
        (["search", "-p", "selu", "--warm-start", "7"], "there is no search or import 7"),
        (["search", "-p", "selu", "--warm-trials", "2"], "needs a warm start"),
        (["search", "-p", "ptrnet", "--device", "cuda"], "no CUDA device is present"),
        (["resume", "7"], "there is no study 7"),
        (["replay", "best"], "there is no database"),
        (["show", "1/1"], "there is no database"),
        (["studies", "--db", "/no/such/folder/x.db"], "/no/such/folder/x.db"),
        (["reproduce", "ptrnet", "--claim", "tabel_1"], "has no small claim named 'tabel_1'"),
        (["new-plugin", "My-Plugin"], "must be a Python name in lower case"),
        (["check-plugin", "nothing"], "no plugin named 'nothing'"),
        (["export", "best"], "there is no database"),
    ],
)
def test_misuse_is_one_sentence_and_exit_code_2(arguments, message, tmp_path) -> None:
    said = automl(*arguments, code=2)
    assert message in said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1


def test_a_failed_trial_cannot_be_exported(make_plugin) -> None:
    plugin = make_plugin(fit="raise RuntimeError('boom')")
    automl("search", "-p", plugin, "-n", "2", *FAST, "--json")
    assert "no complete trial" in automl("export", "best", code=2)
    assert "has no weights" in automl("export", "1/0", code=2)
    assert "no target named 'gpuu'" in automl("export", "1/0", "--target", "gpuu", code=2)


def test_the_database_may_be_unwritable_damaged_or_newer(make_plugin, tmp_path: Path) -> None:
    plugin = make_plugin()
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"not a database, whatever its name says" * 50)
    before = damaged.read_bytes()
    assert "damaged.db" in automl("search", "-p", plugin, "--db", str(damaged), code=2)
    assert damaged.read_bytes() == before
    automl("search", "-p", plugin, "-n", "1", *FAST)


def test_a_probe_measures_and_is_recorded() -> None:
    settings = ["-s", "steps=4", "-s", "eval_every=2", "-s", "hidden=8", "-s", "arch=ptrnet"]
    dataset = ["-d", "sort:n=3,train_size=100"]
    automl("search", "-p", "ptrnet", "-n", "1", *FAST, *settings, *dataset)
    numbers = json.loads(automl("probe", "best", "--probe", "length_generalisation", "--json"))
    assert "n=15.sequence_accuracy" in numbers
    assert json.loads(automl("show", "best", "--json"))["probes"]
    assert "no probe named 'speed'" in automl("probe", "best", "--probe", "speed", code=2)
    again = automl("claims", "--json")
    assert json.loads(again) == []


def test_plugins_compete_and_are_ranked(make_plugin) -> None:
    one, two = make_plugin(name="one"), make_plugin(name="two")
    data = ["-d", "spirals:train_size=200", "-n", "4"]
    found = json.loads(automl("search", "-p", one, "-p", two, *data, *FAST, "--json"))
    assert {standing["plugin"] for standing in found["standings"]} == {"one", "two"}
    assert found["best"]["plugin"] == found["standings"][0]["plugin"]
    board = json.loads(automl("leaderboard", "--json"))
    assert [row["rank"] for row in board["rows"]] == [1, 2]
    assert "spirals:train_size=200" in automl("leaderboard")
    assert "Known: spirals:train_size=200" in automl("leaderboard", "spirals", code=2)


def test_imported_networks_are_listed_shown_and_ranked(tmp_path: Path) -> None:
    place = "ab/nn/stat/train/img-classification_svhn_acc_cnn-{}/1.json"
    files = {place.format(n): json.dumps([record(0, 0.25 * n, duration=None)]) for n in (1, 2, 3)}
    automl("db", "import", "lemur", str(wheel(tmp_path / "some.whl", ABOUT | files)))
    board = json.loads(automl("leaderboard", "svhn", "--limit", "2", "--json"))
    assert [row["plugin"] for row in board["rows"]] == ["cnn-3", "cnn-2"]
    shown = automl("leaderboard", "svhn", "--limit", "2")
    for text in ("MIT License", "lemur-9.9.9", "The best 2 of 3."):
        assert text in shown
    for command in (["studies"], ["trials", "1"], ["show", "1/0"]):
        assert "None" not in automl(*command)
    assert "on the test split" in automl("show", "1/0")
    said = automl("replay", "1/0", code=2)
    assert "1/0 cannot be replayed: it was imported from lemur-9.9.9" in said


def test_models_are_filtered_ordered_and_paged(make_plugin) -> None:
    automl("search", "-p", make_plugin(), "-n", "5", *FAST)
    every = json.loads(automl("models", "--json"))["rows"]
    assert [row["number"] for row in every] == [
        row["number"] for row in json.loads(automl("trials", "1", "--json"))
    ]
    low = every[2]["objective"]
    narrow = ["-w", f"config.x >= {low}", "-w", f"config.x < {every[0]['objective']}"]
    found = json.loads(automl("models", *narrow, "--columns", "number,config", "--json"))["rows"]
    assert [row["number"] for row in found] == [row["number"] for row in every[1:3]]
    first = json.loads(automl("models", "--order", "-objective", "--limit", "2", "--json"))
    second = json.loads(
        automl("models", "--order", "-objective", "--after", first["next"], "--json")
    )
    assert first["rows"] + second["rows"] == every
    assert "More: --after" in automl("models", "--limit", "2")
    assert "No model matches." in automl("models", "-w", "plugin = nothing")
    assert "must be COLUMN OPERATOR VALUE" in automl("models", "-w", "lr", code=2)
    assert "is given twice" in automl("models", "-w", "step = 1", "-w", "step = 2", code=2)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("config.lr<0.1", {"config.lr": {"<": 0.1}}),
        ("config.lr <= 1e-3", {"config.lr": {"<=": 0.001}}),
        ("plugin prefix ga-", {"plugin": {"prefix": "ga-"}}),
        ("plugin = a = b", {"plugin": {"=": "a = b"}}),
        ('plugin = "7"', {"plugin": {"=": "7"}}),
        ('dataset in ["a", "b"]', {"dataset": {"in": ["a", "b"]}}),
        ("step between [1, 2]", {"step": {"between": [1, 2]}}),
        ("config.lr known", {"config.lr": {"known": True}}),
        ("config.lr known false", {"config.lr": {"known": False}}),
        ("seed != null", {"seed": {"!=": None}}),
    ],
)
def test_conditions_are_read_as_they_are_written(text, wanted) -> None:
    from automl.ui.models import conditions

    assert conditions([text]) == wanted


def test_the_python_face_does_what_the_command_line_does(make_plugin) -> None:
    import automl as face

    result = face.search(make_plugin(), trials=3, executor="inline", pruner="none")
    frame = face.models(code=True, curves=True, evaluations=True)
    assert len(frame) == 3
    assert frame["objective"].is_monotonic_decreasing
    assert "def fit" in frame["code"][0]["plugin.py"]
    assert frame["curves"][0]["valid"]["accuracy"]
    assert result.best is not None
    assert face.resume(result.study, trials=4).complete == 4
    with pytest.raises(AttributeError):
        face.nothing  # noqa: B018
