"""Take the screenshots of the service's page in ``docs/images``, over the Python documentation on this machine.

The second encoder is the first one after training::

    make demo
    python docs/pictures.py demo/adapted/last

This needs the extras ``serve`` and ``dev`` and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, expect, sync_playwright

from smoothcse.corpus.python_docs import labelled_pairs

IMAGES = Path(__file__).parent / "images"
MODULES = ("asyncio", "datetime", "decimal", "email", "logging", "os", "tkinter", "xml")
QUERY = "wait for a process to end"


def main() -> None:
    """Index the documents, start the service and take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", help="folder of the second encoder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = write_documents(Path(folder) / "docs.jsonl")
        models = ["packaged-minilm", arguments.trained]
        indexes = []
        for number, model in enumerate(models):
            indexes += ["--index", f"{folder}/{number}.index"]
            smoothcse("index", model, str(documents), "-o", f"{folder}/{number}.index")
        with served(models, indexes) as url, sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            photograph(browser, url)
            browser.close()


def write_documents(file: Path) -> Path:
    """Write the first paragraphs of the docstrings of ``MODULES``."""
    rows = [{"text": pair.query, "module": pair.name.split(".")[0], "name": pair.name} for pair in labelled_pairs()]
    rows = [row for row in rows if row["module"] in MODULES]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def smoothcse(*arguments: str) -> None:
    """Run a command of smoothcse."""
    subprocess.run([sys.executable, "-m", "smoothcse", *arguments], check=True)


@contextmanager
def served(models: list[str], indexes: list[str]) -> Iterator[str]:
    """Run the service and yield its address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    options = [*indexes, "--port", str(port)]
    server = subprocess.Popen([sys.executable, "-m", "smoothcse", "serve", *models, *options])
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urlopen(f"{url}/healthz", timeout=1)
                break
            except OSError:
                time.sleep(0.3)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def photograph(browser: Browser, url: str) -> None:
    """Take all screenshots."""
    wide = {"width": 1180, "height": 760}
    for scheme in ("light", "dark"):
        page = opened(browser, f"{url}/#search", scheme, wide)
        page.get_by_role("searchbox").fill(QUERY)
        expect(page.locator("#results li")).to_have_count(20)
        page.screenshot(path=IMAGES / f"page-search-{scheme}.png")
    page = opened(browser, f"{url}/#pairs", "light", wide)
    expect(page.locator(".heat")).to_have_count(2)
    page.screenshot(path=IMAGES / "page-pairs.png")
    page = opened(browser, f"{url}/#map", "light", {"width": 1180, "height": 820})
    page.set_default_timeout(120_000)
    page.locator("#map-legend button").first.wait_for()
    page.locator("#map-canvas").focus()
    page.keyboard.press("Enter")
    page.locator("#map-chosen li").first.wait_for()
    page.screenshot(path=IMAGES / "page-map.png")
    page = opened(browser, f"{url}/#search", "light", {"width": 390, "height": 780})
    page.get_by_role("searchbox").fill(QUERY)
    expect(page.locator("#results li").first).to_be_visible()
    page.screenshot(path=IMAGES / "page-phone.png")


def opened(browser: Browser, address: str, scheme: str, size: dict[str, int]) -> Page:
    """Open the page in a new browser context."""
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()  # type: ignore[arg-type]
    page.goto(address)
    return page


if __name__ == "__main__":
    main()
