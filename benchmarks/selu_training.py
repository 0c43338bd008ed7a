"""Training throughput of selu against PyTorch's own SELU and AlphaDropout in a Sequential."""

from __future__ import annotations

from dataclasses import replace

import torch
from measure import finish, interleaved
from torch import Tensor, nn
from torch.nn import functional

from automl.plugins.selu.config import DEFAULTS
from automl.plugins.selu.model import Network

FEATURES, CLASSES, BATCH, STEPS, ROUNDS = 64, 10, 128, 40, 9
CONFIG = replace(DEFAULTS, depth=8, width=256, dropout=0.05)


def simple() -> nn.Sequential:
    """The network as a user of PyTorch would write it."""
    layers: list[nn.Module] = []
    for i in range(CONFIG.depth):
        linear = nn.Linear(FEATURES if i == 0 else CONFIG.width, CONFIG.width)
        nn.init.kaiming_normal_(linear.weight, mode="fan_in", nonlinearity="linear")
        layers += [linear, nn.SELU(), nn.AlphaDropout(CONFIG.dropout)]
    return nn.Sequential(*layers, nn.Linear(CONFIG.width, CLASSES))


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    x, target = torch.randn(BATCH, FEATURES), torch.randint(0, CLASSES, (BATCH,))
    theirs, ours = simple(), Network(CONFIG, (FEATURES,), CLASSES, "classes")

    def steps(model: nn.Module, logits) -> None:  # noqa: ANN001
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits(), target).backward()
            optimizer.step()

    def train_theirs() -> None:
        steps(theirs, lambda: theirs(x))

    def train_ours() -> None:
        def logits() -> Tensor:
            return ours(x)["logits"]

        steps(ours, logits)

    train_theirs(), train_ours()
    one, two = interleaved([train_theirs, train_ours], ROUNDS)
    details = {
        "PyTorch": f"{1000 * one / STEPS:.2f} ms a step",
        "ours": f"{1000 * two / STEPS:.2f} ms a step",
        "task": f"8 layers of {CONFIG.width} units, batch {BATCH}, one thread; ours also "
        "standardises its inputs and gives probabilities",
    }
    finish(
        "selu training, steps per second over PyTorch's own layers", one / two,
        "at least 1.0", one / two >= 1.0, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
