"""Load a large generated corpus in a separate process; print time, speed and peak memory as JSON.

python benchmarks/corpus_memory.py --sentences 10000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH = 100_000


def write_sentences(path: Path, count: int) -> None:
    """Write random sentences of 8 to 24 words; about 1 in 100 is a duplicate, and some words are not ASCII."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzéü"))
    odds = np.array([1.0] * 26 + [0.02] * 2)
    words = ["".join(generator.choice(letters, generator.integers(2, 9), p=odds / odds.sum())) for _ in range(9973)]
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, BATCH):
            rows = min(BATCH, count - start)
            draws = generator.integers(0, len(words), (rows, 24)).tolist()
            lengths = generator.integers(8, 25, rows).tolist()
            lines = [" ".join([words[i] for i in draw[:n]]) for draw, n in zip(draws, lengths, strict=True)]
            lines[-rows // 100 :] = lines[: rows // 100 + bool(rows % 100)]
            file.write("\n".join(lines) + "\n")


def load(path: str) -> None:
    """Load the file twice and print time and memory."""
    import datasets  # noqa: F401  # imported first, so that its import is not measured

    from smoothcse.corpus import load_sentences

    start = time.perf_counter()
    corpus = load_sentences(path)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    load_sentences(path)
    again = time.perf_counter() - start
    figures = {
        "sentences": corpus.report.read,
        "kept": len(corpus),
        "megabytes": round(os.path.getsize(path) / 1e6),
        "seconds": round(seconds, 2),
        "sentences_per_second": round(corpus.report.read / seconds),
        "seconds_from_cache": round(again, 3),
        "peak_rss_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(figures))


def main() -> None:
    """Generate the file, then load it in a fresh process with an empty cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=10_000_000, help="number of generated sentences")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        return load(arguments.load)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sentences.txt")
        write_sentences(path, arguments.sentences)
        environment = {**os.environ, "SMOOTHCSE_CACHE": folder}
        command = [sys.executable, __file__, "--load", str(path)]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
