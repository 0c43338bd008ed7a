"""Fields to learn from: flows that are computed here, and a small set that a wheel contains."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.fft import idctn
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from automl.core.api import (
    OPERATOR_LEARNING,
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    Dataset,
    Problem,
    SplitName,
    operator_learning,
    setting,
)

SIDE = 2 * np.pi
TORUS = operator_learning((SIDE, SIDE), periodic=True)
STREAM: dict[SplitName, int] = {"train": 0, "valid": 1, "test": 2}
BAND = 8  # frequencies of Poisson's f, so that 16 points still carry it
CHUNK = 64  # fields that are computed together


@dataclass(frozen=True)
class Fields(Dataset):
    """Pairs of fields on a square grid; the same functions at every ``resolution``."""

    problem: ClassVar[Problem] = TORUS
    periodic: ClassVar[bool] = True
    resolution: int = setting(32, low=4, high=4096, unit="points", doc="of the grid, each side")
    finest: int = setting(128, low=4, high=4096, unit="points", doc="finest grid of the test split")
    train_size: int = setting(640, low=1, high=1_000_000, unit="fields", doc="training pairs")
    valid_size: int = setting(64, low=1, high=1_000_000, unit="fields", doc="validation pairs")
    test_size: int = setting(40, low=1, high=1_000_000, unit="fields", doc="test pairs")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator")

    @property
    def info(self) -> DataInfo:
        """One channel in and out; facts tell of the domain and where values sit in cells."""
        shape = (1, self.resolution, self.resolution)
        side = SIDE if self.periodic else 1.0
        return DataInfo(
            self.name,
            self.problem,
            {"x": shape, "target": shape},
            {"train": self.train_size, "valid": self.valid_size, "test": self.test_size},
            licence="generated",
            facts={
                "lengths": [side, side],
                "periodic": self.periodic,
                "offset": 0.0 if self.periodic else 0.5,
            },
        )

    def size(self, split: SplitName) -> int:
        """How many pairs a split has."""
        return self.info.sizes[split]

    def generator(self, split: SplitName) -> torch.Generator:
        """The split's own stream of random numbers."""
        return torch.Generator().manual_seed(3 * self.seed + STREAM[split])


def subsampled(batch: Batch, resolution: int, made: int) -> Batch:
    """Every so many points of fields that were made on a finer grid."""
    step = made // resolution
    return {key: value[..., ::step, ::step].contiguous() for key, value in batch.items()}


def wave_numbers(n: int) -> tuple[Tensor, Tensor]:
    """k1 (n, 1) and k2 (1, n // 2 + 1), integers of a domain of side 2 pi."""
    return torch.fft.fftfreq(n, 1 / n)[:, None], torch.fft.rfftfreq(n, 1 / n)[None]


def gaussian_field(
    count: int, n: int, sigma2: float, power: float, shift: float, generator: torch.Generator
) -> Tensor:
    """N(0, sigma2 (-Laplacian + shift)^-power) on a torus of side 2 pi, mean 0, (count, n, n)."""
    noise = torch.randn(count, n, n, generator=generator)
    k1, k2 = wave_numbers(n)
    decay = (sigma2**0.5) * (k1.square() + k2.square() + shift) ** (-power / 2)
    decay[0, 0] = 0
    answer: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * decay, s=(n, n)) * (n / SIDE)
    return answer


def vorticity(force: Tensor, viscosity: float, time: float, dt: float) -> Tensor:
    """w(time) of w_t + u grad w = viscosity Laplacian w + force from rest, (count, n, n).

    Pseudo-spectral with two thirds of the frequencies, integrating factor, Heun's method. The
    transport is written with products of velocities (two inverse transforms fewer).

    Raises:
        DataError: if the step is too long for the flow.
    """
    n = force.shape[-1]
    k1, k2 = wave_numbers(n)
    square = k1.square() + k2.square()
    inverse = torch.where(square > 0, 1 / square.clamp(min=1), 0.0)
    keep = ((k1.abs() < n / 3) & (k2 < n / 3)).float()
    steps = max(1, round(time / dt))
    dt = time / steps
    decay = torch.exp(-viscosity * square * dt)
    forced = torch.fft.rfft2(force) * keep
    # u = (psi_2, -psi_1) of axes 1 and 2, psi = -w / Laplacian
    to_first, to_second = 1j * k2 * inverse, -1j * k1 * inverse

    def slope(w: Tensor) -> Tensor:
        first = torch.fft.irfft2(to_first * w, s=(n, n))
        second = torch.fft.irfft2(to_second * w, s=(n, n))
        product = torch.fft.rfft2(first * second)
        difference = torch.fft.rfft2(first.square() - second.square())
        # -curl of the divergence of u u
        curl = (k1.square() - k2.square()) * product - k1 * k2 * difference
        answer: Tensor = curl * keep + forced
        return answer

    w = torch.zeros_like(forced)
    for _ in range(steps):
        first = slope(w)
        guess = decay * (w + dt * first)
        w = decay * (w + dt / 2 * first) + dt / 2 * slope(guess)
    found = torch.fft.irfft2(w, s=(n, n))
    if not found.isfinite().all():
        raise DataError(f"the flow blew up: dt={dt:g} is too long for {n} points, halve it")
    answer: Tensor = found
    return answer


@dataclass(frozen=True)
class ForcedFlow(Fields):
    """Navier-Stokes: a Gaussian forcing to the vorticity at ``time`` from rest, period 2 pi.

    Training fields are computed on ``made`` points, test fields on ``finest``, and subsampled;
    what was computed is kept in the user's cache.
    """

    made: int = setting(64, low=16, high=4096, unit="points", doc="of the training solver's grid")
    sigma2: float = setting(675.0, low=0, high=1e6, doc="of the forcing; 27 in the paper: easy")
    reynolds: float = setting(500.0, low=1, high=1e7, doc="1 / viscosity")
    time: float = setting(5.0, low=0.01, high=1000, doc="when the vorticity is taken")
    dt: float = setting(0.025, low=1e-5, high=1, doc="step of the solver at 64 points")

    def check(self) -> None:
        """Refuse grids that are not subsamples of the computed ones."""
        for what, made in (("made", max(self.made, self.resolution)), ("finest", self.finest)):
            if made % self.resolution or self.resolution > self.finest:
                raise ConfigError(
                    f"resolution={self.resolution} must divide {what}={made}: the fields are "
                    "subsampled from there"
                )

    def load(self, split: SplitName) -> Batch:
        """Compute the fields, or take them from the cache, and subsample."""
        made = self.finest if split == "test" else max(self.made, self.resolution)
        facts: dict[str, Any] = {
            name: getattr(self, name) for name in ("seed", "sigma2", "reynolds", "time", "dt")
        }
        key = {**facts, "split": split, "made": made, "size": self.size(split), "version": 1}
        return subsampled(cached(key, lambda: self.compute(split, made)), self.resolution, made)

    def compute(self, split: SplitName, n: int) -> Batch:
        """Forcing and vorticity on n x n points."""
        generator, parts = self.generator(split), []
        for start in range(0, self.size(split), CHUNK):
            count = min(CHUNK, self.size(split) - start)
            force = gaussian_field(count, n, self.sigma2, 4, 9, generator)
            dt = self.dt * min(1.0, 64 / n)
            parts.append((force, vorticity(force, 1 / self.reynolds, self.time, dt)))
        x, y = (torch.cat(part)[:, None] for part in zip(*parts, strict=True))
        return {"x": x, "target": y}


def cached(key: dict[str, Any], compute: Callable[[], Batch]) -> Batch:
    """What ``compute`` returns, kept as an npz file named by all of ``key``."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "automl"
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = root / f"ns-forced-{digest}.npz"
    if path.exists():
        with np.load(path) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    batch = compute()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, suffix=".npz", delete=False) as file:
            np.savez(file, **{name: value.numpy() for name, value in batch.items()})  # type: ignore[arg-type]
        os.replace(file.name, path)  # whole or not at all, whoever else computes it
    except OSError:
        pass  # a cache that cannot be written costs time only
    return batch


@dataclass(frozen=True)
class Poisson(Fields):
    """-Laplacian u = f on a torus of side 2 pi, in closed form; ``alpha`` is f's smoothness."""

    alpha: float = setting(3.0, low=1, high=10, doc="decay of f's spectrum; lower is harder")

    def check(self) -> None:
        """Refuse grids that are not subsamples of the finest."""
        if self.finest % self.resolution:
            raise ConfigError(
                f"resolution={self.resolution} must divide finest={self.finest}: the fields are "
                "subsampled from there"
            )

    def load(self, split: SplitName) -> Batch:
        """Draw f on the finest grid with frequencies below 8, and subsample."""
        n = self.finest
        f = gaussian_field(self.size(split), n, 1.0, self.alpha, 1.0, self.generator(split))
        k1, k2 = wave_numbers(n)
        square = k1.square() + k2.square()
        spectrum = torch.fft.rfft2(f) * ((k1.abs() < BAND) & (k2 < BAND))
        answer = torch.where(square > 0, spectrum / square.clamp(min=1), 0.0)
        fields = [torch.fft.irfft2(part, s=(n, n))[:, None] for part in (spectrum, answer)]
        return subsampled({"x": fields[0], "target": fields[1]}, self.resolution, n)


@dataclass(frozen=True)
class Darcy(Fields):
    """-div(a grad u) = 1 in the unit square, u = 0 on its edge; a is 12 or 3 by a random field.

    The field's coefficients do not depend on the resolution; every grid is solved for itself, with
    finite volumes and harmonic means.
    """

    problem: ClassVar[Problem] = OPERATOR_LEARNING
    periodic: ClassVar[bool] = False
    train_size: int = setting(600, low=1, high=1_000_000, unit="fields", doc="training pairs")
    high: float = setting(12.0, low=1e-3, high=1e6, doc="permeability where the field is positive")
    low: float = setting(3.0, low=1e-3, high=1e6, doc="permeability elsewhere")
    tau: float = setting(3.0, low=0.1, high=100, doc="inverse length of the field")

    def load(self, split: SplitName) -> Batch:
        """Draw and solve."""
        generator, n = self.generator(split), self.resolution
        noise = torch.randn(self.size(split), 64, 64, generator=generator).double().numpy()
        k = np.arange(64)
        decay = self.tau * (np.pi**2 * (k[:, None] ** 2 + k[None] ** 2) + self.tau**2) ** -1.0
        decay[0, 0] = 0
        spectrum = np.zeros((len(noise), n, n))
        m = min(n, 64)
        spectrum[:, :m, :m] = (noise * decay)[:, :m, :m] * n  # orthonormal on any grid
        field = idctn(spectrum, axes=(1, 2), norm="ortho")
        ground = np.where(field >= 0, self.high, self.low)
        answer = np.stack([pressure(a) for a in ground])
        x, y = (torch.from_numpy(part.astype(np.float32))[:, None] for part in (ground, answer))
        return {"x": x, "target": y}


def pressure(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Solve for u (n, n) in the middle of cells with permeability ``a`` (n, n)."""
    n = len(a)
    index = np.arange(n * n).reshape(n, n)
    rows, columns, values = [], [], []
    diagonal = np.zeros((n, n))
    for one, two in (((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
                     ((slice(1, None), slice(None)), (slice(None, -1), slice(None)))):  # fmt: skip
        flow = 2 * a[one] * a[two] / (a[one] + a[two])
        diagonal[one] += flow
        diagonal[two] += flow
        for here, there in ((one, two), (two, one)):
            rows.append(index[here].ravel())
            columns.append(index[there].ravel())
            values.append(-flow.ravel())
    for edge in ((0, slice(None)), (-1, slice(None)), (slice(None), 0), (slice(None), -1)):
        diagonal[edge] += 2 * a[edge]  # half a cell to the edge, where u is 0
    rows.append(index.ravel())
    columns.append(index.ravel())
    values.append(diagonal.ravel())
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = csc_matrix(entries, shape=(n * n, n * n))
    return spsolve(matrix, np.full(n * n, 1 / n**2)).reshape(n, n)


@dataclass(frozen=True)
class BundledDarcy(Dataset):
    """The Darcy flows inside the wheel of neuraloperator 0.3.0 (later ones have no data).

    1,000 training pairs on 16 x 16, of which the last 100 validate; 50 test pairs on 16 or 32.
    """

    problem: ClassVar[Problem] = OPERATOR_LEARNING
    path: str = setting(
        "neuraloperator-0.3.0-py3-none-any.whl", doc="the wheel; it is read, not installed"
    )
    resolution: int = setting(16, choices=(16, 32), doc="of the test pairs")

    @property
    def info(self) -> DataInfo:
        """One channel in and out."""
        shape = (1, self.resolution, self.resolution)
        facts = {"lengths": [1.0, 1.0], "periodic": False, "offset": 0.5}
        return DataInfo(
            self.name,
            self.problem,
            {"x": shape, "target": shape},
            {"train": 900, "valid": 100, "test": 50},
            licence="MIT (neuraloperator)",
            facts=facts,
        )

    def load(self, split: SplitName) -> Batch:
        """Read the pairs from the wheel.

        Raises:
            DataError: if the wheel is not there, or training fields are asked for at 32.
        """
        if split != "test" and self.resolution != 16:
            raise DataError("the wheel has training pairs at resolution=16 only")
        kind = "test" if split == "test" else "train"
        x, y = read_wheel(self.path, f"neuralop/datasets/data/darcy_{kind}_{self.resolution}.pt")
        rows = {"train": slice(0, 900), "valid": slice(900, 1000), "test": slice(None)}[split]
        return {"x": x[rows], "target": y[rows]}


@cache
def read_wheel(path: str, member: str) -> tuple[Tensor, Tensor]:
    """The inputs and outputs (pairs, 1, H, W) of one file within a wheel."""
    if not Path(path).is_file():
        raise DataError(
            f"there is no file {path!r}: get it by "
            "'pip download --no-deps neuraloperator==0.3.0' and give path="
        )
    with zipfile.ZipFile(path) as wheel:
        if member not in wheel.namelist():
            raise DataError(f"{path} holds no {member}: only version 0.3.0 has data")
        content = torch.load(io.BytesIO(wheel.read(member)), weights_only=True)
    return tuple(content[key].float().reshape(-1, 1, *content[key].shape[-2:]) for key in "xy")
