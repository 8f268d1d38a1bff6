"""Time the two commands that lead from a folder of pages to a page that searches them.

The pages hold the documentation of the running Python, a quarter each as HTML, Markdown, plain text and PDF, ten pages
to a PDF. ``smoothcse adapt`` and ``smoothcse serve`` run as processes of their own, as a user gives them. Writing the
pages, and installation, are not timed.

    python benchmarks/two_commands.py [--pages 2000] [--minutes 6] [--model packaged-minilm] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import httpx
import typst
from harness import keep, require_idle_machine, show
from service_load import free_port, wait_for

from smoothcse.corpus.python_docs import iter_docstrings
from smoothcse.experiments.adapt.record import read_record

COMMANDS = ("adapt", "serve")
FORMATS = ("html", "md", "txt", "pdf")
PAGES_OF_A_PDF = 10
MOST_WORDS = 300
"""Maximum words of a page, unless a single paragraph is longer."""

QUICK = 4
"""Number of pages of a quick run, too few to train on."""

QUERY = "how do I read a file line by line"

_PDF = """
#let pages = json(bytes(sys.inputs.pages))
#for page in pages { heading(page.title); for text in page.paragraphs { par(text) }; pagebreak(weak: true) }
"""


@dataclass(frozen=True)
class Page:
    """A page of documentation.

    Attributes:
        title: Name of the first object or topic that it documents.
        paragraphs: Its text.
    """

    title: str
    paragraphs: list[str]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=2000, help="number of pages")
    parser.add_argument("--minutes", type=float, default=6.0, help="time budget of the adaptation")
    parser.add_argument("--model", default="packaged-minilm", help="encoder to start from")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    if not arguments.quick:
        require_idle_machine()
    with tempfile.TemporaryDirectory() as place:
        docs, my = Path(place) / "docs", Path(place) / "my"
        pages = make_pages(QUICK if arguments.quick else arguments.pages)
        files = write_pages(docs, pages)
        words = sum(len(text.split()) for page in pages for text in page.paragraphs)
        print(f"{len(pages):,} pages of {words // len(pages)} words in {files}", flush=True)
        found: dict[str, Any] = {"pages": len(pages), "words": words, "files": files, "model": arguments.model}
        found |= {"minutes": arguments.minutes, "adapt": adapt(docs, my, arguments.model, arguments.minutes)}
        found |= {"serve": serve(my)}
    report(found)
    keep("two_commands", found, arguments.quick)


def report(found: dict[str, Any]) -> None:
    """Print the table."""
    rows = [
        [f"{command}: {part}", f"{seconds:.1f}"]
        for command in COMMANDS
        for part, seconds in found[command]["seconds"].items()
    ]
    whole = sum(sum(found[command]["seconds"].values()) for command in COMMANDS)
    peaks = " and ".join(f"{found[command]['peak_mb']:.0f} MB" for command in COMMANDS)
    caption = f"{found['serve']['documents']:,} passages; peak memory {peaks}. {found['adapt']['verdict']}"
    show(f"{found['pages']:,} pages", ["part", "seconds"], [*rows, ["both", f"{whole:.1f}"]], caption)


# ---- the pages ----------------------------------------------------------------------------------------------


def make_pages(count: int) -> list[Page]:
    """Return pages of about equal length from the documentation of the running Python.

    Args:
        count: Number of pages; a few fewer where a paragraph is longer than a page.
    """
    paragraphs, before = [], [0]  # and the number of words before each
    for name, text in documentation():
        if before[-1] >= count * MOST_WORDS:
            break
        paragraphs.append((name, text))
        before.append(before[-1] + len(text.split()))
    words = min(MOST_WORDS, before[-1] // count)
    placed = ((place // words, *paragraph) for place, paragraph in zip(before, paragraphs, strict=False))
    grouped = (list(group) for number, group in groupby(placed, itemgetter(0)) if number < count)
    return [Page(group[0][1], [text for _, _, text in group]) for group in grouped]


def documentation() -> Iterator[tuple[str, str]]:
    """Yield the name and each paragraph of all topics and docstrings of the running Python."""
    for name, text in named_texts():
        for paragraph in text.split("\n\n"):
            if words := " ".join(paragraph.split()):
                yield name, words


def named_texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each topic, and then, which takes seconds to read, of each docstring."""
    yield from topics.items()
    yield from ((docstring.name, docstring.text) for docstring in iter_docstrings())


def write_pages(folder: Path, pages: Sequence[Page]) -> dict[str, int]:
    """Write pages in turn in each format, and return the number of files of each."""
    folder.mkdir()
    written: Counter[str] = Counter()
    printed = []
    for number, page in enumerate(pages):
        kind = FORMATS[number % len(FORMATS)]
        if kind == "pdf":
            printed.append(page)
        else:
            (folder / f"{number:05}.{kind}").write_text(as_text(page, kind), encoding="utf-8")
            written[kind] += 1
    for first in range(0, len(printed), PAGES_OF_A_PDF):
        content = json.dumps([vars(page) for page in printed[first : first + PAGES_OF_A_PDF]])
        typst.compile(_PDF.encode(), output=folder / f"manual-{first:05}.pdf", sys_inputs={"pages": content})
        written["pdf"] += 1
    return dict(written)


def as_text(page: Page, kind: str) -> str:
    """Return a page as HTML, Markdown or plain text."""
    if kind == "html":
        body = "\n".join(f"<p>{escape(text)}</p>" for text in page.paragraphs)
        title = escape(page.title)
        return f'<!doctype html>\n<html lang="en"><title>{title}</title>\n<h1>{title}</h1>\n{body}\n</html>\n'
    heading = f"# {page.title}" if kind == "md" else page.title
    return "\n\n".join([heading, *page.paragraphs]) + "\n"


# ---- the commands -------------------------------------------------------------------------------------------


def adapt(docs: Path, my: Path, model: str, minutes: float) -> dict[str, Any]:
    """Run ``smoothcse adapt`` and return its seconds, its verdict and its peak memory in MB."""
    started = time.perf_counter()
    process = smoothcse("adapt", docs, "-o", my, "--model", model, "--minutes", minutes)
    peak_mb = ended(process)
    if process.returncode:
        raise SystemExit(f"`smoothcse adapt` failed with exit code {process.returncode}.")
    whole, record = time.perf_counter() - started, read_record(my)
    return {
        "seconds": {"read, train and judge": record.seconds, "start, index and report": whole - record.seconds},
        "passages": record.documents["kept"],
        "trials": len(record.trials),
        "verdict": record.summary,
        "peak_mb": peak_mb,
    }


def serve(my: Path) -> dict[str, Any]:
    """Run ``smoothcse serve`` until it has answered its page and a search; return what :func:`adapt` does."""
    port = free_port()
    started = time.perf_counter()
    process = smoothcse("serve", my, "--port", port)
    try:
        wait_for(f"http://127.0.0.1:{port}/", process)
        shown = time.perf_counter()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            answer = client.post("/search", json={"query": QUERY}).raise_for_status().json()
            found = time.perf_counter()
            [model] = client.get("/models").raise_for_status().json()["models"]
    finally:
        process.terminate()
        peak_mb = ended(process)
    if not answer["results"]:
        raise SystemExit("The search found nothing.")
    return {
        "seconds": {"until the page is there": shown - started, "first search": found - shown},
        "documents": model["documents"],
        "peak_mb": peak_mb,
    }


def ended(process: subprocess.Popen[bytes]) -> float:
    """Wait for the end of a process, and return its peak memory in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024


def smoothcse(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command of this package."""
    return subprocess.Popen([sys.executable, "-m", "smoothcse", *map(str, arguments)])


if __name__ == "__main__":
    main()
