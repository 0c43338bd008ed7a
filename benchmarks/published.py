"""The published wheels of LEMUR that benchmarks read, and LEMUR's own code to compare with."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RELEASE, EARLIER = "2.1.0", "1.2.0"
# LEMUR's packages import all of it, with tools that reading records does not need: go past them.
LEAN = """
import sys, types
for name in ("ab", "ab.nn"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [f"{sys.path[1]}/{name.replace('.', '/')}"]
"""
OURS, THEIRS = "ours.db", "db/ab.nn.db"  # within the workplace


def wheel(folder: Path, release: str = RELEASE) -> Path:
    """A release's wheel, of the folder that AUTOML_LEMUR_WHEELS names, else downloaded (99 MB)."""
    named = os.environ.get("AUTOML_LEMUR_WHEELS")
    if not named:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command = [*download, f"nn-dataset=={release}", "--dest", str(folder)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return next(Path(named or folder).resolve().glob(f"nn_dataset-{release}-*.whl"))


def unpack(source: Path, folder: Path) -> Path:
    """The package of a wheel, unpacked: LEMUR's code reads files (600 MB)."""
    if (folder / "ab").exists():
        return folder
    with zipfile.ZipFile(source) as archive:
        archive.extractall(folder, [n for n in archive.namelist() if n.startswith("ab/")])
    return folder


def timed(command: list[str], folder: Path, package: Path | None = None) -> tuple[float, float]:
    """CPU and wall-clock seconds of a command; ``package`` is put on Python's path."""
    environment = {**os.environ, "PYTHONPATH": str(package)} if package else None
    before, began = children(), time.perf_counter()
    subprocess.run(
        command, cwd=folder, env=environment, check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return children() - before, time.perf_counter() - began


def children() -> float:
    """CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def workplace() -> Iterator[Path]:
    """The folder that AUTOML_LEMUR_FOLDER names, kept and used again, else a temporary one."""
    named = os.environ.get("AUTOML_LEMUR_FOLDER")
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def import_ours(source: Path, folder: Path) -> tuple[float, float]:
    """Import the records; CPU and wall-clock seconds."""
    command = [sys.executable, "-m", "automl.ui.cli", "db", "import", "lemur", str(source)]
    return timed([*command, "--db", str(folder / OURS)], folder)


def build_theirs(package: Path, folder: Path) -> tuple[float, float]:
    """Let LEMUR build its own database; CPU and wall-clock seconds."""
    (folder / THEIRS).unlink(missing_ok=True)
    code = f"{LEAN}import ab.nn.util.db.Write"
    return timed([sys.executable, "-c", code], folder, package)
