"""Training steps with gradient noise: the technique against a loop over parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from measure import finish, interleaved
from torch import nn
from torch.nn import functional

from automl.plugins.gradnoise.config import DEFAULTS
from automl.plugins.gradnoise.model import DeepNetwork
from automl.plugins.gradnoise.noise import GradientNoise, NoiseSettings

FEATURES, CLASSES, BATCH, STEPS, ROUNDS = 64, 10, 50, 60, 9
Noise = Callable[[int], None]


def simple(model: nn.Module, step: int) -> None:
    """The noise as a user of PyTorch would write it."""
    deviation = (0.3 / step**0.55) ** 0.5
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad += deviation * torch.randn_like(parameter.grad)


def repeated(noise: Noise) -> None:
    """The noise of all steps."""
    for step in range(1, STEPS + 1):
        noise(step)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    x, target = torch.rand(BATCH, FEATURES), torch.randint(0, CLASSES, (BATCH,))
    model = DeepNetwork(replace(DEFAULTS, init="he"), FEATURES, CLASSES, numeric=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    technique = GradientNoise(NoiseSettings(), 0)
    technique.started(model, optimizer)

    def steps(noise: Noise) -> None:
        for step in range(1, STEPS + 1):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x)["logits"], target).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            noise(step)
            optimizer.step()

    def loop() -> None:
        steps(partial(simple, model))

    def ours() -> None:
        steps(technique.add)

    loop(), ours()
    calls = [lambda: repeated(partial(simple, model)), lambda: repeated(technique.add), loop, ours]
    one, two, three, four = interleaved(calls, ROUNDS)
    details = {
        "noise alone": f"loop {1000 * one / STEPS:.2f} ms, ours {1000 * two / STEPS:.2f} ms a step",
        "whole step": f"loop {1000 * three / STEPS:.2f} ms, ours {1000 * four / STEPS:.2f} ms",
        "limited by": "drawing 50,000 normal numbers, the same in both",
        "task": f"20 layers of 50 units, batch {BATCH}, one thread",
    }
    finish(
        "gradnoise, noise added per second over a loop over parameters", one / two,
        "at least 1.0", one / two >= 1.0, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
