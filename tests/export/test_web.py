"""A model as a page: real npm, real Chromium, and everything that can be missing."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import ConfigError, ExportError, MissingExtra
from automl.core.trial import TrialTask, seed_everything
from automl.export.exporting import export_trial
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Variant
from automl.export.web import browser, description, npm
from automl.export.web.bundle import SITE, WASM, write_page
from automl.export.web.target import WebTarget

FIELDS = "poisson-periodic:finest=32,resolution=16,test_size=8,train_size=16,valid_size=16"
EVIL = "<img src=x onerror=\"document.title='broken in'\"> </script><script>alert(1)</script>"


def trained(folder: Path, plugin: str, dataset: str, **settings) -> TrialTask:
    """A task whose weights lie where a finished trial leaves them."""
    made, data = catalogue().plugin(plugin), catalogue().dataset(dataset)
    config = replace(made.defaults, **settings)
    seed_everything(0)
    task = TrialTask(plugin, dataset, config.to_dict(), 0, 0, str(folder))
    checkpoint.save_weights(task.weights, made.build(config, data.info), {})
    return task


# ---------------------------------------------------------------- npm


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    (tmp_path / "programs").mkdir()
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    path = folder / "programs" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_without_npm_the_error_says_what_to_install(no_cache: Path) -> None:
    with pytest.raises(MissingExtra, match=r"apt-get install nodejs npm"):
        WebTarget().check(ExportSettings())


def test_a_precision_that_is_not_offered_is_refused(no_cache: Path) -> None:
    with pytest.raises(ConfigError, match="web does not offer int8"):
        WebTarget().check(ExportSettings(precision="int8"))


def test_what_npm_says_is_told(no_cache: Path) -> None:
    program(no_cache, "npm", "echo 'npm ERR! code ENOTFOUND' >&2; exit 1")
    with pytest.raises(ExportError, match=r"cannot fetch three@.*ENOTFOUND"):
        npm.package("three")
    assert list((no_cache / "cache" / "automl" / "npm").iterdir()) == []


def test_a_package_in_the_cache_needs_no_npm(no_cache: Path) -> None:
    folder = npm.cache() / f"three-{npm.VERSIONS['three']}"
    folder.mkdir(parents=True)
    assert npm.package("three") == folder


def test_an_archive_may_not_write_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "evil.tgz", "w:gz") as archive:
        archive.add(tmp_path / "x", arcname="../escaped")
    with pytest.raises(tarfile.OutsideDestinationError):
        npm.unpack(tmp_path / "evil.tgz", tmp_path / "inner")
    assert not (tmp_path / "escaped").exists()


# ---------------------------------------------------------------- a page of a graph by hand


def about(**more) -> dict:
    inputs = [
        {"name": "count", "type": "int64", "shape": [{"axis": "batch", "low": 1, "high": 4}, 2]},
        {"name": "x", "type": "float32", "shape": [{"axis": "batch", "low": 1, "high": 4}, 2]},
    ]
    example = {
        "inputs": {
            "count": {"dims": [1, 2], "data": [3, -4]},
            "x": {"dims": [1, 2], "data": [0.5, "Infinity"]},
        },
        "outputs": {
            "more": {"dims": [1, 2], "data": [6, -8]},
            "large": {"dims": [1, 2], "data": [0, 1]},
        },
    }
    told = {
        "name": "by hand",
        "paper": "None",
        "dataset": "numbers",
        "problem": "none",
        "file": "model.onnx",
        "view": "numbers",
        "inputs": inputs,
        "outputs": ["more", "large"],
        "discrete": [],
        "classes": None,
        "columns": [],
        "examples": [example],
        "provenance": {},
    }
    return told | more


def graph_by_hand(path: Path) -> Path:
    """``more`` is twice ``count``, as int64; ``large`` says where ``x`` is above 1, as bool."""
    rows = ["batch", 2]
    one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    nodes = [
        helper.make_node("Add", ["count", "count"], ["more"]),
        helper.make_node("Greater", ["x", "one"], ["large"]),
    ]
    inputs = [
        helper.make_tensor_value_info("count", TensorProto.INT64, rows),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, rows),
    ]
    outputs = [
        helper.make_tensor_value_info("more", TensorProto.INT64, rows),
        helper.make_tensor_value_info("large", TensorProto.BOOL, rows),
    ]
    graph = helper.make_graph(nodes, "by hand", inputs, outputs, [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    graph = graph_by_hand(tmp_path_factory.mktemp("graph") / "model.onnx")
    evil = {"name": EVIL, "paper": EVIL, "columns": [EVIL], "provenance": {EVIL: EVIL}}
    write_page(folder, graph, about(**evil), SITE, WASM)
    return folder


@pytest.fixture(scope="class")
def page(by_hand: Path) -> Iterator[browser.Browser]:
    assert browser.missing() == ""
    with browser.served(by_hand) as url, browser.opened(url) as found:
        found.load()
        yield found


class TestAPage:
    """One browser for all: Playwright allows one at a time in a thread."""

    def test_whole_numbers_and_truth_values_pass_the_browser_unchanged(
        self, page: browser.Browser
    ) -> None:
        large = 2**60 + 1  # beyond what a JavaScript number holds
        x = torch.tensor([[0.5, 2.0], [torch.nan, torch.inf]])
        found = page({"count": torch.tensor([[large, -1], [0, 7]]), "x": x})
        assert found["more"].tolist() == [[2 * large, -2], [0, 14]]
        assert found["large"].dtype == torch.bool
        assert found["large"].tolist() == [[False, True], [False, True]]

    def test_names_are_shown_as_text(self, page: browser.Browser) -> None:
        assert page.page.title() == f"{EVIL} on numbers"
        assert EVIL in page.page.inner_text("h1").replace("\xa0", " ")
        assert page.page.locator("img").count() == 0
        assert page.page.locator("script").count() == 1
        assert "equal to PyTorch" in page.page.inner_text("#status")

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            ("model.run({})", 'input "count" is missing'),
            ("model.run({ y: {} })", 'there is no input "y": the model takes count, x'),
            ("model.run({ count: { dims: [1, 3], data: [1, 2, 3] } })", "is 1×3, the model takes"),
            (
                "model.run({ count: { dims: [5, 2], data: Array(10) } })",
                r"is 5×2.*batch \(1 to 4\)",
            ),
            ("model.run({ count: { dims: [1, 2], data: [1] } })", "has 1 numbers, 1×2 are 2"),
            ("import('./model.js').then((m) => m.load({ engine: 'magic' }))", 'no engine "magic"'),
        ],
    )
    def test_a_wrong_call_says_what_is_wrong(
        self, page: browser.Browser, call: str, message: str
    ) -> None:
        call = call.replace("'./model.js'", "new URL('model.js', location.href)")
        with pytest.raises(ExportError, match=message):
            page.evaluate(f"async () => {{ await {call}; }}")

    def test_calls_at_the_same_time_each_get_their_answer(self, page: browser.Browser) -> None:
        found = page.evaluate(
            """async () => {
                const one = (n) => model.run({
                    count: { dims: [1, 2], data: [n, n] }, x: { dims: [1, 2], data: [0, 0] } });
                const all = await Promise.all([1, 2, 3].map(one));
                return all.map((outputs) => Number(outputs.more.data[0]));
            }"""
        )
        assert found == [2, 4, 6]

    def test_numbers_can_be_changed_on_the_page(self, page: browser.Browser) -> None:
        page.page.fill("input[type=number] >> nth=0", "21")
        page.page.press("input[type=number] >> nth=0", "Enter")
        page.page.wait_for_function("document.body.textContent.includes('42  -8')", timeout=10_000)


def test_pythons_own_web_server_is_enough(by_hand: Path) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(command, cwd=by_hand, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"http://127.0.0.1:\d+", server.stdout.readline())
        assert address
        with browser.opened(address[0]) as found:
            assert "equal to PyTorch" in found.page.inner_text("#status")
    finally:
        server.terminate()
        server.communicate(timeout=10)


def test_a_page_loads_nothing_from_elsewhere(by_hand: Path) -> None:
    asked = []
    with browser.served(by_hand) as url, browser.opened(f"{url}/model.json") as found:
        found.page.on("request", lambda request: asked.append(request.url))
        found.open(url)
    assert asked
    assert [one for one in asked if not one.startswith((url, "data:"))] == []
    assert (by_hand / "onnxruntime-web.LICENSE.txt").exists()


def test_a_damaged_graph_is_told_by_the_page(by_hand: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(by_hand, folder)
    (folder / "model.onnx").write_bytes(b"not a graph")
    with (
        pytest.raises(ExportError, match=r"The model cannot be shown: .*protobuf"),
        browser.served(folder) as url,
        browser.opened(url),
    ):
        pass


# ---------------------------------------------------------------- trained models


def prepared(folder: Path, task: TrialTask) -> tuple[Subject, Path, Variant]:
    subject = Subject.load(task)
    work = folder / "work"
    work.mkdir()
    page = folder / "page"
    page.mkdir()
    canonical = Canonical.write(subject, work, {"automl.plugin": task.plugin})
    (variant,) = WebTarget().prepare(subject, canonical, page, ExportSettings())
    return subject, page, variant


@pytest.fixture(scope="module")
def hull(tmp_path_factory) -> tuple[Subject, Path, Variant]:
    folder = tmp_path_factory.mktemp("hull")
    task = trained(folder, "ptrnet", "convex-hull:n=4-6,train_size=50", hidden=16, init_scale=0.5)
    return prepared(folder, task)


def test_a_pointer_network_answers_in_the_browser_as_in_pytorch(hull) -> None:
    found = WebTarget().verify(*hull, ExportSettings())
    assert (found.status, found.message) == ("ok", "")
    assert found.parity["discrete_equal"]
    assert len(found.parity["sizes"]) >= 5
    assert found.parity["metric_runtime"] == found.parity["metric_torch"]
    assert found.facts["browser"].startswith("Chromium")


def test_another_model_than_the_trials_is_found_out(hull) -> None:
    subject, folder, variant = hull
    seed_everything(1)
    other = subject.plugin.build(subject.config, subject.dataset.info).eval()
    found = WebTarget().verify(replace(subject, model=other), folder, variant, ExportSettings())
    assert found.status == "parity_fail"
    assert "disagrees with PyTorch" in found.message


def test_without_chromium_a_page_is_prepared_and_says_why(hull, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = WebTarget().verify(*hull, ExportSettings())
    assert found.status == "prepared"
    assert "apt-get install chromium" in found.message
    assert WebTarget().benchmark(*hull) == []


def test_examples_come_without_padding_and_with_answers(hull) -> None:
    subject, folder, _ = hull
    about = json.loads((folder / "model.json").read_text())
    assert about["view"] == "points"
    lengths = [example["inputs"]["points"]["dims"][1] for example in about["examples"]]
    wanted = subject.dataset.split("valid").examples["length"][: len(lengths)].tolist()
    assert lengths == wanted
    assert len(set(lengths)) > 1
    for example in about["examples"]:
        assert max(example["outputs"]["sequence"]["data"]) <= example["inputs"]["points"]["dims"][1]


def test_numbers_that_json_lacks_become_text() -> None:
    values = torch.tensor([0.1, -torch.inf, torch.inf, torch.nan])
    assert description.plain(values)["data"] == [0.100000001, "-Infinity", "Infinity", "NaN"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "dataset", "settings", "view"),
    [
        ("selu", "digits", {"depth": 2, "width": 32}, "image"),
        ("neural_operator", FIELDS, {"n_layers": 1, "modes": 4, "width": 8}, "field"),
    ],
)
def test_models_of_other_kinds_are_exported(
    tmp_path: Path, plugin: str, dataset: str, settings, view: str
) -> None:
    task = trained(tmp_path, plugin, dataset, **settings)
    (report,) = export_trial(task, [WebTarget()], tmp_path / "out", {"automl.plugin": plugin})
    assert (report.status, report.message) == ("ok", "")
    folder = tmp_path / "out" / "web"
    assert json.loads((folder / "model.json").read_text())["view"] == view
    web, native = report.benchmarks
    assert web["runtime"] == "onnxruntime-web 1.30.0"
    assert web["engine"] == "wasm"
    assert (web["batch"], native["batch"]) == (1, 1)
    assert 0 <= web["min_us"] <= web["p50_us"]  # a browser's clock stands still for 0.1 ms
    assert "model.js" in (folder / "README.md").read_text()
    assert os.access(folder / "ort" / "ort-wasm-simd-threaded.wasm", os.R_OK)
