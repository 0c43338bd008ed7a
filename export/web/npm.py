"""Files of npm packages, fetched once by the user's own npm and kept in a cache folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from automl.core.errors import ExportError, MissingExtra

TIMEOUT_SECONDS = 300
# Pinned: what was verified with one version is not promised of another.
VERSIONS = {"onnxruntime-web": "1.30.0", "three": "0.187.0", "iwer": "2.5.0"}
MISSING = (
    "exporting to a browser needs npm, which fetches {name}: install Node.js with npm, such as "
    "apt-get install nodejs npm"
)


def cache() -> Path:
    """The folder that keeps packages between exports."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "automl" / "npm"


def package(name: str) -> Path:
    """The folder of a package in its pinned version; fetched if it is not in the cache.

    Raises:
        MissingExtra: if it is not in the cache and there is no npm.
        ExportError: if npm cannot fetch it.
    """
    version = VERSIONS[name]
    folder = cache() / f"{name}-{version}"
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtra(MISSING.format(name=name))
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".fetching."))
    try:
        unpack(fetch(npm, f"{name}@{version}", work), work)
        try:
            os.replace(work / "package", folder)
        except OSError:  # another process was faster
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def fetch(npm: str, wanted: str, folder: Path) -> Path:
    """Let npm download a package's archive, which it checks against the registry's hash."""
    command = [npm, "pack", wanted, "--json", "--silent", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"npm did not fetch {wanted} within {TIMEOUT_SECONDS} seconds: look at the network"
        ) from error
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in said if "code" in line), said[-1] if said else "no reason")
        raise ExportError(f"npm cannot fetch {wanted}: {reason.strip()[:300]}")
    return folder / str(json.loads(done.stdout)[0]["filename"])


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive; it may not write outside of ``folder``."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def copy(name: str, files: Mapping[str, str], folder: Path) -> None:
    """Copy files of a package, named by their path in it, to ``folder`` under other names."""
    source = package(name)
    folder.mkdir(parents=True, exist_ok=True)
    for path, target in files.items():
        shutil.copyfile(source / path, folder / target)
