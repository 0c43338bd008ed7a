"""Where a result comes from: the plugin's code and the environment it ran in."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil
import torch

from automl.core.cards import PluginCard


def source(card: PluginCard) -> dict[str, str]:
    """Every Python file of the package that a plugin lives in: relative name -> text."""
    module = importlib.import_module(card.target.partition(":")[0])
    file = Path(str(module.__file__))
    folder = file.parent
    if not (folder / "__init__.py").exists():
        return {file.name: file.read_text()}
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py"))
        if "tests" not in path.relative_to(folder).parts
    }


def code_hash(code: dict[str, str]) -> str:
    """SHA-256 over names and texts."""
    digest = hashlib.sha256()
    for name, text in sorted(code.items()):
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def code_changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[str]]:
    """The names of the texts that are ``changed``, ``added`` or ``removed``; empty for none."""
    found = {
        "changed": sorted(n for n in before.keys() & after.keys() if before[n] != after[n]),
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
    }
    return {what: names for what, names in found.items() if names}


@cache
def environment() -> dict[str, Any]:
    """Python, platform, processor, memory, torch, devices and every installed version."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {d.name: d.version for d in distributions() if d.name},
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
