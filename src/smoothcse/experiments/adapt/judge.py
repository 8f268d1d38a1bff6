"""How an adaptation judges a model: by a probe whose documents are split into a selecting and a judging half.

One half selects among the candidates, the other one compares the selected model with the start. So the verdict is not
flattered by the selection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import Precision
from smoothcse.encoders.inference import encode
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import COSINE_WEIGHT, choose_weight
from smoothcse.evaluation.probe import RetrievalProbe
from smoothcse.evaluation.ranking import Ranking, rank
from smoothcse.evaluation.retrieval import Rankings, RetrievalTask, compare_embeddings, cosine_blocks, score_blocks
from smoothcse.experiments.statistics import paired_bootstrap

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Half = Literal["selecting", "judging"]
FloatArray = NDArray[np.floating[Any]]


class Judge:
    """A probe with its BM25 index, split into halves.

    Args:
        probe: Probe without labels.

    Attributes:
        task: Queries of all kinds with the documents to find.
        bm25: BM25 index of the documents.
        relevant: Index of the text that answers each query, ``(q,)``.
        source: Number of the document that this text is from, ``(q,)``; a document may have several passages.
    """

    def __init__(self, probe: RetrievalProbe) -> None:
        self.task: RetrievalTask = probe.pooled()
        self.bm25 = BM25(self.task.documents)
        self.relevant: NDArray[np.int64] = self.task.relevant
        self.source: NDArray[np.int64] = probe.source_of[self.relevant]
        # The documents are numbered in an order drawn by their texts.
        selecting = np.isin(self.source, np.unique(self.source)[::2])
        self._queries: dict[Half, NDArray[np.intp]] = {
            "selecting": np.flatnonzero(selecting),
            "judging": np.flatnonzero(~selecting),
        }

    def queries(self, half: Half) -> NDArray[np.intp]:
        """Return the places of a half's queries in the task."""
        return self._queries[half]

    def documents(self, half: Half) -> int:
        """Return the number of documents that a half asks for."""
        return len(np.unique(self.source[self._queries[half]]))

    def selection(self, model: SentenceTransformer, precision: Precision) -> float:
        """Return :attr:`ProbeScores.selection` of a model without the rest of its scores.

        Args:
            model: Encoder.
            precision: Arithmetic of the forward passes.
        """
        rows = self._queries["selecting"]
        documents = encode(model, self.task.documents, "document", precision=precision)
        queries = encode(model, [self.task.queries[row] for row in rows], "query", precision=precision)
        ranking = rank(cosine_blocks(queries, documents), self.relevant[rows])
        return float(mean_by_document(ranking, self.source[rows]).mean())

    def score(self, model: SentenceTransformer, precision: Precision) -> ProbeScores:
        """Rank all documents for each query.

        The fusion weight is :data:`~smoothcse.evaluation.fusion.COSINE_WEIGHT`, unless another one is better on the
        selecting half by an interval that excludes zero.

        Args:
            model: Encoder.
            precision: Arithmetic of the forward passes.
        """
        documents = encode(model, self.task.documents, "document", precision=precision)
        queries = encode(model, self.task.queries, "query", precision=precision)
        weight = self._choose_weight(queries, documents)
        rankings = compare_embeddings(queries, documents, self.task, self.bm25, weight)
        return ProbeScores(self, weight, rankings, (queries, documents))

    def _choose_weight(self, queries: FloatArray, documents: FloatArray) -> float:
        rows = self._queries["selecting"]
        task = RetrievalTask(
            "probe", [self.task.queries[row] for row in rows], self.task.documents, self.relevant[rows]
        )
        best, _ = choose_weight(score_blocks(queries[rows], documents, task, self.bm25), task.relevant)
        found, usual = (
            mean_by_document(
                compare_embeddings(queries[rows], documents, task, self.bm25, weight).fused, self.source[rows]
            )
            for weight in (best, COSINE_WEIGHT)
        )
        # The best weight of a few queries is mostly chance: it has to be better by more than that.
        return best if paired_bootstrap(found, usual).established else COSINE_WEIGHT


@dataclass(frozen=True, eq=False)
class ProbeScores:
    """Ranks of a model on a probe.

    Attributes:
        judge: Probe that was asked.
        cosine_weight: Weight of the cosine similarity in the fused ranking.
        rankings: Rankings of all queries by cosine similarity, by BM25, and by both.
        embeddings: Embeddings of the queries, ``(q, k)``, and documents, ``(d, k)``; None if they were not kept.
    """

    judge: Judge
    cosine_weight: float
    rankings: Rankings
    embeddings: tuple[FloatArray, FloatArray] | None = None

    def by_document(self, ranking: Ranking, half: Half) -> NDArray[np.float64]:
        """Return the mean reciprocal rank × 100 of each document's queries.

        Queries from one document are not independent, so that documents are what a bootstrap resamples.

        Args:
            ranking: One of the rankings.
            half: Half of the documents.

        Returns:
            One value per document of the half, in the order of the documents, from 0 to 100.
        """
        rows = self.judge.queries(half)
        return mean_by_document(Ranking(ranking.ranks[rows], ranking.ndcg[rows]), self.judge.source[rows])

    @property
    def selection(self) -> float:
        """Criterion of selection: the MRR × 100 by cosine similarity of the selecting half."""
        return float(self.by_document(self.rankings.cosine, "selecting").mean())


def mean_by_document(ranking: Ranking, source: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean reciprocal rank × 100 of each document's queries, in the order of the documents.

    Args:
        ranking: Ranking of ``q`` queries.
        source: Number of the document that answers each query, ``(q,)``.
    """
    _, places = np.unique(source, return_inverse=True)
    totals = np.bincount(places, weights=100.0 * ranking.reciprocal_ranks)
    return np.asarray(totals / np.bincount(places))
