"""Where published records are read from: a wheel, a zip or a folder, none of it unpacked."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from email import message_from_string
from pathlib import Path
from typing import Self

from automl.core.errors import DataError

ROOT = "ab/nn/"  # of the package, in a wheel as in the repository
LAYOUT = re.compile(r"(?:.*/)?ab/nn/(?:stat/|nn/[^/]+\.py$)")
REPOSITORY = "https://github.com/ABrain-One/nn-dataset"


class Archive(ABC):
    """The files of one published version, by path; those of the package start with ``ab/nn/``."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.paths: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file."""

    @abstractmethod
    def stamp(self, path: str) -> int:
        """A checksum of a file's content, found without reading it where there is one."""

    def text(self, path: str) -> str:
        """The content as text; what is not UTF-8 is replaced."""
        return self.read(path).decode("utf-8", "replace")

    def facts(self) -> dict[str, str]:
        """Version, licence and origin, as the wheel or the repository says them."""
        for path in self.paths:
            if path.endswith(".dist-info/METADATA"):
                return wheel_facts(self.text(path))
        licence = next((path for path in self.paths if path in ("LICENSE", "LICENSE.txt")), None)
        first = self.text(licence).strip().splitlines()[:1] if licence else []
        return {
            "version": self.location.resolve().name,
            "licence": first[0] if first else "",
            "origin": REPOSITORY,
        }


def wheel_facts(metadata: str) -> dict[str, str]:
    """Version, licence and home of a wheel."""
    told = message_from_string(metadata)
    licence = told.get("License-Expression") or told.get("License") or ""
    pages = dict(entry.split(", ", 1) for entry in told.get_all("Project-URL", []) if ", " in entry)
    return {
        "version": told.get("Version", ""),
        "licence": licence.strip().splitlines()[0].strip() if licence.strip() else "",
        "origin": next((p for name, p in pages.items() if name != "Homepage"), REPOSITORY),
    }


class ZipArchive(Archive):
    """A wheel or another zip."""

    def __init__(self, location: Path) -> None:
        super().__init__(location)
        try:
            self.zip = zipfile.ZipFile(location)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{location} is no wheel that can be read: {error}") from error
        prefix = prefix_of(self.zip.namelist(), location)
        self.entries = {
            entry.filename.removeprefix(prefix): entry
            for entry in self.zip.infolist()
            if not entry.is_dir()
        }
        self.paths = list(self.entries)

    def close(self) -> None:
        """Let go of the file."""
        self.zip.close()

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            DataError: if it is damaged.
        """
        try:
            return self.zip.read(self.entries[path])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise DataError(f"{self.location} is damaged at {path}: {error}") from error

    def stamp(self, path: str) -> int:
        """The checksum that the zip keeps."""
        return self.entries[path].CRC


class FolderArchive(Archive):
    """A checkout, or an unpacked wheel."""

    def __init__(self, location: Path) -> None:
        super().__init__(location)
        found = [
            os.path.relpath(os.path.join(folder, name), location).replace(os.sep, "/")
            for folder, _, names in os.walk(location)
            for name in names
            if ".git" not in Path(folder).parts
        ]
        self.prefix = prefix_of(found, location)
        self.paths = sorted(path.removeprefix(self.prefix) for path in found)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        file = self.location / (self.prefix + path)
        return (file if file.exists() else self.location / path).read_bytes()

    def stamp(self, path: str) -> int:
        """A checksum of the content."""
        return zlib.crc32(self.read(path))


def prefix_of(paths: list[str], location: Path) -> str:
    """What stands before ``ab/nn/`` in the paths of its files.

    Raises:
        DataError: if there are none.
    """
    for path in paths:
        if LAYOUT.match(path):
            return path[: path.index(ROOT)]
    raise DataError(
        f"no LEMUR layout found in {location} (looked for ab/nn/stat and ab/nn/nn): give a wheel "
        "of nn-dataset (`pip download --no-deps nn-dataset==2.1.0`) or a checkout of it"
    )


def open_archive(location: Path) -> Archive:
    """The archive at a path.

    Raises:
        DataError: if there is nothing, or nothing of LEMUR's.
    """
    if location.is_dir():
        return FolderArchive(location)
    if not location.is_file():
        raise DataError(f"there is no file or folder {location}: give a wheel or a checkout")
    return ZipArchive(location)
