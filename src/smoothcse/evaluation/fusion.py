r"""Fusion of words and meaning: a weighted mean of cosine similarity and BM25.

.. math:: s = w · \hat{c} + (1 - w) · \hat{b}, \qquad
          \hat{x}_{qd} = \frac{x_{qd} - \min_d x_{qd}}{\max_d x_{qd} - \min_d x_{qd}}

Cosine similarities and BM25 scores differ in scale from query to query; each is scaled to 0..1 over the documents of a
query. Bruch, Gai and Ingber (TOIS 2023, arXiv 2210.11934) find this convex combination better than reciprocal rank
fusion, and its one weight easy to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.ranking import TIE, best_ranks

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

COSINE_WEIGHT = 0.7
"""Default weight of the cosine similarity; BM25 has the rest."""

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
"""Default grid of :func:`choose_weight`: 0 (BM25 alone) to 1 (cosine alone) in steps of 0.05."""


def fuse(cosines: FloatArray, bm25: FloatArray, cosine_weight: float = COSINE_WEIGHT) -> FloatArray:
    """Return the fused scores of all documents for some queries.

    Args:
        cosines: Cosine similarities, ``(q, d)``. A row that is not finite makes its fused scores NaN.
        bm25: BM25 scores, ``(q, d)``.
        cosine_weight: Weight ``w`` of the cosine similarity, from 0 to 1.

    Returns:
        Scores from 0 to 1, float64 ``(q, d)``.

    Raises:
        SmoothCSEError: The weight is outside 0..1.
    """
    check_weight(cosine_weight)
    return cosine_weight * scale_rows(cosines) + (1 - cosine_weight) * scale_rows(bm25)


def check_weight(cosine_weight: float) -> None:
    """Refuse a weight outside 0..1.

    Raises:
        SmoothCSEError: The weight is outside 0..1.
    """
    if not 0 <= cosine_weight <= 1:
        raise SmoothCSEError(
            f"The weight of the cosine similarity is {cosine_weight:g}; choose a number from 0 (BM25 alone) to 1 "
            "(cosine alone)."
        )


def scale_rows(scores: FloatArray) -> NDArray[np.float64]:
    """Scale the scores of each query to 0..1 over the documents.

    Scores of a row that differ by at most 1e-6 count as equal and become 0: scaling would turn the rounding of a
    collapsed encoder into a ranking.

    Args:
        scores: Scores, ``(q, d)``.
    """
    scores = scores.astype(np.float64)
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    spread = high - low
    return np.where(spread <= TIE, 0.0, (scores - low) / np.where(spread <= TIE, 1.0, spread))


def choose_weight(
    blocks: Iterable[tuple[FloatArray, FloatArray]], relevant: IntArray, weights: Sequence[float] = WEIGHTS
) -> tuple[float, dict[float, float]]:
    """Choose the weight with the highest mean reciprocal rank.

    Args:
        blocks: Cosine similarities and BM25 scores, each ``(rows, d)``, of consecutive blocks of queries.
        relevant: Indices of the relevant documents of each query, ``(q,)`` or ``(q, r)``.
        weights: Weights to compare.

    Returns:
        The best weight, and the MRR in percent of each weight. Of equally good weights, the one nearest to
        :data:`COSINE_WEIGHT` is chosen.

    Raises:
        SmoothCSEError: A weight is outside 0..1.
    """
    for weight in weights:
        check_weight(weight)
    relevant = relevant.reshape(len(relevant), -1)
    totals, first = np.zeros(len(weights)), 0
    for cosines, bm25 in blocks:
        meaning, words = scale_rows(cosines), scale_rows(bm25)
        answers = relevant[first : first + len(meaning)]
        first += len(meaning)
        totals += [(1 / best_ranks(w * meaning + (1 - w) * words, answers)).sum() for w in weights]
    found = dict(zip(weights, (100 * totals / len(relevant)).tolist(), strict=True))
    return min(weights, key=lambda weight: (-round(found[weight], 9), abs(weight - COSINE_WEIGHT))), found
