"""Comparison of a model before and after a change of format: embeddings, size, speed and STS-B dev score."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sentence_transformers import SentenceTransformer

from smoothcse._utils.tables import FigureTable
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.inference import encode
from smoothcse.evaluation.sts import STSTask, evaluate_sts

FloatArray = NDArray[np.floating[Any]]

ROUNDS = 3
"""Timed passes over the sentences. The models alternate, since a machine's speed drifts; the median is reported."""


@dataclass(frozen=True)
class FormatFigures:
    """Size, speed and score of a model in one format.

    Attributes:
        name: Name in the table.
        megabytes: Size of the transformer's weights (before) or of the files that replace them (after), 10⁶ bytes.
        sentences_per_second: Speed of :func:`~smoothcse.encoders.inference.encode` on the CPU in float32.
        sts_dev: Spearman x 100 on STS-B dev; None if it was not measured.
    """

    name: str
    megabytes: float
    sentences_per_second: float
    sts_dev: float | None


@dataclass(frozen=True)
class Comparison:
    """Comparison of a model before and after a change of format.

    Attributes:
        before: Figures of the original, run by torch.
        after: Figures of the exported model.
        mean_cosine: Mean over the sentences of the cosine between the two embeddings.
        min_cosine: Minimum of these cosines.
        max_difference: Largest difference of a component between the two embeddings, scaled to length 1.
        sentences: Number of sentences compared and timed.
    """

    before: FormatFigures
    after: FormatFigures
    mean_cosine: float
    min_cosine: float
    max_difference: float
    sentences: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """Return the table that ``smoothcse export`` prints."""
        caption = (
            f"{self.sentences} sentences in batches of 32; cosine between the embeddings before and after: "
            f"{self.mean_cosine:.4f} on average, {self.min_cosine:.4f} at worst."
        )
        table = FigureTable([""], ("weights, MB", "sentences/s", "STS-B dev"), caption=caption)
        for row in (self.before, self.after):
            sts = "-" if row.sts_dev is None else f"{row.sts_dev:.2f}"
            table.add_row(escape(row.name), f"{row.megabytes:.1f}", f"{row.sentences_per_second:.0f}", sts)
        return table


def compare(
    before: SentenceTransformer,
    after: SentenceTransformer,
    files: Sequence[Path],
    sentences: Sequence[str],
    *,
    names: tuple[str, str],
    sts: STSTask | None = None,
    progress: Progress,
) -> Comparison:
    """Encode sentences with both models, compare the embeddings, and time the models in alternation.

    Args:
        before: Original model, run by torch.
        after: Exported model.
        files: Files with the weights of ``after``.
        sentences: Sentences to encode. The first pass, which is not timed, gives the embeddings.
        names: Names of the two models in the table.
        sts: STS-B dev; None skips the scores.
        progress: Progress display to add a task to.
    """
    models = (before, after)
    task = progress.add_task("comparing", total=2 * (1 + ROUNDS + (sts is not None)))
    embeddings: list[FloatArray] = []
    seconds: list[float] = []
    scores: list[float | None] = [None, None]
    for model in models:
        embeddings.append(unit_rows(encode(model, sentences).astype(np.float64)))
        progress.advance(task)
    for _ in range(ROUNDS):
        for model in models:
            started = time.perf_counter()
            encode(model, sentences)
            seconds.append(time.perf_counter() - started)
            progress.advance(task)
    if sts:
        for place, model in enumerate(models):
            scores[place] = evaluate_sts(model, [sts])[0].main
            progress.advance(task)
    cosines = np.vecdot(*embeddings)
    weights = sum(p.numel() * p.element_size() for p in before[0].parameters())
    sizes = (weights, sum(file.stat().st_size for file in files))
    first, second = (
        FormatFigures(name, size / 1e6, len(sentences) / statistics.median(seconds[place::2]), score)
        for place, (name, size, score) in enumerate(zip(names, sizes, scores, strict=True))
    )
    return Comparison(
        before=first,
        after=second,
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        max_difference=float(np.abs(embeddings[0] - embeddings[1]).max()),
        sentences=len(sentences),
    )
