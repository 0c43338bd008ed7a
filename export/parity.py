"""Does a runtime compute what PyTorch computes? Rules per precision, at several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from automl.core.plugin import Axis, Exportable
from automl.export.subject import Runtime, Subject

BATCHES = (1, 2, 3, 7, 16)
METRIC_TOLERANCE = 1e-3  # of the task metric in single precision, relative above 1


@dataclass(frozen=True)
class Rule:
    """How near is near enough. ``None`` leaves a test out.

    ``absolute`` and ``relative`` bound each number; ``agreement`` is the least share of equal
    decisions (discrete outputs, and the largest of logits and scores); ``drop`` is how much of
    the task metric may be lost, in the metric's unit.
    """

    absolute: float | None
    relative: float | None
    agreement: float
    drop: float


def rule(precision: str, tolerance: float = 0.0, max_drop: float = 0.01) -> Rule:
    """The rule of a precision (fp32, fp16, int8-...); ``tolerance`` replaces fp32's if given."""
    if precision == "fp32":
        return Rule(tolerance or 1e-4, tolerance or 1e-3, 1.0, METRIC_TOLERANCE)
    if precision == "fp16":
        return Rule(max(tolerance, 2e-2), max(tolerance, 2e-2), 0.99, max_drop)
    return Rule(None, None, 0.97, max_drop)  # int8: by its decisions, never number by number


# ---------------------------------------------------------------- what to try


def sizes(axis: Axis, example: int) -> list[int]:
    """Lengths of a free axis to try: its least, the example's and beyond, within its range."""
    if axis.name == "batch":
        wanted = list(BATCHES)
    else:
        wanted = [axis.low, axis.low + 2, example, example + 1, 2 * example, 5 * example]
    return sorted({min(max(size, axis.low), axis.high) for size in wanted})


def combinations(exportable: Exportable) -> Iterator[dict[str, int]]:
    """Lengths for all free axes, each value of each axis at least once."""
    choices: dict[str, list[int]] = {}
    for name, free in exportable.axes.items():
        for number, axis in free.items():
            choices.setdefault(axis.name, sizes(axis, exportable.inputs[name].shape[number]))
    rounds = max((len(values) for values in choices.values()), default=1)
    for turn in range(max(rounds, 5)):
        yield {name: values[turn % len(values)] for name, values in choices.items()}


def example_lengths(exportable: Exportable) -> dict[str, int]:
    """The lengths of the free axes in the example."""
    return {
        axis.name: exportable.inputs[name].shape[number]
        for name, free in exportable.axes.items()
        for number, axis in free.items()
    }


def inputs_of(exportable: Exportable, lengths: dict[str, int], seed: int) -> dict[str, Tensor]:
    """Inputs like the example's, with other lengths."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, example in exportable.inputs.items():
        if name in exportable.samples:
            pool = exportable.samples[name]
            found[name] = pool[torch.randint(len(pool), (lengths["batch"],), generator=generator)]
            continue
        shape = list(example.shape)
        for number, axis in exportable.axes.get(name, {}).items():
            shape[number] = lengths[axis.name]
        if example.dtype == torch.bool:
            found[name] = torch.rand(shape, generator=generator) < 0.2
        elif example.dtype.is_floating_point:
            low, high = example.min(), example.max()
            drawn = torch.rand(shape, generator=generator, dtype=example.dtype)
            found[name] = low + (high - low) * drawn
        else:
            least, most = int(example.min()), int(example.max())
            found[name] = torch.randint(
                least, most + 1, shape, generator=generator, dtype=example.dtype
            )
    return found


# ---------------------------------------------------------------- comparing


def compare(
    exportable: Exportable,
    runtime: Runtime,
    reference: Runtime,
    wanted: Rule | None = None,
    cases: Iterator[dict[str, int]] | None = None,
) -> dict[str, Any]:
    """Largest differences over several sizes (``cases``; None: those of the free axes).

    Returns ``ok``, ``sizes`` tried, ``max_abs`` and ``max_rel`` of floating-point outputs,
    ``agreement`` (share of equal decisions) and ``discrete_equal``.
    """
    limit = wanted or rule("fp32", exportable.tolerance)
    tally = Tally(exportable, limit)
    for seed, lengths in enumerate(combinations(exportable) if cases is None else cases):
        inputs = inputs_of(exportable, lengths, seed)
        tally.add(lengths, reference(inputs), runtime(inputs))
    return tally.report()


class Tally:
    """Differences between wanted and found outputs, summed up."""

    def __init__(self, exportable: Exportable, limit: Rule) -> None:
        self.exportable, self.limit = exportable, limit
        self.sizes: list[dict[str, int]] = []
        self.largest, self.relative, self.shape = 0.0, 0.0, ""
        self.close, self.equal, self.decisions = True, 0, 0

    def add(
        self, lengths: dict[str, int], wanted: dict[str, Tensor], found: dict[str, Tensor]
    ) -> None:
        """Compare the outputs of one input."""
        self.sizes.append(lengths)
        for name in self.exportable.outputs:
            one, two = wanted[name], found[name]
            if one.shape != two.shape:
                self.shape = f"{name}: {tuple(two.shape)} instead of {tuple(one.shape)}"
            elif name in self.exportable.discrete or not one.dtype.is_floating_point:
                self.decided(one, two)
            else:
                self.numbers(one, two)
                if name in ("logits", "scores") and one.shape[-1] > 1:
                    self.decided(one.argmax(-1), two.argmax(-1), discrete=False)

    def decided(self, one: Tensor, two: Tensor, discrete: bool = True) -> None:
        """Count equal decisions; in single precision only discrete outputs must be equal."""
        if discrete or self.limit.agreement < 1:
            self.equal += int((one == two).sum())
            self.decisions += one.numel()

    def numbers(self, one: Tensor, two: Tensor) -> None:
        """Differences of floating-point outputs; not finite ones must be the same."""
        absolute, relative = self.limit.absolute, self.limit.relative
        if absolute is not None and relative is not None:
            self.close &= torch.allclose(two, one, rtol=relative, atol=absolute, equal_nan=True)
        both = one.isfinite() & two.isfinite()
        gap = (one - two).abs()[both].double()
        if gap.numel():
            scale = one.abs()[both].double().clamp(min=1e-6)
            self.largest = max(self.largest, float(gap.max()))
            self.relative = max(self.relative, float((gap / scale).max()))

    def report(self) -> dict[str, Any]:
        """The whole as plain values."""
        agreement = self.equal / self.decisions if self.decisions else 1.0
        found: dict[str, Any] = {
            "sizes": self.sizes,
            "max_abs": self.largest,
            "max_rel": self.relative,
            "agreement": agreement,
            "discrete_equal": self.equal == self.decisions,
        }
        if self.shape:
            found["shape"] = self.shape
        good = self.close and agreement >= self.limit.agreement
        return {**found, "ok": good and not self.shape}


def judged(subject: Subject, runtime: Runtime, found: dict[str, Any], limit: Rule) -> None:
    """Add the task metric in PyTorch and in ``runtime`` to a comparison, and judge it by both."""
    before, after = subject.scored, subject.score(runtime)
    single = limit.drop == METRIC_TOLERANCE
    lost = before - after if subject.dataset.problem.objective.goal == "max" else after - before
    lost = abs(lost) if single else lost  # single precision may not gain either
    # a point of a share such as accuracy; of other metrics a hundredth of their value
    share = subject.dataset.problem.objective.goal == "max" and abs(before) <= 1
    scale = max(1.0, abs(before)) if single or share else abs(before)
    found |= {
        "metric": subject.metric,
        "metric_torch": before,
        "metric_runtime": after,
        "drop": lost,
    }
    found["ok"] = bool(found["ok"]) and lost <= limit.drop * scale


def disagreement(found: dict[str, Any]) -> str:
    """Where runtime and model differ, in a sentence."""
    shape = f", {found['shape']}" if "shape" in found else ""
    return (
        f"the graph disagrees with PyTorch: largest difference {found['max_abs']:.2g}, "
        f"{found['agreement']:.1%} of the decisions equal, {found['metric']} "
        f"{found['metric_torch']:.4g} in PyTorch and {found['metric_runtime']:.4g} here{shape}"
    )
