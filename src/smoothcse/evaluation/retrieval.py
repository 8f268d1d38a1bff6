"""Retrieval with labels: the rank of each query's own document among all documents."""

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

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from smoothcse.corpus.python_docs import Docstring

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

    Raises:
        SmoothCSEError: ``relevant`` does not refer to existing documents for every query.
    """

    name: str
    queries: list[str]
    documents: list[str]
    relevant: IntArray

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


def evaluate_retrieval(
    model: SentenceTransformer,
    task: RetrievalTask,
    *,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    show_progress: bool = False,
    chunk: int = 1024,
) -> dict[str, float]:
    """Rank all documents for each query by cosine similarity, and score the rank of the relevant one.

    Args:
        model: Encoder; it truncates texts to its ``max_seq_length``, as in use.
        task: Retrieval task.
        batch_size: Texts per batch. Default: chosen for the device.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.
        show_progress: Whether to show a progress bar.
        chunk: Number of queries compared with all documents at a time; it bounds memory and does not affect the
            result.

    Returns:
        In percent: ``"MRR"``, the mean of 1 / rank over all queries, without cut-off; ``"R@1"`` and ``"R@10"``, the
        share of queries whose document is ranked first, or among the first ten. Ties count against the model. If a
        query has several relevant documents, the best rank counts.
    """
    queries, documents = (
        encode(model, texts, input_type=kind, batch_size=batch_size, precision=precision, show_progress=show_progress)
        for texts, kind in _typed(task.queries, task.documents)
    )
    return retrieval_scores(rank_of_relevant(queries, documents, task.relevant, chunk=chunk))


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

    A document that is as similar as the relevant one is ranked before it, so that an encoder that maps all texts to
    one point has the last rank everywhere and not the first. Similarities within 1e-6 count as equal, because the
    encoder's rounding would break such ties at random.

    Args:
        query_embeddings: Query embeddings, shape ``(q, k)``; they need not be normalised. A zero row has similarity 0.
        document_embeddings: Document embeddings, shape ``(d, k)``.
        relevant: Indices of the relevant documents of each query, as in :class:`RetrievalTask`.
        chunk: Maximum number of queries compared at a time; it is reduced for many documents, so that the similarities
            take at most 256 MB.

    Returns:
        Ranks from 1 to ``d``, shape ``(q,)``.
    """
    relevant = relevant.reshape(len(relevant), -1)
    blocks = _similarities(query_embeddings, document_embeddings, chunk)
    return np.concatenate([_ranks(block, relevant[start : start + len(block)]) for start, block in blocks])


# Encoding one text in two batches differs by about this much; texts of different meaning differ by far more.
_TIE = 1e-6

_MOST_SIMILARITIES = 1 << 25
"""Maximum number of similarities in memory, of 8 bytes each."""


def _ranks(similarities: FloatArray, relevant: IntArray) -> IntArray:
    right = np.take_along_axis(similarities, relevant, axis=1).max(axis=1, keepdims=True)
    # Counting what is not worse ranks NaN, which compares as neither worse nor better, last instead of first.
    ahead = ~(similarities < right - _TIE)
    np.put_along_axis(ahead, relevant, False, axis=1)
    return np.asarray(1 + np.count_nonzero(ahead, axis=1))


def search_documents(
    model: SentenceTransformer,
    questions: Sequence[str],
    documents: Sequence[str],
    k: int = 1,
    *,
    chunk: int = 1024,
) -> list[list[tuple[int, float]]]:
    """Find the ``k`` documents that are most similar to each question.

    Args:
        model: Encoder.
        questions: Queries.
        documents: Documents to search, encoded on every call.
        k: Maximum number of documents per question.
        chunk: Number of questions compared with all documents at a time.

    Returns:
        For each question, pairs ``(index of the document, cosine similarity)``, most similar first.
    """
    asked, known = (encode(model, texts, input_type=kind) for texts, kind in _typed(questions, documents))
    blocks = _similarities(asked, known, chunk)
    return [_best(row, k) for _, block in blocks for row in block]


def _typed(queries: Sequence[str], documents: Sequence[str]) -> list[tuple[Sequence[str], InputType]]:
    return [(queries, "query"), (documents, "document")]


def answer(
    model: SentenceTransformer, questions: Sequence[str], docstrings: Sequence[Docstring], k: int = 1
) -> list[list[tuple[str, str]]]:
    """Answer questions with the docstrings whose name and first sentence are most similar.

    Unlike in :func:`python_docs_task`, the dotted name is part of the searched text, because nothing is scored here.

    Args:
        model: Encoder.
        questions: Questions such as ``"How do I pause a program?"``.
        docstrings: Docstrings to search; those without prose are skipped.
        k: Number of answers per question.

    Returns:
        For each question, pairs ``(dotted name, first sentence)``, most similar first.
    """
    known = [(docstring.name, docstring.summary) for docstring in docstrings if docstring.summary]
    found = search_documents(model, questions, [f"{name}: {summary}" for name, summary in known], k)
    return [[known[index] for index, _ in best] for best in found]


def _best(similarities: FloatArray, k: int) -> list[tuple[int, float]]:
    # A stable sort keeps equally similar documents in their original order on every machine.
    order = np.argsort(-similarities, kind="stable")[:k]
    return [(int(index), float(similarities[index])) for index in order]


def _similarities(queries: FloatArray, documents: FloatArray, chunk: int) -> Iterator[tuple[int, FloatArray]]:
    """Yield the index of a first query, and the cosines of up to ``chunk`` queries from there with all documents."""
    # In float32, the rounding of a matrix product exceeds the tie threshold and depends on the machine.
    queries, documents = (unit_rows(embeddings.astype(np.float64)) for embeddings in (queries, documents))
    chunk = min(chunk, max(1, _MOST_SIMILARITIES // max(1, len(documents))))
    for start in range(0, len(queries), chunk):
        yield start, queries[start : start + chunk] @ documents.T
