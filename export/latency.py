"""How long a call takes, and how much memory the process has needed."""

from __future__ import annotations

import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP, REPEATS, LATENCY_SECONDS = 5, 60, 1.5


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def summary(times: list[float]) -> dict[str, float]:
    """Times in microseconds as ``min_us``, ``p50_us``, ``p95_us``, ``mean_us``, ``repeats``."""
    return {
        "min_us": min(times),
        "p50_us": statistics.median(times),
        "p95_us": percentile(times, 0.95),
        "mean_us": statistics.fmean(times),
        "repeats": len(times),
    }


def latency(call: Callable[[], Any]) -> dict[str, float]:
    """Times of a call in microseconds, after a warm-up."""
    for _ in range(WARM_UP):
        call()
    times: list[float] = []
    end = time.perf_counter() + LATENCY_SECONDS
    while len(times) < REPEATS and time.perf_counter() < end:
        started = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - started) / 1000)
    return summary(times)


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def processor() -> str:
    """The name of this machine's processor, as records call the device."""
    for line in cpu_lines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_lines() -> list[str]:
    """What Linux says of the first processor."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
