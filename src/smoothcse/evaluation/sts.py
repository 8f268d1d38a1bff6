"""Semantic textual similarity: agreement of cosine similarities with human similarity scores.

The protocol is that of SimCSE and its successors: Spearman's correlation, in percent, of cosine similarities with
human scores over the pairs of *all* subsets of a task together ("all" setting), without regression on top of the
embeddings. Averaging the correlations of the subsets instead gives different results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from smoothcse.encoders.inference import encode
from smoothcse.evaluation.score import Score
from smoothcse.evaluation.sts_tasks import (
    SEVEN_STS,
    STS_TASKS,
    STSTask,
    Subset,
    load_task,
    load_tasks,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

__all__ = ["SEVEN_STS", "STS_TASKS", "STSTask", "Subset", "evaluate_sts", "load_task", "load_tasks"]

# Cosines that differ by less come from directions less than a tenth of a degree apart, where the encoder's rounding
# begins to decide the order.
_COLLAPSED = 1e-6


def evaluate_sts(model: SentenceTransformer, tasks: Sequence[STSTask], **encode_options: Any) -> list[Score]:
    """Score a model on STS tasks.

    Each distinct sentence of all tasks is encoded once, which saves three sentences in ten for the seven tasks.

    Args:
        model: Any sentence-transformers model, with its own ``max_seq_length``.
        tasks: Tasks from :func:`load_task` or :func:`load_tasks`.
        **encode_options: Options of :func:`~smoothcse.encoders.inference.encode`, e.g. ``batch_size``.

    Returns:
        One score per task, in order, with ``spearman`` (the main metric) and ``pearson``, overall and per subset,
        times 100; :func:`~smoothcse.evaluation.score.average` gives the papers' "Avg.". If the embeddings do not rank
        the pairs (all identical, or not finite), the metrics are 0.0 and ``diagnosis`` says why.
    """
    place = {sentence: row for row, sentence in enumerate(dict.fromkeys(_sentences(tasks)))}
    embeddings = encode(model, list(place), **encode_options)
    return [_score(task, embeddings, place) for task in tasks]


def _sentences(tasks: Sequence[STSTask]) -> list[str]:
    return [
        sentence
        for task in tasks
        for subset in task.subsets
        for side in (subset.sentences1, subset.sentences2)
        for sentence in side
    ]


def _score(task: STSTask, embeddings: NDArray[np.float32], place: dict[str, int]) -> Score:
    similarities = [
        pair_cosines(
            embeddings[[place[sentence] for sentence in subset.sentences1]],
            embeddings[[place[sentence] for sentence in subset.sentences2]],
        )
        for subset in task.subsets
    ]
    together = np.concatenate(similarities)
    metrics = correlations(together, np.concatenate([subset.gold for subset in task.subsets]))
    return Score(
        task=task.name,
        main=metrics["spearman"],
        metrics=metrics,
        rows=task.rows,
        subsets={
            subset.name: correlations(similarity, np.asarray(subset.gold))
            for subset, similarity in zip(task.subsets, similarities, strict=True)
        },
        diagnosis=diagnose(together),
    )


def pair_cosines(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row of ``x`` with the same row of ``y``, ``(n,)``; 0 for a zero vector.

    Args:
        x: Embeddings, ``(n, d)``.
        y: Embeddings, ``(n, d)``.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore"):  # infinite embeddings are diagnosed later
        cosines: NDArray[np.float64] = np.vecdot(a, b) / np.maximum(lengths, np.finfo(np.float64).tiny)
    # Pairs of identical sentences tie at 1; without rounding, the last bit would rank them.
    return np.round(cosines, 12)


def correlations(similarity: NDArray[np.float64], gold: NDArray[np.float64]) -> dict[str, float]:
    """Return ``"spearman"`` and ``"pearson"`` x 100; 0.0 for similarities that do not rank the pairs.

    Args:
        similarity: Cosine similarity of each pair, ``(n,)``.
        gold: Human score of each pair, ``(n,)``.
    """
    if diagnose(similarity):
        return {"spearman": 0.0, "pearson": 0.0}
    # Spearman's correlation is Pearson's correlation of the ranks, where ties share their mean rank.
    return {
        "spearman": 100.0 * float(np.corrcoef(rankdata(similarity), rankdata(gold))[0, 1]),
        "pearson": 100.0 * float(np.corrcoef(similarity, gold)[0, 1]),
    }


def diagnose(similarity: NDArray[np.float64]) -> str | None:
    """Return one sentence on why the similarities do not rank the pairs, or None if they do.

    Args:
        similarity: Cosine similarity of each pair, ``(n,)``.
    """
    broken = np.count_nonzero(~np.isfinite(similarity))
    if broken:
        return (
            f"{broken} of {len(similarity)} pairs have an embedding that is not finite: training has "
            "diverged; try a lower learning rate."
        )
    if np.ptp(similarity) < _COLLAPSED:
        return (
            "All embeddings are (nearly) identical: the model has collapsed; "
            "try a lower learning rate, or a checkpoint from earlier in the run."
        )
    return None
