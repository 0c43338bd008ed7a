"""LEMUR's image transforms by their names: ``norm_32``, ``echo_64_flip``, ``complex``, ...

``norm`` resizes the shorter side, cuts out the centre and maps [0, 1] to [-1, 1]; ``echo`` resizes
both sides; ``complex`` does so too and gives complex numbers; ``_flip`` mirrors half of the images
while training. Nothing here imports torch until an image comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("norm", "echo", "complex")
SIZES = (0, 32, 64, 128, 256, 299, 512)  # 0: as it is
NAMES = tuple(
    f"{kind}{f'_{size}' if size else ''}{'_flip' if flip else ''}"
    for kind, size, flip in product(KINDS, SIZES, (False, True))
)
CHANNELS = 3


@dataclass(frozen=True)
class Transform:
    """What a name of LEMUR's stands for; images have values from 0 to 1."""

    kind: str
    size: int
    flip: bool

    @classmethod
    def named(cls, name: str) -> Transform:
        """Read one of ``NAMES``."""
        kind, *rest = name.split("_")
        flip = "flip" in rest
        return cls(kind, next((int(part) for part in rest if part != "flip"), 0), flip)

    def shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels, height and width of an image of this height and width afterwards."""
        return (CHANNELS, self.size or height, self.size or width)

    def __call__(self, x: Tensor) -> Tensor:
        """Images (batch, 1 or 3, height, width) as a model gets them, not flipped."""
        import torch
        from torch.nn import functional

        height, width = x.shape[-2:]
        size = self.size
        if x.shape[1] == 1:
            x = x.expand(-1, CHANNELS, -1, -1)
        if size and (height, width) != (size, size):
            if self.kind == "norm":  # the shorter side decides
                scale = size / min(height, width)
                target = (max(size, round(height * scale)), max(size, round(width * scale)))
            else:
                target = (size, size)
            smaller = target[0] < height or target[1] < width
            x = functional.interpolate(
                x, target, mode="bilinear", align_corners=False, antialias=smaller
            )
            top, left = (target[0] - size) // 2, (target[1] - size) // 2
            x = x[..., top : top + size, left : left + size]
        if self.kind == "norm":
            return (x - 0.5) / 0.5
        return x.to(torch.complex64) if self.kind == "complex" else x
