"""The loop of a pointer network on the host: what the package's C# does, in Python.

The graph of such a network holds a loop, which Sentis has no operator for; its parts ``encoder``
and ``step`` have none. The host forbids, chooses and feeds back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from automl.core.plugin import Exportable
from automl.export.subject import Runtime

# What may be chosen next: anything; each point once and then the end; each point at most once,
# and the end after three.
RULES = ("free", "tour", "hull")
GIVEN = ("memory", "keys", "point_prev", "h", "c", "mask")


def is_pointer(exportable: Exportable) -> bool:
    """Whether the model is a pointer network that comes in parts."""
    parts = exportable.parts
    return (
        list(exportable.inputs) == ["points"]
        and set(parts) >= {"encoder", "step"}
        and tuple(parts["step"].inputs) == GIVEN
    )


@dataclass(frozen=True)
class PointerLoop:
    """Both parts and the loop around them: ``points`` (1, n, D) to ``sequence`` (1, turns).

    ``taken`` are the inputs that the step's graph has kept; ``turns`` is the answer's length.
    """

    encoder: Runtime
    step: Runtime
    taken: tuple[str, ...]
    rule: str
    turns: int

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Decode greedily."""
        points = inputs["points"]
        values = self.encoder({"points": points})
        used = torch.zeros(1, points.shape[1] + 1, dtype=torch.bool)
        chosen: list[int] = []
        while len(chosen) < self.turns:
            if 0 in chosen:
                chosen.append(0)
                continue
            values["mask"] = forbidden(used, self.rule)
            found = self.step({name: values[name] for name in self.taken})
            choice = int(found["logits"].argmax())
            values["h"], values["c"] = found["h_next"], found["c_next"]
            values["point_prev"] = points[:, max(choice - 1, 0)]
            used[0, choice] = True
            chosen.append(choice)
        return {"sequence": torch.tensor([chosen])}


def forbidden(used: Tensor, rule: str) -> Tensor:
    """The positions (1, n + 1) that a rule does not allow next; 0 is the end."""
    if rule == "free":
        return torch.zeros_like(used)
    mask = used.clone()
    count = int(used[0, 1:].sum())
    mask[0, 0] = count < (used.shape[1] - 1 if rule == "tour" else 3)
    return mask
