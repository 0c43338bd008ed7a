"""A folder of images, one folder below it for each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from automl.core.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_BYTES = 2_000_000_000  # of all pixels together
UNREADABLE = (
    UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError
)  # fmt: skip
GREY = ("1", "L", "I", "I;16", "F")


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """Every image with its class, in a fixed order.

    Raises:
        DataError: if there are no folders with images.
    """
    found = [
        (path, group.name)
        for group in sorted(folder.iterdir())
        if group.is_dir() and not group.name.startswith(".")
        for path in sorted(group.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise DataError(
            f"{folder} holds no images in folders: make one folder a class, each with "
            f"{', '.join(SUFFIXES[:3])} files"
        )
    return found


def read(files: list[Path], size: int) -> NDArray[np.uint8]:
    """The images as (n, channels, height, width), grey if all are; resized if ``size`` is given.

    Raises:
        DataError: if one cannot be read, they differ in size, or they are too many for memory.
    """
    shapes, colours = look(files)
    if len(shapes) > 1 and not size:
        some = ", ".join(f"{w} x {h}" for (w, h), _ in shapes.most_common(3))
        some += ", …" if len(shapes) > 3 else ""
        raise DataError(
            f"the images have {len(shapes)} different sizes ({some}): pass --image-size "
            f"{suggested(shapes)} to resize all of them"
        )
    width, height = (size, size) if size else next(iter(shapes))
    channels = 3 if colours else 1
    need = len(files) * channels * width * height
    if need > MOST_BYTES:
        raise DataError(
            f"{len(files)} images of {width} x {height} pixels need {need / 1e9:.1f} GB of memory, "
            f"more than {MOST_BYTES / 1e9:g}: pass a smaller --image-size"
        )
    pixels = np.empty((len(files), channels, height, width), dtype=np.uint8)
    for row, path in zip(pixels, files, strict=True):
        with Image.open(path) as image:
            plain = image.convert("RGB" if channels == 3 else "L")
            fitted = plain if plain.size == (width, height) else plain.resize((width, height))
            row[:] = (
                np.asarray(fitted, dtype=np.uint8)
                .reshape(height, width, channels)
                .transpose(2, 0, 1)
            )
    return pixels


def look(files: list[Path]) -> tuple[Counter[tuple[int, int]], bool]:
    """How often each size occurs, and whether any image has colours; every file is decoded."""
    shapes: Counter[tuple[int, int]] = Counter()
    colours = False
    for path in files:
        try:
            with Image.open(path) as image:
                image.load()
                shapes[image.size] += 1
                colours |= image.mode not in GREY
        except UNREADABLE as error:
            raise DataError(
                f"{path} cannot be read as an image ({error}): repair or remove it"
            ) from error
    return shapes, colours


def suggested(shapes: Counter[tuple[int, int]]) -> int:
    """A size that most images have at least, and small networks can take."""
    sides = sorted(min(size) for size, count in shapes.items() for _ in range(count))
    return min(64, sides[len(sides) // 4])
