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

    @property
    def rounds(self) -> bool:
        """Whether decisions may change, as those of a lower precision do."""
        return self.agreement < 1


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
    cases: Iterator[dict[str, int]] | None = None,
) -> dict[str, Any]:
    """Compare in single precision over several sizes (``cases``; None: those of the free axes)."""
    comparison = Comparison(exportable, rule("fp32", exportable.tolerance))
    comparison.over_sizes(runtime, reference, cases)
    return comparison.report()


def proven(subject: Subject, runtime: Runtime, limit: Rule) -> dict[str, Any]:
    """Compare a runtime with the model over several sizes and by the task metric."""
    comparison = Comparison(subject.exportable, limit)
    comparison.over_sizes(runtime, subject.eager())
    comparison.by_metric(subject, runtime)
    return comparison.report()


class Comparison:
    """Differences between wanted and found outputs, summed up."""

    def __init__(self, exportable: Exportable, limit: Rule) -> None:
        self.exportable, self.limit = exportable, limit
        self.sizes: list[dict[str, int]] = []
        self.largest, self.relative, self.shape = 0.0, 0.0, ""
        self.close, self.equal, self.decisions = True, 0, 0
        self.metric: dict[str, Any] = {}
        self.kept = True

    def over_sizes(
        self,
        runtime: Runtime,
        reference: Runtime,
        cases: Iterator[dict[str, int]] | None = None,
    ) -> None:
        """Compare on inputs of several sizes (``cases``; None: those of the free axes)."""
        chosen = combinations(self.exportable) if cases is None else cases
        for seed, lengths in enumerate(chosen):
            inputs = inputs_of(self.exportable, lengths, seed)
            self.sizes.append(lengths)
            self.add(reference(inputs), runtime(inputs))

    def by_metric(self, subject: Subject, runtime: Runtime) -> None:
        """Judge by the task metric too, and what rounds by its outputs on the same examples."""
        after = self.on_data(subject, runtime) if self.limit.rounds else subject.score(runtime)
        before = subject.scored
        goal = subject.dataset.problem.objective.goal
        lost = before - after if goal == "max" else after - before
        single = not self.limit.rounds
        lost = abs(lost) if single else lost  # single precision may not gain either
        # a point of a share such as accuracy; of other metrics a hundredth of their value
        share = goal == "max" and abs(before) <= 1
        scale = max(1.0, abs(before)) if single or share else abs(before)
        self.metric = {
            "metric": subject.metric,
            "metric_torch": before,
            "metric_runtime": after,
            "drop": lost,
        }
        self.kept = bool(lost <= self.limit.drop * scale)

    def on_data(self, subject: Subject, runtime: Runtime) -> float:
        """The metric, while outputs are compared; decisions on data replace those before.

        Inputs that are drawn at random lie where a network that has learnt decides by little and
        beyond the ranges that int8 was calibrated for: they count only where no data can be run.
        """
        drawn = self.equal, self.decisions
        self.equal = self.decisions = 0
        try:
            return subject.score(self.beside(runtime, subject.eager()))
        finally:
            if not self.decisions:
                self.equal, self.decisions = drawn

    def beside(self, runtime: Runtime, reference: Runtime) -> Runtime:
        """The runtime, each of its answers compared with the reference's."""

        def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            found = runtime(inputs)
            self.add(reference(inputs), found)
            return found

        return call

    def add(self, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
        """Compare the outputs of one input."""
        for name in self.exportable.outputs:
            one, two = wanted[name], found[name]
            if one.shape != two.shape:
                self.shape = f"{name}: {tuple(two.shape)} instead of {tuple(one.shape)}"
            elif name in self.exportable.discrete or not one.dtype.is_floating_point:
                self.decided(one, two)
            else:
                self.numbers(one, two)
                if name in ("logits", "scores") and one.shape[-1] > 1 and self.limit.rounds:
                    self.decided(one.argmax(-1), two.argmax(-1))

    def decided(self, one: Tensor, two: Tensor) -> None:
        """Count equal decisions."""
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
        """The whole as plain values.

        ``ok``, ``sizes`` tried, ``max_abs`` and ``max_rel`` of floating-point outputs,
        ``agreement`` (share of equal ``decisions``), ``discrete_equal``; ``shape`` if one
        differs; ``metric``, ``metric_torch``, ``metric_runtime`` and ``drop`` if measured.
        """
        agreement = self.equal / self.decisions if self.decisions else 1.0
        good = self.close and self.kept and agreement >= self.limit.agreement
        return {
            "sizes": self.sizes,
            "max_abs": self.largest,
            "max_rel": self.relative,
            "agreement": agreement,
            "decisions": self.decisions,
            "discrete_equal": self.equal == self.decisions,
            **({"shape": self.shape} if self.shape else {}),
            **self.metric,
            "ok": good and not self.shape,
        }


def disagreement(found: dict[str, Any]) -> str:
    """Where runtime and model differ, in a sentence."""
    shape = f", {found['shape']}" if "shape" in found else ""
    return (
        f"the graph disagrees with PyTorch: largest difference {found['max_abs']:.2g}, "
        f"{found['agreement']:.1%} of {found['decisions']} decisions equal, {found['metric']} "
        f"{found['metric_torch']:.4g} in PyTorch and {found['metric_runtime']:.4g} here{shape}"
    )
