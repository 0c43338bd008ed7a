"""The target ``vr``: a WebXR page for headsets' browsers, and a package for Unity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from automl.core.errors import AutoMLError
from automl.export.subject import Subject
from automl.export.targets import Canonical, ExportSettings, Target, Variant
from automl.export.vr import unity, webxr
from automl.export.web import browser, npm
from automl.export.web.target import compared, measured

PAGE = "webxr/model.onnx"
USAGE = """webxr/ is a static page: put it on any web server, open it in the headset's browser and
press *Enter VR*. Headsets enter only pages of an https address, or of localhost. The trigger adds
a point where the ray meets the board, else it shows the next example. On a screen the page shows
the same room. three.js and onnxruntime-web are MIT, see webxr/three/LICENSE.txt and
webxr/onnxruntime-web.LICENSE.txt.
"""
UNITY = "unity/ is a package for Unity 6 with Sentis, see unity/README.md; it was not run in Unity."


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
        """``webxr/``, a static page, and ``unity/``, a package, if Sentis can run the model."""
        webxr.write(folder / "webxr", subject, canonical.path, canonical.metadata)
        facts = {
            "runtime": f"onnxruntime-web {npm.VERSIONS['onnxruntime-web']}",
            "engine": "wasm",
            "bytes": canonical.path.stat().st_size,
        }
        package = unity.write(folder / "unity", subject, canonical.metadata)
        return [Variant("fp32", PAGE, facts=facts), package]

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """The page in an emulated headset; the package's graphs in onnxruntime."""
        if variant.precision == unity.PRECISION:
            return unity.verified(subject, folder, variant, settings)
        return page_verified(subject, folder / "webxr", variant, settings)

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency in the browser of this machine, which says nothing about a headset's."""
        if variant.file != PAGE or browser.missing():
            return []
        return measured(subject, folder / "webxr", "model.onnx")

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """How to open the page in a headset and the package in Unity."""
        lines = [USAGE]
        for variant in variants:
            if variant.precision == unity.PRECISION:
                lines.append(UNITY if variant.file else f"No package for Unity: {variant.message}.")
        return "\n".join(lines)


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
