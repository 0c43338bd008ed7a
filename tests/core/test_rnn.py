"""Recurrent layers in ONNX, at batch sizes and lengths that the export never saw."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from automl.core.rnn import ExportableRNN

LAYERS = {
    "lstm": lambda: nn.LSTM(5, 8, batch_first=True),
    "lstm, two layers, both ways": lambda: nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True),
    "lstm, steps first, no bias": lambda: nn.LSTM(5, 8, bias=False),
    "gru, two layers": lambda: nn.GRU(5, 8, 2, batch_first=True),
    "rnn, relu": lambda: nn.RNN(5, 8, nonlinearity="relu", batch_first=True),
}


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module, lstm: bool) -> None:
        super().__init__()
        self.layer, self.lstm = layer, lstm

    def forward(self, inputs, state):
        output, final = self.layer(inputs, (state, state * 0.5) if self.lstm else state)
        return (output, *(final if self.lstm else (final,)))


@pytest.mark.parametrize("name", LAYERS)
def test_an_exported_layer_equals_torch_at_other_sizes(name: str, tmp_path) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name]()
    lstm, depth = isinstance(layer, nn.LSTM), layer.num_layers * (2 if layer.bidirectional else 1)
    batch_axis = 0 if layer.batch_first else 1

    def example(batch: int, steps: int):
        shape = (batch, steps, 5) if layer.batch_first else (steps, batch, 5)
        return torch.rand(shape), torch.rand(depth, batch, 8)

    path = tmp_path / "layer.onnx"
    free = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        torch.onnx.export(
            Wrapped(ExportableRNN(layer), lstm).eval().requires_grad_(False),
            example(3, 7),
            path,
            dynamo=True,
            dynamic_shapes=({0: free, 1: free}, {1: free}),
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path)
    names = [value.name for value in session.get_inputs()]
    assert all(isinstance(session.get_inputs()[0].shape[axis], str) for axis in (0, 1)), batch_axis
    for batch, steps in ((1, 2), (4, 19)):
        inputs = example(batch, steps)
        with torch.no_grad():
            wanted = Wrapped(layer, lstm)(*inputs)
        feeds = {key: value.numpy() for key, value in zip(names, inputs, strict=True)}
        for one, two in zip(wanted, session.run(None, feeds), strict=True):
            np.testing.assert_allclose(one.numpy(), two, atol=1e-6)


def test_without_exporting_it_is_the_layer_itself() -> None:
    layer = nn.GRU(5, 8, batch_first=True)
    inputs = torch.rand(2, 4, 5)
    torch.testing.assert_close(ExportableRNN(layer)(inputs)[0], layer(inputs)[0])
