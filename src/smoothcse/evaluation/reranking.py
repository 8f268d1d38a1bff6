"""Retrieval in two stages: fused scores of all documents, then late interaction (MaxSim) over the first of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import Precision
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from smoothcse.evaluation.ranking import Ranking, join, rank_block
from smoothcse.evaluation.retrieval import RetrievalTask, score_blocks

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

_TIMED_QUERIES = 10


@dataclass(frozen=True, eq=False)
class Reranking:
    """Rankings of one task before and after late interaction.

    Attributes:
        fused: Ranking by the fused score.
        reranked: The same with the first documents reordered by :func:`~smoothcse.evaluation.maxsim.rerank`.
        milliseconds: Further time of one query asked alone, the median of up to ten.
    """

    fused: Ranking
    reranked: Ranking
    milliseconds: float


def rerank_fused(
    model: SentenceTransformer,
    task: RetrievalTask,
    embeddings: tuple[FloatArray, FloatArray],
    bm25: BM25,
    cosine_weight: float,
    precision: Precision = "fp32",
) -> Reranking:
    """Rank all documents by the fused score, and compare the first 50 with the query token by token.

    Args:
        model: Encoder with token embeddings.
        task: Retrieval task with at least one query.
        embeddings: Embeddings of the task's queries, ``(q, k)``, and documents, ``(d, k)``, by the same model.
        bm25: Index of the task's documents.
        cosine_weight: Weight of the cosine similarity in the fused score, from 0 to 1.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.

    Raises:
        SmoothCSEError: The model has no token embeddings.
    """
    parts: list[tuple[Ranking, Ranking]] = []
    milliseconds = 0.0
    for cosines, words in score_blocks(*embeddings, task, bm25):
        first = sum(len(fused.ranks) for fused, _ in parts)
        rows = slice(first, first + len(cosines))
        scores, queries = fuse(cosines, words, cosine_weight), task.queries[rows]
        candidates = first_candidates(scores)
        late = late_interaction(model, queries, task.documents, candidates, precision=precision)
        judged = task.judgements(rows)
        parts.append((rank_block(scores, *judged), rank_block(rerank(scores, candidates, late), *judged)))
        if not milliseconds:  # after the first forward passes, which prepare the device
            milliseconds = _milliseconds_alone(model, queries, task.documents, candidates, precision)
    fused, reranked = map(join, zip(*parts, strict=True))
    return Reranking(fused, reranked, milliseconds)


def _milliseconds_alone(
    model: SentenceTransformer,
    queries: Sequence[str],
    documents: Sequence[str],
    candidates: IntArray,
    precision: Precision,
) -> float:
    """Return the median time of late interaction of single queries: queries asked together share candidates."""
    seconds = []
    for query, row in zip(queries[:_TIMED_QUERIES], candidates, strict=False):
        started = time.perf_counter()
        late_interaction(model, [query], documents, row[None], precision=precision)
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds))
