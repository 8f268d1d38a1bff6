"""Measure recall and latency of approximate search in a large index, for each quantisation.

The index contains distinct real captions; other captions are the queries. The search with each quantisation is
compared with the exact search of the same index, with and without re-ranking by the full embeddings. Truncated
embeddings are compared exactly, by a matrix product.

    python benchmarks/search_recall.py [--documents 100000] [--queries 500] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

import numpy as np
from harness import SHARED, keep, show
from numpy.typing import NDArray

from smoothcse._utils.choices import IndexQuantisation
from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.search import Document, Index, store, table_indexes

NEAREST = 10
WIDTHS = (256, 192, 128, 64)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000, help="number of indexed documents")
    parser.add_argument("--queries", type=int, default=500, help="number of queries")
    parser.add_argument(
        "--text",
        type=Path,
        default=SHARED / "data" / "corpus" / "captions.txt",
        help="text file to read sentences from",
    )
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    count, queries = (600, 20) if arguments.quick else (arguments.documents, arguments.queries)
    approximate_from = 500 if arguments.quick else table_indexes.APPROXIMATE_FROM
    sentences = load_sentences(arguments.text, limit=count + queries, seed=0).dataset["sentence"][:]
    with (
        patch.object(table_indexes, "APPROXIMATE_FROM", approximate_from),
        tempfile.TemporaryDirectory() as folder,
    ):
        started = time.perf_counter()
        made = Index.build(Path(folder) / "docs.index", arguments.model, map(Document, sentences[queries:]))
        built = time.perf_counter() - started
        asked = encode(made.model, sentences[:queries], normalize=True)
        kept = made.sample(len(made))[1]
        table = size(made.path) - size(made.path, "_indices")
        expected, exact = searched(made, asked, exact=True)
        ways = [{"codes": "none (exact)", **recall(expected, expected), **exact, "megabytes": 0.0}]
        ways += [compare(made, codes, asked, expected) for codes in get_args(IndexQuantisation)]
    truth = nearest(asked, kept)
    widths = [{"dimensions": width, **recall(truth, nearest(asked, kept, width))} for width in WIDTHS]
    result = {
        "documents": len(kept),
        "queries": queries,
        "build_seconds": built,
        "table_megabytes": table,
        "ways": ways,
        "dimensions": widths,
        "lancedb": metadata.version("lancedb"),
    }
    report(result)
    keep("search_recall", result, arguments.quick)


def compare(
    made: Index, codes: IndexQuantisation, queries: NDArray[np.float32], expected: list[set[str]]
) -> dict[str, Any]:
    """Return recall with and without re-ranking, time and size of the search with a quantisation."""
    before = size(made.path, "_indices")
    started = time.perf_counter()
    made.requantise(codes)
    seconds = time.perf_counter() - started
    megabytes = size(made.path, "_indices") - before  # older quantised embeddings stay for a while, for open readers
    found, timed = searched(made, queries, exact=False)
    with patch.object(store, "REFINE_FACTOR", 1):
        alone, _ = searched(made, queries, exact=False)
    by_codes = recall(expected, alone)["recall"]
    measured = {"recall_by_codes_alone": by_codes, "seconds": seconds, "megabytes": megabytes}
    return {"codes": codes, **recall(expected, found), **timed, **measured}


def searched(made: Index, queries: NDArray[np.float32], *, exact: bool) -> tuple[list[set[str]], dict[str, float]]:
    """Return the ids found for each query, and percentiles of the latency."""
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
    """Return the rows of the nearest documents, by the first ``width`` dimensions."""
    a, b = (rows[:, :width] / np.linalg.norm(rows[:, :width], axis=1, keepdims=True) for rows in (queries, documents))
    return [set(map(str, row)) for row in np.argpartition(-(a @ b.T), NEAREST, axis=1)[:, :NEAREST]]


def recall(expected: list[set[str]], found: list[set[str]]) -> dict[str, float]:
    """Return mean and standard deviation of the recall over queries."""
    shares = [len(a & b) / NEAREST for a, b in zip(expected, found, strict=True)]
    return {"recall": float(np.mean(shares)), "recall_sd": float(np.std(shares, ddof=1))}


def size(folder: Path, part: str = "") -> float:
    """Return the megabytes of the files below a folder, or only of those below subfolders with the name ``part``."""
    files = (file for file in folder.rglob("*") if file.is_file() and (not part or part in file.parts))
    return sum(file.stat().st_size for file in files) / 1e6


def report(result: dict[str, Any]) -> None:
    """Print the tables."""
    rows = [
        [
            way["codes"],
            share(way),
            f"{way['recall_by_codes_alone']:.3f}" if "recall_by_codes_alone" in way else "",
            f"{way['p50_ms']:.1f}",
            f"{way['p95_ms']:.1f}",
            f"{way['megabytes']:.1f}",
            f"{way['seconds']:.1f}" if "seconds" in way else "",
        ]
        for way in result["ways"]
    ]
    built = f"encoded and indexed in {result['build_seconds']:.0f} s, {result['table_megabytes']:.0f} MB unquantised"
    title = f"{result['documents']:,} documents, {result['queries']} queries, {built}"
    headings = ["quantisation", f"recall@{NEAREST}", "without re-ranking", "p50 ms", "p95 ms", "MB", "quantised in s"]
    show(title, headings, rows)
    rows = [[str(one["dimensions"]), share(one)] for one in result["dimensions"]]
    show("Truncated embeddings, exact search", ["dimensions", f"recall@{NEAREST}"], rows)


def share(way: dict[str, Any]) -> str:
    """Return the recall ± its standard deviation over queries."""
    return f"{way['recall']:.3f} ± {way['recall_sd']:.3f}"


if __name__ == "__main__":
    main()
