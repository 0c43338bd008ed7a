"""Pages that start searches, show a model, papers and data, without a browser."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from automl.core.errors import AutoMLError, DataError
from automl.core.places import artifact_root
from automl.core.record import BarResult, ClaimVerdict
from automl.dataset_db import query
from automl.dataset_db.bests import bests
from automl.ui import actions, asking, judging, pictures
from automl.ui.jobs import Job, Queue
from automl.ui.views.start import LARGEST_UPLOAD_MB, kept
from tests.ui.test_app import drawn, said

HOSTILE = "<b>*hostile*</b> [x](http://y) `z`"


@pytest.fixture(scope="module", autouse=True)
def helper() -> Iterator[None]:
    """One helper process for this file."""
    yield
    asking.helper().stop()


def codes(app: AppTest) -> list[str]:
    return [str(code.value) for code in app.code]


def plain(app: AppTest) -> str:
    return said(app).replace("\\", "")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue that runs nothing."""
    monkeypatch.setattr(Queue, "start", lambda self: None)
    return Queue()


@pytest.fixture
def searched(make_plugin) -> str:
    plugin = make_plugin()
    settings = {"executor": "inline", "pruner": "none"}
    actions.search(plugin, trials=3, name=HOSTILE, **settings)
    return str(plugin)


# ---------------------------------------------------------------- start


def test_the_form_says_the_command_and_posts_a_job(idle: Queue) -> None:
    app = drawn("start", plugin="selu", dataset="digits")
    assert not app.exception
    assert codes(app) == ["automl search --plugin selu --dataset digits --trials 20"]
    app.number_input(key="trials").set_value(7)
    app.text_input(key="timeout").set_value("10m")
    app.selectbox(key="sampler").set_value("random")
    app.multiselect(key="objectives-image-classification").set_value(["accuracy", "params"])
    app.multiselect(key="fix-selu").set_value(["depth", "shape", "force"]).run()
    app.number_input(key="set-selu-depth").set_value(3)
    app.toggle(key="set-selu-force").set_value(True)
    app.text_input(key="name").set_value("a b").run()
    expected = (
        "automl search --plugin selu --dataset digits --set depth=3 --set shape=rectangular --set "
        "force=true --trials 7 --timeout 10m --sampler random --objective accuracy --objective "
        "params --name 'a b'"
    )
    assert codes(app) == [expected]
    app.button(key="start").click().run()
    (job,) = idle.jobs()
    assert job.command == expected
    assert job.state == "queued"
    assert app.query_params["job"] == "1"


def test_settings_of_several_plugins_are_told_apart(idle: Queue) -> None:
    app = drawn("start", dataset="digits", plugin="selu")
    app.multiselect(key="plugins-image-classification").set_value(["selu", "spiking"]).run()
    app.multiselect(key="fix-selu").set_value(["depth"]).run()
    assert "--plugin selu --plugin spiking --dataset digits --set selu.depth=8" in codes(app)[0]


def test_what_the_engine_refuses_is_a_sentence_and_no_job(idle: Queue) -> None:
    app = drawn("start", plugin="selu", dataset="digits")
    app.text_input(key="timeout").set_value("soon").run()
    assert "'soon' must be a duration" in app.warning[0].value.replace("\\", "")
    assert app.button(key="start").disabled
    app.text_input(key="timeout").set_value("").run()
    app.text_input(key="options-digits").set_value("nonsense=1").run()
    assert "no setting named 'nonsense'" in plain(app)
    assert not app.exception
    assert "no dataset named 'nowhere'" in plain(drawn("start", dataset="nowhere"))
    assert "no plugin named 'nobody'" in plain(drawn("start", plugin="nobody"))
    assert idle.jobs() == []


def test_uploads_are_kept_by_what_they_hold(idle: Queue) -> None:
    first = kept("../../my table.csv", b"a,b\n1,2\n")
    assert first == kept("../../my table.csv", b"a,b\n1,2\n")
    assert first.name == "my-table.csv"
    assert first.is_relative_to(idle.folder / "uploads")
    with pytest.raises(DataError, match=r"big.csv has 51 MB; the browser takes 50"):
        kept("big.csv", bytes(51_000_000))
    with pytest.raises(DataError, match="is empty"):
        kept("none.csv", b"")
    assert LARGEST_UPLOAD_MB == 50


def test_a_table_becomes_a_dataset_and_a_broken_one_a_sentence(idle: Queue, tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(60))
    table = kept("some.csv", f"one,two,answer\n{rows}\n".encode())
    assert asking.ask("columns", path=str(table)) == ["one", "two", "answer"]
    options = {"target": "answer", "problem": "auto"}
    found = asking.ask("prepared", path=str(table), options=options)
    assert found["problem"] == "tabular-classification"
    assert found["sizes"]["train"] > 30
    for name, content in (("broken.npz", b"PK no archive"), ("broken.parquet", b"no parquet")):
        with pytest.raises(AutoMLError, match="broken"):
            asking.ask("columns", path=str(kept(name, content)))


# ---------------------------------------------------------------- jobs


def test_without_jobs_the_page_says_what_to_do() -> None:
    app = drawn("jobs")
    assert not app.exception
    assert "automl jobs add search --plugin ptrnet" in said(app)


def test_jobs_are_shown_stopped_and_resumed(idle: Queue, searched: str) -> None:
    waiting = idle.post(["search", "--plugin", HOSTILE])
    with idle.lock("records"):
        idle.write(replace(waiting, posted="2026-01-01T00:00:00+00:00"))  # long ago
        gone = Job(
            2,
            ("search", "--plugin", searched),
            ".",
            "failed",
            study=1,
            message=f"it ended: {HOSTILE}",
        )
        idle.write(gone)
        idle.write(Job(3, ("search",), ".", "stopped", study=77))
    idle.path(2, "log").write_text(HOSTILE)
    app = drawn("jobs", job="2")
    assert not app.exception
    assert "nothing takes them" in app.warning[0].value
    assert HOSTILE in codes(app)  # in a block of code nothing is interpreted
    assert "\\*hostile\\*" in " ".join(str(error.value) for error in app.error)
    assert "*hostile*" not in " ".join(m.value for m in app.markdown if m.value).replace("\\*", "")
    app.button(key=f"out-{waiting.number}").click().run()
    assert idle.job(waiting.number).state == "stopped"
    app.button(key="clear").click().run()
    assert idle.jobs() == []


# ---------------------------------------------------------------- model


def test_two_trials_are_compared_by_settings_and_code(searched: str, make_plugin) -> None:
    other = make_plugin(name="other", fit="# another\nrun.report(1, {'accuracy': 0.5, 'nll': 1.0})")
    actions.search(other, trials=1, executor="inline", pruner="none")
    app = drawn("model", trial="1/0")
    assert not app.exception
    from automl.ui.views.model_code import code_differences, differences

    mine, yours = (query.trial(reference, code=True) for reference in ("1/0", "1/1"))
    ((name, one, two),) = differences(mine["config"], yours["config"])
    assert (name, one) == ("x", "0.5")
    assert two == str(yours["config"]["x"])
    assert code_differences(mine, yours) == {}
    changed = code_differences(query.trial("2/0", code=True), mine)
    assert "+        # another" in changed["plugin.py"]


def test_a_trial_deleted_while_open_and_weights_gone_are_sentences(searched: str) -> None:
    shutil.rmtree(artifact_root())
    app = drawn("model", trial="1/0")
    assert not app.exception
    assert "The weights are no longer at" in app.warning[0].value.replace("\\", "")
    app.text_input[0].set_value("1/9").run()
    assert "there is no trial 1/9" in plain(app)
    assert not app.exception


def test_layers_and_their_flow_are_seen() -> None:
    import torch
    from torch import nn

    from automl.ui.layers import traced

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 4)
            self.left, self.unused = nn.Linear(4, 2), nn.Linear(1, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            h = torch.relu(self.first(x))
            h = h + self.second(self.second(h))
            return {"y": self.left(h)}

    found = traced(Net(), {"x": torch.zeros(2, 3)})
    rows = {row["name"]: row for row in found["layers"]}
    assert rows["second"]["calls"] == 2
    assert rows["unused"]["calls"] == 0
    assert (rows["first"]["takes"], rows["first"]["gives"]) == ("2×3", "2×4")
    edges = {tuple(edge) for edge in found["edges"]}
    assert edges == {
        ("input", "first"), ("first", "second"), ("second", "second"),
        ("first", "left"), ("second", "left"),
    }  # fmt: skip
    assert found["total"] == 16 + 20 + 10 + 2
    text = pictures.dot([["input", 'a"]; evil']], [])
    assert '"a\\"]; evil"' in text


def test_truths_beside_the_answers() -> None:
    square = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]]
    hull = judging.hull(square)
    assert judging.same_cycle([2, 3, 0, 1], hull)
    assert not judging.same_cycle([0, 2, 1, 3], hull)
    assert len(judging.triangles(square)) == 4
    assert judging.tour_length(square[:4], judging.shortest(square[:4])) == 4
    for flat in ([], [[0.0, 0.0]], [[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]):
        assert judging.hull(flat) == []
        assert judging.triangles(flat) == set()
    assert pictures.lines([1, 2, 3, 0, 9], "convex-hull", 5) == [[0, 1, 2, 0]]
    assert pictures.lines([1, 2, 3, 2, 3, 99], "delaunay", 5) == [[0, 1, 2, 0], [1, 2, 1]]


# ---------------------------------------------------------------- papers and data


def test_papers_and_data_are_shown_without_a_database() -> None:
    papers = drawn("papers")
    assert not papers.exception
    assert "10 of 10 plugins" in said(papers)
    papers.selectbox(key="problem").set_value("sort").run()
    assert "1 of 10 plugins" in said(papers)
    paper = drawn("papers", plugin="ptrnet")
    assert "automl reproduce ptrnet --claim travelling_salesman" in codes(paper)
    assert "automl search --plugin ptrnet" in said(paper)
    assert "no plugin named 'nobody'" in plain(drawn("papers", plugin="nobody"))
    data = drawn("data", dataset="convex-hull:n=5,train_size=50")
    assert not data.exception
    assert said(data).count("5 points") == 8
    assert "no dataset named 'nowhere'" in plain(drawn("data", dataset="nowhere"))


def test_verdicts_stand_on_the_papers_page_with_figures_and_command(searched: str) -> None:
    bar = BarResult("ours", "accuracy", "d", "accuracy >= 0.5", 0.6, 0.1, None, 0.5, True, "0.7")
    verdict = ClaimVerdict(
        "selu", 1, "ff", "it_works", "It <b>works</b>.", "Table 1", "small", "not reproduced",
        (bar,), (), (), "automl reproduce selu --claim it_works",
    )  # fmt: skip
    with actions.opened(None) as store:
        store.record_claim(verdict)
    assert "0 of 1 claims checked here reproduced" in said(drawn("papers"))
    paper = drawn("papers", plugin="selu")
    assert not paper.exception
    assert "automl reproduce selu --claim it_works" in codes(paper)
    (bars,) = [table.value for table in paper.dataframe]
    assert bars.loc[0, ["met", "test split of", "ours", "paper"]].tolist() == [
        "yes",
        "d",
        0.6,
        "0.7",
    ]


def test_the_best_of_each_plugin_and_dataset(searched: str) -> None:
    (best,) = bests()
    trials = query.trials(1)
    assert best["value"] == max(trial["objective"] for trial in trials)
    assert best["reference"] == f"1/{trials[0]['number']}"
    assert bests(plugin="nobody") == []


def test_pictures_are_made_of_every_kind() -> None:
    grey, colour = np.zeros((1, 4, 4)), np.random.default_rng(0).random((3, 4, 4))
    assert pictures.image(grey).data[0].type == "heatmap"
    assert pictures.image(colour).data[0].type == "image"
    assert len(pictures.series(np.zeros((5, 3))).data) == 3
    assert "&lt;b&gt;" in pictures.image(grey, "<b>").layout.title.text


# ---------------------------------------------------------------- last: it ends the helper


def test_a_helper_that_dies_or_hangs_is_a_sentence_and_replaced() -> None:
    names = asking.ask("search_settings")["settings"]
    process = asking.helper().process
    assert process is not None
    process.kill()
    process.wait()
    assert asking.ask("search_settings")["settings"] == names
    with pytest.raises(AutoMLError, match="no answer after 0 seconds"):
        asking.ask("samples", seconds=0, spec="digits")
