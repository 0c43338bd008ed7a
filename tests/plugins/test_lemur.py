"""LEMUR's format: models of every shape it allows, trained in the sandbox, seen from outside."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from torch.nn import functional

from automl.core.api import ConfigError, DataError, ExportError, PolicyError, Run, SandboxError
from automl.core.checkpoint import load_weights, save_weights
from automl.core.discovery import catalogue
from automl.core.errors import CheckpointError, TrialError
from automl.core.profile import macs, parameter_count
from automl.core.sandbox import lockdown
from automl.core.trial import seed_everything
from automl.dataset_db import models
from automl.export import graph as onnx_graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model
from automl.plugins.lemur import claims, source
from automl.plugins.lemur.config import DEFAULTS, Config, with_model
from automl.plugins.lemur.graph import Graph
from automl.plugins.lemur.plugin import Lemur
from automl.plugins.lemur.pooling import average_pool, max_pool
from automl.plugins.lemur.transform import NAMES, Transform
from tests.command import automl

PLUGIN = Lemur()
DATA = "digits:test=0.5,valid=0.5"
PARTS = {
    "hyperparameters": "{'lr', 'momentum'}",
    "signature": "in_shape, out_shape, prm, device",
    "layers": "nn.Conv2d(in_shape[1], 8, 3, 4), nn.ReLU(), nn.Flatten(), "
    "nn.LazyLinear(out_shape[0])",
    "setup": "self.criteria = (nn.CrossEntropyLoss(),)",
    "optimizer": "torch.optim.SGD(self.parameters(), lr=prm['lr'], momentum=prm['momentum'])",
    "loss": "self.criteria[0](self(x), y)",
    "before": "",
    "returned": "None",
    "answer": "self.layers(x)",
}
MODEL = """
import torch
from torch import nn

def supported_hyperparameters():
    return {hyperparameters}

class Net(nn.Module):
    def __init__(self, {signature}):
        super().__init__()
        self.prm = prm
        self.layers = nn.Sequential({layers})
        self.layers(torch.zeros(2, *in_shape[1:]))

    def train_setup(self, prm):
        {setup}
        self.optimizer = {optimizer}

    def learn(self, train_data):
        {before}
        for x, y in train_data:
            self.optimizer.zero_grad()
            loss = {loss}
            loss.backward()
            self.optimizer.step()
        return {returned}

    def forward(self, x):
        return {answer}
"""


def text(**changes: str) -> str:
    """A small model with some of its parts changed."""
    return MODEL.format(**{**PARTS, **changes})


def config_of(code: str, **settings) -> Config:
    """One epoch of a model given as text."""
    return with_model(code, **{"epoch": 1, "seconds": 60.0, **settings})


def fitted(code: str, **settings):
    """The fitted model, its settings and its run."""
    config, data = config_of(code, **settings), catalogue().dataset(DATA)
    seed_everything(0)
    model = PLUGIN.build(config, data.info)
    run = Run(data, 0)
    PLUGIN.fit(model, config, run)
    return model, config, run


# ---------------------------------------------------------------- what the format allows


@pytest.mark.parametrize(
    ("changes", "train"),
    [
        ({}, set()),
        ({"hyperparameters": "['lr', 'momentum']", "returned": "float(loss)"}, {"loss"}),
        ({"hyperparameters": "{'lr': (float, .01), 'momentum': .9}", "returned": "loss"}, {"loss"}),
        ({"returned": "(0.5, loss.item())"}, {"accuracy", "loss"}),
        ({"setup": "self.criterion = nn.CrossEntropyLoss()", "loss": "self.criterion(self(x), y)"},
         set()),
        ({"signature": "in_shape, out_shape, prm, device='cuda'"}, set()),
        ({"optimizer": "torch.optim.Adam(self.parameters(), lr=prm['lr'])"}, set()),
    ],
    ids=["set", "list and loss", "dict and tensor", "pair", "criterion", "device", "adam"],
)  # fmt: skip
def test_every_shape_of_the_format_is_trained(changes, train) -> None:
    model, _, run = fitted(text(**changes))
    (report,) = run.history
    assert report.train.keys() == train
    assert report.scores["accuracy"] > 0.3
    assert not model.training or model.sandbox.alive


def test_a_tuple_is_answered_by_its_first_tensor_and_said_so() -> None:
    code = text(answer="(self.layers(x), 'more')", loss="self.criteria[0](self(x)[0], y)")
    with pytest.warns(UserWarning, match="its output is a tuple: the first tensor"):
        _, _, run = fitted(code)
    assert run.history[0].scores["accuracy"] > 0.3


def test_weights_are_the_models_own_and_travel(tmp_path: Path) -> None:
    model, config, run = fitted(text())
    valid = run.split("valid")
    before = PLUGIN.evaluate(model, config, valid)
    assert list(model.state()) == [
        "layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip
    save_weights(tmp_path / "w.safetensors", model, {})
    seed_everything(9)
    other = PLUGIN.build(config, run.data.info)
    assert PLUGIN.evaluate(other, config, valid) != before
    load_weights(tmp_path / "w.safetensors", other)
    assert PLUGIN.evaluate(other, config, valid) == before
    wider = config_of(text(layers=PARTS["layers"].replace("8, 3", "9, 3")))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_weights(tmp_path / "w.safetensors", PLUGIN.build(wider, run.data.info))


def test_a_shared_weight_is_one_parameter() -> None:
    layers = "nn.Flatten(), nn.LazyLinear(16), nn.Linear(16, 16), nn.Linear(16, out_shape[0])"
    code = text(layers=layers).replace(
        "    def train_setup", "        self.again = self.layers[2]\n\n    def train_setup"
    )
    model, _, _ = fitted(code)
    assert parameter_count(model) == (3 * 32 * 32 + 1) * 16 + 17 * 16 + 17 * 10
    assert "again.weight" in model.state()


def test_evaluating_leaves_the_training_as_it_would_have_been() -> None:
    """Dropout and the order of batches draw on: a score in between changes nothing."""
    layers = "nn.Flatten(), nn.Dropout(.5), nn.LazyLinear(out_shape[0])"
    config, data = config_of(text(layers=layers), epoch=2), catalogue().dataset(DATA)
    states = []
    for extra in (0, 3):
        seed_everything(1)
        model = PLUGIN.build(config, data.info)
        model.give_data(data.split("train"))
        model.learn()
        for _ in range(extra):
            PLUGIN.evaluate(model, config, data.split("valid"))
        model.learn()
        states.append(model.state())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.slow
def test_the_adapter_adds_nothing() -> None:
    found = claims.learning(0)
    assert found["different_tensors"] == 0
    assert found["accuracy"] >= 0.95


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("changes", "kind", "stage", "message"),
    [
        ({"layers": "nn.Linear(0)"}, "error", "construct", "TypeError"),
        ({"answer": "self.nothing(x)"}, "error", "forward", "AttributeError"),
        ({"answer": "None"}, "error", "forward", "forward returned a NoneType"),
        ({"before": "raise ValueError('broken')"}, "error", "train", "ValueError: broken"),
        ({"before": "import time; time.sleep(60)"}, "timeout", "train", "more than 15 s"),
        ({"before": "torch.zeros(10**11)"}, "memory", "train", "allocate memory"),
        ({"before": "import os; os.fspath(1)"}, "error", "train", "TypeError"),
    ],
)
def test_a_failure_has_its_stage_and_its_kind(changes, kind, stage, message) -> None:
    # the clock runs while PyTorch is imported, which takes seconds on a machine that is busy
    with pytest.raises(SandboxError) as caught:
        fitted(text(**changes), seconds=15.0 if kind == "timeout" else 60.0)
    assert (caught.value.ending.kind, caught.value.ending.stage) == (kind, stage)
    assert message in str(caught.value)


def test_weights_that_became_nan_fail_the_trial() -> None:
    with pytest.raises(TrialError, match="nll is nan at step 1"):
        fitted(text(loss="self.criteria[0](self(x), y) * float('nan')"))


def test_an_answer_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(2, 10\) is wanted"):
        fitted(text(answer="self.layers(x)[:, :7]"))
    with pytest.raises(DataError, match="int64"):
        fitted(text(answer="self.layers(x).long()"))


def test_images_that_are_too_small_are_told_what_would_do() -> None:
    layers = "nn.Conv2d(3, 4, 7), nn.MaxPool2d(30), nn.Flatten(), nn.LazyLinear(out_shape[0])"
    with pytest.raises(ConfigError, match="got 32 px.: it works at 64 px, use transform=norm_64"):
        fitted(text(layers=layers))


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import torch\n", ConfigError, "no class Net"),
        ("class Net: pass\n", ConfigError, "no function supported_hyperparameters"),
        ("def f(:\n", PolicyError, "the given code:1: this is no Python"),
        (text() + "import subprocess\n", PolicyError, ": import of 'subprocess'"),
        (text() + "import torchvision\n", ConfigError, "needs torchvision, which is not installed"),
        (text(hyperparameters="set(x)"), ConfigError, "written out, so that it can be read"),
    ],
)
def test_a_text_that_is_no_model_is_refused_before_it_runs(code, error, message) -> None:
    with pytest.raises(error, match=message):
        config_of(code)


def test_lemurs_own_modules_have_a_stand_in_that_says_so() -> None:
    with pytest.raises(SandboxError, match="takes 'Util' from ab.nn.util.Util, LEMUR's own code"):
        fitted("from ab.nn.util.Util import Util\n" + text())


def test_a_machine_without_a_sandbox_is_told_before_a_search(monkeypatch) -> None:
    monkeypatch.setattr(lockdown, "unavailable", lambda: "this kernel has none")
    with pytest.raises(SandboxError, match="cannot be confined here: this kernel has none"):
        PLUGIN.check_data(catalogue().dataset(DATA).info)


# ---------------------------------------------------------------- where models come from


def test_models_are_read_from_files_and_wheels(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text())
    wheel = tmp_path / "models.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("ab/nn/nn/TinyNet.py", text())
        file.writestr("other/Place.py", text())
    for reference, name in [
        (str(tmp_path / "mine.py"), "mine"),
        (f"{wheel}!TinyNet", "TinyNet"),
        (f"zip:{wheel}!other/Place.py", "Place"),
        (text(), "Net"),
    ]:
        assert source.read(reference).name == name
        assert source.read(reference).sha256 == source.read(text()).sha256
    with pytest.raises(ConfigError, match="Did you mean 'TinyNet'"):
        source.read(f"{wheel}!TinyNt")
    with pytest.raises(ConfigError, match="is no wheel that can be read"):
        source.read(f"{tmp_path / 'mine.py'}!TinyNet")
    with pytest.raises(ConfigError, match="give FILE.py, WHEEL.whl!NAME or code"):
        source.read("nowhere.py")


def test_code_that_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text())
    recorded = with_model(str(path)).to_dict()
    assert Config.from_dict(recorded).sha256 == source.read(text()).sha256
    path.write_text(text(returned="0.0"))
    with pytest.raises(ConfigError, match="the model's code has changed since"):
        Config.from_dict(recorded)


def test_hyperparameters_of_the_model_are_settings_and_searched() -> None:
    code = text(hyperparameters="{'lr': .1, 'norm_eps': (float, .25), 'patch_size': 'px'}")
    config = config_of(code)
    assert config.further == {"norm_eps": 0.25, "patch_size": 0.5}
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    zero = config.updated(["prm.norm_eps=0", "lr=0"])
    assert (zero.hyperparameters["norm_eps"], zero.hyperparameters["lr"]) == (0, 0.0)
    trial = FixedTrial({**config.to_dict(), "prm.patch_size": 0.75})
    found = PLUGIN.space(trial, config, catalogue().dataset(DATA).info)
    assert found.further == {"norm_eps": 0.25, "patch_size": 0.75}
    assert {"lr", "prm.norm_eps", "prm.patch_size", "batch"} <= trial.distributions.keys()
    assert not {"momentum", "dropout"} & trial.distributions.keys()
    for assignment, message in [
        ("prm.norm_eps=1.5", "prm.norm_eps=1.5 must be at most 1"),
        ("prm.norm_eps=-1", "must be at least 0"),
        ("prm.norm_eps=much", "must be a number"),
        ("prm.nothing=0.5", "prm.nothing is no hyperparameter of Net, which declares: lr"),
        ("lr=2", "lr=2.0 must be at most 1"),
        ("pretrained=1", "pretrained=1 needs weights from the network"),
        ("transform=norm_33", "must be one of"),
    ]:
        with pytest.raises(ConfigError, match=message):
            config.updated([assignment])


# ---------------------------------------------------------------- images


def test_all_42_transforms_give_the_size_they_name() -> None:
    assert len(NAMES) == 42
    x = torch.rand(2, 1, 8, 12)
    for name in NAMES:
        transform = Transform.named(name)
        assert transform.flip == name.endswith("_flip")
        if transform.size <= 128:
            assert transform(x).shape == (2, *transform.shape(8, 12))
        assert transform(x[:, :, :8, :8]).is_complex() == name.startswith("complex")


def test_transforms_do_what_their_names_say() -> None:
    x = torch.rand(2, 1, 8, 8)
    wanted = functional.interpolate(x, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    torch.testing.assert_close(Transform.named("echo_32")(x), wanted)
    torch.testing.assert_close(Transform.named("norm_32")(x), 2 * wanted - 1)
    wide = torch.rand(1, 3, 32, 64)
    torch.testing.assert_close(Transform.named("norm_32")(wide), 2 * wide[..., 16:48] - 1)


# ---------------------------------------------------------------- out of the sandbox


POOLED = (
    "nn.Conv2d(in_shape[1], 4, 3, 3), nn.{pool}((6, 4)), nn.Flatten(), nn.LazyLinear(out_shape[0])"
)


def exported(model, config, run, tmp_path: Path):
    """The comparison of the written graph with the model inside."""
    exportable = PLUGIN.export(model, config, run.data.info)
    onnx_graph.write(exportable, tmp_path / "m.onnx", {})
    session = Session(tmp_path / "m.onnx")
    return exportable, compare(exportable, session, eager_model(model, exportable))


@pytest.mark.parametrize("pool", ["AdaptiveAvgPool2d", "AdaptiveMaxPool2d"])
def test_pooling_that_does_not_divide_is_exported_exactly(pool, tmp_path: Path) -> None:
    model, config, run = fitted(text(layers=POOLED.format(pool=pool)))
    exportable, found = exported(model, config, run, tmp_path)
    assert found["ok"]
    assert found["max_abs"] < 1e-5
    assert exportable.axes["x"].keys() == {0}


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99)
)
def test_pools_equal_pytorchs(height, width, rows, columns, seed) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    size = (rows, columns)
    torch.testing.assert_close(average_pool(x, size), functional.adaptive_avg_pool2d(x, size))
    assert torch.equal(max_pool(x, size)[0], functional.adaptive_max_pool2d(x, size))


def test_a_stochastic_model_is_not_exported() -> None:
    model, config, run = fitted(text(answer="self.layers(x) + torch.randn(len(x), 1)"))
    with pytest.raises(ExportError, match="stochastic at inference"):
        PLUGIN.export(model, config, run.data.info)
    valid = run.split("valid")
    assert PLUGIN.evaluate(model, config, valid) == PLUGIN.evaluate(model, config, valid)


def test_a_batch_size_that_is_baked_in_is_said(tmp_path: Path) -> None:
    code = text(
        answer="self.layers(x) + torch.stack([x[i].mean() for i in range(len(x))])[:, None]"
    )
    model, config, run = fitted(code)
    with pytest.warns(UserWarning, match="static batch: the graph takes 2 images"):
        exportable = PLUGIN.export(model, config, run.data.info)
    assert exportable.axes == {}


def test_work_is_counted_outside(tmp_path: Path) -> None:
    model, _, _ = fitted(text())
    counted = macs(model, {"x": torch.rand(1, 1, 8, 8)})
    assert counted == 8 * 8 * 8 * 27 + 8 * 64 * 10


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([["input"], ["call", "aten.from_file.default", ["/etc/passwd"], {}]], "from_file"),
        ([["input"], ["call", "os.system", ["true"], {}]], "os.system"),
        ([["input"], ["call", "aten.__class__.mro", [], {}]], "__class__"),
        ([["input"], ["call", "prims.add.default", [], {}]], "prims.add"),
        ([["state", "nothing"]], "cannot be read"),
        ([["call"]], "cannot be read"),
        ([5], "cannot be read"),
    ],
)
def test_a_graph_can_only_compute(nodes, message) -> None:
    with pytest.raises(ExportError, match=message):
        Graph(nodes, 0, {}, {})


def test_the_models_code_never_runs_in_this_process(tmp_path: Path) -> None:
    """It says which process it is in by its loss."""
    code = text(before="import os", returned="float(os.getpid())")
    _, _, run = fitted(code)
    import os

    assert run.history[0].train["loss"] != os.getpid()


# ---------------------------------------------------------------- from the command line


def test_a_model_file_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text())
    found = json.loads(
        automl("search", "-p", "lemur", "-s", f"model={path}", "-s", "epoch=1", "-d", DATA, "-n",
               "2", "--executor", "inline", "--json")
    )  # fmt: skip
    assert found["trials"]["complete"] == 2
    assert found["best"]["config"]["model"] == str(path)
    assert len(found["best"]["config"]["sha256"]) == 64
    recorded = models(plugin="lemur", code=True)["code"][0]
    assert recorded["models/mine.py"] == text()
    assert "plugin.py" in recorded


def test_uniformity_without_the_wheel_is_inconclusive(monkeypatch) -> None:
    monkeypatch.delenv(claims.WHEEL, raising=False)
    with pytest.warns(UserWarning, match="set AUTOML_LEMUR_WHEEL to a wheel"):
        assert claims.uniformity(0) == {}


def test_defaults_are_the_small_network() -> None:
    assert DEFAULTS.source.declared.keys() == {"lr", "momentum", "dropout"}
