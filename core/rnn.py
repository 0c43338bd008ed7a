"""Recurrent layers that export to ONNX with a free sequence length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from automl.core.errors import ConfigError, DataError

# The order of the gates in torch's weights, as ONNX wants them: LSTM i f g o -> i o f c,
# GRU r z n -> z r h.
GATE_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class ExportableRNN(nn.Module):
    """Wraps an nn.LSTM, nn.GRU or nn.RNN; while exporting it becomes ONNX's own nodes.

    ``torch.export`` fixes the sequence length of PyTorch's recurrent layers. This module takes
    the same arguments and returns the same results, packed sequences aside: outputs
    (batch, steps, directions x hidden) if ``batch_first``, else (steps, batch, ...), and the
    final state (layers x directions, batch, hidden), a pair of them for an LSTM.

    What is exported are the weights at the last call of ``eval`` or ``train``: the layer may be
    trained, or loaded, inside its wrapper. Every export by this platform starts with ``eval``.

    Raises:
        ConfigError: if the layer has projections, which ONNX has no counterpart of.
    """

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        if layer.proj_size:
            raise ConfigError(
                f"an nn.LSTM with proj_size={layer.proj_size} has no counterpart in ONNX; put an "
                "nn.Linear behind one without"
            )
        self.layer: nn.RNNBase = layer
        self.kind = "RNN" if layer.mode.startswith("RNN") else layer.mode
        self.directions = 2 if layer.bidirectional else 1
        self._read_weights()

    def train(self, mode: bool = True) -> ExportableRNN:
        """Set the mode, and take over the layer's present weights for export."""
        super().train(mode)
        self._read_weights()
        return self

    def _read_weights(self) -> None:
        """Hold the weights as constants in the order of ONNX, per level of the layer.

        W (directions, gates x hidden, features), R (directions, gates x hidden, hidden) and
        B (directions, 2 x gates x hidden).
        """
        for level in range(self.layer.num_layers):
            names = [f"_l{level}", f"_l{level}_reverse"][: self.directions]
            weights = {
                "w": [self._ordered(f"weight_ih{name}") for name in names],
                "r": [self._ordered(f"weight_hh{name}") for name in names],
                "b": [self._biases(name) for name in names],
            }
            for key, tensors in weights.items():
                self.register_buffer(f"{key}{level}", torch.stack(tensors), persistent=False)

    def _ordered(self, name: str) -> Tensor:
        order = GATE_ORDER[self.kind]
        weight: Tensor = getattr(self.layer, name)
        gates = weight.detach().chunk(len(order), 0)
        return torch.cat([gates[i] for i in order], 0)

    def _biases(self, name: str) -> Tensor:
        if not self.layer.bias:
            width = len(GATE_ORDER[self.kind]) * self.layer.hidden_size
            hidden_weight: Tensor = getattr(self.layer, f"weight_hh{name}")
            return hidden_weight.new_zeros(2 * width)
        return torch.cat([self._ordered(f"bias_ih{name}"), self._ordered(f"bias_hh{name}")])

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run the layer; ``state`` is the initial state as the wrapped layer takes it.

        Inputs are (batch, steps, features) if ``batch_first``, else (steps, batch, features).

        Raises:
            DataError: while exporting, if there is no batch axis.
        """
        if not torch.compiler.is_exporting():
            found: tuple[Tensor, Any] = nn.Module.__call__(self.layer, inputs, state)
            return found
        if inputs.ndim != 3:
            raise DataError(
                f"inputs of shape {tuple(inputs.shape)}: a recurrent layer is exported for three "
                "axes, a batch among them"
            )
        states = () if state is None else state if self.kind == "LSTM" else (state,)
        value = inputs.transpose(0, 1) if self.layer.batch_first else inputs
        finals: list[tuple[Tensor, ...]] = []
        for level in range(self.layer.num_layers):
            rows = slice(level * self.directions, (level + 1) * self.directions)
            value, *final = self._node(level, value, [part[rows] for part in states])
            finals.append(tuple(final))
        joined = tuple(torch.cat(parts, 0) for parts in zip(*finals, strict=True))
        output = value.transpose(0, 1) if self.layer.batch_first else value
        return output, joined if self.kind == "LSTM" else joined[0]

    def _node(self, level: int, value: Tensor, states: list[Tensor]) -> tuple[Tensor, ...]:
        """One ONNX node: (steps, batch, features) to outputs and final states."""
        steps, batch, hidden = value.shape[0], value.shape[1], self.layer.hidden_size
        attributes: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "bidirectional" if self.directions == 2 else "forward",
        }
        if self.kind == "GRU":
            attributes["linear_before_reset"] = 1
        if self.layer.mode == "RNN_RELU":
            attributes["activations"] = ["Relu"] * self.directions
        weights = [getattr(self, f"{key}{level}") for key in "wrb"]
        finals = 2 if self.kind == "LSTM" else 1
        outputs = torch.onnx.ops.symbolic_multi_out(
            self.kind,
            [value, *weights, *([None, *states] if states else [])],
            attributes,
            dtypes=(value.dtype,) * (1 + finals),
            shapes=(
                (steps, self.directions, batch, hidden),
                *((self.directions, batch, hidden),) * finals,
            ),
            version=14,
        )
        merged = outputs[0].transpose(1, 2).reshape(steps, batch, self.directions * hidden)
        return (merged, *outputs[1:])
