"""Scores of a model for each labelled item, which a paired bootstrap compares between models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import InputType, Precision
from smoothcse.encoders.inference import encode
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.label_files import ScoredPairs, Triplets
from smoothcse.evaluation.ranking import TIE, Ranking, rank
from smoothcse.evaluation.retrieval import RetrievalTask, compare_embeddings, cosine_blocks, embed_task
from smoothcse.evaluation.sts import correlations, diagnose, pair_cosines

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ItemScores:
    """Scores of one model on labelled items.

    Attributes:
        values: Score of each item, ``(n,)``: the reciprocal rank x 100 of a query, 0 or 100 for a triplet, the cosine
            similarity of a pair.
        gold: Score that the user gave each pair, ``(n,)``; None for queries and triplets.
        bm25: For queries with a fusion weight, the scores of BM25.
        fused: For queries with a fusion weight, the scores of the model fused with BM25.
    """

    values: FloatArray
    gold: FloatArray | None = None
    bm25: ItemScores | None = None
    fused: ItemScores | None = None

    @property
    def value(self) -> float:
        """Score on all items: the mean of the values, or for pairs Spearman's correlation x 100."""
        if self.gold is None:
            return float(self.values.mean())
        return correlations(self.values, self.gold)["spearman"]


def score_queries(
    model: SentenceTransformer, task: RetrievalTask, bm25: BM25 | None, cosine_weight: float, precision: Precision
) -> ItemScores:
    """Return the reciprocal rank x 100 of each query.

    Args:
        model: Encoder.
        task: Queries and documents.
        bm25: Index of the task's documents; None leaves out BM25 and fusion.
        cosine_weight: Weight of the cosine similarity in the fused score, from 0 to 1.
        precision: Arithmetic of the forward passes.

    Raises:
        SmoothCSEError: The weight is outside 0..1.
    """
    queries, documents = embed_task(model, task, precision=precision)
    if bm25 is None:
        return ItemScores(_reciprocal(rank(cosine_blocks(queries, documents), task.relevant)))
    found = compare_embeddings(queries, documents, task, bm25, cosine_weight)
    return ItemScores(
        _reciprocal(found.cosine),
        bm25=ItemScores(_reciprocal(found.bm25)),
        fused=ItemScores(_reciprocal(found.fused)),
    )


def score_pairs(model: SentenceTransformer, pairs: ScoredPairs, precision: Precision) -> ItemScores:
    """Return the cosine similarity of each pair; 0 for all of them if the embeddings do not rank the pairs.

    Args:
        model: Encoder.
        pairs: Pairs of texts with scores.
        precision: Arithmetic of the forward passes.
    """
    firsts, seconds = _embed(model, [pairs.firsts, pairs.seconds], None, precision)
    similarities = pair_cosines(firsts, seconds)
    if diagnose(similarities):
        similarities = np.zeros_like(similarities)
    return ItemScores(similarities, gold=np.array(pairs.scores))


def score_triplets(model: SentenceTransformer, triplets: Triplets, precision: Precision) -> ItemScores:
    """Return 100 for each triplet whose positive is the more similar one, otherwise 0; ties count against the model.

    Args:
        model: Encoder. It reads anchors as queries, and positives and negatives as documents.
        triplets: Anchors, positives and negatives.
        precision: Arithmetic of the forward passes.
    """
    [anchors] = _embed(model, [triplets.anchors], "query", precision)
    positives, negatives = _embed(model, [triplets.positives, triplets.negatives], "document", precision)
    ahead = pair_cosines(anchors, positives) > pair_cosines(anchors, negatives) + TIE
    return ItemScores(np.where(ahead, 100.0, 0.0))


def _reciprocal(ranking: Ranking) -> FloatArray:
    return 100.0 * ranking.reciprocal_ranks


def _embed(
    model: SentenceTransformer, columns: Sequence[Sequence[str]], role: InputType | None, precision: Precision
) -> list[NDArray[np.float32]]:
    """Return the embeddings of each column; each distinct text is encoded once."""
    place = {text: row for row, text in enumerate(dict.fromkeys(text for column in columns for text in column))}
    embeddings = encode(model, list(place), role, precision=precision)
    return [embeddings[[place[text] for text in column]] for column in columns]
