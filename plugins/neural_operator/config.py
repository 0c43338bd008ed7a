"""The settings of one network, named as in the paper's field."""

from __future__ import annotations

import re
from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

FOURIER = ("fno", "local_no", "diff_no")
ARCHITECTURES = (
    *FOURIER, "oformer", "tno", "gno", "deeponet", "unet", "unet_ki", "unet_io", "vit", "mlp"
)  # fmt: skip
U_NETS = ("unet", "unet_ki", "unet_io")
KERNEL_SHAPES = ("2,4", "3,4", "3")


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network; small by default, ``FULL`` is the paper's size."""

    steps: int = setting(1200, low=0, high=10_000_000, unit="steps", doc="optimiser steps")
    batch_size: int = setting(16, low=1, unit="examples", doc="examples per step")
    lr: float = setting(4e-3, low=1e-8, high=100, doc="learning rate of Adam")
    lr_decay: str = setting(
        "cosine",
        choices=("none", "linear", "cosine", "exp", "step"),
        doc="schedule; step: halved every lr_period epochs",
    )
    lr_period: int = setting(33, low=1, high=100_000, unit="epochs", doc="of lr_decay=step")
    eval_every: int = setting(100, low=1, unit="steps", doc="steps between two reports")
    weight_decay: float = setting(0.0, low=0, high=1, doc="of Adam")
    loss: str = setting(
        "rel_l2", choices=("rel_l2", "abs_l2", "h1"), doc="relative, absolute (official), or H1"
    )
    arch: str = setting("fno", choices=ARCHITECTURES, doc="an operator, or a net tied to its grid")
    modes: int = setting(8, low=1, high=512, doc="frequencies kept of each sign and axis")
    width: int = setting(16, low=1, high=4096, unit="channels", doc="of the hidden functions")
    n_layers: int = setting(4, low=1, high=64, unit="layers", doc="hidden layers")
    lift_ratio: float = setting(2.0, low=0.1, high=64, doc="hidden over width, in and out")
    mlp_ratio: float = setting(0.5, low=0.1, high=16, doc="hidden over width of channel MLPs")
    radius: float = setting(
        0.0, low=0, high=1, doc="of local kernels, share of the domain; 0: by radius_cells"
    )
    radius_cells: int = setting(
        3, low=0, high=64, unit="cells", doc="radius on the training grid; 0 with gno: everywhere"
    )
    kernel_shape: str = setting("2,4", choices=KERNEL_SHAPES, doc="rings, angles of local kernels")
    hidden: int = setting(8, low=1, high=1024, unit="channels", doc="of the U-Net's first level")
    kernel: int = setting(5, low=1, high=33, unit="taps", doc="of the U-Net's convolutions, odd")
    depth: int = setting(3, low=1, high=6, unit="levels", doc="of the U-Net")
    ki_norm: str = setting(
        "tap_ratio", choices=("tap_ratio", "quadrature"), doc="scale of interpolated kernels"
    )
    interpolation: str = setting(
        "bilinear", choices=("bilinear", "fourier"), doc="between grids, of unet_io"
    )
    heads: int = setting(4, low=1, high=64, doc="of attention")
    head_dim: int = setting(16, low=4, high=256, doc="of attention, a multiple of 4")
    patch: int = setting(4, low=1, high=64, unit="cells", doc="side of the ViT's patches")
    vit_mlp: int = setting(0, low=0, high=16_384, doc="hidden width of its MLPs; 0: twice width")
    basis: int = setting(64, low=1, high=4096, doc="functions of DeepONet's encoder and decoder")
    train_res: str = setting("", doc="heights of the grids trained on: 32 or 16,32,64; empty: own")
    base_res: int = setting(0, low=0, high=8192, doc="grid of fixed kernels; 0: middle train_res")
    shrink_batch: bool = setting(False, doc="fewer examples on finer grids, as officially")

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        if self.train_res and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", self.train_res):
            raise ConfigError(f"train_res={self.train_res!r} must be heights such as 32 or 16,32")
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel={self.kernel} must be odd")
        if self.head_dim % 4:
            raise ConfigError(f"head_dim={self.head_dim} must be a multiple of 4")
        if self.arch == "local_no" and not (self.radius or self.radius_cells):
            raise ConfigError("radius_cells=0 leaves arch='local_no' without a local kernel")

    @property
    def heights(self) -> tuple[int, ...]:
        """The heights of ``train_res``, ascending."""
        return tuple(sorted(int(part) for part in self.train_res.split(",") if part))

    def rate(self, step: int, per_epoch: int) -> float:
        """The factor of the learning rate at a step."""
        if self.lr_decay == "step":
            return 0.5 ** (step // per_epoch // self.lr_period)
        return super().rate(step, per_epoch)


DEFAULTS = Config()
# 500 epochs of 10,000 fields; n_modes=64 counts both signs, modes one
FULL = Config(
    steps=312_500, eval_every=3125, lr=5e-4, lr_decay="step", weight_decay=1e-4, loss="abs_l2",
    modes=32, width=62, lift_ratio=4.13, hidden=19, kernel=9, depth=4,
)  # fmt: skip
