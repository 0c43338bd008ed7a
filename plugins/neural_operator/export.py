"""What is exported: Fourier layers and OFormer are free in their grid, the others keep theirs."""

from __future__ import annotations

from torch import Tensor, nn

from automl.core.api import Axis, Exportable
from automl.plugins.neural_operator.config import Config
from automl.plugins.neural_operator.model import Network

FREE = ("fno", "oformer")  # local kernels get their taps, and others their lists, for one grid
FINEST = 128  # of the grids that verification draws


class Graph(nn.Module):
    """A network by position."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, channels, H, W) to its value or logits."""
        (found,) = self.model(x).values()
        answer: Tensor = found
        return answer


def exportable(model: Network, config: Config, inputs: dict[str, Tensor]) -> Exportable:
    """The graph of a network."""
    axes = {0: Axis("batch")}
    if config.arch in FREE and not model.classes:
        fewest = 2 * config.modes
        axes |= {
            2: Axis("height", fewest, max(FINEST, fewest)),
            3: Axis("width", fewest, max(FINEST, fewest)),
        }
    name = "logits" if model.classes else "value"
    return Exportable(Graph(model), inputs, (name,), {"x": axes})
