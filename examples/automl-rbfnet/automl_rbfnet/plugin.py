"""What a radial basis function network is, how it is trained, and what is searched."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from automl.core.api import DataInfo, Supervised, Training, Trial, setting

from . import CARD


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network."""

    centres: int = setting(32, low=1, high=4096, doc="how many Gaussian bumps")
    width: float = setting(0.3, low=1e-3, high=100, doc="standard deviation of a bump at first")


class Network(nn.Module):
    """Gaussian bumps around learnt centres, then a linear read-out."""

    def __init__(self, features: int, classes: int, config: Config) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(config.centres, features))
        self.log_width = nn.Parameter(torch.full((config.centres,), config.width).log())
        self.read_out = nn.Linear(config.centres, classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map features (batch, features) to logits (batch, classes)."""
        distance = (x[:, None, :] - self.centres).square().sum(-1)  # (batch, centres)
        bumps = torch.exp(-0.5 * distance / self.log_width.exp().square())
        return {"logits": self.read_out(bumps)}


class RadialBasisNetworks(Supervised[Config, Network]):
    """Broomhead and Lowe's network with centres and widths learnt by gradient descent."""

    card = CARD
    defaults = Config(steps=600, lr=1e-2)
    full = Config(steps=5000, lr=1e-2, centres=128)

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """Number and width of the bumps, learning rate."""
        return replace(
            base,
            centres=trial.suggest_int("centres", 4, 256, log=True),
            width=trial.suggest_float("width", 0.05, 2.0, log=True),
            lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        )

    def build(self, config: Config, data: DataInfo) -> Network:
        """An untrained network."""
        (features,) = data.shapes["x"]
        return Network(features or 1, data.classes or 2, config)
