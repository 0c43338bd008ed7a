"""The files of a page: the graph, its description, the scripts and onnxruntime-web."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from automl.export.web import npm

SITE = Path(__file__).parent / "site"
SHARED = Path(__file__).parent / "shared"  # by all pages
WASM = {
    "dist/ort.wasm.min.mjs": "ort.wasm.min.mjs",
    "dist/ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.mjs",
    "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
# browsers fetch these only where a page asks for WebGPU
WEBGPU = {
    "dist/ort.webgpu.min.mjs": "ort.webgpu.min.mjs",
    "dist/ort-wasm-simd-threaded.asyncify.mjs": "ort-wasm-simd-threaded.asyncify.mjs",
    "dist/ort-wasm-simd-threaded.asyncify.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}


def write_page(
    folder: Path, graph: Path, about: Mapping[str, Any], scripts: Path, runtime: Mapping[str, str]
) -> None:
    """Write a complete static page into ``folder``.

    ``scripts`` is a folder of the page's own files, ``runtime`` the files of onnxruntime-web.

    Raises:
        MissingExtra: if onnxruntime-web is not in the cache and there is no npm.
    """
    shutil.copytree(SHARED, folder, dirs_exist_ok=True)
    shutil.copytree(scripts, folder, dirs_exist_ok=True)
    npm.copy("onnxruntime-web", runtime, folder / "ort")
    shutil.copyfile(graph, folder / str(about["file"]))
    (folder / "model.json").write_text(json.dumps(about, allow_nan=False))
