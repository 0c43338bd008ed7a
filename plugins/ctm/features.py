"""From inputs to the tokens that are attended to: one class for each kind of input."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from automl.core.api import DataInfo
from automl.plugins.ctm.config import Config

STEM_MAPS = 32
MOST_TOKENS = 144  # of an image; larger ones are halved further


class Features(nn.Module):
    """Inputs to tokens (B, n, d), (ticks, B, n, d) where they change, or raw (B, width).

    ``count`` tokens of ``width`` features; ``ticks`` where inputs fix their number (else 0), the
    first ``silent_ticks`` of which give no answer; ``streams`` where answers are read off the
    sequence of ticks.
    """

    attends: ClassVar[bool] = True
    streams: ClassVar[bool] = False

    def __init__(self, config: Config, count: int, width: int, *, learned: bool = False) -> None:
        super().__init__()
        self.count, self.width = count, width
        self.ticks, self.silent_ticks = 0, 0
        if self.attends:
            inner = config.d_input
            self.project = nn.Sequential(nn.Linear(inner, inner), nn.LayerNorm(inner))
            places = config.positions == "learned" or (config.positions == "auto" and learned)
            self.place = nn.Parameter(0.02 * torch.randn(count, inner)) if places else None

    def tokens(self, found: Tensor) -> Tensor:
        """Add positions and project: (B, n, d) to the same."""
        out: Tensor = self.project(found if self.place is None else found + self.place)
        return out


class ImageFeatures(Features):
    """Two convolutions, the second of stride 2, and more of those while there are many tokens."""

    def __init__(self, config: Config, shape: tuple[int, ...], *, learned: bool) -> None:
        channels, height, width = shape
        layers: list[nn.Module] = [nn.Conv2d(channels, STEM_MAPS, 3, padding=1), nn.ReLU()]
        maps, halved = STEM_MAPS, False
        while not halved or height * width > MOST_TOKENS:
            layers += [nn.Conv2d(maps, config.d_input, 3, stride=2, padding=1), nn.ReLU()]
            maps = config.d_input
            height, width = -(-height // 2), -(-width // 2)
            halved = True
        super().__init__(config, height * width, config.d_input, learned=learned)
        self.stem = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, n, d)."""
        return self.tokens(self.stem(x).flatten(2).transpose(1, 2))


class TableFeatures(Features):
    """A token per feature: its value along a learnt direction; inputs standardised."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: Config, count: int) -> None:
        super().__init__(config, count, config.d_input, learned=True)
        self.direction = nn.Parameter(torch.randn(count, config.d_input))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    def learn(self, x: Tensor) -> None:
        """Take mean and deviation of training inputs (N, F)."""
        spread = x.std(0, correction=0)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) to (B, F, d)."""
        unit = (x - self.mean) / self.scale
        return self.tokens(unit[..., None] * self.direction)


class SignFeatures(Features):
    """Parity: an embedding of each sign, and an angle from 0 to 180 degrees for its place."""

    code: Tensor

    def __init__(self, config: Config, count: int) -> None:
        super().__init__(config, count, config.d_input)
        self.embedding = nn.Embedding(2, config.d_input)
        angle = torch.linspace(0, math.pi, count)
        self.register_buffer("code", torch.stack([-angle.sin(), angle.cos()], 1))
        self.turn = nn.Linear(2, config.d_input)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n) of -1 and 1 to (B, n, d)."""
        found = self.embedding((x > 0).to(torch.int64))
        return self.tokens(found + self.turn(self.code) if self.place is None else found)


class RawFeatures(Features):
    """Sorting: the numbers themselves, the same at each tick; nothing is attended to."""

    attends = False
    streams = True

    def __init__(self, config: Config, count: int) -> None:
        super().__init__(config, count, count)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N) to the same."""
        return x


class QuestionFeatures(Features):
    """Digits one after the other, then the parts of a question, then time to answer.

    x (B, digits * 64 + parts): images of 8 x 8 pixels, then the question's parts as integers:
    positions at even places, operators (0: plus, 1: minus) at odd ones.
    """

    def __init__(self, config: Config, digits: int, parts: int, repeats: int) -> None:
        super().__init__(config, 4, config.d_input)
        inner = config.d_input

        def block(a: int, b: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]

        self.stem = nn.Sequential(*block(1, inner), *block(inner, inner))
        self.index = nn.Embedding(digits, inner)
        self.operator = nn.Embedding(2, inner)
        self.digits, self.parts, self.repeats = digits, parts, repeats
        self.silent_ticks = (digits + parts) * repeats
        self.ticks = self.silent_ticks + config.answer_ticks
        self.answering = config.answer_ticks

    def forward(self, x: Tensor) -> Tensor:
        """As above, to (ticks, B, 4, d)."""
        images, parts = x[:, : 64 * self.digits], x[:, 64 * self.digits :].to(torch.int64)
        seen = self.stem(images.reshape(-1, 1, 8, 8)).flatten(2).transpose(1, 2)
        seen = seen.reshape(-1, self.digits, 4, seen.shape[-1]).transpose(0, 1)
        asked = [
            (self.operator if place % 2 else self.index)(parts[:, place])
            for place in range(self.parts)
        ]
        question = torch.stack(asked)[:, :, None].expand(-1, -1, 4, -1)
        shown = torch.cat([seen, question]).repeat_interleave(self.repeats, 0)
        blank = torch.zeros_like(shown[:1]).expand(self.answering, -1, -1, -1)
        return self.tokens(torch.cat([shown, blank]))


def features_for(config: Config, data: DataInfo) -> Features:
    """The features for a dataset's inputs."""
    shape = tuple(int(axis or 1) for axis in data.shapes["x"])
    kind = data.problem.name
    if kind == "cumulative-parity":
        return SignFeatures(config, shape[0])
    if kind == "sort-numbers":
        return RawFeatures(config, shape[0])
    if kind == "digit-questions":
        facts = data.facts
        return QuestionFeatures(config, facts["digits"], facts["parts"], facts["repeats"])
    if len(shape) == 3:
        return ImageFeatures(config, shape, learned=kind != "maze-route")
    return TableFeatures(config, shape[0])
