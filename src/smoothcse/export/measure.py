"""What a change of format costs and gains: embeddings compared, size, speed, STS-B dev."""

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
"""Timed passes over the sentences, of each model in turn, since a machine's speed drifts; the median is reported."""


@dataclass(frozen=True)
class Measured:
    """One model.

    Attributes:
        name: for the table.
        megabytes: of the transformer's weights (before) or of the files that replace them (after), 10⁶ bytes.
        sentences_per_second: of :func:`~smoothcse.encoders.inference.encode` on the CPU in float32.
        sts_dev: Spearman x 100 on STS-B dev; None where it was not asked for.
    """

    name: str
    megabytes: float
    sentences_per_second: float
    sts_dev: float | None


@dataclass(frozen=True)
class Comparison:
    """A model before and after a change of format.

    Attributes:
        before: as torch runs it.
        after: as the other format does.
        mean_cosine: between the two embeddings of a sentence, over the sentences compared.
        min_cosine: likewise, the worst.
        max_difference: largest difference in a component of the two embeddings, each scaled to length 1.
        sentences: how many were compared and timed.
    """

    before: Measured
    after: Measured
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
            f"{self.sentences} sentences in batches of 32; cosine of the two embeddings of one: "
            f"{self.mean_cosine:.4f} on average, {self.min_cosine:.4f} at worst."
        )
        table = FigureTable([""], ("weights, MB", "sentences a second", "STS-B dev"), caption=caption)
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
    """Encode sentences with both models, compare the embeddings, and time the two in alternation.

    Args:
        before: as torch runs it.
        after: the same model in another format.
        files: that hold the weights of ``after``.
        sentences: to encode; the first pass, which is not timed, gives the embeddings.
        names: of the two for the table.
        sts: STS-B dev; None to leave it out.
        progress: a bar that is shown; a task is added to it.
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
        Measured(name, size / 1e6, len(sentences) / statistics.median(seconds[place::2]), score)
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
