"""A new worker that is forked, against a process that imports what a worker needs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

from measure import finish, interleaved

from automl.core.nursery import HEAVY, spawn
from automl.core.sandbox.host import Sandbox

ROUNDS = 7


def fresh() -> None:
    """What every worker would do by itself."""
    subprocess.run([sys.executable, "-P", "-c", f"import {', '.join(HEAVY)}"], check=True)


def forked() -> None:
    """Start a worker, wait until it takes tasks, and end it as executors do."""
    ours, theirs = socket.socketpair()
    with theirs:
        worker = spawn("automl.core.worker:main", [theirs.fileno()], os.devnull, 1)
    pipe: Connection[Any, Any] = Connection(ours.detach())
    assert pipe.recv() == ("ready", None)
    worker.kill()
    worker.wait()
    pipe.close()


def confined() -> None:
    """Start a sandbox that is ready to train a network, and end it."""
    Sandbox("automl.plugins.lemur.runner:handler", {"threads": 1}).close()


def main() -> None:
    """Measure and print."""
    first, first_confined = interleaved([forked, confined], 1)
    alone, later, later_confined = interleaved([fresh, forked, confined], ROUNDS)
    ratio = alone / later
    details = {
        "a process that imports": f"{alone:.2f} s",
        "the first worker of a process": f"{first:.2f} s",
        "each after it, its end included": f"{1000 * later:.0f} ms",
        "the first sandbox of a process": f"{first_confined:.2f} s",
        "each sandbox after it": f"{1000 * later_confined:.0f} ms",
    }
    name = "start of a worker, importing over forked"
    finish(name, ratio, "at least 20", ratio >= 20, details)


if __name__ == "__main__":
    main()
