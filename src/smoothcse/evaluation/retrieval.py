"""Retrieval with labels: by cosine similarity, by BM25, and by both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import InputType, Precision
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import COSINE_WEIGHT, check_weight, fuse
from smoothcse.evaluation.ranking import Ranking, join, queries_at_a_time, rank, rank_block, retrieval_scores

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """Queries, documents, and which documents answer each query.

    Attributes:
        name: Short name for reports.
        queries: ``q`` texts.
        documents: ``d`` texts.
        relevant: Indices of the relevant documents of each query, shape ``(q,)`` or ``(q, r)``; a query with fewer
            than ``r`` of them repeats one.
        gains: Relevance of each of them for nDCG, positive, same shape. Default: 1.

    Raises:
        SmoothCSEError: If ``relevant`` does not refer to existing documents for every query, or ``gains`` has another
            shape.
    """

    name: str
    queries: list[str]
    documents: list[str]
    relevant: IntArray
    gains: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.relevant.shape[:1] != (len(self.queries),) or self.relevant.ndim > 2 or not self.relevant.size:
            raise SmoothCSEError(
                f"The retrieval task {self.name!r} needs one row of 'relevant' for each of its "
                f"{len(self.queries)} queries (at least one), not an array of shape {self.relevant.shape}."
            )
        if self.relevant.min() < 0 or self.relevant.max() >= len(self.documents):
            raise SmoothCSEError(
                f"The retrieval task {self.name!r} has {len(self.documents)} documents, but 'relevant' holds "
                f"numbers from {self.relevant.min()} to {self.relevant.max()}; count documents from 0."
            )
        if self.gains is not None and self.gains.shape != self.relevant.shape:
            raise SmoothCSEError(
                f"The retrieval task {self.name!r} has 'gains' of shape {self.gains.shape}, but 'relevant' of shape "
                f"{self.relevant.shape}; give one gain for each relevant document."
            )

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.queries)

    def judgements(self, rows: slice) -> tuple[IntArray, FloatArray | None]:
        """Return ``relevant`` and ``gains`` of some queries."""
        return self.relevant[rows], None if self.gains is None else self.gains[rows]


def python_docs_task() -> RetrievalTask:
    """Return the task of finding a Python docstring's details from its summary.

    It provides thousands of real labels on any machine; :func:`smoothcse.corpus.python_docs.labelled_pairs` defines
    the pairs.
    """
    from smoothcse.corpus.python_docs import labelled_pairs

    pairs = labelled_pairs()
    return RetrievalTask(
        name="python-docs",
        queries=[pair.query for pair in pairs],
        documents=[pair.document for pair in pairs],
        relevant=np.arange(len(pairs)),
    )


@dataclass(frozen=True, eq=False)
class Rankings:
    """Rankings of one task by meaning, by words, and by both.

    Attributes:
        cosine: Ranking by cosine similarity.
        bm25: Ranking by BM25.
        fused: Ranking by the weighted mean of both, see :mod:`smoothcse.evaluation.fusion`.
    """

    cosine: Ranking
    bm25: Ranking
    fused: Ranking


def evaluate_retrieval(
    model: SentenceTransformer,
    task: RetrievalTask,
    *,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    show_progress: bool = False,
    chunk: int = 1024,
) -> dict[str, float]:
    """Rank all documents for each query by cosine similarity, and score the ranks of the relevant ones.

    Args:
        model: Encoder; it truncates texts to its ``max_seq_length``, as in use.
        task: Retrieval task.
        batch_size: Texts per batch. Default: chosen for the device.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.
        show_progress: Whether to show a progress bar.
        chunk: Maximum number of queries compared with all documents at a time; it does not affect the result.

    Returns:
        In percent: ``"MRR"``, the mean of 1 / rank over all queries, without cut-off; ``"R@1"`` and ``"R@10"``, the
        share of queries whose document is ranked first, or among the first ten; ``"nDCG@10"`` as in BEIR, see
        :func:`~smoothcse.evaluation.ranking.rank`. Ties count against the model. If a query has several relevant
        documents, the best rank counts for MRR and R@k, and all of them for nDCG@10.
    """
    queries, documents = embed_task(
        model, task, batch_size=batch_size, precision=precision, show_progress=show_progress
    )
    return rank(cosine_blocks(queries, documents, chunk), task.relevant, task.gains).metrics()


def compare_with_bm25(
    model: SentenceTransformer,
    task: RetrievalTask,
    bm25: BM25,
    *,
    cosine_weight: float = COSINE_WEIGHT,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    show_progress: bool = False,
) -> Rankings:
    """Rank all documents for each query by cosine similarity, by BM25, and by both.

    Args:
        model: Encoder; it truncates texts to its ``max_seq_length``. BM25 reads whole texts.
        task: Retrieval task.
        bm25: Index of the task's documents.
        cosine_weight: Weight of the cosine similarity in the fused score, from 0 to 1.
        batch_size: Texts per batch. Default: chosen for the device.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.
        show_progress: Whether to show a progress bar.

    Raises:
        SmoothCSEError: If the weight is outside 0..1.
    """
    check_weight(cosine_weight)
    queries, documents = embed_task(
        model, task, batch_size=batch_size, precision=precision, show_progress=show_progress
    )
    return compare_embeddings(queries, documents, task, bm25, cosine_weight)


def compare_embeddings(
    queries: FloatArray,
    documents: FloatArray,
    task: RetrievalTask,
    bm25: BM25,
    cosine_weight: float = COSINE_WEIGHT,
    chunk: int = 1024,
) -> Rankings:
    """Rank all documents as :func:`compare_with_bm25` does, given the embeddings.

    Args:
        queries: Embeddings of the task's queries, ``(q, k)``.
        documents: Embeddings of the task's documents, ``(d, k)``.
        task: Retrieval task.
        bm25: Index of the task's documents.
        cosine_weight: Weight of the cosine similarity in the fused score, from 0 to 1.
        chunk: Maximum number of queries compared with all documents at a time; it does not affect the result.
    """
    parts, first = [], 0
    for cosines, words in score_blocks(queries, documents, task, bm25, chunk):
        judged = task.judgements(slice(first, first + len(cosines)))
        parts.append([rank_block(scores, *judged) for scores in (cosines, words, fuse(cosines, words, cosine_weight))])
        first += len(cosines)
    return Rankings(*map(join, zip(*parts, strict=True)))


def score_blocks(
    queries: FloatArray, documents: FloatArray, task: RetrievalTask, bm25: BM25, chunk: int = 1024
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield cosine similarities and BM25 scores of consecutive blocks of queries, each ``(rows, d)``.

    :func:`~smoothcse.evaluation.fusion.choose_weight` takes them.

    Args:
        queries: Embeddings of the task's queries, ``(q, k)``.
        documents: Embeddings of the task's documents, ``(d, k)``.
        task: Retrieval task.
        bm25: Index of the task's documents.
        chunk: Maximum number of queries per block.
    """
    rows = queries_at_a_time(len(documents), chunk)
    return zip(cosine_blocks(queries, documents, rows), bm25.blocks(task.queries, rows), strict=True)


def embed_task(
    model: SentenceTransformer,
    task: RetrievalTask,
    *,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    show_progress: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Return the embeddings of a task's queries, ``(q, k)``, and documents, ``(d, k)``.

    Args:
        model: Encoder.
        task: Retrieval task.
        batch_size: Texts per batch. Default: chosen for the device.
        precision: Arithmetic of the forward passes.
        show_progress: Whether to show a progress bar.
    """
    queries, documents = (
        encode(model, texts, input_type=kind, batch_size=batch_size, precision=precision, show_progress=show_progress)
        for texts, kind in _typed(task.queries, task.documents)
    )
    return queries, documents


def last_everywhere(task: RetrievalTask) -> float:
    """Return the MRR of identical embeddings: each query's documents are ranked last."""
    answers = np.array([len(set(row)) for row in task.relevant.reshape(len(task.queries), -1).tolist()])
    return retrieval_scores(len(task.documents) - answers + 1)["MRR"]


def rank_of_relevant(
    query_embeddings: FloatArray, document_embeddings: FloatArray, relevant: IntArray, chunk: int = 1024
) -> IntArray:
    """Rank the relevant document of each query among all documents, by cosine similarity.

    If a query has several relevant documents, the most similar one is ranked against all documents that are not
    relevant.

    A document that is as similar as the relevant one is ranked before it, see
    :func:`~smoothcse.evaluation.ranking.rank`.

    Args:
        query_embeddings: Query embeddings, shape ``(q, k)``; they need not be normalised. A zero row has similarity 0.
        document_embeddings: Document embeddings, shape ``(d, k)``.
        relevant: Indices of the relevant documents of each query, as in :class:`RetrievalTask`.
        chunk: Maximum number of queries compared at a time; it is reduced for many documents.

    Returns:
        Ranks from 1 to ``d``, shape ``(q,)``.
    """
    return rank(cosine_blocks(query_embeddings, document_embeddings, chunk), relevant).ranks


def _typed(queries: Sequence[str], documents: Sequence[str]) -> list[tuple[Sequence[str], InputType]]:
    return [(queries, "query"), (documents, "document")]


def cosine_blocks(queries: FloatArray, documents: FloatArray, chunk: int = 1024) -> Iterator[FloatArray]:
    """Yield the cosine similarities of consecutive blocks of queries with all documents, float64 ``(rows, d)``.

    Args:
        queries: Query embeddings, ``(q, k)``.
        documents: Document embeddings, ``(d, k)``.
        chunk: Maximum number of queries per block; it is reduced for many documents.
    """
    # In float32, the rounding of a matrix product exceeds the tie threshold and depends on the machine.
    queries, documents = (unit_rows(embeddings.astype(np.float64)) for embeddings in (queries, documents))
    rows = queries_at_a_time(len(documents), chunk)
    for first in range(0, len(queries), rows):
        yield queries[first : first + rows] @ documents.T
