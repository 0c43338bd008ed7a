"""The paper's statements as executable claims: errors across grids, and layers that converge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from automl.core.api import Bar, Claim, ClaimRun, Scores
from automl.plugins.neural_operator.config import FULL, Config
from automl.plugins.neural_operator.data import gaussian_field
from automl.plugins.neural_operator.layers import (
    Attention,
    KernelIntegral,
    LocalConv,
    SpectralConv,
    grid,
)

GRIDS = (32, 64, 128)
SIDES = (2 * torch.pi, 2 * torch.pi)

# ---------------------------------------------------------------- errors across grids

SMALL = Config(eval_every=200)
U_NET = replace(SMALL, arch="unet", lr=1e-3)
SEVERAL = replace(U_NET, steps=400, train_res="16,32,64", batch_size=32, shrink_batch=True)
ON_32, ON_64 = "ns-forced", "ns-forced:resolution=64"
PROBE = ("resolution",)

FNO = ClaimRun("FNO", ON_32, replace(SMALL, steps=1200), probes=PROBE)
UNET = ClaimRun("U-Net", ON_32, replace(U_NET, steps=600), probes=PROBE)
UNET_SEVERAL = ClaimRun("U-Net, trained on 16, 32, 64", ON_64, SEVERAL, probes=PROBE)
KI_SEVERAL = ClaimRun(
    "kernel-interpolated U-Net, trained on 16, 32, 64",
    ON_64,
    replace(SEVERAL, arch="unet_ki"),
    probes=PROBE,
)
RESOLUTION = Claim(
    name="resolution",
    statement=(
        "An operator keeps its error on grids that it never saw; a U-Net does not, unless its "
        "kernels are interpolated and it is trained on several grids."
    ),
    source="Section 4, Figure 5",
    runs=(FNO, UNET, UNET_SEVERAL, KI_SEVERAL),
    bars=(
        Bar(FNO.label, "rel_l2", at_most=0.16),
        Bar(FNO.label, "resolution.resolution_gap", at_most=1.05, paper="curves only"),
        Bar(UNET.label, "resolution.gap_finer", at_least=2.5, paper="curves only"),
        Bar(UNET.label, "rel_l2", at_most=1.5, relative_to=FNO.label),
        Bar(KI_SEVERAL.label, "resolution.gap_finer", at_most=1.3, paper="curves only"),
        Bar(UNET_SEVERAL.label, "resolution.gap_finer", at_least=1.7, paper="curves only"),
    ),
)

# ---------------------------------------------------------------- layers that converge


def smooth(seed: int, channels: int, size: int) -> Tensor:
    """Band-limited functions (1, channels, size, size), the same on every grid."""
    generator = torch.Generator().manual_seed(seed)
    fields = gaussian_field(channels, GRIDS[-1], 100.0, 4.0, 9.0, generator)
    spectrum = torch.fft.rfft2(fields, norm="forward")
    low = torch.fft.fftfreq(GRIDS[-1], 1 / (GRIDS[-1])).abs() < 8
    spectrum = spectrum * low[:, None] * low[: spectrum.shape[-1]]
    whole = torch.fft.irfft2(spectrum, s=fields.shape[-2:], norm="forward")
    step = GRIDS[-1] // size
    answer: Tensor = (whole / whole.std())[None, :, ::step, ::step]
    return answer


def differences(layer: Callable[[Tensor], Tensor], seed: int, channels: int) -> list[float]:
    """Relative differences between the answers on 32 and 64, and on 64 and 128 points."""
    with torch.no_grad():
        found = [layer(smooth(seed, channels, size)) for size in GRIDS]
    return [
        float((coarse - fine[..., ::2, ::2]).norm() / coarse.norm())
        for coarse, fine in pairwise(found)
    ]


def pointwise(layer: Attention) -> Callable[[Tensor], Tensor]:
    """Attention as a map of fields."""

    def call(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        place = grid(height, width, 0.0, x.device).flatten(1).T
        cell = torch.full((height * width,), 1 / (height * width))
        points = layer(x.flatten(2).transpose(1, 2), place, cell)
        answer: Tensor = points.transpose(1, 2).reshape(1, -1, height, width)
        return answer

    return call


def converges(make: Callable[[], nn.Module]) -> Callable[[int], Scores]:
    """A check: how a layer with random weights answers on finer and finer grids.

    ``fall`` is the factor by which the difference falls in one refinement.
    """

    def check(seed: int) -> Scores:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = make().eval()
        call = pointwise(layer) if isinstance(layer, Attention) else layer
        found = differences(call, seed, 4)
        return {"largest": max(found), "fall": found[0] / max(found[1], 1e-9)}

    return check


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "spectral convolution": lambda: SpectralConv(4, 4, 8),
    "local convolution": lambda: LocalConv(4, SIDES[0] / 8, "2,4", SIDES, True),
    "kernel integral": lambda: KernelIntegral(4, 8, SIDES[0] / 8, SIDES, True),
    "attention": lambda: Attention(4, 2, 8, softmax=True, rope=True),
    "attention without softmax": lambda: Attention(4, 2, 8, softmax=False, rope=True),
}
CONVERGENCE = Claim(
    name="convergence",
    statement="Layers that discretise continuous maps converge as the grid is refined.",
    source="Section 2, discretisation convergence",
    runs=(),
    bars=(
        Bar("spectral convolution", "largest", at_most=1e-5, rank=3),
        *(Bar(name, "fall", at_least=2.0, rank=3) for name in list(LAYERS)[1:]),
    ),
    checks={name: converges(make) for name, make in LAYERS.items()},
    check_seeds=3,
)

# ---------------------------------------------------------------- the paper's own size

PAPER = "ns-forced:finest=1024,made=128,resolution=128,sigma2=27,test_size=2000,train_size=10000"
U_NET_FULL = replace(FULL, arch="unet", steps=188_125, lr_period=50)
FULL_RUNS = {
    "FNO": FULL,
    "LocalNO": replace(
        FULL, arch="local_no", modes=20, width=99, lift_ratio=2.59, radius=0.03125 / 2
    ),
    "DiffNO": replace(FULL, arch="diff_no", modes=20, width=99, lift_ratio=2.59),
    "OFormer": replace(
        FULL, arch="oformer", modes=8, width=220, heads=16, head_dim=16, lr=1e-4,
        weight_decay=1e-6, batch_size=2, steps=1_005_000,
    ),
    "U-Net": U_NET_FULL,
    "ViT": replace(
        U_NET_FULL, arch="vit", width=768, n_layers=12, heads=12, head_dim=64, patch=16,
        vit_mlp=1900,
    ),
}  # fmt: skip
FIGURE_5 = Claim(
    name="figure_5",
    statement="At the paper's size, operators keep their error from 64 to 1024 points a side.",
    source="Section 4, Figure 5",
    runs=tuple(
        ClaimRun(name, PAPER, config, seeds=1, probes=PROBE) for name, config in FULL_RUNS.items()
    ),
    bars=(
        *(
            Bar(name, "resolution.resolution_gap", at_most=1.2, paper="curves only")
            for name in ("FNO", "LocalNO", "DiffNO", "OFormer")
        ),
        *(
            Bar(name, "resolution.resolution_gap", at_least=2.0, paper="curves only")
            for name in ("U-Net", "ViT")
        ),
    ),
    scale="full",
)
CLAIMS = (RESOLUTION, CONVERGENCE, FIGURE_5)
