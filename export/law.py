"""The law that needs the export extra: what is exported computes what PyTorch computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from automl.core.check import Case
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model


def export_matches_torch(case: Case) -> None:
    """The exported graph equals the model at several sizes, discrete outputs exactly."""
    model = case.build().eval()
    exportable = case.plugin.export(model, case.short, case.dataset.info)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        graph.write(exportable, path, {})
        found = compare(exportable, Session(path), eager_model(model, exportable))
    assert found["ok"], f"the graph disagrees with PyTorch: {found}"
