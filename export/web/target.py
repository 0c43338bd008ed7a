"""The target ``web``: a static page with the model, proven in a headless browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from automl.export import parity
from automl.export.latency import latency, processor
from automl.export.session import Session
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Target, Variant
from automl.export.web import browser, npm
from automl.export.web.bundle import SITE, WASM, WEBGPU, write_page
from automl.export.web.description import described

USAGE = """This folder is a static page. `python -m http.server` in it, then
http://localhost:8000 shows the model at work; any web server will do. In a page of your own:

    import {{ load }} from "./model.js";
    const model = await load();
    const outputs = await model.run({example});

model.json tells inputs, outputs and examples. `load({{ engine: "webgpu" }})` computes on the
GPU where the browser has WebGPU; {webgpu}. `load({{ threads: 4 }})` needs a
page that is cross-origin isolated (Cross-Origin-Opener-Policy: same-origin,
Cross-Origin-Embedder-Policy: require-corp). onnxruntime-web is MIT, see
onnxruntime-web.LICENSE.txt.
"""


class WebTarget(Target):
    """onnxruntime-web in a browser, by WebAssembly, on WebGPU where present."""

    name = "web"

    def check(self, settings: ExportSettings) -> None:
        """Refuse if onnxruntime-web can be found neither in the cache nor by npm."""
        super().check(settings)
        npm.package("onnxruntime-web")

    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """A complete page."""
        about = described(subject, canonical.metadata)
        write_page(folder, canonical.path, about, SITE, WASM | WEBGPU)
        facts = {
            "runtime": f"onnxruntime-web {npm.VERSIONS['onnxruntime-web']}",
            "engine": "wasm",
            "webgpu": "prepared, not verified",
            "bytes": canonical.path.stat().st_size,
            "downloaded": sum((folder / "ort" / name).stat().st_size for name in WASM.values()),
        }
        return [Variant("fp32", "model.onnx", facts=facts)]

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """The page in headless Chromium: its example, parity at several sizes, the task metric."""
        lacking = browser.missing()
        if lacking:
            return variant.found("prepared", f"not run in a browser: {lacking}")
        with browser.served(folder) as url, browser.opened(url) as page:
            page.load()
            return compared(subject, page, variant, settings)

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency of one example in the browser and in native onnxruntime, one thread each."""
        return [] if browser.missing() else measured(subject, folder, variant.file)

    def latency_us(self, subject: Subject, folder: Path, variant: Variant) -> float | None:
        """In headless Chromium, where there is one."""
        if browser.missing():
            return None
        lengths = parity.example_lengths(subject.exportable) | {"batch": 1}
        with browser.served(folder) as url, browser.opened(url) as page:
            page.load()
            return page.latency(parity.inputs_of(subject.exportable, lengths, seed=1))["p50_us"]

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """A call in JavaScript."""
        example = ", ".join(
            f"{name}: {{ dims: {[1, *tensor.shape[1:]]}, data: [...] }}"
            for name, tensor in subject.exportable.inputs.items()
        )
        webgpu = variants[0].facts["webgpu"]
        return USAGE.format(example="{ " + example + " }", webgpu=f"that was {webgpu}")


def compared(
    subject: Subject, page: browser.Browser, variant: Variant, settings: ExportSettings
) -> Variant:
    """A variant whose model a page has loaded, compared with PyTorch."""
    limit = parity.rule(variant.precision, subject.exportable.tolerance, settings.max_drop)
    found = parity.proven(subject, page, limit)
    facts = {**variant.facts, "browser": page.name}
    variant = replace(variant, parity=found, facts=facts)
    return (
        variant.found("ok")
        if found["ok"]
        else variant.found("parity_fail", parity.disagreement(found))
    )


def measured(subject: Subject, folder: Path, file: str) -> list[dict[str, Any]]:
    """Latency of one example on the page in ``folder`` and of its file in native onnxruntime."""
    lengths = parity.example_lengths(subject.exportable) | {"batch": 1}
    inputs = parity.inputs_of(subject.exportable, lengths, seed=1)
    about = {"batch": 1, "sizes": lengths, "threads": 1, "memory": None}
    with browser.served(folder) as url, browser.opened(f"{url}/{browser.DESCRIPTION}") as page:
        load_us = page.load()
        times = page.latency(inputs)
        device = f"{page.name}, {processor()}"
        program = f"onnxruntime-web {npm.VERSIONS['onnxruntime-web']}"
    session = Session(folder / file)
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
    native = latency(partial(session.run, feeds))
    web = {"runtime": program, "device": device, "engine": "wasm", "load_us": load_us}
    return [
        {**about, **times, **web, "times_native": times["p50_us"] / native["p50_us"]},
        {**about, **native, "runtime": "onnxruntime", "device": processor()},
    ]
