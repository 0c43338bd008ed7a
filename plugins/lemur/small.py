"""A small network in LEMUR's format, learnt when no other model is named."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def supported_hyperparameters() -> set[str]:
    """The names that ``prm`` must hold."""
    return {"lr", "momentum", "dropout"}


class Net(nn.Module):
    """Three convolutions with batch normalisation, a global average, one linear layer."""

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        prm: dict[str, float],
        device: torch.device,
    ) -> None:
        super().__init__()
        self.device = device
        layers: list[nn.Module] = []
        channels = in_shape[1]
        for width in (16, 32, 64):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU())
            channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Dropout(prm["dropout"]), nn.Linear(channels, out_shape[0])
        )
        self.criteria = (nn.CrossEntropyLoss(),)
        self.optimizer: torch.optim.Optimizer | None = None

    def train_setup(self, prm: dict[str, float]) -> None:
        """Move to the device and make the optimiser."""
        self.to(self.device)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=prm["lr"], momentum=prm["momentum"])

    def learn(self, train_data: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Train for one epoch; the mean loss of its batches."""
        assert self.optimizer is not None
        losses: list[float] = []
        for inputs, labels in train_data:
            self.optimizer.zero_grad()
            loss = self.criteria[0](self(inputs.to(self.device)), labels.to(self.device))
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 3)
            self.optimizer.step()
            losses.append(loss.item())
        return sum(losses) / len(losses)

    def forward(self, x: Tensor) -> Tensor:
        """Images (batch, channels, height, width) to logits (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
