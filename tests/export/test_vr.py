"""A model in a headset: the WebXR page worn in an emulated one, and the package for Unity."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import nn

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import ExportError
from automl.core.plugin import Axis, Exportable
from automl.core.trial import TrialTask, seed_everything
from automl.export.exporting import export_trial
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Unsupported, Variant
from automl.export.vr import sentis, traced, unity, webxr
from automl.export.vr.loop import RULES, forbidden
from automl.export.vr.target import VrTarget
from automl.export.web import npm
from automl.plugins.ptrnet.model import PointerNetwork, State

METADATA = {"automl.plugin": "p`x`", "automl.paper": "</td><b>"}


def left_by_a_trial(folder: Path, plugin: str, dataset: str, **changed) -> TrialTask:
    """The task of a finished trial, its model's weights on disk."""
    made, data = catalogue().plugin(plugin), catalogue().dataset(dataset)
    config = replace(made.defaults, **changed)
    seed_everything(0)
    task = TrialTask(plugin, dataset, config.to_dict(), 0, 0, str(folder))
    checkpoint.save_weights(task.weights, made.build(config, data.info), {})
    return task


def trained(folder: Path, plugin: str, dataset: str, **changed) -> Subject:
    return Subject.load(left_by_a_trial(folder, plugin, dataset, **changed))


def network(folder: Path, dataset: str, **changed) -> Subject:
    return trained(folder, "ptrnet", dataset, hidden=16, init_scale=0.5, **changed)


# ---------------------------------------------------------------- the page


@pytest.fixture(scope="module")
def hull(tmp_path_factory) -> tuple[Subject, Path, list[Variant]]:
    folder = tmp_path_factory.mktemp("hull")
    subject = network(folder, "convex-hull:n=4-6,train_size=50")
    work, out = folder / "work", folder / "out"
    work.mkdir()
    out.mkdir()
    canonical = Canonical.write(subject, work, METADATA)
    return subject, out, list(VrTarget().prepare(subject, canonical, out, ExportSettings()))


def test_the_page_is_worn_and_its_answers_are_pytorchs(hull) -> None:
    subject, folder, (page, _) = hull
    found = VrTarget().verify(subject, folder, page, ExportSettings())
    assert (found.status, found.message) == ("ok", "")
    assert found.parity["discrete_equal"]
    assert found.facts["views"] == 2
    assert found.facts["examples_shown"] == 3
    assert "emulated" in found.facts["headset"]


def test_the_trigger_puts_a_point_on_the_board(hull) -> None:
    subject, folder, _ = hull
    count = len(subject.dataset.split("valid").examples["points"][0])
    with webxr.worn(folder / "webxr") as page:
        page.evaluate("() => document.getElementById('enter').click()")
        webxr.until(page, lambda s: s["frames"] > 3, "enter VR")
        page.evaluate(
            "() => { const hand = headset.controllers.right;"
            " hand.position.set(0.2, 1.5, 0); hand.quaternion.set(0, 0, 0, 1); }"
        )
        page.page.wait_for_timeout(400)
        page.evaluate(webxr.PULL, 1)
        page.page.wait_for_timeout(200)
        page.evaluate(webxr.PULL, 0)
        state = webxr.until(page, lambda s: s["agrees"] is None, "take a point")
        lengths = page.evaluate(
            "async () => (await import(new URL('scene.js', location.href))).shown.outputs"
            ".scores.dims"
        )
    assert state["example"] == 0
    first = int(subject.dataset.split("valid").examples["length"][0])
    assert first <= count
    assert lengths[2] == first + 2  # the new point, and the end


def test_what_the_page_is_made_of_brings_its_licence(hull) -> None:
    _, folder, _ = hull
    page = folder / "webxr"
    assert "MIT" in (page / "three" / "LICENSE.txt").read_text()
    assert "MIT" in (page / "onnxruntime-web.LICENSE.txt").read_text()
    assert not list(page.rglob("*iwer*"))  # the emulator is for verification alone


def test_without_a_browser_the_page_is_prepared_and_says_why(hull, monkeypatch) -> None:
    subject, folder, (page, _) = hull
    monkeypatch.setenv("PATH", "")
    found = VrTarget().verify(subject, folder, page, ExportSettings())
    assert found.status == "prepared"
    assert "apt-get install chromium" in found.message
    assert VrTarget().benchmark(subject, folder, page) == []


def test_without_the_emulator_the_page_is_prepared_and_says_why(
    hull, monkeypatch, tmp_path: Path
) -> None:
    subject, folder, (page, _) = hull
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(npm.shutil, "which", lambda name: name if name == "chromium" else None)
    found = VrTarget().verify(subject, folder, page, ExportSettings())
    assert found.status == "prepared"
    assert "fetches iwer" in found.message


def test_a_page_that_cannot_be_entered_is_told(hull, tmp_path: Path) -> None:
    _, folder, _ = hull
    shutil.copytree(folder / "webxr", tmp_path / "page")
    (tmp_path / "page" / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="cannot be shown"), webxr.worn(tmp_path / "page"):
        pass


# ---------------------------------------------------------------- the package for Unity


def test_the_package_holds_what_unity_wants(hull) -> None:
    _, folder, (_, variant) = hull
    package = folder / "unity"
    about = json.loads((package / "package.json").read_text())
    assert about["name"] == "com.automl.p-x-"
    assert "com.unity.ai.inference" in about["dependencies"]
    for path in package.rglob("*.asmdef"):
        json.loads(path.read_text())
    for name in ("TrainedModel.cs", "PointerNetwork.cs"):
        text = (package / "Runtime" / name).read_text()
        assert text.count("{") == text.count("}")
    assert "Rule: free, turns: 7" in (package / "README.md").read_text()
    assert variant.facts["rule"] == "free"
    assert variant.facts["inputs"] == {"points": [1, 6, 2]}
    for name in variant.facts["graphs"]:
        model = onnx.load(package / unity.MODELS / name)
        assert sentis.opset(model) == 15
        operators = {node.op_type for node in model.graph.node}
        assert operators <= set(sentis.documented()["operators"])


def test_the_packages_status_says_what_was_not_checked(hull) -> None:
    subject, folder, (_, variant) = hull
    found = VrTarget().verify(subject, folder, variant, ExportSettings())
    assert found.status == "prepared"
    assert "not run in Unity" in found.message
    assert found.parity["ok"]
    assert found.parity["discrete_equal"]
    assert found.parity["step"]["ok"]
    assert VrTarget().benchmark(subject, folder, found) == []


def test_a_package_of_another_model_is_found_out(hull) -> None:
    subject, folder, (_, variant) = hull
    seed_everything(1)
    other = subject.plugin.build(subject.config, subject.dataset.info).eval()
    found = VrTarget().verify(replace(subject, model=other), folder, variant, ExportSettings())
    assert found.status == "parity_fail"


@pytest.mark.parametrize(
    ("dataset", "changed", "rule"),
    [
        ("tsp:n=5,train_size=50", {}, "tour"),
        ("convex-hull:n=6,train_size=50", {"constrain": True}, "hull"),
    ],
)
def test_the_rule_of_choosing_points_is_found(
    tmp_path: Path, dataset: str, changed, rule: str
) -> None:
    subject = network(tmp_path, dataset, **changed)
    variant = unity.write(tmp_path / "unity", subject, {})
    assert variant.facts["rule"] == rule
    found = unity.verified(subject, tmp_path, variant, ExportSettings())
    assert (found.status, found.parity["ok"]) == ("prepared", True)


def test_parts_that_do_not_give_what_a_loop_needs_are_refused(tmp_path: Path) -> None:
    subject = network(tmp_path, "tsp:n=5,train_size=50", embed_dim=8)
    variant = unity.write(tmp_path / "unity", subject, {})
    assert variant.status == "unsupported"
    assert "joined by a loop" in variant.message
    assert not (tmp_path / "unity").exists()


@given(
    used=st.lists(st.booleans(), min_size=4, max_size=9),
    rule=st.sampled_from(RULES),
)
def test_the_host_forbids_what_the_network_forbids(used: list[bool], rule: str) -> None:
    mask = torch.tensor([[False, *used]])
    nothing = torch.zeros(1, 1)
    state = State(nothing, nothing, nothing, nothing, mask, mask[:, 0])
    wanted = PointerNetwork.forbidden(None, state, rule)  # type: ignore[arg-type]
    assert torch.equal(forbidden(mask, rule), wanted)


@pytest.mark.parametrize(
    ("plugin", "dataset", "changed"),
    [
        ("selu", "digits", {"depth": 2, "width": 32}),
        ("ctm", "sort-numbers", {}),
        ("gradnoise", "babi-like", {}),
        pytest.param("spiking", "digits", {}, marks=pytest.mark.slow),
        pytest.param("ctm", "digits", {}, marks=pytest.mark.slow),
        pytest.param("neural_operator", "poisson-periodic", {}, marks=pytest.mark.slow),
    ],
)
def test_models_of_other_kinds_become_packages(
    tmp_path: Path, plugin: str, dataset: str, changed
) -> None:
    subject = trained(tmp_path, plugin, dataset, **changed)
    variant = unity.write(tmp_path / "unity", subject, {})
    assert (variant.status, variant.message) == ("", "")
    assert variant.facts["opset"] == 15
    assert not (tmp_path / "unity" / "Runtime" / "PointerNetwork.cs").exists()
    found = unity.verified(subject, tmp_path, variant, ExportSettings())
    assert (found.status, found.parity["ok"]) == ("prepared", True)
    assert found.parity["metric_runtime"] == pytest.approx(found.parity["metric_torch"], abs=1e-3)


class Distinct(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (torch.unique(x),)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Distinct()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return self.inner(x)


class Untraceable(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        if torch.jit.is_tracing():
            raise RuntimeError("not to be traced")
        return (x.exp(),)


def asked(module: nn.Module) -> Exportable:
    return Exportable(module, {"x": torch.rand(2, 3)}, ("y",), {"x": {0: Axis("batch")}})


def test_an_operator_that_sentis_lacks_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"no operator Unique.*'/inner/Unique'.*test_vr.py:\d+"):
        unity.write_graph(tmp_path / "m.onnx", asked(Nested()), {})
    assert not (tmp_path / "m.onnx").exists()


def test_a_later_opset_is_labelled(tmp_path: Path) -> None:
    facts = unity.write_graph(tmp_path / "m.onnx", asked(Untraceable()), {})
    assert "opset 18" in facts["outside_documented_range"]
    assert "not to be traced" in facts["outside_documented_range"]
    assert facts["inputs"] == {"x": [1, 3]}


def test_double_precision_and_axes_from_the_end_are_rewritten() -> None:
    constant = helper.make_tensor("k", TensorProto.DOUBLE, [2], [0.1, 3.0])
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["d", "k"], ["m"]),
        helper.make_node("Transpose", ["m"], ["y"], perm=[0, -1]),
    ]
    rows = [2, 2]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, rows)],
        [constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    traced.rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).random((2, 2), np.float32)
    (y,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, x * np.float32([0.1, 3.0]), rtol=1e-6)


def test_the_list_of_operators_has_no_control_flow() -> None:
    known = sentis.documented()
    assert {"Loop", "If", "Scan"} <= set(known["unsupported"])
    assert not set(known["operators"]) & set(known["unsupported"])
    assert known["source"]


@pytest.mark.slow
def test_a_whole_export_to_a_headset(tmp_path: Path) -> None:
    task = left_by_a_trial(tmp_path, "selu", "digits", depth=2, width=32)
    (report,) = export_trial(task, [VrTarget()], tmp_path / "out", METADATA)
    assert (report.status, report.precision) == ("ok", "fp32")
    assert [variant["status"] for variant in report.variants] == ["ok", "prepared"]
    assert report.benchmarks[0]["runtime"].startswith("onnxruntime-web")
    readme = (tmp_path / "out" / "vr" / "README.md").read_text()
    assert "Enter VR" in readme
    assert "not run in Unity" in readme
