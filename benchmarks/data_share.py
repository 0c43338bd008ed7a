"""The share of a default fit's time that goes into data: generating it once, taking batches.

Of the plugins that descend by the common loop, whose settings have ``steps``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from measure import finish

from automl.core.data import Split
from automl.core.entrants import resolve
from automl.core.run import Run

PLUGINS = ("ctm", "gradnoise", "neural_operator", "ptrnet", "selu", "spiking")
STEPS = 60  # of a fit that is timed; its time a step stands for the whole fit's


class Clock:
    """Seconds spent in calls of one function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def share(name: str) -> tuple[float, str]:
    """The share of one plugin's default fit, and how it comes about."""
    plugin, dataset = resolve(name, "")
    began = time.perf_counter()
    for split in ("train", "valid"):
        dataset.split(split)  # type: ignore[arg-type]
    generated = time.perf_counter() - began
    config = replace(plugin.defaults, steps=STEPS, eval_every=STEPS)
    model, run, clock = plugin.build(config, dataset.info), Run(dataset, 0), Clock()
    taken = Split.take
    Split.take = clock.around(taken)  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        plugin.fit(model, config, run)
        fitted = time.perf_counter() - began
    finally:
        Split.take = taken  # type: ignore[method-assign]
    whole = plugin.defaults.steps / STEPS
    data = generated + clock.seconds * whole
    told = (
        f"{data / (generated + fitted * whole):.3f}: {generated:.2f} s generated once, "
        f"{1e6 * clock.seconds / STEPS:.0f} of {1e6 * fitted / STEPS:.0f} µs a step, "
        f"{plugin.defaults.steps} steps on {dataset.name}"
    )
    return data / (generated + fitted * whole), told


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    found = {name: share(name) for name in PLUGINS}
    worst = max(value for value, _ in found.values())
    details = {name: told for name, (_, told) in found.items()}
    finish("share of a fit's time in data, the worst plugin", worst, "at most 0.1", worst <= 0.1,
           details)  # fmt: skip


if __name__ == "__main__":
    main()
