"""Small reads over HTTP: how many a second one core answers.

One uvicorn process serves a SQLite database; this process asks for one study, one trial and a
short list of models, in turn, over connections that stay open. The figure is reads per second of
the server's processor time, so that the load of the machine (and this process) does not count.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from database import SPEC, tell
from measure import finish

from automl.dataset_db.store import Store

GOAL = 500.0  # reads per second of one core
TRIALS = 2000
CONNECTIONS, READS = 8, 250  # of each kind, by each connection


async def ask(port: int, paths: Sequence[str], times: list[float]) -> None:
    """Ask for the paths over one connection; note how long each answer took, in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path in paths:
        started = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        await reader.readexactly(int(length.group(1)))
        times.append(time.perf_counter() - started)
    writer.close()
    await writer.wait_closed()


def load(port: int, server: psutil.Process, kind: str) -> dict[str, float]:
    """Reads per second by the clock and of processor time, and latency in milliseconds."""
    times: list[float] = []
    paths = [kind.format(1 + i % TRIALS) for i in range(READS)]

    async def all_connections() -> None:
        await asyncio.gather(*(ask(port, paths, times) for _ in range(CONNECTIONS)))

    used, started = sum(server.cpu_times()[:2]), time.perf_counter()
    asyncio.run(all_connections())
    wall = time.perf_counter() - started
    used = sum(server.cpu_times()[:2]) - used
    times.sort()
    return {
        "per_core_second": len(times) / used,
        "per_second": len(times) / wall,
        "p50_ms": 1e3 * times[len(times) // 2],
        "p95_ms": 1e3 * times[int(0.95 * len(times))],
    }


KINDS = {
    "study": "/v1/studies/1",
    "trial": "/v1/trials/{}",
    "list": "/v1/studies/1/trials?limit=10",
    "models": "/v1/models?dataset=nothing&limit=10",
}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "models.db"
        with Store(db, artifacts=db.parent) as store:
            study = store.create_study(SPEC)
            for number in range(TRIALS):
                tell(store, study, number)
        command = [sys.executable, "-m", "automl.ui.cli", "serve", "--db", str(db), "--port", "0"]
        server = subprocess.Popen(
            [*command, "--rate", "1000000"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            found = re.search(r":(\d+) ", server.stdout.readline())
            assert found is not None
            port, process = int(found.group(1)), psutil.Process(server.pid)
            for kind in KINDS.values():  # fills caches
                load(port, process, kind)
            figures = {name: load(port, process, kind) for name, kind in KINDS.items()}
        finally:
            server.terminate()
            server.wait()
    rates = [figure["per_core_second"] for figure in figures.values()]
    mean = len(rates) / sum(1 / rate for rate in rates)
    details: dict[str, Any] = {
        f"{name} {key}": round(value, 1)
        for name, figure in figures.items()
        for key, value in figure.items()
    }
    goal = f">= {GOAL:g} a second of one core, the kinds in turn"
    finish("http: small reads a second", mean, goal, mean >= GOAL, details)


if __name__ == "__main__":
    main()
