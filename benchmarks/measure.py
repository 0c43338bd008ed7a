"""What all benchmarks share: one object as output, interleaved rounds, medians."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def finish(name: str, ratio: float, goal: str, met: bool, details: dict[str, Any]) -> None:
    """Print the result: one JSON object with ``--json``, else readable lines."""
    result = {"name": name, "ratio": round(ratio, 4), "goal": goal, "met": met, "details": details}
    if "--json" in sys.argv:
        print(json.dumps(result))
        return
    print(f"{name}: {ratio:.3g} (goal: {goal}) {'met' if met else 'NOT MET'}")
    for key, value in details.items():
        print(f"  {key}: {value}")


def cpu(call: Callable[[], Any]) -> float:
    """CPU seconds of this process during a call."""
    before = time.process_time()
    call()
    return time.process_time() - before


def interleaved(
    calls: Sequence[Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each call, in rounds in which each has its turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for mine, call in zip(times, calls, strict=True):
            before = clock()
            call()
            mine.append(clock() - before)
    return [statistics.median(mine) for mine in times]
