"""What a compressed file takes once it is read, and whether this machine has that much."""

from __future__ import annotations

import zipfile
from pathlib import Path

import psutil

from automl.core.errors import DataError

COPIES = 3  # as read, as numbers of one type, as splits: they exist together for a while


def free() -> int:
    """Bytes of memory that are free."""
    return int(psutil.virtual_memory().available)


def check_fits(path: Path, size: int, copies: int = COPIES) -> None:
    """Refuse a file whose content of ``size`` bytes cannot be worked on in memory.

    A few kilobytes can claim to hold terabytes: what is claimed is looked at before it is read.

    Raises:
        DataError: with what it needs and what is free.
    """
    need, have = copies * size, free()
    if need > have:
        raise DataError(
            f"{path} takes {size / 1e6:,.0f} MB once it is unpacked and needs {need / 1e6:,.0f} MB "
            f"of memory, {have / 1e6:,.0f} MB are free: use fewer examples, or fewer columns"
        )


def unpacked(path: Path) -> int:
    """Bytes that a ZIP archive says its files have; reading one stops there.

    Raises:
        zipfile.BadZipFile: if it is none.
    """
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())
