"""Search in a large index: what the approximate path finds of the ten nearest, how fast, and what smaller codes cost.

Real captions are indexed by the real ``Index``; others that are not in it are the queries. Each kind of codes is
compared with the exact search of the same index. Fewer dimensions are compared by a plain product over all documents.

    python benchmarks/search_recall.py [--documents 100000] [--queries 500] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from harness import SHARED, keep, show
from numpy.typing import NDArray

from smoothcse.corpus import load_sentences
from smoothcse.encoding import encode
from smoothcse.quiet import quiet_libraries
from smoothcse.search import Document, Index, index

NEAREST = 10
WIDTHS = (192, 128, 64)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--text", type=Path, default=SHARED / "data" / "corpus" / "captions.txt")
    parser.add_argument("--model", default="packaged-minilm")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quiet_libraries()
    count, queries = (600, 20) if arguments.quick else (arguments.documents, arguments.queries)
    if arguments.quick:
        index.APPROXIMATE_FROM = 500
    sentences = load_sentences(arguments.text, limit=count + queries, seed=0).dataset["sentence"][:]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = Index.build(Path(folder) / "docs.index", arguments.model, map(Document, sentences[queries:]))
        built = time.perf_counter() - started
        asked = encode(made.model, sentences[:queries], normalize=True)
        expected, exact = searched(made, asked, exact=True)
        ways = [{"codes": "exact", "recall": 1.0, "recall_sd": 0.0, **exact}]
        for codes in get_args(index.Codes):
            if codes != made.codes:
                made.encode_as(codes)
            found, timed = searched(made, asked, exact=False)
            ways.append({"codes": codes, **recall(expected, found), **timed})
        size = sum(file.stat().st_size for file in made.path.rglob("*") if file.is_file())
        kept = made.sample(len(made))[1]
    widths = [{"dimensions": width, **recall(nearest(asked, kept), nearest(asked, kept, width))} for width in WIDTHS]
    rows = [[way["codes"], share(way), f"{way['p50_ms']:.1f}", f"{way['p95_ms']:.1f}"] for way in ways]
    title = f"{len(kept):,} documents, {queries} queries, built in {built:.0f} s, {size / 1e6:.0f} MB with all codes"
    show(title, ["codes", f"recall@{NEAREST}", "p50 ms", "p95 ms"], rows)
    rows = [[str(one["dimensions"]), share(one)] for one in widths]
    show("First dimensions alone, exact", ["dimensions", f"recall@{NEAREST}"], rows)
    result = {"documents": len(kept), "queries": queries, "build_seconds": built, "ways": ways, "dimensions": widths}
    keep("search_recall", result, arguments.quick)


def searched(made: Index, queries: NDArray[np.float32], *, exact: bool) -> tuple[list[set[str]], dict[str, Any]]:
    """Return what each query finds, and how long it takes."""
    made.search(queries[:20], NEAREST, exact=exact)  # warm up
    found, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        hits = made.nearest(query, NEAREST, exact=exact)
        seconds.append(time.perf_counter() - started)
        found.append({hit.id for hit in hits})
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return found, {"p50_ms": float(p50), "p95_ms": float(p95)}


def nearest(queries: NDArray[np.float32], documents: NDArray[np.float32], width: int | None = None) -> list[set[str]]:
    """Return the rows of the nearest documents by the first dimensions of both."""
    a, b = (rows[:, :width] / np.linalg.norm(rows[:, :width], axis=1, keepdims=True) for rows in (queries, documents))
    return [set(map(str, row)) for row in np.argpartition(-(a @ b.T), NEAREST, axis=1)[:, :NEAREST]]


def recall(expected: list[set[str]], found: list[set[str]]) -> dict[str, float]:
    """Return mean and standard deviation over queries."""
    shares = [len(a & b) / NEAREST for a, b in zip(expected, found, strict=True)]
    return {"recall": float(np.mean(shares)), "recall_sd": float(np.std(shares, ddof=1))}


def share(way: dict[str, Any]) -> str:
    """Return a recall with its spread over queries."""
    return f"{way['recall']:.3f} ± {way['recall_sd']:.3f}"


if __name__ == "__main__":
    main()
