"""C99 of a model: built by gcc, run here and on emulated Arm processors."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import ExportError, MissingExtra
from automl.core.plugin import Axis, Exportable
from automl.core.trial import TrialTask, seed_everything
from automl.export import graph, operators, quantise
from automl.export.embedded import codegen, devices, harness
from automl.export.embedded.target import EmbeddedTarget
from automl.export.exporting import export_trial
from automl.export.session import Session
from automl.export.static import fixed
from automl.export.targets import ExportReport, ExportSettings

EMULATED = ("cortex-m4f", "aarch64")


def untrained(folder: Path, plugin: str, dataset: str, **settings) -> TrialTask:
    found, data = catalogue().plugin(plugin), catalogue().dataset(dataset)
    config = replace(found.defaults, **settings)
    seed_everything(0)
    task = TrialTask(plugin, dataset, config.to_dict(), 0, 0, str(folder))
    checkpoint.save_weights(task.weights, found.build(config, data.info), {})
    return task


def exported(task: TrialTask, folder: Path, **settings) -> ExportReport:
    (report,) = export_trial(task, [EmbeddedTarget()], folder, {}, ExportSettings(**settings))
    return report


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TrialTask:
    folder = tmp_path_factory.mktemp("digits")
    return untrained(folder, "selu", "digits", width=64, depth=2)


@pytest.fixture(scope="module")
def both(digits: TrialTask, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """That network's C in single precision and in eight bits."""
    return exported(digits, tmp_path_factory.mktemp("both"))


@pytest.mark.slow
def test_a_network_runs_on_emulated_processors(both: ExportReport, tmp_path: Path) -> None:
    assert both.status == "ok", both.message
    variant = both.variants[0]
    assert (variant["precision"], variant["status"]) == ("fp32", "ok")
    assert variant["parity"]["max_abs"] < 1e-4
    assert variant["parity"]["metric_torch"] == pytest.approx(variant["parity"]["metric_runtime"])
    emulated = variant["facts"]["emulated"]
    assert {name: about["status"] for name, about in emulated.items()} == dict.fromkeys(
        EMULATED, "ok"
    )
    weights = 4 * (64 * 64 + 64 * 64 + 64 * 10)
    assert weights < variant["facts"]["flash_bytes"] < 2 * weights
    assert 4 * (64 + 10) < variant["facts"]["ram_bytes"] < 20_000
    # a multiplication and an addition for each weight at least, and not a thousand
    assert 2 * weights / 4 < emulated["cortex-m4f"]["instructions"] < 500 * weights
    real, estimated = variant["benchmarks"]
    assert (real["memory"], estimated["device_kind"]) == (None, "emulated")
    assert "QEMU" in estimated["device"]
    shutil.copytree(Path(both.folder) / "fp32", tmp_path / "users")
    subprocess.run(["make", "-s"], cwd=tmp_path / "users", check=True)
    assert subprocess.run([tmp_path / "users" / "example"], check=False).returncode == 0


@pytest.mark.slow
def test_a_loop_and_layers_both_ways_are_written_out(tmp_path: Path) -> None:
    task = untrained(tmp_path, "ptrnet", "tsp:n=4-6,train_size=50", hidden=8, encoder="bi")
    report = exported(task, tmp_path / "out", precision="fp32")
    assert report.status == "ok", report.message
    assert report.parity["discrete_equal"]
    emulated = report.variants[0]["facts"]["emulated"]
    assert [emulated[name]["status"] for name in EMULATED] == ["ok", "ok"]
    assert "not measured" in report.parity["unmeasured"]  # the split has tours of several sizes


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(
    digits: TrialTask, tmp_path: Path
) -> None:
    report = exported(digits, tmp_path / "out", flash_kb=20, precision="fp32")
    assert report.status == "too_big"
    assert "kB of flash, of which there are 20 kB" in report.message
    assert report.benchmarks == ()


def test_eight_bits_take_less_flash(both: ExportReport) -> None:
    plain, eight = both.variants
    assert plain["status"] == "ok"
    if eight["status"] == "ok":  # an untrained network's decisions may flip
        assert eight["facts"]["flash_bytes"] < 0.7 * plain["facts"]["flash_bytes"]
    else:
        assert (eight["status"], "decisions equal" in eight["message"]) == ("refused", True)


def test_what_is_wrong_here_is_not_built_for_other_processors(
    digits: TrialTask, tmp_path: Path, monkeypatch
) -> None:
    real = quantise.static

    def rough(ready: Path, into: Path, batches: object) -> None:
        real(
            ready, into, [{"x": torch.zeros(1, 1, 8, 8)}]
        )  # ranges of nothing: everything saturates

    monkeypatch.setattr(quantise, "static", rough)
    report = exported(digits, tmp_path / "out", precision="int8")
    assert report.status == "refused"
    assert "decisions equal" in report.message
    assert report.variants[0]["facts"] == {}
    assert report.message in (tmp_path / "out" / "embedded" / "README.md").read_text()


def test_without_tools_it_says_what_to_install(
    digits: TrialTask, tmp_path: Path, monkeypatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(MissingExtra, match="apt-get install gcc"):
        exported(digits, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for name in ("gcc", "as", "ld", "cc"):
        found = shutil.which(name, path=os.defpath)
        if found:
            (tools / name).symlink_to(found)
    small = untrained(tmp_path, "selu", "spirals:train_size=50", width=8, depth=2)
    report = exported(small, tmp_path / "out", precision="fp32")
    assert report.status == "ok"
    assert "arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi" in report.message
    limited = exported(small, tmp_path / "out", precision="fp32", flash_kb=500)
    assert (limited.status, "size is not known" in limited.message) == ("prepared", True)


class Counter(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.unique(x, sorted=True).sum().reshape(1, 1) + 0 * x,)


def test_an_operator_without_c_is_named_with_its_node(tmp_path: Path) -> None:
    exportable = Exportable(Counter(), {"x": torch.rand(1, 3)}, ("y",), {})
    graph.write(exportable, tmp_path / "m.onnx", {})
    model = fixed(tmp_path / "m.onnx", {})
    (tmp_path / "c").mkdir()
    with pytest.raises(ExportError, match="operator Unique at node"):
        codegen.generate(model, tmp_path / "c", "counter")


def test_the_line_of_a_node_is_told() -> None:
    task = catalogue().plugin("selu")
    data = catalogue().dataset("digits")
    config = replace(task.defaults, width=64, depth=2)
    model = graph.export(task.export(task.build(config, data.info), config, data.info))
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    assert "plugins/selu/" in operators.origin(node)
    (told,) = operators.unsupported(model.graph, {n.op_type for n in model.graph.node} - {"Gemm"})
    assert told == operators.origin(node)


class Walk(nn.Module):
    """A scan: running sums and products."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        from torch._higher_order_ops.scan import scan

        def step(carry, row):
            after = carry * 0.5 + row
            return after, after.sin()

        last, seen = scan(step, torch.zeros_like(x[:, 0]), x.transpose(0, 1), dim=0)
        return last.clone(), seen.transpose(0, 1)


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_a_scan_written_out_computes_the_same(tmp_path: Path, steps: int) -> None:
    free = {"x": {0: Axis("batch"), 1: Axis("n", 2, 50)}}
    exportable = Exportable(Walk(), {"x": torch.rand(2, 5, 3)}, ("last", "seen"), free)
    graph.write(exportable, tmp_path / "m.onnx", {})
    model = fixed(tmp_path / "m.onnx", {"batch": 1, "n": steps})
    assert not any(node.op_type == "Scan" for node in model.graph.node)
    onnx.save(model, tmp_path / "f.onnx")
    x = torch.rand(1, steps, 3)
    one, two = Session(tmp_path / "m.onnx")({"x": x}), Session(tmp_path / "f.onnx")({"x": x})
    for name in ("last", "seen"):
        assert torch.equal(one[name], two[name])


def test_a_scan_that_is_too_long_is_refused(tmp_path: Path) -> None:
    free = {"x": {0: Axis("batch"), 1: Axis("n", 2, 5000)}}
    exportable = Exportable(Walk(), {"x": torch.rand(2, 5, 3)}, ("last", "seen"), free)
    graph.write(exportable, tmp_path / "m.onnx", {})
    with pytest.raises(ExportError, match="300 steps, not 1 to 256"):
        fixed(tmp_path / "m.onnx", {"batch": 1, "n": 300})


def test_a_linker_map_tells_what_the_model_takes(tmp_path: Path) -> None:
    text = """
Discarded input sections
 .text.gone     0x00000000       0x99 model.o
Linker script and memory map
 .text.model    0x00000100       0x40 model.o
 .rodata.weights_of_a_layer
                0x00000140       0x80 model.o
 .bss.kept      0x20000000       0x10 model.o
 .text.expf     0x00000200       0x20 /usr/lib/libm.a(libm_a-ef_exp.o)
 .text.main     0x00000300       0x50 board.o
"""
    (tmp_path / "m.map").write_text(text)
    assert devices.sizes(tmp_path / "m.map") == {
        "code": 0x40, "weights": 0x80, "library": 0x20, "static_ram": 0x10,
    }  # fmt: skip


def test_arguments_are_read_from_the_generated_function() -> None:
    source = "void model(const float x[restrict 1][3], int64_t y[restrict 1]) {\n"
    found = codegen.arguments(source)
    assert [one.declaration for one in found] == ["const float x[1][3]", "int64_t y[1]"]
    assert "fread(x, sizeof x, 1, stdin) == 1" in harness.host(found)
    with pytest.raises(ExportError, match="no function model"):
        codegen.arguments("int main(void) {}")
