"""Eight bits for CPUs and half precision for GPUs: judged by what they decide and cost."""

import json
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import ConfigError, ExportError
from automl.core.trial import TrialTask, seed_everything
from automl.export import parity, quantise
from automl.export.cpu import CpuTarget
from automl.export.exporting import export_trial
from automl.export.gpu import coverage, half
from automl.export.gpu.target import GpuTarget
from automl.export.session import Session, save_ort
from automl.export.subject import Subject
from automl.export.targets import ExportReport, ExportSettings, Target, Variant


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TrialTask:
    """A network that has learnt scikit-learn's digits for a moment."""
    folder = tmp_path_factory.mktemp("digits")
    plugin, data = catalogue().plugin("selu"), catalogue().dataset("digits")
    config = replace(plugin.defaults, width=64, depth=2, dropout=0.0, standardise=False)
    seed_everything(0)
    model = plugin.build(config, data.info)
    task = TrialTask("selu", "digits", config.to_dict(), 0, 0, str(folder))
    batch = data.split("train").examples
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        logits = model(batch["x"])["logits"]
        nn.functional.cross_entropy(logits, batch["target"]).backward()
        optimizer.step()
    checkpoint.save_weights(task.weights, model.eval(), {})
    return task


@pytest.fixture(scope="module")
def cpu(digits: TrialTask, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(digits, CpuTarget(), tmp_path_factory.mktemp("cpu"))


@pytest.fixture(scope="module")
def gpu(digits: TrialTask, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return exported(digits, GpuTarget(), tmp_path_factory.mktemp("gpu"))


def exported(task: TrialTask, target: Target, folder: Path, **settings) -> ExportReport:
    (report,) = export_trial(task, [target], folder, {}, ExportSettings(**settings))
    return report


def test_int8_is_kept_if_it_decides_alike(cpu: ExportReport) -> None:
    found = {variant["file"]: variant for variant in cpu.variants}
    assert {file: v["status"] for file, v in found.items()} == dict.fromkeys(
        ("model.onnx", "model.ort", "model.static.onnx", "model.dynamic.onnx"), "ok"
    )
    for variant in found.values():
        assert variant["parity"]["agreement"] >= 0.97
        assert variant["parity"]["drop"] <= 0.01
        assert {r["batch"] for r in variant["benchmarks"]} == {1, 32}
    for file in ("model.static.onnx", "model.dynamic.onnx"):
        assert found[file]["facts"]["bytes"] < 0.7 * found["model.onnx"]["facts"]["bytes"]
        assert found[file]["parity"]["max_abs"] > found["model.onnx"]["parity"]["max_abs"]
    assert cpu.status == "ok"


def test_int8_that_loses_too_much_is_refused_with_the_numbers(
    digits: TrialTask, tmp_path: Path, monkeypatch
) -> None:
    real = quantise.static

    def rough(model: Path, into: Path, batches: object) -> None:
        real(
            model, into, [{"x": torch.zeros(1, 1, 8, 8)}]
        )  # ranges of nothing: everything saturates

    monkeypatch.setattr(quantise, "static", rough)
    monkeypatch.setattr(quantise, "dynamic", refuse)
    report = exported(digits, CpuTarget(), tmp_path, precision="int8")
    assert (report.status, report.precision) == ("refused", "int8-static")
    assert "of 200 decisions equal" in report.message
    assert "accuracy" in report.message
    dynamic = report.variants[1]
    assert (dynamic["status"], dynamic["message"]) == ("refused", "not this one")


@pytest.mark.parametrize(
    ("drawn", "data", "good"), [(1.0, 0.0, True), (0.0, 0.02, True), (0.0, 0.1, False)]
)
def test_what_rounds_is_judged_by_the_data_not_by_random_inputs(
    digits: TrialTask, drawn: float, data: float, good: bool
) -> None:
    subject = Subject.load(digits)
    eager = subject.eager()

    def slips(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        answers = eager(inputs)
        logits = answers["logits"]
        count = len(logits)
        wrong = int(count * (data if count > max(parity.BATCHES) else drawn))
        return answers | {"logits": torch.cat([-logits[:wrong], logits[wrong:]])}

    limit = parity.rule("int8-static", max_drop=1.0)
    found = parity.proven(subject, slips, limit)
    alone = parity.Comparison(subject.exportable, limit)
    alone.over_sizes(slips, eager)
    assert alone.report()["decisions"] == sum(parity.BATCHES)
    assert found["ok"] == good, found
    assert found["decisions"] == 200
    assert found["agreement"] == pytest.approx(1 - data)


def refuse(model: Path, into: Path) -> None:
    raise ExportError("not this one")


def test_a_graph_without_products_cannot_be_quantised(tmp_path: Path) -> None:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.onnx.export(
        Shift().eval(), (torch.rand(2, 3),), tmp_path / "m.onnx", dynamo=True, verbose=False
    )
    with pytest.raises(ExportError, match="no operator that onnxruntime quantises"):
        quantise.dynamic(tmp_path / "m.onnx", tmp_path / "q.onnx")
    assert not (tmp_path / "q.onnx").exists()


def test_the_quantisers_warnings_stay_off_the_screen(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).masked_fill(x < 0.5, -torch.inf).softmax(-1) @ self.layer.weight

    inputs = torch.tensor([[0.1, 0.9, 0.8]])
    torch.onnx.export(Masked().eval(), (inputs,), tmp_path / "m.onnx", dynamo=True, verbose=False)
    with quantise.prepared(tmp_path / "m.onnx") as ready, warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # infinity has no scale
        quantise.static(ready, tmp_path / "q.onnx", [{"x": inputs}])


def test_ort_format_holds_no_layout_of_this_machine(tmp_path: Path) -> None:
    convolution = nn.Conv2d(8, 8, 3).eval()
    path = tmp_path / "m.onnx"
    torch.onnx.export(convolution, (torch.rand(2, 8, 9, 9),), path, dynamo=True, verbose=False)
    save_ort(path, tmp_path / "m.ort")
    assert b"ReorderInput" not in (tmp_path / "m.ort").read_bytes()
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"bad.onnx cannot be written"):
        save_ort(tmp_path / "bad.onnx", tmp_path / "bad.ort")


def test_the_fastest_good_file_is_recommended_the_plain_one_within_noise() -> None:
    def variant(file: str, status: str, micros: float) -> Variant:
        record = {"batch": 1, "runtime": "onnxruntime", "p50_us": micros}
        return Variant("fp32", file, status, benchmarks=(record,))

    plain, quick = variant("model.onnx", "ok", 104), variant("q.onnx", "ok", 100)
    refused = variant("r.onnx", "refused", 10)
    choose = CpuTarget().choose
    assert choose([plain, quick, refused]) is plain
    assert choose([variant("model.onnx", "ok", 120), quick, refused]) is quick
    assert choose([refused]) is refused


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"max_drop": -1.0}, "max_drop must be 0 or more"),
        ({"flash_kb": float("nan")}, "flash_kb must be 0 or more"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ExportSettings(**settings)


def test_a_target_refuses_a_precision_that_it_does_not_offer(digits: TrialTask, tmp_path) -> None:
    with pytest.raises(ConfigError, match="target gpu does not offer int8"):
        exported(digits, GpuTarget(), tmp_path / "out", precision="int8")
    assert not (tmp_path / "out").exists()


def test_a_failing_target_leaves_the_others_alone(digits: TrialTask, tmp_path: Path) -> None:
    class Broken(CpuTarget):
        name = "broken"

        def prepare(self, *args: object) -> list[Variant]:
            raise RuntimeError("out of ideas")

    made = list(export_trial(digits, [Broken(), GpuTarget()], tmp_path, {}))
    assert [report.status for report in made] == ["export_fail", "prepared"]
    assert "RuntimeError: out of ideas" in made[0].message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu"]


def test_half_precision_is_prepared_where_there_is_no_gpu(gpu: ExportReport) -> None:
    assert (gpu.status, gpu.precision) == ("prepared", "fp16")
    assert "not verified on a GPU" in gpu.message
    assert gpu.parity["ok"]
    assert 1e-5 < gpu.parity["max_abs"] < 2e-2
    graph = onnx.load(Path(gpu.folder) / "model.fp16.onnx").graph
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_script_beside_the_files_proves_them(gpu: ExportReport, tmp_path: Path) -> None:
    shutil.copytree(gpu.folder, tmp_path / "gpu")
    command = [sys.executable, str(tmp_path / "gpu" / "verify.py"), "--json"]
    done = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert {one["file"]: one["status"] for one in found} == {
        "model.fp16.onnx": "ok",
        "model.onnx": "ok",
    }
    assert all(sum(one["nodes"].values()) > 3 for one in found)
    assert all(one["latency"]["p50_us"] > 0 for one in found)

    wrong = dict(np.load(tmp_path / "gpu" / "reference.npz"))
    assert len(wrong["5/in/x"]) == 100  # of the data, after five sizes of random inputs
    wrong["0/out/logits"] = -wrong["0/out/logits"]
    np.savez(tmp_path / "gpu" / "reference.npz", **wrong)
    done = subprocess.run([*command, "--provider", "cpu"], capture_output=True, text=True)
    assert done.returncode == 1
    assert {one["status"] for one in json.loads(done.stdout)} == {"parity_fail"}

    (tmp_path / "gpu" / "model.onnx").write_bytes(b"no graph")
    done = subprocess.run(
        [*command, "--provider", "cpu", "--file", "model.onnx"], capture_output=True, text=True
    )
    assert [one["status"] for one in json.loads(done.stdout)] == ["load_fail"]


def test_a_loop_stays_in_single_precision(tmp_path: Path) -> None:
    plugin, data = catalogue().plugin("ptrnet"), catalogue().dataset("tsp:n=4-6,train_size=50")
    config = replace(plugin.defaults, hidden=16)
    seed_everything(0)
    task = TrialTask("ptrnet", "tsp:n=4-6,train_size=50", config.to_dict(), 0, 0, str(tmp_path))
    checkpoint.save_weights(task.weights, plugin.build(config, data.info), {})
    report = exported(task, GpuTarget(), tmp_path / "out")
    assert (report.status, report.precision) == ("prepared", "fp32")
    assert "Scan stays in single precision" in report.variants[0]["message"]
    with pytest.raises(ExportError, match="stays in single precision"):
        half.write_half(tmp_path / "out" / "gpu" / "model.onnx", tmp_path / "half.onnx")


def test_operators_without_a_kernel_are_named(tmp_path: Path) -> None:
    class Angle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arccos(x).sin()

    torch.onnx.export(
        Angle().eval(), (torch.rand(2, 3),), tmp_path / "m.onnx", dynamo=True, verbose=False
    )
    found = coverage.coverage(tmp_path / "m.onnx")
    assert found["cuda"]["missing"] == ["Acos"]
    assert found["tensorrt"]["missing"] == []
    assert "OperatorKernels.md" in found["cuda"]["source"]


def test_rules_bound_what_each_precision_may_lose() -> None:
    single, half_precision, eight = map(parity.rule, ("fp32", "fp16", "int8-static"))
    assert (single.absolute, single.relative, single.agreement) == (1e-4, 1e-3, 1.0)
    assert (half_precision.absolute, half_precision.agreement) == (2e-2, 0.99)
    assert (eight.absolute, eight.agreement, eight.drop) == (None, 0.97, 0.01)


def test_a_session_runs_what_it_loaded(cpu: ExportReport) -> None:
    for file in ("model.onnx", "model.ort"):
        found = Session(Path(cpu.folder) / file)({"x": torch.zeros(3, 1, 8, 8)})
        assert found["logits"].shape == (3, 10)
