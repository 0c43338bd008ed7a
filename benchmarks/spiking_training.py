"""Training throughput of spiking against snntorch, or a plain loop where it is not installed."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import torch
from measure import finish, interleaved
from torch import Tensor, nn
from torch.nn import functional

from automl.core.digits import Digits
from automl.plugins.spiking.config import DEFAULTS
from automl.plugins.spiking.network import SpikingNetwork
from automl.plugins.spiking.neurons import Fire, latency_code

STEPS, BATCH, BETA, SLOPE, ROUNDS, EPOCHS = 8, 64, 0.95, 10.0, 9, 30
CONFIG = replace(DEFAULTS, activity=0.0)


class Plain(nn.Module):
    """A leaky layer as a user would write it."""

    def forward(self, current: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One step: spikes and potential."""
        v = BETA * v + current
        spikes = Fire.apply(v - 1, "fast_sigmoid", SLOPE)
        return spikes, v - spikes.detach()


def leaky() -> nn.Module:
    """A layer of snntorch that resets at the same step as ours, if it is there."""
    if importlib.util.find_spec("snntorch") is None:
        return Plain()
    import snntorch
    from snntorch import surrogate

    return snntorch.Leaky(
        beta=BETA, spike_grad=surrogate.fast_sigmoid(slope=SLOPE), reset_delay=False
    )


class Simple(nn.Module):
    """Two spiking layers and a readout, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)])
        self.neurons = nn.ModuleList([leaky(), leaky()])

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 8, 8) to logits."""
        total = torch.zeros(len(x), 10)
        states = [torch.zeros(len(x), 128), torch.zeros(len(x), 128)]
        for spikes in latency_code(x.flatten(1), STEPS):
            values = spikes
            for i, neuron in enumerate(self.neurons):
                values, states[i] = neuron(self.linears[i](values), states[i])
            total = total + self.linears[2](values)
        return 3 * total / STEPS


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = Digits(test=0.3)
    train, test = data.load("train"), data.load("test")
    ours, theirs = SpikingNetwork(CONFIG, (1, 8, 8), 10), Simple()
    weights = [layer for layer in ours.layers if isinstance(layer, nn.Linear)]
    for mine, other in zip(theirs.linears, weights, strict=True):
        mine.load_state_dict(other.state_dict())
    kind = "snntorch" if not isinstance(theirs.neurons[0], Plain) else "plain loop"
    nets = {kind: theirs, "ours": lambda x: ours(x)["logits"]}
    optimizers = {
        kind: torch.optim.Adam(theirs.parameters(), lr=2e-3),
        "ours": torch.optim.Adam(ours.parameters(), lr=2e-3),
    }

    def epoch(name: str) -> None:
        draw = torch.Generator().manual_seed(0)
        for index in torch.randperm(len(train["x"]), generator=draw).split(BATCH):
            optimizers[name].zero_grad(set_to_none=True)
            logits = nets[name](train["x"][index])
            functional.cross_entropy(logits, train["target"][index]).backward()
            optimizers[name].step()

    with torch.no_grad():
        difference = (ours.eval()(test["x"])["logits"] - theirs(test["x"])).abs().max()
    ours.train()
    one, two = interleaved([lambda: epoch(kind), lambda: epoch("ours")], ROUNDS)
    for _ in range(EPOCHS - ROUNDS):
        epoch(kind), epoch("ours")
    ours.eval()
    with torch.no_grad():
        accuracy = {
            name: float((net(test["x"]).argmax(1) == test["target"]).float().mean())
            for name, net in nets.items()
        }
    details = {
        kind: f"{one * 1000:.1f} ms an epoch, accuracy {accuracy[kind]:.4f}",
        "ours": f"{two * 1000:.1f} ms an epoch, accuracy {accuracy['ours']:.4f}",
        "same weights": f"logits differ by {float(difference):.1e} before training",
        "task": f"digits as latencies, T={STEPS}, 64-128-128-10, batch {BATCH}, one thread",
    }
    equal = abs(accuracy["ours"] - accuracy[kind]) <= 0.02
    finish(
        f"spiking training, epochs per second over {kind}", one / two,
        "at least 1.0 at equal accuracy", one / two >= 1.0 and equal, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
