"""The target ``gpu``: files, references and a script that proves them where a GPU is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from automl.core.errors import ExportError
from automl.export import parity
from automl.export.gpu.coverage import coverage
from automl.export.gpu.half import write_half
from automl.export.session import Session
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Target, Variant

CASES = 5
EXAMPLES = 100
HALF = "model.fp16.onnx"
USAGE = """On a machine with an NVIDIA GPU, driver, CUDA and cuDNN:

    pip install numpy onnxruntime-gpu
    python verify.py

compares with PyTorch's answers in reference.npz and measures, with TensorRT and with CUDA.

{coverage}
"""


class GpuTarget(Target):
    """ONNX for onnxruntime's CUDA and TensorRT providers."""

    name = "gpu"
    precisions = ("auto", "fp32", "fp16")

    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """``model.onnx``, ``model.fp16.onnx``, PyTorch's answers and ``verify.py``."""
        variants = list(self.variants(canonical, folder, settings))
        shutil.copyfile(Path(__file__).with_name("verify.py"), folder / "verify.py")
        write_reference(subject, folder, [v for v in variants if not v.status])
        return variants

    def variants(
        self, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Iterator[Variant]:
        """Half precision first, because it is what a GPU is fast at."""
        if settings.precision != "fp32":
            variant = Variant("fp16", HALF)
            try:
                write_half(canonical.path, folder / HALF)
                yield replace(variant, facts={"coverage": coverage(folder / HALF)})
            except ExportError as error:
                yield variant.found("refused", str(error))
        if settings.precision != "fp16":
            shutil.copyfile(canonical.path, folder / "model.onnx")
            yield Variant("fp32", "model.onnx", facts={"coverage": coverage(canonical.path)})

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """Numbers and task metric with the CPU provider, then whatever GPU there is."""
        limit = parity.rule(variant.precision, subject.exportable.tolerance, settings.max_drop)
        session = Session(folder / variant.file)
        found = parity.proven(subject, session, limit)
        variant = replace(variant, parity=found)
        if not found["ok"]:
            return variant.found("parity_fail", parity.disagreement(found))
        tried = on_gpu(folder, variant.file)
        variant = replace(variant, facts={**variant.facts, "providers": tried})
        ran = [one for one in tried if one["status"] != "skipped"]
        if not ran:
            why = "; ".join(one["message"] for one in tried)
            return variant.found("prepared", f"not verified on a GPU: {why}")
        best = next((one for one in ran if one["status"] == "ok"), ran[0])
        return variant.found(best["status"], f"{best['provider']}: {best['message']}".rstrip(": "))

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency with each provider that runs here; none without a GPU."""
        return [
            {
                "runtime": f"onnxruntime {one['provider']}",
                "device": one["device"],
                "memory": None,
                "nodes": one["nodes"],
                "version": one["version"],
                **one["latency"],
            }
            for one in on_gpu(folder, variant.file)
            if one["status"] == "ok"
        ]

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """How to prove the files on a GPU, and which operators have no kernel there."""
        told = []
        for runtime, about in next((v.facts["coverage"] for v in variants if v.facts), {}).items():
            missing = ", ".join(about["missing"]) or "none"
            told.append(f"Operators without a {runtime} kernel: {missing} ({about['source']}).")
        return USAGE.format(coverage="\n".join(told))


def write_reference(subject: Subject, folder: Path, variants: Sequence[Variant]) -> None:
    """PyTorch's answers at several sizes and on the data, and how near each file must come."""
    exportable, eager = subject.exportable, subject.eager()
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    drawn = enumerate(islice(parity.combinations(exportable), CASES))
    cases = [parity.inputs_of(exportable, lengths, seed=case) for case, lengths in drawn]
    # a few dozen random inputs, on which it decides by little, say less of half precision
    cases += [
        {name: tensor[:EXAMPLES] for name, tensor in batch.items()}
        for batch in subject.calibration()[:1]
    ]
    for case, inputs in enumerate(cases):
        for kind, tensors in (("in", inputs), ("out", eager(inputs))):
            for name, tensor in tensors.items():
                arrays[f"{case}/{kind}/{name}"] = tensor.numpy()
    np.savez_compressed(folder / "reference.npz", **arrays)  # type: ignore[arg-type]
    rules = {}
    for variant in variants:
        limit = parity.rule(variant.precision, exportable.tolerance)
        rules[variant.file] = {
            "absolute": limit.absolute,
            "relative": limit.relative,
            "agreement": limit.agreement if variant.precision != "fp32" else 0.999,
            "discrete": list(exportable.discrete),
        }
    (folder / "reference.json").write_text(json.dumps(rules, indent=2))


def on_gpu(folder: Path, file: str) -> list[dict[str, Any]]:
    """What ``verify.py`` says of a file with each GPU provider."""
    command = [sys.executable, str(folder / "verify.py"), "--json", "--file", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
