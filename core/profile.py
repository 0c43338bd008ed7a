"""How big a model is and how much it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def parameter_count(model: nn.Module) -> int:
    """How many numbers a model holds: parameters and buffers."""
    return sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))


def macs(model: nn.Module, inputs: dict[str, Tensor]) -> int:
    """Multiply-accumulates of one ``forward`` on ``inputs``, matrix products and RNNs counted.

    PyTorch's counter sees products and convolutions, but not inside nn.LSTM, GRU and RNN: those
    are counted here by their shapes.
    """
    extra = 0

    def count(module: nn.RNNBase, args: Any, output: Any) -> None:
        nonlocal extra
        data = args[0].data if isinstance(args[0], nn.utils.rnn.PackedSequence) else args[0]
        positions = data.numel() // data.shape[-1]
        directions = 2 if module.bidirectional else 1
        width = module.input_size
        for _ in range(module.num_layers):
            per_gate = module.hidden_size * (width + module.hidden_size)
            extra += positions * directions * GATES[module.mode] * per_gate
            width = module.hidden_size * directions

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.RNNBase)
    ]
    try:
        # inference mode: without it the counter looks for gradients of outputs that are weights
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model.eval()(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return int(counter.get_total_flops()) // 2 + extra
