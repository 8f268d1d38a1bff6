"""Measure retrieval with truncated and quantised embeddings.

Each summary in the Python documentation is a query, and its own details are the relevant document. For each format,
the results are: bytes per embedding; recall of the ten documents found with full float32 embeddings, with queries in
the same format and with float32 queries (as in rescoring); and the mean reciprocal rank (MRR) of the relevant
document.

    python benchmarks/embedding_sizes.py OUTPUT.json [--model packaged-minilm] [--pooling mean]
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.bulk.quantisation import EmbeddingFormat
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.ranking import retrieval_scores
from smoothcse.evaluation.retrieval import python_docs_task, rank_of_relevant

PRECISIONS = ("float32", "int8", "binary")
SHARES = (1, 2, 3, 6, 12)
"""Divisors of the embedding width: 384, 192, 128, 64 and 32 dimensions of MiniLM."""

NEIGHBOURS = 10
PACKAGES = ("smoothcse", "sentence-transformers", "torch", "numpy")
HEADINGS = ("dimensions", "precision", "bytes", "recall@10", "with float32 queries", "MRR", "with float32 queries")


def main() -> None:
    """Encode once and measure every format."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="JSON file of the results")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--pooling", default=None, help="pooling, instead of the model's own")
    parser.add_argument("--limit", type=int, default=None, help="number of pairs, for a quick test (default: all)")
    arguments = parser.parse_args()
    quiet_libraries()

    task = python_docs_task()
    count = arguments.limit or len(task.queries)
    model = load_encoder(arguments.model, arguments.pooling)
    queries, documents = (
        encode(model, texts[:count], normalize=True, show_progress=True) for texts in (task.queries, task.documents)
    )
    exact = nearest(queries, documents)
    rows = [
        measure(queries, documents, exact, queries.shape[1] // share, precision)
        for share, precision in product(SHARES, PRECISIONS)
    ]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "model": arguments.model,
        "pooling": arguments.pooling,
        "data": "python-docs",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "hardware": platform.machine(),
        "queries": len(queries),
        "documents": len(documents),
        "neighbours": NEIGHBOURS,
        "formats": rows,
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    Console().print(table(rows, f"{len(queries):,} queries, {len(documents):,} documents, {arguments.model}"))


def measure(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    exact: NDArray[np.int64],
    dimensions: int,
    precision: str,
) -> dict[str, float | str]:
    """Return the results of one format; int8 uses the ranges of the documents."""
    form = EmbeddingFormat(dimensions, precision, normalize=True)  # type: ignore[arg-type]
    shrunk = form.quantise(documents)
    kept = form.dequantise(shrunk, dimensions)
    asked = form.dequantise(form.quantise(queries), dimensions)
    relevant = np.arange(len(queries))
    return {
        "dimensions": dimensions,
        "precision": precision,
        "bytes": int(shrunk[0].nbytes),
        "recall": overlap(exact, nearest(asked, kept)),
        "recall_float_queries": overlap(exact, nearest(form.truncate(queries), kept)),
        "mrr": retrieval_scores(rank_of_relevant(asked, kept, relevant))["MRR"],
        "mrr_float_queries": retrieval_scores(rank_of_relevant(form.truncate(queries), kept, relevant))["MRR"],
    }


def nearest(queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the documents nearest to each query by cosine; ties go to the first document, on every machine."""
    unit = [rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (queries, documents)]
    return np.argsort(-(unit[0] @ unit[1].T), axis=1, kind="stable")[:, :NEIGHBOURS]


def overlap(exact: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    """Return the percentage of the exact neighbours that were found."""
    return 100 * float(np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(exact, found, strict=True)]))


def table(rows: list[dict[str, float | str]], title: str) -> Table:
    """Return the results as a table for the terminal."""
    printed = Table(title=title)
    for heading in HEADINGS:
        printed.add_column(heading, justify="right")
    for row in rows:
        figures = (f"{row[name]:.1f}" for name in ("recall", "recall_float_queries", "mrr", "mrr_float_queries"))
        printed.add_row(str(row["dimensions"]), str(row["precision"]), str(row["bytes"]), *figures)
    return printed


if __name__ == "__main__":
    main()
