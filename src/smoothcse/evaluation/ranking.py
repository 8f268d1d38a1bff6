"""Ranks of the relevant documents among all documents, and the metrics computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

TIE = 1e-6
"""Scores that differ by at most this much count as equal.

Encoding one text in two batches differs by about this much; texts of different meaning differ by far more.
"""

CUTOFF = 10
"""Number of documents that nDCG@10 looks at."""

_MOST_SCORES = 1 << 24
"""Maximum number of scores in memory, of 8 bytes each."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """How well each query was answered.

    Attributes:
        ranks: Rank of the best relevant document of each query, from 1, shape ``(q,)``.
        ndcg: nDCG@10 of each query, from 0 to 1, shape ``(q,)``.
    """

    ranks: IntArray
    ndcg: FloatArray

    @property
    def reciprocal_ranks(self) -> NDArray[np.float64]:
        """1 / rank of each query, shape ``(q,)``; their mean is the MRR."""
        return 1.0 / self.ranks

    def metrics(self) -> dict[str, float]:
        """Return ``"MRR"``, ``"R@1"``, ``"R@10"`` and ``"nDCG@10"`` in percent."""
        return {**retrieval_scores(self.ranks), "nDCG@10": 100.0 * float(np.mean(self.ndcg))}


def retrieval_scores(ranks: IntArray) -> dict[str, float]:
    """Compute MRR, R@1 and R@10 in percent.

    Args:
        ranks: Ranks of the relevant documents, shape ``(q,)``; 1 is best.
    """
    return {
        "MRR": 100.0 * float(np.mean(1.0 / ranks)),
        "R@1": 100.0 * float(np.mean(ranks <= 1)),
        "R@10": 100.0 * float(np.mean(ranks <= 10)),
    }


def queries_at_a_time(documents: int, most: int = 1024) -> int:
    """Return the number of queries whose scores with all documents take at most 128 MB, and at most ``most``."""
    return min(most, max(1, _MOST_SCORES // max(1, documents)))


def rank(blocks: Iterable[FloatArray], relevant: IntArray, gains: FloatArray | None = None) -> Ranking:
    r"""Rank all documents for each query by their scores.

    nDCG@10 is that of BEIR (``ndcg_cut_10`` of pytrec_eval), with the relevance of a document as its gain:

    .. math:: \text{nDCG@10} = \frac{\sum_{i ≤ 10} g_i / \log_2(i + 1)}{\sum_{i ≤ 10} g^*_i / \log_2(i + 1)}

    where ``g_i`` is the gain of the document at rank ``i`` and ``g*`` are the gains of the best possible ranking.

    A document that scores like a relevant one (within :data:`TIE`) is ranked before it, so that an encoder that maps
    all texts to one point has the last rank everywhere and not the first. A score of NaN is ranked the same way.

    Args:
        blocks: Scores of consecutive blocks of queries with all documents, each ``(rows, d)``; larger is better.
        relevant: Indices of the relevant documents of each query, ``(q,)`` or ``(q, r)``; repetitions do not count.
        gains: Relevance of each of them, positive, same shape. Default: 1.
    """
    parts, first = [], 0
    for scores in blocks:
        rows = slice(first, first + len(scores))
        parts.append(rank_block(scores, relevant[rows], None if gains is None else gains[rows]))
        first += len(scores)
    return join(parts)


def rank_block(scores: FloatArray, relevant: IntArray, gains: FloatArray | None = None) -> Ranking:
    """Rank all documents for the queries of one block; see :func:`rank`.

    Args:
        scores: Scores, ``(q, d)``.
        relevant: Indices of the relevant documents of each query, ``(q,)`` or ``(q, r)``.
        gains: Relevance of each of them, same shape. Default: 1.
    """
    relevant = relevant.reshape(len(relevant), -1)
    gains = np.ones(relevant.shape) if gains is None else gains.reshape(relevant.shape)
    return Ranking(best_ranks(scores, relevant), _ndcg(scores, relevant, gains))


def join(rankings: Sequence[Ranking]) -> Ranking:
    """Return one ranking of the queries of several, at least one."""
    return Ranking(
        np.concatenate([ranking.ranks for ranking in rankings]), np.concatenate([ranking.ndcg for ranking in rankings])
    )


def best_ranks(scores: FloatArray, relevant: IntArray) -> IntArray:
    """Return the rank of the best relevant document of each query among all documents that are not relevant.

    Args:
        scores: Scores, ``(q, d)``.
        relevant: Indices of the relevant documents of each query, ``(q, r)``.
    """
    right = np.take_along_axis(scores, relevant, axis=1).max(axis=1, keepdims=True)
    # Counting what is not worse ranks NaN, which compares as neither worse nor better, last instead of first.
    ahead = ~(scores < right - TIE)
    np.put_along_axis(ahead, relevant, False, axis=1)
    return np.asarray(1 + np.count_nonzero(ahead, axis=1))


def _ndcg(scores: FloatArray, relevant: IntArray, gains: FloatArray) -> FloatArray:
    own, gains = _best_first(np.take_along_axis(scores, relevant, axis=1), *_once(relevant, gains))
    others = _best_others(scores, relevant)[:, None, :]
    ahead = np.count_nonzero(~(others < own[:, :, None] - TIE) & (others > -np.inf), axis=2)
    places = 1 + ahead + np.arange(own.shape[1])
    found = np.where(places <= CUTOFF, gains / np.log2(1 + places), 0.0).sum(axis=1)
    best = -np.sort(-gains, axis=1)[:, :CUTOFF]
    ideal = (best / np.log2(2 + np.arange(best.shape[1]))).sum(axis=1)
    return np.asarray(found / np.where(ideal > 0, ideal, 1.0))


def _once(relevant: IntArray, gains: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return which entries repeat an earlier one of their row, and the gains with those of repetitions set to 0."""
    order = np.argsort(relevant, axis=1, kind="stable")
    by_number = np.take_along_axis(relevant, order, axis=1)
    repeated = np.zeros(relevant.shape, dtype=bool)
    np.put_along_axis(repeated, order[:, 1:], by_number[:, 1:] == by_number[:, :-1], axis=1)
    return repeated, np.where(repeated, 0.0, gains)


def _best_first(own: FloatArray, repeated: NDArray[np.bool_], gains: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sort the relevant documents by falling score; of equal scores, the smaller gain comes first."""
    own = np.where(repeated | np.isnan(own), -np.inf, own)
    order = np.lexsort((gains, -own), axis=1)
    return np.take_along_axis(own, order, axis=1), np.take_along_axis(gains, order, axis=1)


def _best_others(scores: FloatArray, relevant: IntArray) -> FloatArray:
    """Return the ten highest scores of documents that are not relevant; fewer documents are filled up with -inf."""
    others = np.where(np.isnan(scores), np.inf, scores)
    np.put_along_axis(others, relevant, -np.inf, axis=1)
    if others.shape[1] <= CUTOFF:
        return others
    return -np.partition(-others, CUTOFF - 1, axis=1)[:, :CUTOFF]
