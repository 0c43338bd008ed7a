"""Take the documentation's pictures of the browser application from a database.

Run searches first, that of several papers at the beginning, then ``python tools/screenshots.py``.
The pictures go to docs/images: the list of studies, the first study, its winner's card, the
comparison of its two best trials, the ranking of the dataset that was searched last.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from automl.dataset_db import query

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 8599
URL = f"http://127.0.0.1:{PORT}"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CHART, TABLE = ".js-plotly-plot .main-svg", "[data-testid=stDataFrame] canvas"
COLOURS = 128  # of a picture, which is flat
STUDY = 1


def serve() -> subprocess.Popen[bytes]:
    """The application, once it answers."""
    command = [sys.executable, "-m", "automl.ui.cli", "ui", "--port", str(PORT), "--no-browser"]
    server = subprocess.Popen(command, start_new_session=True)
    for _ in range(100):
        time.sleep(0.3)
        try:
            urlopen(f"{URL}/_stcore/health", timeout=1).read()
            return server
        except OSError:
            continue
    raise SystemExit("the application did not start")


def views() -> dict[str, tuple[str, str, int]]:
    """By picture: the address, what is there once it is drawn, and how high the window is."""
    best = query.best(study=STUDY)
    two = ",".join(f"{STUDY}/{row['number']}" for row in query.trials(STUDY)[:2])
    return {
        "ui-home-wide": ("", TABLE, 620),
        "ui-study-wide": (f"study?study={STUDY}", CHART, 1150),
        "ui-settings-wide": (f"study?study={STUDY}&view=Settings", CHART, 1420),
        "ui-export-wide": (f"model?trial={best}&tab=Export", "[role=tabpanel]", 900),
        "ui-compare-wide": (f"compare?trials={two}", TABLE, 1000),
        "ui-ranking-wide": ("ranking", CHART, 800),
    }


def keep(name: str, png: bytes) -> None:
    """Write a picture with few colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS)
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.save(IMAGES / f"{name}.png", optimize=True)


def take(page: Page) -> None:
    """Take all pictures."""
    for name, (address, drawn, height) in views().items():
        page.set_viewport_size({"width": 1280, "height": height})
        page.goto(f"{URL}/{address}")
        page.locator(drawn).first.wait_for(timeout=60_000)
        page.wait_for_timeout(4000)
        keep(name, page.screenshot())


def main() -> None:
    """Serve the database and take the pictures."""
    server = serve()
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            take(browser.new_page(viewport={"width": 1280, "height": 1000}))
            browser.close()
    finally:
        os.killpg(server.pid, 15)


if __name__ == "__main__":
    main()
