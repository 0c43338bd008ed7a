"""Recurrent layers in ONNX, at batch sizes and lengths that the export never saw."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from automl.core.errors import ConfigError, DataError
from automl.core.rnn import ExportableRNN

LAYERS = {
    "lstm": lambda: nn.LSTM(5, 8, batch_first=True),
    "lstm, two layers, both ways": lambda: nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True),
    "lstm, steps first, no bias": lambda: nn.LSTM(5, 8, bias=False),
    "gru, two layers": lambda: nn.GRU(5, 8, 2, batch_first=True),
    "gru, both ways, steps first": lambda: nn.GRU(5, 8, bidirectional=True),
    "rnn, tanh, no bias": lambda: nn.RNN(5, 8, bias=False, batch_first=True),
    "rnn, relu": lambda: nn.RNN(5, 8, nonlinearity="relu", batch_first=True),
}


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module, lstm: bool) -> None:
        super().__init__()
        self.layer, self.lstm = layer, lstm

    def forward(self, inputs, state):
        output, final = self.layer(inputs, (state, state * 0.5) if self.lstm else state)
        return (output, *(final if self.lstm else (final,)))


def exported(
    module: nn.Module, example: tuple, path: Path, free: tuple
) -> onnxruntime.InferenceSession:
    """A session on ``module``, whose axes ``free`` names for each input."""
    dynamic = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        torch.onnx.export(
            module.eval().requires_grad_(False),
            example,
            path,
            dynamo=True,
            dynamic_shapes=tuple(dict.fromkeys(axes, dynamic) for axes in free),
            external_data=False,
            verbose=False,
        )
    return onnxruntime.InferenceSession(path)


def agree(session: onnxruntime.InferenceSession, wanted: tuple, inputs: tuple) -> None:
    names = [value.name for value in session.get_inputs()]
    feeds = {key: value.numpy() for key, value in zip(names, inputs, strict=True)}
    for one, two in zip(wanted, session.run(None, feeds), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), two, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_an_exported_layer_equals_torch_at_other_sizes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    lstm, depth = isinstance(layer, nn.LSTM), layer.num_layers * (2 if layer.bidirectional else 1)

    def example(batch: int, steps: int):
        shape = (batch, steps, 5) if layer.batch_first else (steps, batch, 5)
        return torch.rand(shape), torch.rand(depth, batch, 8)

    wrapped = Wrapped(ExportableRNN(layer), lstm)
    session = exported(wrapped, example(3, 7), tmp_path / "layer.onnx", ((0, 1), (1,)))
    assert all(isinstance(session.get_inputs()[0].shape[axis], str) for axis in (0, 1))
    for batch, steps in ((1, 2), (4, 19), (2, 1)):
        inputs = example(batch, steps)
        agree(session, Wrapped(layer, lstm)(*inputs), inputs)


class Reader(nn.Module):
    """A model as an author writes it: the layer is wrapped when it is built, trained later."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = ExportableRNN(layer)

    def forward(self, inputs):
        return (self.layer(inputs)[0],)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_weights_that_change_after_wrapping_are_exported(kind, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, trained = Reader(kind(5, 8, batch_first=True)), Reader(kind(5, 8, batch_first=True))
    model.load_state_dict(trained.state_dict())
    session = exported(model, (torch.rand(3, 7, 5),), tmp_path / "layer.onnx", ((0, 1),))
    inputs = (torch.rand(2, 11, 5),)
    agree(session, trained(*inputs), inputs)


def test_wrapping_adds_nothing_to_the_state_of_a_model() -> None:
    layer = nn.LSTM(5, 8, 2, bidirectional=True)
    assert {f"layer.{key}" for key in layer.state_dict()} == set(ExportableRNN(layer).state_dict())


def test_what_onnx_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="proj_size=4"):
        ExportableRNN(nn.LSTM(5, 8, proj_size=4))
    unbatched = Reader(nn.GRU(5, 8)).eval()
    with pytest.raises(DataError, match=r"shape \(7, 5\)"):
        torch.export.export(unbatched, (torch.rand(7, 5),), strict=False)


def test_without_exporting_it_is_the_layer_itself() -> None:
    layer = nn.GRU(5, 8, batch_first=True)
    inputs = torch.rand(2, 4, 5)
    torch.testing.assert_close(ExportableRNN(layer)(inputs)[0], layer(inputs)[0])
