"""The decoding loop as one ONNX graph, free in batch and number of points.

PyTorch's ``scan`` becomes ONNX's Scan: a Python loop would be unrolled at the example's length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # private in torch 2.13; no public loop exports

from automl.core.api import Axis, Exportable, ExportableRNN
from automl.plugins.ptrnet.model import Memory, PointerNetwork, State

LONGEST = 500


class GreedyDecoder(nn.Module):
    """``PointerNetwork.forward`` with its loop as a scan."""

    def __init__(self, network: PointerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, n, D) to sequence (B, T) and scores (B, T, C)."""
        network = self.network
        memory, start = network.encode(points)

        def step(carry: tuple[Tensor, ...], x: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
            state, chosen, scores = network.greedy_step(memory, State(*carry), network.rule)
            return tuple(part.clone() for part in state), [chosen.clone(), scores.clone()]

        steps = torch.arange(network.answer_steps(points.shape[1]), device=points.device)
        _, (chosen, scores) = scan(step, tuple(part.clone() for part in start), steps, dim=0)
        return chosen.transpose(0, 1), scores.transpose(0, 1)


class Encoder(nn.Module):
    """The first half, for search on the host."""

    def __init__(self, network: PointerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor) -> tuple[Tensor, ...]:
        """Points (B, n, D) to memory (B, n+1, H), keys (B, n+1, H), point (B, E), h, c (B, H)."""
        memory, start = self.network.encode(points)
        outputs = (memory.values, memory.keys, start.given, start.h, start.c)
        return tuple(part.clone() for part in outputs)


class Step(nn.Module):
    """The second half: one step of the decoder; the host masks, chooses and searches."""

    def __init__(self, network: PointerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, memory: Tensor, keys: Tensor, point_prev: Tensor, h: Tensor, c: Tensor, mask: Tensor
    ) -> tuple[Tensor, ...]:
        """Logits (B, C), -inf where ``mask`` (B, C) is true, and the next h, c (B, H)."""
        blocked = torch.zeros_like(mask)
        held = Memory(memory, keys, memory, blocked)
        state = State(point_prev, h, c, torch.zeros_like(h), blocked, blocked[:, 0])
        h, c, context = self.network.advance(held, state, point_prev)
        logits = self.network.logits(held, h, context)
        return logits.masked_fill(mask, -torch.inf), h, c


def exportable(model: PointerNetwork, inputs: dict[str, Tensor]) -> Exportable:
    """What to export of a network; its encoder no longer fixes the number of points."""
    dimensions = inputs["points"].shape[-1]
    fewest = 2 if model.rule == "tour" or dimensions == 1 else 3
    longest = LONGEST if model.architecture == "ptrnet" else model.longest
    network = portable(model)
    batch, points = Axis("batch", 1, 1024), Axis("n", fewest, longest)
    axes = {"points": {0: batch, 1: points}}
    parts = {}
    if model.architecture == "ptrnet":
        encoder = Encoder(network)
        with torch.no_grad():
            memory, keys, given, h, c = encoder(inputs["points"])
        positions = Axis("positions", fewest + 1, longest + 1)
        mask = torch.zeros(memory.shape[:2], dtype=torch.bool)
        names = ("memory", "keys", "point_prev", "h", "c", "mask")
        tensors = dict(zip(names, (memory, keys, given, h, c, mask), strict=True))
        free = {name: {0: batch} for name in names}
        for name in ("memory", "keys", "mask"):
            free[name][1] = positions
        parts["encoder"] = Exportable(
            encoder, inputs, ("memory", "keys", "point_prev", "h", "c"), axes
        )
        parts["step"] = Exportable(Step(network), tensors, ("logits", "h_next", "c_next"), free)
    outputs = ("sequence", "scores")
    return Exportable(GreedyDecoder(network), inputs, outputs, axes, ("sequence",), parts)


def portable(model: PointerNetwork) -> PointerNetwork:
    """The same network, sharing its weights, with an encoder that exports."""
    copy = PointerNetwork.__new__(PointerNetwork)
    nn.Module.__init__(copy)
    copy.__dict__.update(model.__dict__)
    copy._modules = dict(model._modules)
    copy._modules["encoder"] = ExportableRNN(model.encoder)
    return copy.eval()
