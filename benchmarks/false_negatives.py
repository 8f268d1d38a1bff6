"""Count the likely false negatives in a batch.

The premise of GS-InfoNCE is that a larger batch contains more sentences with nearly the meaning of the anchor, and
that InfoNCE pushes them away as well. A judge, an encoder trained with labels, embeds sentences of a text. For random
batches of several sizes, this script counts the in-batch negatives per anchor whose cosine exceeds a threshold.

    python benchmarks/false_negatives.py TEXT OUTPUT.json [--judge packaged-minilm] [--sentences 4096]
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.experiments.statistics import mean_sd

BATCHES = (64, 128, 256, 512, 1024)
THRESHOLDS = (0.5, 0.7, 0.9)


def main() -> None:
    """Count the false negatives; print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="text file")
    parser.add_argument("output", type=Path, help="JSON file of the results")
    parser.add_argument("--judge", default="packaged-minilm", help="model that judges similarity")
    parser.add_argument("--sentences", type=int, default=4096, help="number of sentences to embed")
    parser.add_argument("--draws", type=int, default=20, help="random batches per size")
    arguments = parser.parse_args()
    quiet_libraries()

    sentences = load_sentences(arguments.text, limit=arguments.sentences, seed=0).dataset["sentence"][:]
    embeddings = encode(load_encoder(arguments.judge), sentences, normalize=True, show_progress=True)
    generator = np.random.default_rng(0)
    found = {
        size: [counts(embeddings[generator.permutation(len(embeddings))[:size]]) for _ in range(arguments.draws)]
        for size in BATCHES
    }
    table = Table(title=f"Likely false negatives per anchor, {len(sentences):,} sentences, judge {arguments.judge}")
    for heading in ("batch", *(f"cosine > {threshold}" for threshold in THRESHOLDS)):
        table.add_column(heading, justify="right")
    for size, draws in found.items():
        table.add_row(str(size), *(show(column) for column in zip(*draws, strict=True)))
    Console().print(table)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "text": Path(arguments.text).name,
        "judge": arguments.judge,
        "sentences": len(sentences),
        "thresholds": THRESHOLDS,
        "per_anchor": {str(size): draws for size, draws in found.items()},
    }
    arguments.output.write_text(json.dumps(result) + "\n", encoding="utf-8")


def counts(batch: NDArray[np.float32]) -> list[float]:
    """Return the mean number of negatives per anchor above each threshold."""
    cosines = batch @ batch.T
    np.fill_diagonal(cosines, -1.0)
    return [float((cosines > threshold).sum() / len(batch)) for threshold in THRESHOLDS]


def show(values: tuple[float, ...]) -> str:
    """Return mean ± standard deviation over batches."""
    mean, sd = mean_sd(values)
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


if __name__ == "__main__":
    main()
