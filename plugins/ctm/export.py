"""What goes into ONNX: all ticks unrolled, and a single tick for hosts that stop when certain."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from automl.core.api import Axis, Exportable
from automl.plugins.ctm.model import Machine


class Ticker(nn.Module):
    """A model by position; ``logits`` are those of the most certain tick."""

    outputs: ClassVar[tuple[str, ...]] = ("logits", "predictions", "certainty", "ticks_used")

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Inputs to the four outputs."""
        found = self.model(x)
        return tuple(found[name] for name in self.outputs)


class Encoder(nn.Module):
    """What is computed once: keys and values (or raw inputs), and the first state."""

    def __init__(self, model: Machine) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Inputs to what ``Step`` takes, histories with the batch first."""
        given = self.model.inputs(x)[0]
        state = outward(self.model.initial(x.shape[0]))
        seen = (given,) if isinstance(given, Tensor) else given
        return tuple(part.clone() for part in (*seen, *state))


class Step(nn.Module):
    """One tick."""

    def __init__(self, model: Machine) -> None:
        super().__init__()
        self.model = model

    def forward(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Keys, values and state to the reading (B, P C) and the next state."""
        given: Any = parts[:2] if self.model.features.attends else parts[0]
        state = parts[2 if self.model.features.attends else 1 :]
        after, reading = self.model.tick(given, outward(state))
        return (reading, *outward(after))


def outward(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Swap the first two axes of the history, (D, B, M) within and (B, D, M) outside."""
    return (state[0], state[1].transpose(0, 1), *state[2:])


def ticker(model: Machine, x: Tensor) -> dict[str, Exportable]:
    """The parts ``encoder`` and ``step``."""
    batch = {0: Axis("batch")}
    seen = ("keys", "values") if model.features.attends else ("numbers",)
    state = ["state", "history", "out_alpha", "out_beta"]
    if model.features.attends:
        state += ["action_alpha", "action_beta"]
    names = (*seen, *state)
    encoder = Encoder(model)
    with torch.no_grad():
        given = dict(zip(names, encoder(x), strict=True))
    outputs = ("reading", *(f"{name}_after" for name in state))
    return {
        "encoder": Exportable(encoder, {"x": x}, names, {"x": batch}),
        # From the second tick on sums of ones are above 1, as random numbers need not be.
        "step": Exportable(
            Step(model), given, outputs, dict.fromkeys(given, batch), samples=spread(given)
        ),
    }


def spread(given: dict[str, Tensor], rows: int = 16) -> dict[str, Tensor]:
    """Example inputs of a step: those of the encoder, moved a little."""
    draw = torch.Generator().manual_seed(0)
    found = {}
    for name, value in given.items():
        many = value[:1].expand(rows, *value.shape[1:])
        noise = torch.rand(many.shape, generator=draw)
        found[name] = many + noise if name.endswith("beta") else many + 0.1 * noise
    return found
