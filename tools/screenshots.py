"""Take the pictures of the documentation from a database: a study, its winner, the ranking.

Run a search first, then ``python tools/screenshots.py``. The pictures go to docs/images, as SVG
files that hold a compressed bitmap: texts, which any version control keeps. The study is that of
the best model, the ranking that of the dataset that was searched last.
"""

from __future__ import annotations

import base64
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


def settled(page: Page) -> None:
    """Wait until charts are drawn."""
    page.locator(".js-plotly-plot").first.wait_for(timeout=60_000)
    page.wait_for_timeout(4000)


def keep(name: str, png: bytes) -> None:
    """Write a picture with 128 colours, wrapped as SVG."""
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(128)
    packed = io.BytesIO()
    picture.save(packed, "PNG", optimize=True)
    data = base64.b64encode(packed.getvalue()).decode()
    width, height = picture.size
    size = f'width="{width}" height="{height}"'
    IMAGES.mkdir(parents=True, exist_ok=True)
    (IMAGES / f"{name}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}">'
        f'<image {size} href="data:image/png;base64,{data}"/></svg>\n'
    )


def main() -> None:
    """Take all pictures."""
    reference = query.best()
    server = serve()
    try:
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 1750})
            page.goto(f"{URL}/study?study={reference.partition('/')[0]}")
            settled(page)
            keep("study", page.screenshot())
            keep("curves", page.locator(".js-plotly-plot").nth(1).screenshot())
            page.set_viewport_size({"width": 1280, "height": 1050})
            page.goto(f"{URL}/model?trial={reference}")
            settled(page)
            page.get_by_role("tab", name="Export").click()
            page.wait_for_timeout(2500)
            keep("model", page.screenshot())
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(f"{URL}/ranking")
            settled(page)
            keep("ranking", page.screenshot())
            browser.close()
    finally:
        os.killpg(server.pid, 15)


if __name__ == "__main__":
    main()
