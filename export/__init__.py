"""Turn a trained model into verified runtime artifacts."""

from __future__ import annotations

from collections.abc import Callable

from automl.core.cards import TargetCard
from automl.core.hooks import hookimpl


@hookimpl
def register_targets(register: Callable[[TargetCard], None]) -> None:
    """Offer the runtimes that a model can be exported to."""
    register(
        TargetCard(
            name="cpu",
            target="automl.export.cpu:CpuTarget",
            summary="ONNX for onnxruntime's CPU provider, in single precision and int8",
        )
    )
    register(
        TargetCard(
            name="gpu",
            target="automl.export.gpu.target:GpuTarget",
            summary="ONNX for onnxruntime's CUDA and TensorRT providers, in half precision",
        )
    )
    register(
        TargetCard(
            name="embedded",
            target="automl.export.embedded.target:EmbeddedTarget",
            summary="C99 for microcontrollers, proven by gcc and QEMU",
        )
    )
    register(
        TargetCard(
            name="web",
            target="automl.export.web.target:WebTarget",
            summary="a static page with onnxruntime-web",
        )
    )
    register(
        TargetCard(
            name="vr",
            target="automl.export.vr.target:VrTarget",
            summary="a WebXR page, and a package for Unity",
        )
    )
