"""Training throughput of ptrnet against the simplest faithful PyTorch implementation."""

from __future__ import annotations

import torch
from measure import finish, interleaved
from torch import Tensor, nn
from torch.nn import functional

from automl.core.discovery import catalogue
from automl.plugins.ptrnet.model import PointerNetwork

HIDDEN, BATCH, STEPS, ROUNDS = 128, 128, 20, 7


class Simple(nn.Module):
    """nn.LSTM, an LSTM cell and additive attention in a Python loop over the answer's steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(2, HIDDEN, batch_first=True)
        self.cell = nn.LSTMCell(2, HIDDEN)
        self.w1 = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.w2 = nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.v = nn.Linear(HIDDEN, 1, bias=False)
        self.go = nn.Parameter(torch.rand(2))
        self.end = nn.Parameter(torch.rand(HIDDEN))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.08, 0.08)

    def forward(self, points: Tensor, length: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy of the steps."""
        packed = nn.utils.rnn.pack_padded_sequence(
            points, length, batch_first=True, enforce_sorted=False
        )
        output, (h, c) = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(
            output, batch_first=True, total_length=points.shape[1]
        )
        memory = torch.cat([self.end.expand(len(points), 1, -1), memory], 1)
        padding = torch.arange(memory.shape[1]) > length[:, None]
        h, c, given = h[0], c[0], self.go.expand(len(points), -1)
        total = points.new_zeros(())
        for step in range(target.shape[1]):
            h, c = self.cell(given, (h, c))
            scores = self.v(torch.tanh(self.w1(memory) + self.w2(h)[:, None]))[..., 0]
            scores = scores.masked_fill(padding, -torch.inf)
            wanted = target[:, step]
            total = total + functional.cross_entropy(
                scores, wanted, ignore_index=-1, reduction="sum"
            )
            index = (wanted - 1).clamp(min=0)
            given = points[torch.arange(len(points)), index]
        return total / (target >= 0).sum()


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    train = catalogue().dataset("convex-hull:train_size=4000").split("train")
    simple, ours = Simple(), PointerNetwork("ptrnet", 2, HIDDEN, longest=10)
    batches = [train.take(slice(i * BATCH, (i + 1) * BATCH)) for i in range(STEPS)]
    points = sum(int(batch["length"].sum()) for batch in batches)

    def steps(model: nn.Module, loss) -> None:  # noqa: ANN001
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimizer.step()

    def train_simple() -> None:
        steps(simple, lambda b: simple(b["points"], b["length"], b["target"]))

    def train_ours() -> None:
        def loss(batch: dict[str, Tensor]) -> Tensor:
            arguments = (batch["points"], batch["length"], batch["target"])
            return functional.cross_entropy(*ours.teacher_forced(*arguments))

        steps(ours, loss)

    train_simple(), train_ours()
    theirs, mine = interleaved([train_simple, train_ours], ROUNDS)
    details = {
        "simple": f"{points / theirs:.0f} points/s, {1000 * theirs / STEPS:.1f} ms a step",
        "ours": f"{points / mine:.0f} points/s, {1000 * mine / STEPS:.1f} ms a step",
        "limited by": "the two LSTMs (about two thirds of a step, oneDNN and its products); the "
        "attention scores are one fused function",
        "task": f"hulls of 5-10 points, {HIDDEN} units, batch {BATCH}, one thread",
    }
    finish(
        "ptrnet training, points per second over a simple implementation", theirs / mine,
        "at least 1.0", theirs / mine >= 1.0, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
