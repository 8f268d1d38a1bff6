"""Retrieval with labels: does each query find its own document among all of them?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import InputType, Precision
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
        relevant: Indices of the right documents of each query, shape ``(q,)`` or ``(q, r)``; a query with fewer than
            ``r`` repeats one of its own.

    Raises:
        SmoothCSEError: `relevant` does not point at existing documents for every query.
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
    """Find the details of a Python docstring from its summary: thousands of real labels on any machine.

    See `smoothcse.corpus.python_docs.labelled_pairs` for what makes a pair.
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
    """Rank all documents for each query by cosine similarity and score where the right one lands.

    Args:
        model: The sentence encoder; texts longer than its ``max_seq_length`` are cut by it, as in use.
        task: What to find, and where.
        batch_size: Texts per forward pass; None for what suits the device.
        precision: Of the forward pass, as `encode` names it.
        show_progress: Whether to show a bar while encoding.
        chunk: Queries compared with all documents at a time; bounds the memory, not the result.

    Returns:
        In percent: ``"MRR"``, the mean of 1 / rank over all queries, without cut-off; ``"R@1"`` and
        ``"R@10"``, the share of queries whose document is ranked first, or among the first ten. Ties count
        against the model. Of a query with several right documents the one ranked best counts.
    """
    queries, documents = (
        encode(model, texts, input_type=kind, batch_size=batch_size, precision=precision, show_progress=show_progress)
        for texts, kind in _typed(task.queries, task.documents)
    )
    return retrieval_scores(rank_of_relevant(queries, documents, task.relevant, chunk=chunk))


def retrieval_scores(ranks: IntArray) -> dict[str, float]:
    """MRR, R@1 and R@10 in percent from the ranks (1 is best) of the right documents, shape ``(q,)``."""
    return {
        "MRR": 100.0 * float(np.mean(1.0 / ranks)),
        "R@1": 100.0 * float(np.mean(ranks <= 1)),
        "R@10": 100.0 * float(np.mean(ranks <= 10)),
    }


def last_everywhere(task: RetrievalTask) -> float:
    """Return the MRR of embeddings that are all alike: each query's documents come last."""
    answers = np.array([len(set(row)) for row in task.relevant.reshape(len(task.queries), -1).tolist()])
    return retrieval_scores(len(task.documents) - answers + 1)["MRR"]


def rank_of_relevant(
    query_embeddings: FloatArray, document_embeddings: FloatArray, relevant: IntArray, chunk: int = 1024
) -> IntArray:
    """Rank of the right document of each query among all documents, by cosine similarity.

    Of several right documents the most similar one is ranked, among it and all that are not right.

    A document that is as similar as the right one is ranked before it: an encoder that maps all texts to one
    point gets the last rank everywhere instead of the first. Similarities within 1e-6 count as equal, because
    the encoder's own rounding would break such ties at random.

    Args:
        query_embeddings: Shape ``(q, k)``; need not be normalised, an all-zero row is similar to nothing (0).
        document_embeddings: Shape ``(d, k)``.
        relevant: Indices of the right documents of each query, as in `RetrievalTask`.
        chunk: Number of queries compared at a time, at most; of many documents fewer are, so that the similarities in
            memory stay below 256 MB.

    Returns:
        Ranks from 1 to ``d``, shape ``(q,)``.
    """
    relevant = relevant.reshape(len(relevant), -1)
    blocks = _similarities(query_embeddings, document_embeddings, chunk)
    return np.concatenate([_ranks(block, relevant[start : start + len(block)]) for start, block in blocks])


# One text encoded in two batches differs by about this much; texts that differ in meaning, by far more.
_TIE = 1e-6

_MOST_SIMILARITIES = 1 << 25
"""In memory at a time, 8 bytes each."""


def _ranks(similarities: FloatArray, relevant: IntArray) -> IntArray:
    right = np.take_along_axis(similarities, relevant, axis=1).max(axis=1, keepdims=True)
    # Counting what is not worse ranks a NaN, which is neither worse nor better than anything, last instead of first.
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
    """Find the `k` documents most similar to each question.

    Args:
        model: The sentence encoder.
        questions: What to look for.
        documents: Where to look; encoded on every call.
        k: How many answers per question; fewer come back when there are fewer documents.
        chunk: Questions compared with all documents at a time.

    Returns:
        For each question, ``(index of the document, cosine similarity)``, the most similar first.
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

    A name is half of what its author says about an object, and here nobody keeps score: unlike in
    `python_docs_task`, it is part of the text.

    Args:
        model: The sentence encoder.
        questions: Such as ``"How do I pause a program?"``.
        docstrings: Where to look; those without prose are passed over.
        k: How many answers per question.

    Returns:
        For each question, ``(dotted name, first sentence)``, the most similar first.
    """
    known = [(docstring.name, docstring.summary) for docstring in docstrings if docstring.summary]
    found = search_documents(model, questions, [f"{name}: {summary}" for name, summary in known], k)
    return [[known[index] for index, _ in best] for best in found]


def _best(similarities: FloatArray, k: int) -> list[tuple[int, float]]:
    # Stable, so that equally similar documents come in their own order on every machine.
    order = np.argsort(-similarities, kind="stable")[:k]
    return [(int(index), float(similarities[index])) for index in order]


def _similarities(queries: FloatArray, documents: FloatArray, chunk: int) -> Iterator[tuple[int, FloatArray]]:
    """Yield (first query, cosine similarities of up to `chunk` queries with all documents)."""
    queries, documents = _normalised(queries), _normalised(documents)
    chunk = min(chunk, max(1, _MOST_SIMILARITIES // max(1, len(documents))))
    for start in range(0, len(queries), chunk):
        yield start, queries[start : start + chunk] @ documents.T


def _normalised(embeddings: FloatArray) -> NDArray[np.float64]:
    # In float32 the product of two arrays is off by more than a tie, in a way that depends on the machine.
    exact = embeddings.astype(np.float64)
    norms = np.linalg.norm(exact, axis=1, keepdims=True)
    return np.asarray(exact / np.where(norms > 0, norms, 1))
