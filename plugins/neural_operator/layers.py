"""Layers of functions: what they compute depends on the functions, less and less on the grid.

Functions are (batch, channels, H, W) values on a regular grid of a rectangle with sides
``lengths``; their values count as cells of one size, the weights of a quadrature.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from automl.core.api import DataError

CHUNK = 8_000_000  # numbers in one tensor of neighbours while nothing is differentiated


def pad(x: Tensor, size: int, periodic: bool) -> Tensor:
    """Continue functions ``size`` cells beyond each edge, around it or with the edge's values."""
    mode = "circular" if periodic else "replicate"
    return functional.pad(x, (size, size, size, size), mode=mode) if size else x


def fourier_table(modes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi k i / size, each (modes, size).

    The product is reduced modulo ``size`` as integers, so that float32 loses no phase.
    """
    index = torch.arange(size, device=modes.device)
    count = index[-1] + 1  # a tensor, for a free size exports as no divisor of integers
    angle = (modes[:, None] * index % count).float() * (2 * math.pi / count)
    return angle.cos(), angle.sin()


class SpectralConv(nn.Module):
    """Multiplies the Fourier coefficients of low frequencies by learnt matrices.

    Keeps k1 in [-m, m) and k2 in [0, m). The transforms are products with truncated tables: the
    same as FFTs with norm="forward", cheaper for few modes, and they export to ONNX.
    """

    frequencies: Tensor

    def __init__(self, channels_in: int, channels_out: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        scale = math.sqrt(2 / (channels_in + channels_out)) / math.sqrt(2)
        shape = (2, modes, 2 * modes, channels_in, channels_out)  # real and imaginary, k2, k1
        self.weight = nn.Parameter(scale * torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(channels_out, 1, 1))
        both = torch.cat([torch.arange(modes), torch.arange(-modes, 0)])
        self.register_buffer("frequencies", both, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        batch, channels, height, width = x.shape
        m = self.modes
        cos_w, sin_w = fourier_table(self.frequencies[:m], width)
        cos_h, sin_h = fourier_table(self.frequencies, height)
        # There: along W, then along H, each one product of matrices; rows are (B, C, k2).
        half = x @ torch.cat([cos_w, -sin_w]).T  # (B, C, H, 2m)
        half = half.reshape(batch, channels, height, 2, m).permute(0, 1, 4, 3, 2).flatten(3)
        forth = torch.cat([torch.cat([cos_h, sin_h], 1), torch.cat([-sin_h, cos_h], 1)])
        spectrum = half @ (forth / (height * width)).T  # (B, C, m, 4m): real, imaginary of k1
        # (x + iy)(v + iw) for every frequency, as one batch of real matrices
        parts = spectrum.reshape(batch, channels, m, 2, 2 * m).permute(2, 4, 0, 3, 1)
        real, imaginary = self.weight.flatten(1, 2)
        matrix = torch.cat(
            [torch.cat([real, imaginary], -1), torch.cat([-imaginary, real], -1)], -2
        )
        mixed = parts.reshape(2 * m * m, batch, 2 * channels) @ matrix
        # Back, with each frequency k2 > 0 twice, for the functions are real.
        out = self.weight.shape[-1]
        rows = mixed.reshape(m, 2 * m, batch, 2, out).permute(2, 4, 0, 3, 1).flatten(3)
        half = (rows @ forth).reshape(batch, out, m, 2, height).permute(0, 1, 4, 3, 2).flatten(3)
        twice = 1.0 + (self.frequencies[:m, None] > 0)
        answer: Tensor = half @ torch.cat([twice * cos_w, -twice * sin_w]) + self.bias
        return answer


class Pointwise(nn.Module):
    """A linear map of the channels at every point; as a product of matrices, for speed."""

    def __init__(self, channels_in: int, channels_out: int, bias: bool = True) -> None:
        super().__init__()
        start = nn.Linear(channels_in, channels_out, bias)
        self.weight, self.bias = start.weight, start.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H, W)."""
        weight, flat = self.weight.expand(x.shape[0], -1, -1), x.flatten(2)
        if self.bias is None:
            found = weight @ flat
        else:
            found = torch.baddbmm(self.bias[None, :, None], weight, flat)
        return found.reshape(x.shape[0], -1, x.shape[2], x.shape[3])


def hat_basis(shape: str, radius: float, dy: Tensor, dx: Tensor) -> Tensor:
    """Piecewise linear hats in radius and angle at offsets, (functions, *offsets).

    An odd number of rings has one function around the centre; an even number continues the first
    ring through the centre. One number only: rings without angles.
    """
    rings, _, angles = shape.partition(",")
    count, sectors = int(rings), int(angles or 1)
    width = 2 * radius / (count + 1)
    distance, angle = (dy.square() + dx.square()).sqrt(), torch.atan2(dy, dx)
    inside = (distance <= radius).float()

    def ring(at: float, r: Tensor) -> Tensor:
        return (1 - (r - at).abs() / width).clamp(min=0)

    def sector(number: int, phi: Tensor) -> Tensor:
        if sectors == 1:
            return torch.ones_like(phi)
        step = 2 * math.pi / sectors
        apart = (phi - (number * step - math.pi)).abs() % (2 * math.pi)
        return (1 - torch.minimum(apart, 2 * math.pi - apart) / step).clamp(min=0)

    found = [ring(0.0, distance)] if count % 2 else []
    for number in range(count // 2):
        at = (number + 1) * width if count % 2 else (number + 0.5) * width
        for j in range(sectors):
            value = ring(at, distance) * sector(j, angle)
            if count % 2 == 0:
                value = value + ring(at, -distance) * sector(j, angle + math.pi)
            found.append(value)
    return torch.stack(found) * inside


class LocalConv(nn.Module):
    """DISCO: a kernel on a disc of fixed radius, a learnt sum of hats (functions of the offset).

    The taps are computed anew for every grid; each hat's quadrature is 1.
    """

    def __init__(
        self, channels: int, radius: float, shape: str, lengths: tuple[float, float], periodic: bool
    ) -> None:
        super().__init__()
        self.radius, self.shape, self.lengths, self.periodic = radius, shape, lengths, periodic
        count = len(hat_basis(shape, radius, torch.zeros(1), torch.zeros(1)))
        scale = math.sqrt(1 / (channels * count))
        self.weight = nn.Parameter(scale * torch.randn(channels, channels, count))
        self.bias = nn.Parameter(torch.zeros(channels))

    def taps(self, height: int, width: int, device: torch.device) -> Tensor:
        """The hats on a grid, (functions, taps, taps).

        Raises:
            DataError: if the disc is smaller than a cell.
        """
        cells = (self.lengths[0] / height, self.lengths[1] / width)
        if self.radius < max(cells):
            raise DataError(
                "local kernel has no support at this resolution: radius "
                f"{self.radius:.3g} < cell {max(cells):.3g}"
            )
        reach = int(self.radius / min(cells) + 1e-6)
        offsets = torch.arange(-reach, reach + 1, device=device)
        dy, dx = torch.meshgrid(offsets * cells[0], offsets * cells[1], indexing="ij")
        values = hat_basis(self.shape, self.radius * (1 + 1e-6), dy, dx)
        return values / values.sum((1, 2), keepdim=True).clamp(min=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        taps = self.taps(x.shape[-2], x.shape[-1], x.device)
        kernel = torch.einsum("oib,bhw->oihw", self.weight, taps)
        return functional.conv2d(pad(x, taps.shape[-1] // 2, self.periodic), kernel, self.bias)


class DifferentialConv(nn.Module):
    """3 x 3 taps whose sum is taken off, over the cell's side: becomes a first derivative."""

    def __init__(self, channels: int, lengths: tuple[float, float], periodic: bool) -> None:
        super().__init__()
        self.lengths, self.periodic = lengths, periodic
        self.conv = nn.Conv2d(channels, channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        height, width = x.shape[-2:]
        cell = math.sqrt(self.lengths[0] * self.lengths[1]) / (height * width) ** 0.5
        whole = self.conv.weight.sum((2, 3), keepdim=True)
        answer: Tensor = (self.conv(pad(x, 1, self.periodic)) - functional.conv2d(x, whole)) / cell
        return answer


class KernelIntegral(nn.Module):
    """GNO: g(y) = sum over |x - y| < r of MLP(x - y, y, f(x)) times the cell; r=0: over all x.

    Offsets are taken around a periodic domain. The MLP's last layer is linear, so it follows the
    sum; without positions in between, the same layer serves every grid.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        radius: float,
        lengths: tuple[float, float],
        periodic: bool,
    ) -> None:
        super().__init__()
        self.radius, self.lengths, self.periodic = radius, lengths, periodic
        self.reach = radius or math.inf
        self.values = nn.Linear(channels, hidden)
        self.places = nn.Linear(4, hidden, bias=False)
        self.out = nn.Linear(hidden, channels)

    def neighbours(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (points, k), offsets (points, k, 2) in sides, and weights (points, k)."""
        sides = torch.tensor(self.lengths)
        cells = sides / torch.tensor([height, width])
        reach = [height, width]
        if self.radius:
            spans = zip(reach, self.lengths, strict=True)
            reach = [min(n, int(self.radius * n / side) + 1) for n, side in spans]
        near = [self.offsets(n, r) for n, r in zip((height, width), reach, strict=True)]
        every = itertools.product(*near)
        h, w = self.lengths[0] / height, self.lengths[1] / width
        # lists, not masks: the exporter knows their length
        steps = torch.tensor(
            [pair for pair in every if math.hypot(h * pair[0], w * pair[1]) < self.reach]
        )
        start = torch.cartesian_prod(torch.arange(height), torch.arange(width))
        place = start[:, None] + steps[None]
        size = torch.tensor([height, width])
        real = torch.ones(place.shape[:2], dtype=torch.bool)
        if self.periodic:
            place = place % size
        else:
            real = ((place >= 0) & (place < size)).all(-1)
            place = place.clamp(min=0).minimum(size - 1)
        # an average over the domain or the disc: its area is a matter of the learnt scale
        area = math.pi * self.radius**2 if self.radius else self.lengths[0] * self.lengths[1]
        weight = real * h * w / area
        offset = (steps * cells / sides).expand(len(start), -1, -1)
        return place[..., 0] * width + place[..., 1], offset, weight

    def offsets(self, size: int, reach: int) -> range:
        """Steps along one axis; around a periodic one each point once."""
        if self.periodic and 2 * reach + 1 > size:
            return range(-(size // 2), size - size // 2)
        return range(-reach, reach + 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        batch, channels, height, width = x.shape
        found = self.neighbours(height, width)
        index, offset, weight = (part.to(x.device) for part in found)
        value = self.values(x.flatten(2).transpose(1, 2))  # (B, N, hidden)
        place = grid(height, width, 0.0, x.device).flatten(1).T  # (N, 2)
        total = torch.zeros_like(value)
        size = index.shape[1]
        if not (torch.is_grad_enabled() or torch.compiler.is_exporting()):
            size = max(1, CHUNK // value.numel())  # nothing is kept: go through them in parts
        for k in range(0, index.shape[1], size):
            part = slice(k, k + size)
            here = torch.cat([offset[:, part], place[:, None].expand_as(offset[:, part])], -1)
            terms = functional.gelu(value[:, index[:, part]] + self.places(here))
            total = total + torch.einsum("bnkh,nk->bnh", terms, weight[:, part])
        answer: Tensor = self.out(total).transpose(1, 2).reshape(batch, channels, height, width)
        return answer


def grid(height: int, width: int, offset: float, device: torch.device) -> Tensor:
    """Coordinates of the points as shares of the sides, (2, H, W): (i + offset) / n."""
    y = (torch.arange(height, device=device) + offset) / height
    x = (torch.arange(width, device=device) + offset) / width
    return torch.stack([y[:, None].expand(-1, width), x[None].expand(height, -1)])


def rotary(x: Tensor, y_place: Tensor, x_place: Tensor) -> Tensor:
    """Rotate (B, heads, N, d) by position: half of the features by y, half by x, (N,) shares."""
    quarter = x.shape[-1] // 4
    speed = 64.0 * 10_000.0 ** (-torch.arange(quarter, device=x.device) / quarter)
    turned = []
    for part, place in zip(x.chunk(2, -1), (y_place, x_place), strict=True):
        angle = place[:, None] * speed
        one, two = part.chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        turned += [one * cos - two * sin, one * sin + two * cos]
    return torch.cat(turned, -1)


class Attention(nn.Module):
    """Attention between points of a grid (B, N, width), weighted by a quadrature.

    ``softmax``: softmax(q k + log cell) v, an expectation over the domain. Otherwise OFormer's
    q (k v) cell, with instance norms of k and v over the points, and positions by rotation.
    """

    def __init__(self, width: int, heads: int, head_dim: int, softmax: bool, rope: bool) -> None:
        super().__init__()
        self.heads, self.head_dim, self.softmax, self.rope = heads, head_dim, softmax, rope
        self.project = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width)

    def forward(self, x: Tensor, place: Tensor, cell: Tensor) -> Tensor:
        """Points (B, N, width), ``place`` (N, 2) as shares, ``cell`` (N,) weights of sum 1."""
        batch, count = x.shape[:2]
        parts = self.project(x).reshape(batch, count, 3, self.heads, self.head_dim)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        if not self.softmax:
            key, value = (self.normalised(part, cell) for part in (key, value))
        if self.rope:
            query, key = (rotary(part, place[:, 0], place[:, 1]) for part in (query, key))
        if self.softmax:
            mask = cell.log()[None, None, None].expand(1, 1, count, count)
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            mixed = query @ ((key * cell[:, None]).transpose(-1, -2) @ value)
        answer: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, -1))
        return answer

    def normalised(self, x: Tensor, cell: Tensor) -> Tensor:
        """Mean 0, variance 1 over the domain, each feature of (B, heads, N, d) for itself."""
        mean = (x * cell[:, None]).sum(-2, keepdim=True)
        centred = x - mean
        variance = (centred.square() * cell[:, None]).sum(-2, keepdim=True)
        return centred * (variance + 1e-5).rsqrt()


class BasisFunctions(nn.Module):
    """Learnt functions b_l of the position, (basis, H, W), of periodic features where they fit."""

    def __init__(self, basis: int, hidden: int, periodic: bool, offset: float) -> None:
        super().__init__()
        self.periodic, self.offset = periodic, offset
        waves = torch.arange(1, 5) * 2 * math.pi * (1.0 if periodic else 0.5)
        self.register_buffer("waves", waves, persistent=False)
        self.net = nn.Sequential(
            nn.Linear(16 + 2 * (not periodic), hidden), nn.GELU(),
            nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, basis),
        )  # fmt: skip

    def forward(self, height: int, width: int) -> Tensor:
        """The functions' values on a grid."""
        waves = self.waves
        assert isinstance(waves, Tensor)
        place = grid(height, width, self.offset, waves.device).permute(1, 2, 0)
        angle = (place[..., None] * waves).flatten(-2)
        parts = [angle.cos(), angle.sin()]
        if not self.periodic:
            parts.append(place)
        answer: Tensor = self.net(torch.cat(parts, -1)).permute(2, 0, 1)
        return answer


class InterpolatedConv(nn.Module):
    """A convolution whose taps can be interpolated to the grid's spacing (``scale`` > 1: finer).

    k taps become s (k - 1) + 1, rounded to an odd number, divided by the ratio of taps or by s^2.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1,
        periodic: bool = True, norm: str = "tap_ratio",
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.periodic, self.norm = stride, periodic, norm
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """(B, in, H, W) to (B, out, H / stride, W / stride)."""
        kernel = self.conv.weight
        taps = kernel.shape[-1]
        if scale != 1 and taps > 1:
            new = 2 * int(scale * (taps - 1) / 2 + 0.5) + 1
            size = (new, new)
            kernel = functional.interpolate(kernel, size, mode="bilinear", align_corners=True)
            kernel = kernel / ((new / taps) ** 2 if self.norm == "tap_ratio" else scale**2)
        padded = pad(x, kernel.shape[-1] // 2, self.periodic)
        return functional.conv2d(padded, kernel, self.conv.bias, self.stride)


def resized(x: Tensor, size: tuple[int, int], how: str, periodic: bool) -> Tensor:
    """Functions on another grid of the same domain, bilinear or by their Fourier series."""
    if tuple(x.shape[-2:]) == size:
        return x
    if how == "fourier":
        return fourier_resized(x, size)
    # Points are i / n of a periodic domain: continue it by one cell, and interpolate between.
    height, width = x.shape[-2:]
    place = [torch.arange(n, device=x.device) / n for n in size]
    if not periodic:  # cells with their values in the middle
        return functional.interpolate(x, size, mode="bilinear", align_corners=False)
    for axis, (old, share) in enumerate(zip((height, width), place, strict=True)):
        at = share * old
        low = at.floor().long()
        part = (at - low).to(x.dtype)
        part = part[:, None] if axis == 0 else part
        x = x.index_select(axis - 2, low % old) * (1 - part) + part * x.index_select(
            axis - 2, (low + 1) % old
        )
    return x


def fourier_resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The trigonometric interpolant of (B, C, H, W) on another grid, cut to what both carry."""
    for axis, new in zip((-2, -1), size, strict=True):
        old = x.shape[axis]
        spectrum = torch.fft.rfft(x, dim=axis, norm="forward")
        keep = (min(old, new) + 1) // 2  # without the Nyquist frequency
        spectrum = spectrum.narrow(axis, 0, keep)
        x = torch.fft.irfft(spectrum, n=new, dim=axis, norm="forward")
    return x


def too_coarse(height: int, width: int, modes: int) -> None:
    """Raise ``DataError`` where a grid has fewer frequencies than are to be kept."""
    if min(height, width) < 2 * modes:
        raise DataError(f"grid {height}x{width} too coarse for {modes} modes (need >= {2 * modes})")
