"""A page in headless Chromium as a runtime: named tensors in, named tensors out."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from automl.core.errors import ExportError
from automl.export.latency import LATENCY_SECONDS, REPEATS, WARM_UP, summary

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_MS = 120_000
DESCRIPTION = "model.json"  # beside model.js, and without a demonstration that takes time
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update")
# Playwright carries arguments as JSON: tensors travel as base64 of their bytes.
CODEC = """
globalThis.ARRAYS = { float32: Float32Array, float64: Float64Array, int32: Int32Array,
    int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array };
globalThis.decoded = (feeds) => Object.fromEntries(Object.entries(feeds).map(
    ([name, { type, dims, data }]) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        return [name, { dims, data: new ARRAYS[type](bytes.buffer) }];
    }));
globalThis.encoded = (outputs) => Object.fromEntries(Object.entries(outputs).map(
    ([name, { type, dims, data }]) => {
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        let text = "";
        for (let i = 0; i < bytes.length; i += 8192) {
            text += String.fromCharCode(...bytes.subarray(i, i + 8192));
        }
        return [name, { type, dims, data: btoa(text) }];
    }));
"""
LOAD = """async (engine) => {
    const { load } = await import(new URL("model.js", location.href));
    const started = performance.now();
    globalThis.model = await load({ engine });
    return (performance.now() - started) * 1000;
}"""
RUN = "async (feeds) => encoded(await model.run(decoded(feeds)))"
# Browsers coarsen their clock to 0.1 ms: a sample is as many calls as take 2 ms.
MEASURE = """async ([feeds, warmUp, repeats, seconds]) => {
    const tensors = model.tensors(decoded(feeds));
    const timed = async (calls) => {
        const started = performance.now();
        for (let i = 0; i < calls; i++) await model.session.run(tensors);
        return performance.now() - started;
    };
    await timed(warmUp);
    let calls = 1;
    while ((await timed(calls)) < 2) calls *= 2;
    const samples = [];
    const end = performance.now() + seconds * 1000;
    while (samples.length < repeats && performance.now() < end) {
        samples.push(((await timed(calls)) / calls) * 1000);
    }
    return { calls, samples };
}"""


def missing() -> str:
    """What is not installed and how to install it; empty if pages can be run."""
    if find_spec("playwright") is None:
        return 'pages are run by Playwright: pip install "automl-papers[web]"'
    if chromium() is None:
        return "pages are run in Chromium, which is not installed: apt-get install chromium"
    return ""


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, without a line on the screen for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine alone; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def opened(
    url: str,
    arguments: tuple[str, ...] = (),
    script: str = "",
    size: tuple[int, int] = (1100, 900),
) -> Iterator[Browser]:
    """A fresh headless Chromium at an address; ``script`` runs there before a page's own.

    ``size`` is the window's, in pixels.

    Raises:
        ExportError: if the page reports that it failed, or never says that it is ready.
    """
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            program = playwright.chromium.launch(
                executable_path=chromium(), args=[*QUIET, *arguments]
            )
        except Error as error:
            raise ExportError(f"Chromium does not start: {error}") from error
        try:
            page = program.new_page(viewport={"width": size[0], "height": size[1]})
            page.set_default_timeout(PATIENCE_MS)
            page.add_init_script(CODEC + script)
            found = Browser(page, f"Chromium {program.version.split('.')[0]} (headless)")
            found.open(url)
            yield found
        finally:
            program.close()


class Browser:
    """A loaded page, whose model can be called like any other runtime."""

    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name
        self.said: list[str] = []
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def open(self, url: str) -> None:
        """Go to an address; a page must say that it is ready, other files need not."""
        from playwright.sync_api import Error

        try:
            self.page.goto(url)
            if url.endswith(DESCRIPTION):
                return
            self.page.wait_for_selector("html[data-state]", state="attached")
        except Error as error:
            said = "; ".join(self.said) or error.message
            raise ExportError(f"the page does not become ready: {said[:400]}") from error
        if self.page.get_attribute("html", "data-state") != "ready":
            raise ExportError(self.page.inner_text("#status"))

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """The value of a function in the page.

        Raises:
            ExportError: with what the page says.
        """
        from playwright.sync_api import Error

        try:
            return self.page.evaluate(script, argument)
        except Error as error:
            raise ExportError(f"the browser says: {error.message[:400]}") from error

    def load(self, engine: str = "wasm") -> float:
        """Load the model as a page's author would; how long that took, in microseconds."""
        return float(self.evaluate(LOAD, engine))

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name."""
        found = self.evaluate(RUN, encoded(inputs))
        return {name: decoded(tensor) for name, tensor in found.items()}

    def latency(self, inputs: dict[str, Tensor]) -> dict[str, float]:
        """Times of a call in microseconds, of the runtime alone, after a warm-up."""
        settings = [encoded(inputs), WARM_UP, REPEATS, LATENCY_SECONDS]
        found = self.evaluate(MEASURE, settings)
        return {**summary(found["samples"]), "calls_per_sample": found["calls"]}


def encoded(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors as JSON."""
    return {
        name: {
            "type": str(tensor.dtype).removeprefix("torch."),
            "dims": list(tensor.shape),
            "data": base64.b64encode(tensor.contiguous().numpy().tobytes()).decode(),
        }
        for name, tensor in inputs.items()
    }


def decoded(output: dict[str, Any]) -> Tensor:
    """The tensor of such JSON."""
    content = np.frombuffer(base64.b64decode(output["data"]), output["type"])
    return torch.from_numpy(content.reshape(output["dims"]).copy())
