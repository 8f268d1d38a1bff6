"""Do what the Dockerfile does, where no container engine is: install, index, serve, ask. ``make container`` runs this.

The wheel, the installation (``container/install``), the command and the health check are those of the image; only the
virtual environment stands for its Python. With ``--python``, an environment that exists is used and nothing installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from image import command, default_of, health_check  # noqa: E402

TEXTS = ("a train in winter", "people read small books about stars", "dogs ran past old houses by the sea")
TOKEN = "a-secret"
WAIT = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="Python with smoothcse and the extras of the image.")
    parser.add_argument("--torch-index", default="", help="Index of the build of torch. [the one that pip finds]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        python = options.python or install(Path(scratch), options.torch_index)
        serve(python.absolute(), Path(scratch))


def install(folder: Path, torch_index: str) -> Path:
    """Install the wheel with the extras of the image in a virtual environment, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    wheels = folder / "wheels"
    subprocess.run([python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", wheels, "."], check=True, cwd=ROOT)
    [wheel] = wheels.glob("*.whl")
    subprocess.run(["sh", "container/install", python, wheel, default_of("EXTRAS"), torch_index], check=True, cwd=ROOT)
    return python


def serve(python: Path, folder: Path) -> None:
    """Index three texts, start the image's command, wait until the health check succeeds, and search."""
    (folder / "docs.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    environment = {**os.environ, "SMOOTHCSE_TOKEN": TOKEN, "PATH": f"{python.parent}:{os.environ['PATH']}"}

    def run(*arguments: str, check: bool = True) -> bool:
        found = subprocess.run(arguments, cwd=folder, env=environment, check=check, capture_output=not check)
        return found.returncode == 0

    start = command()
    model, index = start[2], start[start.index("--index") + 1]
    run("smoothcse", "index", model, "docs.txt", "-o", index)
    server = subprocess.Popen(start, cwd=folder, env=environment)
    try:
        deadline = time.monotonic() + WAIT
        while not run(*health_check(), check=False):
            assert server.poll() is None, "the service ended"
            assert time.monotonic() < deadline, f"the service was not healthy within {WAIT} s"
            time.sleep(1)
        assert search("books on astronomy") == TEXTS[1]
    finally:
        server.terminate()
        server.wait(60)
    print("The steps of the Dockerfile install, serve, are healthy and search.")


def search(query: str) -> str:
    """Return the text of the first document for a query."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    body = json.dumps({"query": query, "k": 1}).encode()
    request = urllib.request.Request("http://127.0.0.1:8000/search", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["results"][0]["text"]


if __name__ == "__main__":
    main()
