"""The networks: operators built of the layers, and nets tied to a grid with their remedies.

Every body maps functions (B, in, H, W) to (B, out, H, W).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import DataError
from automl.plugins.neural_operator.config import U_NETS, Config
from automl.plugins.neural_operator.layers import (
    Attention,
    BasisFunctions,
    DifferentialConv,
    InterpolatedConv,
    KernelIntegral,
    LocalConv,
    Pointwise,
    SpectralConv,
    grid,
    resized,
    too_coarse,
)


@dataclass(frozen=True)
class Domain:
    """Where the functions live: sides, whether they go round, where values sit in a cell.

    ``base`` is the grid that kernels of a fixed number of taps were made for.
    """

    base: tuple[int, int]
    lengths: tuple[float, float] = (1.0, 1.0)
    periodic: bool = False
    offset: float = 0.0


def channel_mlp(channels_in: int, hidden: int, channels_out: int) -> nn.Sequential:
    """Two layers at every point for itself."""
    return nn.Sequential(Pointwise(channels_in, hidden), nn.GELU(), Pointwise(hidden, channels_out))


def radius_of(config: Config, domain: Domain) -> float:
    """The radius of local kernels in the domain's unit: of a share, or of training cells."""
    if config.radius:
        return config.radius * domain.lengths[0]
    return config.radius_cells * domain.lengths[0] / domain.base[0]


class Layer(nn.Module):
    """FNO's layer: h = spectral + W x (+ local), then MLP(h) + g x; GELU but for the last."""

    def __init__(self, config: Config, domain: Domain, last: bool) -> None:
        super().__init__()
        width, self.last = config.width, last
        self.spectral = SpectralConv(width, width, config.modes)
        self.skip = Pointwise(width, width, bias=False)
        self.mlp = channel_mlp(width, max(1, round(config.mlp_ratio * width)), width)
        self.gate = nn.Parameter(torch.ones(width, 1, 1))
        self.local: nn.Module | None = None
        if config.arch == "local_no":
            radius = radius_of(config, domain)
            shape = config.kernel_shape
            self.local = LocalConv(width, radius, shape, domain.lengths, domain.periodic)
        elif config.arch == "diff_no" and last:
            self.local = DifferentialConv(width, domain.lengths, domain.periodic)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        h = self.spectral(x) + self.skip(x)
        if self.local is not None:
            h = h + self.local(x)
        if not self.last:
            h = functional.gelu(h)
        x = self.mlp(h) + self.gate * x
        return x if self.last else functional.gelu(x)


class Fourier(nn.Module):
    """FNO, LocalNO and the one with a differential kernel: lift, layers, project."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.modes = config.modes
        hidden = max(1, round(config.lift_ratio * config.width))
        self.lift = channel_mlp(channels[0], hidden, config.width)
        self.layers = nn.ModuleList(
            Layer(config, domain, i == config.n_layers - 1) for i in range(config.n_layers)
        )
        self.project = channel_mlp(config.width, hidden, channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions."""
        x = self.lift(x)
        for layer in self.layers:
            x = layer(x)
        answer: Tensor = self.project(x)
        return answer


class GraphOperator(nn.Module):
    """Lift, kernel integrals over discs with a skip, project."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        hidden = max(1, round(config.lift_ratio * config.width))
        self.lift = channel_mlp(channels[0], hidden, config.width)
        radius = radius_of(config, domain)
        self.integrals = nn.ModuleList(
            KernelIntegral(config.width, hidden, radius, domain.lengths, domain.periodic)
            for _ in range(config.n_layers)
        )
        self.skips = nn.ModuleList(
            Pointwise(config.width, config.width) for _ in range(config.n_layers)
        )
        self.project = channel_mlp(config.width, hidden, channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions."""
        x = self.lift(x)
        for integral, skip in zip(self.integrals, self.skips, strict=True):
            x = functional.gelu(integral(x) + skip(x))
        answer: Tensor = self.project(x)
        return answer


class TransformerLayer(nn.Module):
    """Attention and an MLP at every point; OFormer has a spectral convolution in parallel."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, oformer = config.width, config.arch == "oformer"
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(
            width, config.heads, config.head_dim, softmax=not oformer, rope=config.arch != "vit"
        )
        self.spectral = SpectralConv(width, width, config.modes) if oformer else None
        hidden = 2 * width
        if config.arch == "vit" and config.vit_mlp:
            hidden = config.vit_mlp
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, place: Tensor, cell: Tensor, size: tuple[int, int]) -> Tensor:
        """Points (B, N, width) of a grid of ``size``, to the same shape."""
        normed = self.norm(x)
        mixed = x + self.attention(normed, place, cell)
        if self.spectral is not None:
            field = normed.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)
            mixed = (mixed + self.spectral(field).flatten(2).transpose(1, 2)) / 3**0.5
        answer: Tensor = mixed + self.mlp(self.after(mixed))
        return answer


class Transformer(nn.Module):
    """OFormer, or softmax attention with a quadrature (tno), between all points."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.modes = config.modes if config.arch == "oformer" else 0
        self.lift = Pointwise(channels[0], config.width)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.n_layers))
        self.project = Pointwise(config.width, channels[1])

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions."""
        batch, _, height, width = x.shape
        points = self.lift(x).flatten(2).transpose(1, 2)
        place = grid(height, width, 0.0, x.device).flatten(1).T
        cell = torch.ones_like(place[:, 0]) / (height * width)
        for layer in self.layers:
            points = layer(points, place, cell, (height, width))
        answer: Tensor = self.project(points.transpose(1, 2).reshape(batch, -1, height, width))
        return answer


class VisionTransformer(nn.Module):
    """Patches of a fixed number of cells; learnt positions, interpolated on other grids."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.patch, patch, width = config.patch, config.patch, config.width
        rows, columns = (max(1, n // patch) for n in domain.base)
        self.lift = nn.Conv2d(channels[0], width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, rows, columns))
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(width)
        self.project = Pointwise(width, channels[1] * patch**2)

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions on square grids.

        Raises:
            DataError: if the grid does not fall into patches.
        """
        check_divisible(x, self.patch, "patches")
        x = self.lift(x)
        batch, width, height, columns = x.shape
        positions = self.positions
        if positions.shape[-2:] == x.shape[-2:]:
            x = x + positions
        else:
            x = x + functional.interpolate(positions, (height, columns), mode="bicubic")
        points = x.flatten(2).transpose(1, 2)
        place = grid(height, columns, 0.0, x.device).flatten(1).T
        cell = torch.ones_like(place[:, 0]) / len(place)
        for layer in self.layers:
            points = layer(points, place, cell, (height, columns))
        field = self.norm(points).transpose(1, 2).reshape(batch, width, height, columns)
        return functional.pixel_shuffle(self.project(field), self.patch)


class DeepONet(nn.Module):
    """Inner products with learnt functions, a map of the coefficients, a learnt dictionary."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.channels, basis = channels[1], config.basis
        hidden = 4 * config.width
        self.encoder = BasisFunctions(basis, hidden, domain.periodic, domain.offset)
        self.decoder = BasisFunctions(basis, hidden, domain.periodic, domain.offset)
        parts: list[nn.Module] = [nn.Linear(channels[0] * basis, 2 * hidden), nn.GELU()]
        for _ in range(config.n_layers - 2):
            parts += [nn.Linear(2 * hidden, 2 * hidden), nn.GELU()]
        self.branch = nn.Sequential(*parts, nn.Linear(2 * hidden, channels[1] * basis))

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions."""
        height, width = x.shape[-2:]
        inner = torch.einsum("bchw,lhw->bcl", x, self.encoder(height, width)) / (height * width)
        weights = self.branch(inner.flatten(1)).unflatten(1, (self.channels, -1))
        return torch.einsum("bcl,lhw->bchw", weights, self.decoder(height, width))


class Dense(nn.Module):
    """A multilayer perceptron over all values of one grid: it cannot be asked on another."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.base, self.channels = domain.base, channels
        cells, hidden = domain.base[0] * domain.base[1], 16 * config.width
        parts: list[nn.Module] = [nn.Linear(channels[0] * cells, hidden), nn.GELU()]
        for _ in range(config.n_layers - 2):
            parts += [nn.Linear(hidden, hidden), nn.GELU()]
        self.net = nn.Sequential(*parts, nn.Linear(hidden, channels[1] * cells))

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions on the grid trained on.

        Raises:
            DataError: for any other grid.
        """
        if tuple(x.shape[-2:]) != self.base:
            raise DataError(
                f"mlp has weights for a grid of {self.base[0]}x{self.base[1]}, not of "
                f"{x.shape[-2]}x{x.shape[-1]}: use another arch"
            )
        answer: Tensor = self.net(x.flatten(1)).reshape(-1, self.channels[1], *self.base)
        return answer


Conv = Callable[..., InterpolatedConv]


class ResidualBlock(nn.Module):
    """Two times group norm, GELU, convolution, and a skip."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, conv: Conv) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(1, channels_in), nn.GroupNorm(1, channels_out)])
        self.first = conv(channels_in, channels_out, kernel)
        self.second = conv(channels_out, channels_out, kernel)
        same = channels_in == channels_out
        self.skip = nn.Identity() if same else Pointwise(channels_in, channels_out)

    def forward(self, x: Tensor, scale: float) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        h = self.first(functional.gelu(self.norms[0](x)), scale)
        answer: Tensor = self.second(functional.gelu(self.norms[1](h)), scale) + self.skip(x)
        return answer


class UNet(nn.Module):
    """PDEArena's U-Net; ``unet_ki`` interpolates its kernels, ``unet_io`` its inputs."""

    def __init__(self, config: Config, domain: Domain, channels: tuple[int, int]) -> None:
        super().__init__()
        self.arch, self.domain, self.how = config.arch, domain, config.interpolation
        self.depth = config.depth

        def conv(c_in: int, c_out: int, kernel: int, stride: int = 1) -> InterpolatedConv:
            return InterpolatedConv(c_in, c_out, kernel, stride, domain.periodic, config.ki_norm)

        widths = [config.hidden * m for m in (1, 2, 2, 3, 4, 4)[: config.depth]]
        kernel, now = config.kernel, config.hidden
        self.start = conv(channels[0], now, kernel)
        self.down, self.narrower = nn.ModuleList(), nn.ModuleList()
        kept = [now]
        for level, width in enumerate(widths):
            for _ in range(2):
                self.down.append(ResidualBlock(now, width, kernel, conv))
                now = width
                kept.append(now)
            if level < len(widths) - 1:
                self.narrower.append(conv(now, now, 3, stride=2))
                kept.append(now)
        self.middle = nn.ModuleList(ResidualBlock(now, now, kernel, conv) for _ in range(2))
        self.up, self.wider = nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(3):
                # the last block of a level leads to the widths of the one above
                out = width if i < 2 else widths[max(0, level - 1)]
                self.up.append(ResidualBlock(now + kept.pop(), out, kernel, conv))
                now = out
            if level:
                self.wider.append(nn.ConvTranspose2d(now, now, 4, 2, 1))
        self.norm = nn.GroupNorm(1, now)
        self.end = conv(now, channels[1], kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Functions to functions.

        Raises:
            DataError: if the grid cannot be halved often enough.
        """
        size = (x.shape[-2], x.shape[-1])
        if self.arch == "unet_io":
            x = resized(x, self.domain.base, self.how, self.domain.periodic)
        check_divisible(x, 2 ** (self.depth - 1), f"{self.depth} levels")
        scale = x.shape[-2] / self.domain.base[0] if self.arch == "unet_ki" else 1.0
        x = self.start(x, scale)
        kept, blocks = [x], iter(self.down)
        for level in range(self.depth):
            for _ in range(2):
                x = next(blocks)(x, scale)
                kept.append(x)
            if level < self.depth - 1:
                x = self.narrower[level](x, scale)
                kept.append(x)
        for block in self.middle:
            x = block(x, scale)
        blocks = iter(self.up)
        for level in range(self.depth):
            for _ in range(3):
                x = next(blocks)(torch.cat([x, kept.pop()], 1), scale)
            if level < self.depth - 1:
                x = self.widened(x, level, scale)
        x = self.end(functional.gelu(self.norm(x)), scale)
        return resized(x, size, self.how, self.domain.periodic) if self.arch == "unet_io" else x

    def widened(self, x: Tensor, level: int, scale: float) -> Tensor:
        """To twice the grid; with interpolated kernels by way of the base grid."""
        if scale == 1:
            answer: Tensor = self.wider[level](x)
            return answer
        height, width = x.shape[-2:]
        base = (max(1, round(height / scale)), max(1, round(width / scale)))
        x = resized(x, base, "bilinear", self.domain.periodic)
        return resized(
            self.wider[level](x), (2 * height, 2 * width), "bilinear", self.domain.periodic
        )


def check_divisible(x: Tensor, divisor: int, what: str) -> None:
    """Raise ``DataError`` if a grid does not divide."""
    height, width = x.shape[-2:]
    if height % divisor or width % divisor:
        raise DataError(f"grid {height}x{width} is not divisible by {divisor}, wanted by {what}")


def body(config: Config, domain: Domain, channels: tuple[int, int]) -> nn.Module:
    """The network of ``config.arch``."""
    kinds: dict[str, Callable[[Config, Domain, tuple[int, int]], nn.Module]] = {
        "oformer": Transformer, "tno": Transformer, "gno": GraphOperator, "deeponet": DeepONet,
        "vit": VisionTransformer, "mlp": Dense, **dict.fromkeys(U_NETS, UNet),
    }  # fmt: skip
    return kinds.get(config.arch, Fourier)(config, domain, channels)


class Network(nn.Module):
    """Scales, coordinates and a body; for classes, the mean of its functions over the domain."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor

    def __init__(
        self, config: Config, domain: Domain, channels: int, outputs: int, classes: bool
    ) -> None:
        super().__init__()
        self.arch, self.domain, self.channels, self.classes = config.arch, domain, channels, classes
        self.body = body(config, domain, (channels + 2, config.width if classes else outputs))
        self.head = nn.Linear(config.width, outputs) if classes else None
        for name, count in (("x", channels), ("y", 1 if classes else outputs)):
            self.register_buffer(f"{name}_mean", torch.zeros(count, 1, 1))
            self.register_buffer(f"{name}_scale", torch.ones(count, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``x`` (B, channels, H, W) to ``value`` (B, outputs, H, W) or ``logits`` (B, classes).

        Raises:
            DataError: if the grid is not one that the network can be asked on.
        """
        height, width = x.shape[-2:]
        modes = getattr(self.body, "modes", 0)
        if modes and not torch.compiler.is_exporting():
            too_coarse(height, width, modes)
        if self.arch in ("vit", "unet_io") and height != width:
            raise DataError(f"arch={self.arch!r} wants square grids, not {height}x{width}")
        scaled = (x - self.x_mean) / self.x_scale
        place = grid(height, width, self.domain.offset, x.device)
        found = self.body(torch.cat([scaled, place.expand(x.shape[0], -1, -1, -1)], 1))
        if self.head is not None:
            return {"logits": self.head(found.mean((2, 3)))}
        return {"value": found * self.y_scale + self.y_mean}
