"""Layers that run backward in time, as layers that run forward and as C."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from automl.core.plugin import Exportable
from automl.core.rnn import ExportableRNN
from automl.export import graph
from automl.export.embedded import codegen, devices
from automl.export.recurrent import forward_only
from automl.export.static import fixed
from automl.export.subject import eager_part
from automl.export.targets import Unsupported

STEPS, HIDDEN = 6, 4


class BothWays(nn.Module):
    """An LSTM of two levels, a GRU and an RNN that run both ways, with states given and told."""

    def __init__(self) -> None:
        super().__init__()
        both = {"batch_first": True, "bidirectional": True}
        self.lstm = ExportableRNN(nn.LSTM(5, HIDDEN, 2, **both))
        self.gru = ExportableRNN(nn.GRU(2 * HIDDEN, HIDDEN, **both))
        self.rnn = ExportableRNN(nn.RNN(2 * HIDDEN, HIDDEN, nonlinearity="relu", **both))

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = state.transpose(0, 1)
        x, (h, c) = self.lstm(x, (first, 0.5 * first))
        y, last = self.gru(x, first[:2])
        z, _ = self.rnn(y)
        return y, z, h.transpose(0, 1), c.transpose(0, 1), last.transpose(0, 1)


def test_layers_that_run_both_ways_become_c(tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs = {"x": torch.rand(1, STEPS, 5), "state": torch.rand(1, 4, HIDDEN)}
    exportable = Exportable(BothWays(), inputs, ("y", "z", "h", "c", "last"), {})
    graph.write(exportable, tmp_path / "m.onnx", {})
    assert b"bidirectional" in (tmp_path / "m.onnx").read_bytes()
    model = fixed(tmp_path / "m.onnx", {})
    arguments = codegen.generate(model, tmp_path, "both")
    names = [*exportable.inputs, *exportable.outputs]
    (tmp_path / "work").mkdir()
    told = dict(zip(names, (one.name for one in arguments), strict=True))
    program = devices.on_host(tmp_path, tmp_path / "work", arguments, told)
    examples = {name: torch.rand(3, *value.shape[1:]) for name, value in inputs.items()}
    found, wanted = program(examples), eager_part(exportable)(examples)
    for name in exportable.outputs:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-6, rtol=1e-5)


def layer(direction: str, ways: int, **more) -> onnx.ModelProto:
    """An LSTM of ONNX with everything that it may have: biases, states, peepholes, activations."""
    random = np.random.default_rng(0)
    shapes = {
        "w": (ways, 4 * HIDDEN, 3), "r": (ways, 4 * HIDDEN, HIDDEN), "b": (ways, 8 * HIDDEN),
        "h": (ways, 2, HIDDEN), "c": (ways, 2, HIDDEN), "p": (ways, 3 * HIDDEN),
    }  # fmt: skip
    constants = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    lengths = onnx.numpy_helper.from_array(np.array([2, 5], np.int32), "lengths")
    given = ["x", "w", "r", "b", "lengths" if more.pop("lengths", False) else "", "h", "c", "p"]
    node = helper.make_node(
        "LSTM", given, ["y", "", "last"], name="l", direction=direction, hidden_size=HIDDEN, **more
    )
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, 2, 3])]
    outputs = [helper.make_empty_tensor_value_info(name) for name in ("y", "last")]
    made = helper.make_graph([node], "g", inputs, outputs, [*constants, lengths])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(1).normal(size=(STEPS, 2, 3)).astype(np.float32)
    return session.run(None, {"x": x})


@pytest.mark.parametrize(
    ("direction", "activations"),
    [
        ("reverse", ["Sigmoid", "Tanh", "Relu"]),
        ("bidirectional", ["Sigmoid", "Tanh", "Relu", "HardSigmoid", "Relu", "Tanh"]),
    ],
)
def test_a_layer_runs_forward_with_all_that_it_has(direction: str, activations: list[str]) -> None:
    ways = len(activations) // 3
    model = layer(direction, ways, activations=activations, clip=0.9)
    found = forward_only(model)
    layers = [node for node in found.graph.node if node.op_type == "LSTM"]
    assert len(layers) == ways
    assert not any(entry.name == "direction" for node in layers for entry in node.attribute)
    for one, two in zip(answers(model), answers(found), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_layer_with_a_length_for_each_example_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="operator LSTM at node 'l' runs reverse in time, and"):
        forward_only(layer("reverse", 1, lengths=True))
    forward = layer("forward", 1, lengths=True)
    assert forward_only(forward) == forward
