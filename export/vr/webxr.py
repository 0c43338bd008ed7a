"""The WebXR page: written, and run in headless Chromium with an emulated headset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from automl.core.errors import ExportError
from automl.export.subject import Subject
from automl.export.web import browser, npm
from automl.export.web.bundle import WASM, write_page
from automl.export.web.description import described

SITE = Path(__file__).parent / "site"
THREE = {
    "build/three.module.js": "three.module.js",
    "build/three.core.js": "three.core.js",
    "LICENSE": "LICENSE.txt",
}
DEVICE = "Meta Quest 3, emulated by iwer"
EMULATE = """
globalThis.headset = new IWER.XRDevice(IWER.metaQuest3, { stereoEnabled: true });
headset.installRuntime({ forceInstall: true });
"""
# software rendering: a headless machine may have no graphics
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
WINDOW = (320, 240)  # pixels; nobody looks, and each is computed on the CPU at every frame
SHOWN = """async () => {
    const { shown } = await import(new URL("scene.js", location.href));
    return { ...shown, outputs: null };
}"""
PULL = """async (pressed) => {
    headset.controllers.right.updateButtonValue("trigger", pressed);
}"""
EXAMPLES = 3  # to look at in the headset
STEP = 0.25  # metres that the emulated head moves
WAIT_MS, TURNS = 100, 200


def write(folder: Path, subject: Subject, graph: Path, metadata: dict[str, str]) -> None:
    """Write the page into ``folder``."""
    write_page(folder, graph, described(subject, metadata), SITE, WASM)
    npm.copy("three", THREE, folder / "three")


@contextmanager
def worn(folder: Path) -> Iterator[browser.Browser]:
    """The page in ``folder``, open in a browser that has an emulated headset."""
    emulator = (npm.package("iwer") / "build" / "iwer.min.js").read_text()
    script = emulator + EMULATE
    with browser.served(folder) as url, browser.opened(url, FLAGS, script, WINDOW) as page:
        yield page


def session(page: browser.Browser, examples: int = EXAMPLES) -> dict[str, Any]:
    """Enter virtual reality, look around, see the next examples, leave: what was found.

    Raises:
        ExportError: saying what the page did not do.
    """
    page.evaluate("() => document.getElementById('enter').click()")
    state = until(page, lambda s: s["session"] == "running" and s["frames"] > 3, "enter VR")
    if state["views"] != 2:
        raise ExportError(f"the page drew {state['views']} views in the headset, not 2")
    before = state["head"][0]
    page.evaluate(f"() => {{ headset.position.x += {STEP}; }}")
    until(page, lambda s: abs(s["head"][0] - before - STEP) < 1e-3, "follow the head")
    # turned to the floor: a ray that meets the board would add a point
    page.evaluate("() => headset.controllers.right.quaternion.set(-0.7071, 0, 0, 0.7071)")
    turned: int = page.evaluate(SHOWN)["frames"]
    until(page, lambda s: s["frames"] > turned + 2, "go on drawing")  # where the hand points now
    for turn in range(1, examples):
        for pressed in (1, 0):
            page.evaluate(PULL, pressed)
            page.page.wait_for_timeout(WAIT_MS)
        state = until(page, partial(answered, turn), f"answer example {turn + 1} as PyTorch does")
    page.evaluate("async () => { await headset.activeSession?.end(); }")
    ended = until(page, lambda s: s["session"] == "ended", "leave VR")
    return {
        "headset": f"{DEVICE} {npm.VERSIONS['iwer']}",
        "views": 2,
        "frames": ended["frames"],
        "examples_shown": state["example"] + 1,
    }


def answered(turn: int, state: dict[str, Any]) -> bool:
    """Whether the page shows the right answer to an example."""
    return bool(state["example"] == turn and state["agrees"])


def until(
    page: browser.Browser, done: Callable[[dict[str, Any]], bool], what: str
) -> dict[str, Any]:
    """What the page shows as soon as ``done`` holds for it."""
    for _ in range(TURNS):
        state: dict[str, Any] = page.evaluate(SHOWN)
        if done(state):
            return state
        page.page.wait_for_timeout(WAIT_MS)
    raise ExportError(f"the page did not {what}: {page.page.inner_text('#status')}")
