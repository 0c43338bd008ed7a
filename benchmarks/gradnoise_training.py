"""Training steps with gradient noise: the technique against a loop over parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from measure import finish, interleaved
from torch import nn
from torch.nn import functional

from automl.plugins.gradnoise.config import DEFAULTS
from automl.plugins.gradnoise.model import DeepNetwork
from automl.plugins.gradnoise.noise import GradientNoise, NoiseSettings

FEATURES, CLASSES, BATCH, STEPS, ROUNDS = 64, 10, 50, 60, 9


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    x, target = torch.rand(BATCH, FEATURES), torch.randint(0, CLASSES, (BATCH,))
    model = DeepNetwork(replace(DEFAULTS, init="he"), FEATURES, CLASSES, numeric=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    technique = GradientNoise(NoiseSettings(), 0)
    technique.started(model, optimizer)

    def steps(noise) -> None:  # noqa: ANN001
        for step in range(1, STEPS + 1):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x)["logits"], target).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            noise(step)
            optimizer.step()

    def simple(step: int) -> None:
        deviation = (0.3 / step**0.55) ** 0.5
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad += deviation * torch.randn_like(parameter.grad)

    def loop() -> None:
        steps(simple)

    def ours() -> None:
        steps(technique.add)

    def times(noise) -> Callable[[], None]:  # noqa: ANN001
        def call() -> None:
            for step in range(1, STEPS + 1):
                noise(step)

        return call

    loop(), ours()
    calls = [times(simple), times(technique.add), loop, ours]
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
