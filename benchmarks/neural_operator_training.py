"""Training throughput of a Fourier neural operator against the neuraloperator package's.

Without the package (``pip install --no-deps neuraloperator tensorly tensorly-torch opt-einsum``)
the rival is a plain one with PyTorch's FFTs. Both then learn the same flows for as many steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from measure import finish, interleaved
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import relative_l2
from automl.core.discovery import catalogue
from automl.plugins.neural_operator.config import DEFAULTS
from automl.plugins.neural_operator.plugin import NeuralOperators

STEPS, ROUNDS, LEARN = 6, 7, 240
PLUGIN = NeuralOperators()


class PlainSpectral(nn.Module):
    """The layer of the 2020 code: rfft2, two corners, irfft2."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        corners = torch.randn(2, width, width, modes, modes, dtype=torch.cfloat)
        self.weight = nn.Parameter(corners / width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        m, spectrum = self.modes, torch.fft.rfft2(x)
        out = torch.zeros_like(spectrum)
        for corner, rows in zip(self.weight, (slice(m), slice(-m, None)), strict=True):
            part = spectrum[:, :, rows, :m]
            out[:, :, rows, :m] = torch.einsum("bixy,ioxy->boxy", part, corner)
        return torch.fft.irfft2(out, s=x.shape[-2:])


class PlainFNO(nn.Module):
    """Four such layers with 1 x 1 skips and channel MLPs."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()

        def mlp(given: int, hidden: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(given, hidden, 1), nn.GELU(), nn.Conv2d(hidden, out, 1))

        self.lift, self.project = mlp(3, 2 * width, width), mlp(width, 2 * width, 1)
        self.spectral = nn.ModuleList(PlainSpectral(width, modes) for _ in range(4))
        self.skips = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(4))
        self.mlps = nn.ModuleList(mlp(width, width // 2, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) to the same shape."""
        size = x.shape[-1]
        place = torch.arange(size) / size
        grid = torch.stack(torch.meshgrid(place, place, indexing="ij")).expand(len(x), -1, -1, -1)
        x = self.lift(torch.cat([x, grid], 1))
        for i in range(4):
            h = self.spectral[i](x) + self.skips[i](x)
            x = self.mlps[i](functional.gelu(h) if i < 3 else h) + x
            x = functional.gelu(x) if i < 3 else x
        return self.project(x)


def rival() -> tuple[str, nn.Module]:
    """The package's network, or the plain one."""
    width, modes = DEFAULTS.width, DEFAULTS.modes
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from neuralop.models import FNO
    except ImportError:
        return "plain FFT layers", PlainFNO(width, modes)
    return "neuraloperator", FNO(
        n_modes=(2 * modes, 2 * modes),
        in_channels=1,
        out_channels=1,
        hidden_channels=width,
        n_layers=DEFAULTS.n_layers,
        lifting_channel_ratio=2,
        projection_channel_ratio=2,
        positional_embedding="grid",
        use_channel_mlp=True,
    )


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    data = catalogue().dataset("poisson-periodic:alpha=2.0,train_size=320")
    train, test = data.split("train"), data.split("test")
    torch.manual_seed(0)
    name, theirs = rival()
    torch.manual_seed(0)
    ours = PLUGIN.build(DEFAULTS, data.info)
    PLUGIN.prepare(ours, DEFAULTS, train)
    scale_x, scale_y = train.examples["x"].std(), train.examples["target"].std()

    def answer_theirs(x: Tensor) -> Tensor:
        return theirs(x / scale_x) * scale_y

    def answer_ours(x: Tensor) -> Tensor:
        return ours(x)["value"]

    def learner(model: nn.Module, answer: Callable[[Tensor], Tensor]) -> Callable[[int], None]:
        config = replace(DEFAULTS, lr=2e-3)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
        order = torch.Generator().manual_seed(0)

        def steps(count: int) -> None:
            for _ in range(count):
                batch = train.take(torch.randint(len(train), (16,), generator=order))
                optimizer.zero_grad(set_to_none=True)
                relative_l2(answer(batch["x"]), batch["target"]).mean().backward()
                optimizer.step()

        return steps

    def error(answer: Callable[[Tensor], Tensor]) -> float:
        with torch.no_grad():
            return float(relative_l2(answer(test.examples["x"]), test.examples["target"]).mean())

    train_theirs, train_ours = learner(theirs, answer_theirs), learner(ours, answer_ours)
    train_theirs(2), train_ours(2)
    one, two = interleaved([lambda: train_theirs(STEPS), lambda: train_ours(STEPS)], ROUNDS)
    train_theirs(LEARN), train_ours(LEARN)
    errors = error(answer_theirs), error(answer_ours)
    details = {
        name: f"{1000 * one / STEPS:.1f} ms a step, test rel_l2 {errors[0]:.4f}",
        "ours": f"{1000 * two / STEPS:.1f} ms a step, test rel_l2 {errors[1]:.4f}",
        "task": f"4 layers, width {DEFAULTS.width}, {DEFAULTS.modes} modes, 16 fields of 32 x 32, "
        "one thread, equal steps",
    }
    met = one / two >= 1.0 and errors[1] <= 1.05 * errors[0]
    finish(
        f"neural_operator training, steps per second over {name}", one / two,
        "at least 1.0 at an error no more than 5 % higher", met, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
