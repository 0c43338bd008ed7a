"""MNIST from files that the user has: mnist.npz, or the four idx files. Nothing is downloaded."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from automl.core.data import Batch, DataInfo, Dataset, Problem, SplitName
from automl.core.errors import ConfigError, DataError
from automl.core.problems import IMAGE_CLASSIFICATION
from automl.core.settings import setting

VALID_SHARE = 10  # every tenth training image validates
Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Mnist(Dataset):
    """Images of 28 x 28 pixels in [0, 1]; with ``only``, those digits, in that order of classes."""

    problem: ClassVar[Problem] = IMAGE_CLASSIFICATION
    path: str = setting("mnist.npz", doc="mnist.npz, or the folder of the four idx files")
    only: str = setting("", doc="digits to keep, e.g. 01; empty: all ten")

    def check(self) -> None:
        """Refuse anything but different digits, two at least."""
        if self.only and not (re.fullmatch(r"\d{2,10}", self.only) and self.distinct()):
            raise ConfigError(f"only={self.only!r} must be different digits, two at least: only=01")

    def distinct(self) -> bool:
        """Whether no digit is named twice."""
        return len(set(self.only)) == len(self.only)

    @property
    def info(self) -> DataInfo:
        """The number of images depends on the digits kept."""
        sizes = {name: len(self.part(name)[1]) for name in ("train", "valid", "test")}
        shapes: dict[str, tuple[int | None, ...]] = {"x": (1, 28, 28), "target": ()}
        licence = "CC BY-SA 3.0 (LeCun, Cortes, Burges)"
        classes = len(self.only) or 10
        return DataInfo(self.name, self.problem, shapes, sizes, classes=classes, licence=licence)

    def part(self, split: str) -> Arrays:
        """Images (rows, 28, 28) of bytes and classes (rows,) of one split."""
        images, digits = read(self.path, split == "test")
        digits = digits.astype(np.int64)
        wanted = [int(digit) for digit in self.only] or list(range(10))
        keep = np.isin(digits, wanted)
        if split != "test":
            held = np.arange(len(digits)) % VALID_SHARE == 0
            keep &= held if split == "valid" else ~held
        classes = np.full(10, -1)
        classes[wanted] = np.arange(len(wanted))
        return images[keep], classes[digits[keep]]

    def load(self, split: SplitName) -> Batch:
        """Take the split's images."""
        images, classes = self.part(split)
        x = torch.from_numpy(images.astype(np.float32) / 255)
        return {"x": x[:, None], "target": torch.from_numpy(classes)}


@cache
def read(path: str, test: bool) -> Arrays:
    """Images and digits of the training or the test files.

    Raises:
        DataError: naming what is missing or not as it should be.
    """
    where, part = Path(path), "test" if test else "train"
    if where.is_dir():
        stem = "t10k" if test else "train"
        images, digits = (
            idx(where, f"{stem}-images-idx3-ubyte"),
            idx(where, f"{stem}-labels-idx1-ubyte"),
        )
    elif where.is_file():
        with np.load(where) as file:
            names = (f"x_{part}", f"y_{part}")
            if not set(names) <= set(file.files):
                raise DataError(f"{where} holds {', '.join(file.files)}, not {' and '.join(names)}")
            images, digits = (file[name] for name in names)
    else:
        raise DataError(
            f"there is no {where}: give path=, your copy of mnist.npz or the folder of the idx "
            "files; nothing is downloaded"
        )
    if images.ndim != 3 or images.shape[1:] != (28, 28) or len(images) != len(digits):
        raise DataError(
            f"{where}: images {images.shape} and digits {digits.shape} are no n x 28 x 28 and n"
        )
    return images, digits


def idx(folder: Path, name: str) -> np.ndarray[Any, Any]:
    """One idx file, packed or not: a header with the number of axes and their lengths, bytes."""
    for path, opener in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
        if path.is_file():
            with opener(path, "rb") as file:
                content = file.read()
            axes = content[3]
            shape = np.frombuffer(content, ">i4", axes, 4)
            return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    raise DataError(f"there is no {folder / name} or {name}.gz")
