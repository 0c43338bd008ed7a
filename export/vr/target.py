"""The target ``vr``: a WebXR page for headsets' browsers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl.core.errors import AutoMLError
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Target, Variant
from automl.export.vr import webxr
from automl.export.web import browser, npm
from automl.export.web.target import compared, measured

PAGE = "webxr/model.onnx"


class VrTarget(Target):
    """A scene in the headset's browser, and a package for Unity."""

    name = "vr"

    def check(self, settings: ExportSettings) -> None:
        """Refuse if the page's libraries can be found neither in the cache nor by npm."""
        super().check(settings)
        npm.package("onnxruntime-web")
        npm.package("three")

    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """``webxr/``, a static page."""
        page = folder / "webxr"
        webxr.write(page, subject, canonical.path, canonical.metadata)
        return [Variant("fp32", PAGE, facts={"engine": "wasm"})]

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """The page in headless Chromium with an emulated headset."""
        return page_verified(subject, folder / "webxr", variant, settings)

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency in the browser of this machine, which says nothing about a headset's."""
        if variant.file != PAGE or browser.missing():
            return []
        return measured(subject, folder / "webxr", "model.onnx")


def page_verified(
    subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
) -> Variant:
    """The page, its session in an emulated headset and its answers against PyTorch's."""
    lacking = browser.missing()
    if not lacking:
        try:
            npm.package("iwer")
        except AutoMLError as error:
            lacking = str(error)
    if lacking:
        return variant.found("prepared", f"not run in an emulated headset: {lacking}")
    with webxr.worn(folder) as page:
        seen = webxr.session(page)
        page.load()
        variant = compared(subject, page, variant, settings)
    variant.facts.update(seen)
    return variant
