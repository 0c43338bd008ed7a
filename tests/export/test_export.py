"""From a trained trial to a verified file, and every way in which that can go wrong."""

import importlib
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import CheckpointError, ExportError
from automl.core.plugin import Axis, Exportable
from automl.core.trial import TrialTask, seed_everything
from automl.export import child, graph, parity
from automl.export.cpu import CpuTarget
from automl.export.exporting import export_trial, measured_again
from automl.export.session import Session
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportReport, ExportSettings, Variant

SINGLE = ExportSettings(precision="fp32")
METADATA = {"automl.plugin": "ptrnet", "automl.trial": "1/0"}


TOURS = "tsp:n=4-6,train_size=50"


def left(folder: Path, name: str, dataset: str, **settings) -> TrialTask:
    """A task whose weights lie where a finished trial leaves them."""
    plugin, data = catalogue().plugin(name), catalogue().dataset(dataset)
    config = replace(plugin.defaults, **settings)
    seed_everything(0)
    task = TrialTask(name, dataset, config.to_dict(), 0, 0, str(folder))
    checkpoint.save_weights(task.weights, plugin.build(config, data.info), {})
    return task


def trained(folder: Path, dataset: str = TOURS, **settings) -> TrialTask:
    """A small pointer network's task."""
    return left(folder, "ptrnet", dataset, hidden=16, init_scale=0.5, **settings)


def quick(folder: Path) -> TrialTask:
    """The task of a network that is exported in a second."""
    return left(folder, "selu", "spirals:train_size=50", width=8, depth=2)


@pytest.fixture(scope="module")
def tours(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialTask, ExportReport]:
    """A small pointer network and its export, to be read; who changes its files copies them."""
    folder = tmp_path_factory.mktemp("tours")
    task = trained(folder)
    (report,) = export_trial(task, [CpuTarget()], folder / "out", METADATA, SINGLE)
    return task, report


@pytest.mark.parametrize(
    ("dataset", "settings"),
    [
        (TOURS, {}),
        ("convex-hull:n=4-6,train_size=50", {"encoder": "bi", "glimpse": True, "logit_clip": 10.0}),
        pytest.param("delaunay:n=5,train_size=50", {}, marks=pytest.mark.slow),
        pytest.param("sort:n=5,train_size=50", {"embed_dim": 8}, marks=pytest.mark.slow),
        pytest.param("convex-hull:n=6,train_size=50", {"arch": "seq2seq"}, marks=pytest.mark.slow),
        pytest.param(
            "convex-hull:n=6,train_size=50", {"arch": "seq2seq_attention"}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_model_becomes_a_verified_file(
    tours: tuple[TrialTask, ExportReport], tmp_path: Path, dataset: str, settings
) -> None:
    if dataset == TOURS:
        report = tours[1]
    else:
        task = trained(tmp_path, dataset, **settings)
        (report,) = export_trial(task, [CpuTarget()], tmp_path / "out", METADATA, SINGLE)
    folder = Path(report.folder)
    assert (report.status, report.message) == ("ok", "")
    assert report.graph["axes"] == {"points": {"0": "batch", "1": "n"}}
    assert report.graph["opset"] == 18
    found = report.parity
    assert found["discrete_equal"]
    assert found["max_abs"] < 1e-4
    assert found["metric_torch"] == pytest.approx(found["metric_runtime"], abs=1e-3)
    assert len({(s["batch"], s["n"]) for s in found["sizes"]}) >= 5 or "arch" in settings
    assert {record["batch"] for record in report.benchmarks} == {1, 32}
    assert {file["name"] for file in report.files} >= {"model.onnx"}
    assert graph.provenance(folder / "model.onnx") == METADATA
    assert json.loads((folder / "report.json").read_text())["status"] == "ok"
    assert "onnxruntime" in (folder / "README.md").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["cpu"]  # nothing is left over


def examined(task: TrialTask, folder: Path, *variants: Variant) -> list[Variant]:
    return child.examined(CpuTarget(), folder, task, ExportSettings(), variants)


def test_a_graph_that_computes_something_else_is_caught(tmp_path: Path) -> None:
    task = quick(tmp_path)
    subject = Subject.load(task)
    seed_everything(1)  # other weights than the trial's
    other = subject.plugin.build(subject.config, subject.dataset.info).eval()
    exportable = subject.plugin.export(other, subject.config, subject.dataset.info)
    work = tmp_path / "work"
    work.mkdir()
    Canonical.write(replace(subject, exportable=exportable), work, {})
    (found,) = examined(task, work, Variant("fp32", "model.onnx"))
    assert found.status == "parity_fail"
    assert "disagrees with PyTorch" in found.message
    assert found.benchmarks == ()


class Unrolled(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        total = torch.zeros_like(x[:, 0])
        for step in range(x.shape[1]):
            total = total + x[:, step]
        return (total,)


class Inverse(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.linalg.svdvals(x),)


def asked(module: nn.Module) -> Exportable:
    free = {"x": {0: Axis("batch"), 1: Axis("n", 2, 50)}}
    return Exportable(module, {"x": torch.rand(2, 5, 3)}, ("y",), free)


def test_an_axis_that_the_exporter_fixes_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="static shape of 5|axis 1"):
        graph.write(asked(Unrolled()), tmp_path / "x.onnx", {})
    assert not (tmp_path / "x.onnx").exists()


def test_an_operator_without_a_counterpart_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="svd"):
        graph.write(asked(Inverse()), tmp_path / "x.onnx", {})


def test_a_failed_export_leaves_no_folder(tmp_path: Path, monkeypatch) -> None:
    def refuse(*args: object) -> None:
        raise ExportError("no such operator")

    monkeypatch.setattr(graph, "write", refuse)
    (report,) = export_trial(trained(tmp_path), [CpuTarget()], tmp_path / "out", METADATA)
    assert (report.status, report.message) == ("export_fail", "no such operator")
    assert not (tmp_path / "out").exists()


CRASHING = """
import os, signal, sys, time
from automl.export.cpu import CpuTarget

class Crashing(CpuTarget):
    def verify(self, subject, folder, variant, settings):
        print("the last words", flush=True)
        if variant.precision == "fp16":
            os.kill(os.getpid(), signal.SIGSEGV)
        if variant.precision == "int8-static":
            sys.exit("no such instruction")
        if variant.precision == "int8-dynamic":
            time.sleep(1000)
        return variant.found("prepared")

    def benchmark(self, subject, folder, variant):
        return []
"""


def test_a_runtime_that_crashes_ends_or_hangs_is_a_status(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    monkeypatch.setattr(child, "TIMEOUT_SECONDS", 15)
    target = importlib.import_module("crashing").Crashing()
    names = ("fp32", "fp16", "int8-static", "fp32", "int8-dynamic", "fp16")
    variants = [Variant(name, "a.onnx") for name in names]
    found = child.examined(target, tmp_path, quick(tmp_path), ExportSettings(), variants)
    assert [one.precision for one in found] == list(names)
    states = ["prepared", "crash", "load_fail", "prepared", "timeout", "crash"]
    assert [one.status for one in found] == states
    assert str(int(signal.SIGSEGV)) in found[1].message
    assert found[2].message == "no such instruction"
    assert found[4].message == "verification took longer than 15 seconds"


def test_a_variant_that_cannot_be_loaded_leaves_the_others_alone(tmp_path: Path) -> None:
    task = quick(tmp_path)
    Canonical.write(Subject.load(task), tmp_path, {})
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    broken, good = examined(
        task, tmp_path, Variant("int8-static", "broken.onnx"), Variant("fp32", "model.onnx")
    )
    assert (broken.status, good.status) == ("load_fail", "ok")
    assert "broken.onnx" in broken.message
    assert {record["runtime"] for record in good.benchmarks} == {"onnxruntime", "torch eager"}


def test_an_export_is_measured_again_only_if_its_files_are_the_same(
    tours: tuple[TrialTask, ExportReport], tmp_path: Path
) -> None:
    task, exported = tours
    folder = Path(shutil.copytree(exported.folder, tmp_path / "cpu"))
    report = replace(exported, folder=str(folder)).to_dict()
    found = measured_again(CpuTarget(), report, task, ExportSettings())
    assert [len(variant.benchmarks) for variant in found] == [4, 2]
    (folder / "step.onnx").write_bytes(b"other")
    with pytest.raises(ExportError, match=r"step.onnx is not the file"):
        measured_again(CpuTarget(), report, task, ExportSettings())
    (folder / "step.onnx").unlink()
    with pytest.raises(ExportError, match=r"step.onnx is gone"):
        measured_again(CpuTarget(), report, task, ExportSettings())


def test_a_trial_without_weights_is_refused(tmp_path: Path) -> None:
    task = trained(tmp_path)
    task.weights.unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        list(export_trial(task, [CpuTarget()], tmp_path / "out", {}))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    task = trained(tmp_path)
    task.weights.write_bytes(task.weights.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        list(export_trial(task, [CpuTarget()], tmp_path / "out", {}))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="cannot be loaded"):
        Session(path)
    with pytest.raises(ExportError, match="no readable ONNX file"):
        graph.provenance(path)


def test_sizes_to_try_reach_beyond_the_example_within_the_range() -> None:
    assert parity.sizes(Axis("n", 3, 500), 10) == [3, 5, 10, 11, 20, 50]
    assert parity.sizes(Axis("n", 3, 12), 10) == [3, 5, 10, 11, 12]
    assert parity.sizes(Axis("batch"), 2) == [1, 2, 3, 7, 16]


def test_nodes_inside_loops_are_counted(tours: tuple[TrialTask, ExportReport]) -> None:
    _, report = tours
    top = len(onnx.load(Path(report.folder) / "model.onnx").graph.node)
    assert report.graph["nodes"] > top
    assert report.graph["operators"]["Scan"] == 1


def test_a_model_without_an_export_of_its_own_is_exported_by_forward_and_example(tmp_path) -> None:
    from automl.core.check import Case
    from automl.export.law import export_matches_torch
    from automl.ui.scaffold import new_plugin

    export_matches_torch(Case(str(new_plugin("exported", tmp_path))))
