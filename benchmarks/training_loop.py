"""The default training loop against a loop written by hand: steps per second, same work."""

from __future__ import annotations

import torch
from measure import finish, interleaved
from torch import nn

from automl.core.discovery import catalogue
from automl.core.run import Run
from automl.core.train import Training, sgd

STEPS, BATCH, ROUNDS, HIDDEN = 400, 128, 9, 256


def network() -> nn.Module:
    """A perceptron with a realistic amount of work per step."""
    torch.manual_seed(0)
    layers = [nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 2))


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    dataset = catalogue().dataset("spirals:train_size=20000")
    train = dataset.split("train")
    x, target = train.examples["x"], train.examples["target"]
    config = Training(steps=STEPS, batch_size=BATCH, eval_every=STEPS, clip_norm=1.0)

    def by_hand() -> None:
        model = network()
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
        order = torch.Generator().manual_seed(0)
        per_epoch = len(x) // BATCH
        model.train()
        for step in range(STEPS):
            position = step % per_epoch
            if position == 0:
                permutation = torch.randperm(len(x), generator=order)
            index = permutation[position * BATCH : (position + 1) * BATCH]
            loss = nn.functional.cross_entropy(model(x[index]), target[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def ours() -> None:
        model = network()
        sgd(
            model,
            loss=lambda batch: nn.functional.cross_entropy(model(batch["x"]), batch["target"]),
            train=train,
            optimizer=torch.optim.Adam(model.parameters(), lr=config.lr),
            config=config,
            run=Run(dataset, seed=0),
            validate=lambda: {"accuracy": 0.0, "nll": 0.0},
        )

    by_hand(), ours()
    hand, mine = interleaved([by_hand, ours], ROUNDS)
    details = {
        "by hand": f"{STEPS / hand:.0f} steps/s",
        "ours": f"{STEPS / mine:.0f} steps/s",
        "model": f"perceptron of {HIDDEN} units, batch {BATCH}, one thread",
    }
    finish(
        "training loop throughput over a hand-written loop", hand / mine, "at least 0.97",
        hand / mine >= 0.97, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
