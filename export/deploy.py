"""A model with what goes around it: a user's raw numbers in, answers in the user's terms out."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from automl.core.data import Deployment
from automl.core.errors import ExportError
from automl.core.plugin import Exportable

ROWS = 4  # of raw inputs that show the exporter what comes in


class Around(nn.Module):
    """A model with named outputs between ``before`` and ``after``: what users would compute."""

    def __init__(self, model: nn.Module, deployment: Deployment) -> None:
        super().__init__()
        self.model, self.before, self.after = model, deployment.before, deployment.after
        self.more = deployment.outputs

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Raw inputs (batch, ...) to the model's outputs and the further ones."""
        found = dict(self.model(x=self.before(x)))
        return found | dict(zip(self.more, self.after(found), strict=True))


class Deployed(nn.Module):
    """The same as one computation for export: outputs in a fixed order."""

    def __init__(self, exportable: Exportable, deployment: Deployment) -> None:
        super().__init__()
        self.before, self.after = deployment.before, deployment.after
        self.module, self.outputs = exportable.module, exportable.outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Raw inputs (batch, ...) to the module's outputs and the further ones."""
        found = self.module(self.before(x))
        return (*found, *self.after(dict(zip(self.outputs, found, strict=True))))


def deployable(exportable: Exportable, deployment: Deployment | None) -> Exportable:
    """What to write for a model of a dataset: the model with its ``deployment`` around it.

    Raises:
        ExportError: if the model does not take the dataset's ``x`` alone.
    """
    if deployment is None:
        return exportable
    if list(exportable.inputs) != ["x"]:
        raise ExportError(
            f"a model of own data must take x alone, not {', '.join(exportable.inputs)}"
        )
    return replace(
        exportable,
        module=Deployed(exportable, deployment),
        inputs={"x": deployment.raw[:ROWS]},
        outputs=(*exportable.outputs, *deployment.outputs),
        discrete=(*exportable.discrete, *(("label",) if "label" in deployment.outputs else ())),
        parts={},
        samples={"x": deployment.raw},
    )
