"""What is exported: the machine without examples of no weight, and a certificate beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from automl.core.api import Axis, Exportable
from automl.plugins.ntk_svm.certificate import HALVINGS, LARGEST, kernel_bounds, weigh
from automl.plugins.ntk_svm.kernel import row_norms
from automl.plugins.ntk_svm.model import KernelMachine, Machine


class Graph(nn.Module):
    """A machine by position: x to its outputs in their order."""

    def __init__(self, model: Machine, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Take x (B, *) float32."""
        found = self.model(x)
        return tuple(found[name] for name in self.outputs)


class CertificateGraph(nn.Module):
    """A kernel machine of two classes that says how far its answer is certain.

    The certified l-infinity radius in [0, 0.3] by 24 halvings, in single precision.
    """

    def __init__(self, model: KernelMachine) -> None:
        super().__init__()
        self.model = model
        self.reach: float = float((1 / model.scale.double()).norm())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take x (B, *) float32; give score (B,), label (B,) and radius (B,)."""
        found = self.model(x)
        z, support, alpha = self.model.prepared(x), self.model.support, self.model.alpha
        dot, norm, other = z @ support.T, row_norms(z)[:, None], row_norms(support)
        positive = found["label"] == 1
        low = torch.zeros_like(found["score"])
        high = low + LARGEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            one, two = kernel_bounds(dot, norm, other, self.reach * middle[:, None], z.shape[1])
            margin = torch.where(
                positive, weigh(one, two, alpha)[:, 0], weigh(one, two, -alpha)[:, 0]
            )
            low = torch.where(margin > 0, middle, low)
            high = torch.where(margin > 0, high, middle)
        return found["score"], found["label"], low


def pruned(model: KernelMachine) -> KernelMachine:
    """A copy without the examples whose coefficients are zero; one stays at least."""
    used = (model.alpha != 0).any(1)
    used[0] |= not bool(used.any())
    found = KernelMachine(
        len(model.mean), model.outputs, model.kind, model.constant,
        examples=int(used.sum()), n_hidden=model.n_hidden,
    )  # fmt: skip
    state = model.state_dict()
    state |= {"support": model.support[used], "alpha": model.alpha[used]}
    found.load_state_dict(state)
    return found.eval()


def exportable(model: Machine, inputs: dict[str, Tensor]) -> Exportable:
    """What to export of a machine."""
    outputs = ("value",) if model.kind == "values" else ("logits", "score", "label")
    discrete = () if model.kind == "values" else ("label",)
    axes = {"x": {0: Axis("batch")}}
    deployed = pruned(model) if isinstance(model, KernelMachine) else model
    parts = {}
    certified = isinstance(deployed, KernelMachine) and deployed.n_hidden == 1
    if certified and model.kind == "classes" and model.outputs == 1:
        names = ("score", "label", "radius")
        graph = CertificateGraph(deployed)  # type: ignore[arg-type]
        parts["certificate"] = Exportable(graph, inputs, names, axes, ("label",))
    return Exportable(Graph(deployed, outputs), inputs, outputs, axes, discrete, parts)
