"""Write the domains of the adaptation study, each as a folder in BEIR's layout: documents, queries, relevance.

========== =============================================== ==========================================================
domain     documents                                       queries
========== =============================================== ==========================================================
python-docs what the docstrings of the installed Python     first sentence of each docstring
           say after their first sentence
manpages   DESCRIPTION of Linux manual pages               line under NAME
debian     long descriptions of Debian packages,           short descriptions of the first 3,000
           6,000 drawn with a fixed seed
========== =============================================== ==========================================================

No query is part of a document. The descriptions of packages are Debian's file Translation-en, as text; on Debian it is
found by itself after ``apt-get -o Acquire::Languages=en update``.

    python benchmarks/domains.py OUTPUT --manpages pages.jsonl [--packages Translation-en] [--documents 6000]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from smoothcse.evaluation.retrieval import python_docs_task

DEBIAN_SEED = 0
LEAST_WORDS = 30

Pair = tuple[str, str]


def main() -> None:
    """Write all domains whose source is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder for one folder per domain")
    parser.add_argument("--manpages", type=Path, help="JSON lines with summary and text")
    parser.add_argument("--packages", type=Path, help="Debian's Translation-en, as text [apt's copy]")
    parser.add_argument("--documents", type=int, default=6000, help="packages to draw; half of them are asked for")
    arguments = parser.parse_args()
    task = python_docs_task()
    write(arguments.output / "python-docs", list(zip(task.queries, task.documents, strict=True)))
    if arguments.manpages:
        write(arguments.output / "manpages", list(manual_pages(arguments.manpages)))
    pairs = debian(package_stanzas(arguments.packages), arguments.documents)
    write(arguments.output / "debian", pairs, queries=arguments.documents // 2)


def write(folder: Path, pairs: Sequence[Pair], queries: int | None = None) -> None:
    """Write a domain in BEIR's layout.

    Args:
        folder: Folder to write.
        pairs: Query and document of each document.
        queries: Number of documents, from the first, whose query is asked; None for all.
    """
    asked = pairs[:queries]
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    _write_lines(folder / "corpus.jsonl", ({"_id": f"d{row}", "text": text} for row, (_, text) in enumerate(pairs)))
    _write_lines(folder / "queries.jsonl", ({"_id": f"q{row}", "text": query} for row, (query, _) in enumerate(asked)))
    judgements = "".join(f"q{row}\td{row}\t1\n" for row in range(len(asked)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judgements)
    print(f"{folder}: {len(pairs):,} documents, {len(asked):,} queries")


def manual_pages(path: Path) -> Iterator[Pair]:
    """Yield summary and text of each page."""
    for line in path.read_text(encoding="utf-8").splitlines():
        page = json.loads(line)
        yield page["summary"], page["text"]


def package_stanzas(path: Path | None) -> Iterator[str]:
    """Yield the record of each package."""
    if path:
        yield from path.read_text(encoding="utf-8").split("\n\n")
        return
    targets = ["apt-get", "-o", "Acquire::Languages=en", "indextargets", "--format", "$(FILENAME)"]
    for name in _output([*targets, "Created-By: Translations"]).splitlines():
        yield from _output(["/usr/lib/apt/apt-helper", "cat-file", name]).split("\n\n")


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def debian(stanzas: Iterable[str], count: int) -> list[Pair]:
    """Return short and long descriptions of some packages, drawn, each text once."""
    found: dict[str, Pair] = {}
    for stanza in stanzas:
        match = re.search(r"^Description(?:-en)?: (.+)\n((?: .*(?:\n|$))+)", stanza, re.MULTILINE)
        if match:
            document = _paragraphs(match[2])
            if len(document.split()) >= LEAST_WORDS and match[1] not in document:
                found.setdefault(document, (match[1], document))
    distinct = list({query: (query, document) for query, document in found.values()}.values())
    return random.Random(DEBIAN_SEED).sample(sorted(distinct), count)


def _paragraphs(description: str) -> str:
    """Return the text of a long description, whose lines begin with a space; a line with a dot ends a paragraph."""
    lines = [line[1:] for line in description.splitlines()]
    return "\n".join(" ".join(part.split()) for part in "\n".join(lines).split("\n.\n"))


def _write_lines(path: Path, records: Iterable[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


if __name__ == "__main__":
    main()
