"""Which process runs a study, and whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache

import psutil

CLOCK_SECONDS = 2.0  # two readings of a process's start may differ by the clock's corrections


def owner_of(pid: int) -> str:
    """A process: host, number and start, so that a reused number is not taken for it."""
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.0f}"


_owner = cache(owner_of)  # of this process, or of the one it was forked into


def owner() -> str:
    """This process."""
    return _owner(os.getpid())


def parts(text: str) -> tuple[str, int, float]:
    """Host, process number and start (seconds since 1970) of an owner."""
    host, pid, started = text.rsplit(":", 2)
    return host, int(pid), float(started)


def here(text: str) -> bool:
    """Whether an owner is a process of this machine."""
    return parts(text)[0] == socket.gethostname()


def alive(text: str) -> bool | None:
    """Whether an owner still runs: ``False`` if there is none, ``None`` on another machine."""
    if not text:
        return False
    host, pid, started = parts(text)
    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) <= CLOCK_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # it exists and is somebody else's
        return True
