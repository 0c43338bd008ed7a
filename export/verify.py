"""Does an exported graph compute what PyTorch computes, and how fast is it? In a child process."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.plugin import Axis, Exportable
from automl.core.trial import TrialTask, load_model
from automl.export.deploy import Around, deployable
from automl.export.session import SessionModule, open_session, run

ABSOLUTE, RELATIVE = 1e-4, 1e-3  # fp32 tolerance
BATCHES = (1, 2, 3, 7, 16)
METRIC_EXAMPLES = 200
METRIC_TOLERANCE = 1e-3
LATENCY_BATCHES = (1, 32)
WARM_UP, REPEATS, LATENCY_SECONDS = 5, 60, 1.5
TIMEOUT_SECONDS = 600


# ---------------------------------------------------------------- the parent's side


def in_child(folder: Path, task: TrialTask) -> dict[str, Any]:
    """Verify and measure ``folder/model.onnx`` in a child: a crash there is a status here.

    Returns a report with ``status`` (ok, parity_fail, load_fail, crash, timeout), ``message``,
    ``parity`` and ``benchmarks``.
    """
    command = [sys.executable, "-m", "automl.export.verify", str(folder), json.dumps(vars(task))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return failed("timeout", f"verification took longer than {TIMEOUT_SECONDS} seconds")
    if done.returncode < 0:
        return failed("crash", f"the runtime crashed with signal {-done.returncode}")
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return failed("load_fail", last)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def failed(status: str, message: str) -> dict[str, Any]:
    """A report of a child that could not make one."""
    return {"status": status, "message": message, "parity": {}, "benchmarks": []}


# ---------------------------------------------------------------- the child's side


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


Reference = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def eager_model(model: nn.Module, exportable: Exportable) -> Reference:
    """The model's own ``forward``, which its graph must equal: outputs by name."""

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            found = model(**inputs)
        return {name: found[name] for name in exportable.outputs}

    return call


def eager_part(exportable: Exportable) -> Reference:
    """The module of a part: outputs by name."""

    def call(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            found = exportable.module(*inputs.values())
        return dict(zip(exportable.outputs, found, strict=True))

    return call


def compare(exportable: Exportable, session: Any, reference: Reference) -> dict[str, Any]:
    """Largest differences over several sizes; discrete outputs must be identical."""
    report: dict[str, Any] = {"sizes": [], "max_abs": 0.0, "max_rel": 0.0, "discrete_equal": True}
    ok, loose = True, exportable.tolerance
    limits = {"rtol": loose or RELATIVE, "atol": loose or ABSOLUTE}
    for seed, lengths in enumerate(combinations(exportable)):
        inputs = inputs_of(exportable, lengths, seed)
        wanted, found = reference(inputs), run(session, inputs)
        report["sizes"].append(lengths)
        for name in exportable.outputs:
            one, two = wanted[name], found[name]
            if one.shape != two.shape:
                report["shape"] = f"{name}: {tuple(two.shape)} instead of {tuple(one.shape)}"
                ok = False
            elif name in exportable.discrete or not one.dtype.is_floating_point:
                report["discrete_equal"] &= bool(torch.equal(one, two))
            else:
                ok &= torch.allclose(one, two, **limits, equal_nan=True)
                both = one.isfinite() & two.isfinite()
                gap = (one - two).abs()[both]
                if gap.numel():
                    relative = gap / one.abs()[both].clamp(min=1e-6)
                    report["max_abs"] = max(report["max_abs"], float(gap.max()))
                    report["max_rel"] = max(report["max_rel"], float(relative.max()))
    report["ok"] = ok and report["discrete_equal"]
    return report


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the values lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


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
    return {
        "min_us": min(times),
        "p50_us": statistics.median(times),
        "p95_us": percentile(times, 0.95),
        "mean_us": statistics.fmean(times),
        "repeats": len(times),
    }


def benchmark(
    exportable: Exportable, session: Any, reference: Reference, load_us: float
) -> list[dict[str, Any]]:
    """Latency of the graph and of eager PyTorch on the same inputs, one thread each."""
    records = []
    for batch in LATENCY_BATCHES:
        lengths = {
            axis.name: exportable.inputs[name].shape[number]
            for name, free in exportable.axes.items()
            for number, axis in free.items()
        }
        lengths["batch"] = batch
        inputs = inputs_of(exportable, lengths, seed=1)
        feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
        for runtime, call in (
            ("onnxruntime", lambda feeds=feeds: session.run(None, feeds)),
            ("torch eager", lambda inputs=inputs: reference(inputs)),
        ):
            records.append(
                {
                    "runtime": runtime,
                    "batch": batch,
                    "sizes": lengths,
                    "load_us": load_us if runtime == "onnxruntime" else None,
                    "peak_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                    **latency(call),
                }
            )
    return records


def examine(folder: Path, task: TrialTask) -> dict[str, Any]:
    """Verify and measure one exported folder; see ``in_child``."""
    torch.set_num_threads(1)
    plugin, model, config, dataset = load_model(task)
    deployment = dataset.deployment()
    exportable = deployable(plugin.export(model, config, dataset.info), deployment)
    started = time.perf_counter()
    session = open_session(folder / "model.onnx")
    load_us = (time.perf_counter() - started) * 1e6
    whole = model if deployment is None else Around(model, deployment)
    reference = eager_model(whole, exportable)
    parity = compare(exportable, session, reference)
    for name, part in exportable.parts.items():
        parity[name] = compare(part, open_session(folder / f"{name}.onnx"), eager_part(part))
        parity["ok"] &= parity[name]["ok"]
    metric = dataset.problem.objective.name
    split = dataset.split("valid").first(METRIC_EXAMPLES)
    before = plugin.evaluate(model, config, split)[metric]
    if deployment is not None:  # the graph takes raw inputs
        split = replace(split, examples={**split.examples, "x": deployment.raw[: len(split)]})
    after = plugin.evaluate(SessionModule(model, session), config, split)[metric]
    close = abs(before - after) <= METRIC_TOLERANCE * max(1.0, abs(before))
    parity |= {"metric": metric, "metric_torch": before, "metric_onnx": after}
    parity["ok"] = bool(parity["ok"]) and close
    status, message = ("ok", "") if parity["ok"] else ("parity_fail", disagreement(parity))
    records = benchmark(exportable, session, reference, load_us)
    return {"status": status, "message": message, "parity": parity, "benchmarks": records}


def disagreement(parity: dict[str, Any]) -> str:
    """Where graph and model differ, in a sentence."""
    return (
        f"the graph disagrees with PyTorch: largest difference {parity['max_abs']:.2g}, discrete "
        f"outputs {'equal' if parity['discrete_equal'] else 'differ'}, {parity['metric']} "
        f"{parity['metric_torch']:.4g} in PyTorch and {parity['metric_onnx']:.4g} in the graph"
    )


if __name__ == "__main__":
    found = examine(Path(sys.argv[1]), TrialTask(**json.loads(sys.argv[2])))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
