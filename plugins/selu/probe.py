"""What the theorems speak of, measured on a fitted network; and the area under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.selu.model import Network

EXAMPLES = 2000
MEAN_LIMIT, VARIANCE_LIMITS = 0.1, (0.8, 1.5)  # the domain of Theorem 1


def layer_moments(model: Network, x: Tensor) -> list[tuple[float, float]]:
    """Mean and variance of each hidden layer's activations, over units and examples together."""
    found: list[tuple[float, float]] = []

    def note(module: nn.Module, given: Any, output: Tensor) -> None:
        found.append((float(output.mean()), float(output.var())))

    handles = [block.register_forward_hook(note) for block in model.blocks]
    try:
        with torch.no_grad():
            model.eval()(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def gradient_ratio(model: Network, loss: Tensor) -> float:
    """Norm of the gradient in the first hidden layer over that in the last."""
    ends = [list(block.parameters()) for block in (model.blocks[0], model.blocks[-1])]
    gradients = torch.autograd.grad(loss, [*ends[0], *ends[1]])
    cut = len(ends[0])
    norms = [
        torch.stack([part.norm() for part in some]).norm()
        for some in (gradients[:cut], gradients[cut:])
    ]
    return float(norms[0] / norms[1].clamp(min=1e-30))


class SelfNormalisation(Probe):
    """Pooled moments by hidden layer on test inputs, and how evenly gradients flow."""

    name = "self_normalisation"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``mean.LAYER``, ``variance.LAYER``, ``inside`` and ``gradient_ratio``.

        ``inside`` is the share of hidden layers within the domain of Theorem 1.

        Raises:
            DataError: for a network of another plugin, whose layers are not known here.
        """
        if not isinstance(model, Network):
            raise DataError(
                f"self_normalisation looks into the layers of plugin 'selu'; this model is "
                f"{plugin.name!r}'s"
            )
        device = model.mean.device
        split = data.split("test").first(EXAMPLES).to(device)
        moments = layer_moments(model, split.examples["x"])
        low, high = VARIANCE_LIMITS
        inside = [abs(mean) <= MEAN_LIMIT and low <= variance <= high for mean, variance in moments]
        scores: Scores = {"inside": float(np.mean(inside))}
        for layer, (mean, variance) in enumerate(moments, start=1):
            scores |= {f"mean.{layer}": mean, f"variance.{layer}": variance}
        loss = plugin.loss(model, config, split.examples, split.info)  # type: ignore[attr-defined]
        return {**scores, "gradient_ratio": gradient_ratio(model, loss)}


class RocAuc(Probe):
    """Area under the ROC curve on the test split, averaged over one class against the rest."""

    name = "roc_auc"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``auc``, for any model whose outputs hold ``logits``.

        Raises:
            DataError: if the model has no logits, or a class is missing from the test split.
        """
        from sklearn.metrics import roc_auc_score

        predict = getattr(plugin, "predict", None)
        if predict is None:
            raise DataError(f"plugin {plugin.name!r} has no predict: its logits are not known")
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        split = data.split("test").to(device)
        outputs = [predict(model.eval(), batch) for batch in split.batches(1024)]
        if "logits" not in outputs[0]:
            raise DataError(f"plugin {plugin.name!r} returns no logits on {data.name!r}")
        logits = torch.cat([found["logits"] for found in outputs]).double().softmax(-1).cpu()
        target = split.examples["target"].cpu()
        if len(set(target.tolist())) < logits.shape[1]:
            raise DataError(f"a class is missing from the test split of {data.name!r}")
        areas = [
            roc_auc_score((target == label).numpy(), column.numpy())
            for label, column in enumerate(logits.T)
        ]
        return {"auc": float(np.mean(areas))}
