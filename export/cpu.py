"""onnxruntime on the CPU: plain ONNX; machine-specific rewrites are never shipped."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from automl.core.errors import ExportError
from automl.export import parity, quantise
from automl.export.latency import latency, peak_memory, processor
from automl.export.session import Session, save_ort
from automl.export.subject import Subject, eager_part
from automl.export.targets import GOOD, Canonical, ExportSettings, Target, Variant

LATENCY_BATCHES = (1, 32)
RUNTIME = "onnxruntime"
EIGHT_BIT = {"int8-static": "model.static.onnx", "int8-dynamic": "model.dynamic.onnx"}
NOISE = 1.1  # of a median of microseconds on a machine that does other things too
USAGE = """    import numpy, onnxruntime
    session = onnxruntime.InferenceSession("{file}")
    answers = session.run(None, {feeds})
    for output, answer in zip(session.get_outputs(), answers):
        print(output.name, answer.shape)
"""


class CpuTarget(Target):
    """Plain ONNX for onnxruntime's CPU provider."""

    name = "cpu"
    precisions = ("auto", "fp32", "int8")

    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """``model.onnx`` with a file for each part, ``model.ort``, and both kinds of int8."""
        variants = []
        if settings.precision != "int8":
            for path in (canonical.path, *canonical.parts.values()):
                shutil.copyfile(path, folder / path.name)
            save_ort(canonical.path, folder / "model.ort")
            variants += [Variant("fp32", "model.onnx"), Variant("fp32", "model.ort")]
        if settings.precision != "fp32":
            variants += list(eight_bit(subject, canonical.path, folder))
        return variants

    def choose(self, variants: Sequence[Variant]) -> Variant:
        """The fastest good one for one example; the plain file if it is as fast but for noise."""
        good = [variant for variant in variants if variant.status in GOOD]
        if not good:
            return variants[0]
        plain = [variant for variant in good if variant.file == "model.onnx"]
        quickest = min(good, key=median)
        return plain[0] if plain and median(plain[0]) <= NOISE * median(quickest) else quickest

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """Parity at several sizes and of the task metric, in onnxruntime."""
        return verified(subject, folder, variant, settings)

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency of the graph and of eager PyTorch on the same inputs, one thread each."""
        started = time.perf_counter()
        session, reference = Session(folder / variant.file), subject.eager()
        load_us = (time.perf_counter() - started) * 1e6
        records = []
        for batch in LATENCY_BATCHES:
            lengths = parity.example_lengths(subject.exportable) | {"batch": batch}
            inputs = parity.inputs_of(subject.exportable, lengths, seed=1)
            feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
            about = {"device": processor(), "batch": batch, "sizes": lengths, "threads": 1}
            times = latency(partial(session.run, feeds))
            memory = {"memory": peak_memory(), "load_us": load_us}
            records.append({"runtime": RUNTIME, **about, **times, **memory})
            if variant.file == "model.onnx":
                times = latency(partial(reference, inputs))
                records.append({"runtime": "torch eager", **about, **times, "memory": None})
        return records

    def latency_us(self, subject: Subject, folder: Path, variant: Variant) -> float | None:
        """In onnxruntime, with one thread."""
        session = Session(folder / variant.file)
        lengths = parity.example_lengths(subject.exportable) | {"batch": 1}
        inputs = parity.inputs_of(subject.exportable, lengths, seed=1)
        feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
        return latency(partial(session.run, feeds))["p50_us"]

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """A call in Python."""
        feeds = ", ".join(
            f'"{n}": numpy.random.rand{tuple(t.shape)}.astype("{str(t.dtype).split(".")[-1]}")'
            for n, t in subject.exportable.inputs.items()
        )
        return USAGE.format(file=self.choose(variants).file, feeds="{" + feeds + "}")


def eight_bit(subject: Subject, model: Path, folder: Path) -> Iterator[Variant]:
    """Both kinds of int8; one that the quantiser does not manage is refused with the reason."""
    with quantise.prepared(model) as ready:
        for precision, file in EIGHT_BIT.items():
            variant = Variant(precision, file)
            try:
                if precision == "int8-static":
                    quantise.static(ready, folder / file, subject.calibration())
                else:
                    quantise.dynamic(ready, folder / file)
            except ExportError as error:
                variant = variant.found("refused", str(error))
            yield variant


def median(variant: Variant) -> float:
    """A variant's median time for one example, in microseconds."""
    times = [r["p50_us"] for r in variant.benchmarks if r["batch"] == 1 and r["runtime"] == RUNTIME]
    return float(times[0]) if times else float("inf")


def verified(subject: Subject, folder: Path, variant: Variant, settings: ExportSettings) -> Variant:
    """A variant that onnxruntime can load on the CPU, compared with PyTorch."""
    exportable = subject.exportable
    session = Session(folder / variant.file)
    limit = parity.rule(variant.precision, exportable.tolerance, settings.max_drop)
    found = parity.proven(subject, session, limit)
    if variant.file == "model.onnx":
        for name, part in exportable.parts.items():
            found[name] = parity.compare(part, Session(folder / f"{name}.onnx"), eager_part(part))
            found["ok"] &= found[name]["ok"]
    facts = {**variant.facts, "bytes": (folder / variant.file).stat().st_size}
    variant = replace(variant, facts=facts, parity=found)
    if found["ok"]:
        return variant.found("ok")
    status = "refused" if variant.precision.startswith("int8") else "parity_fail"
    return variant.found(status, parity.disagreement(found))
