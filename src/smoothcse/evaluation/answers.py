"""Answers to questions: the most similar of a few documents, which are encoded on every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from smoothcse._utils.choices import Precision
from smoothcse.encoders.inference import encode
from smoothcse.evaluation.retrieval import FloatArray, cosine_blocks

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from smoothcse.corpus.python_docs import Docstring


def search_documents(
    model: SentenceTransformer,
    questions: Sequence[str],
    documents: Sequence[str],
    k: int = 1,
    *,
    precision: Precision = "fp32",
    chunk: int = 1024,
) -> list[list[tuple[int, float]]]:
    """Find the ``k`` documents that are most similar to each question.

    Args:
        model: Encoder.
        questions: Queries.
        documents: Documents to search, encoded on every call.
        k: Maximum number of documents per question.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.
        chunk: Number of questions compared with all documents at a time.

    Returns:
        For each question, pairs ``(index of the document, cosine similarity)``, most similar first.
    """
    asked = encode(model, questions, input_type="query", precision=precision)
    known = encode(model, documents, input_type="document", precision=precision)
    return [_best(row, k) for block in cosine_blocks(asked, known, chunk) for row in block]


def answer(
    model: SentenceTransformer,
    questions: Sequence[str],
    docstrings: Sequence[Docstring],
    k: int = 1,
    *,
    precision: Precision = "fp32",
) -> list[list[tuple[str, str]]]:
    """Answer questions with the docstrings whose name and first sentence are most similar.

    The dotted name is part of the searched text, unlike in :func:`~smoothcse.evaluation.retrieval.python_docs_task`,
    because nothing is scored here.

    Args:
        model: Encoder.
        questions: Questions such as ``"How do I pause a program?"``.
        docstrings: Docstrings to search; those without prose are skipped.
        k: Number of answers per question.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.

    Returns:
        For each question, pairs ``(dotted name, first sentence)``, most similar first.
    """
    known = [(docstring.name, docstring.summary) for docstring in docstrings if docstring.summary]
    texts = [f"{name}: {summary}" for name, summary in known]
    found = search_documents(model, questions, texts, k, precision=precision)
    return [[known[index] for index, _ in best] for best in found]


def _best(similarities: FloatArray, k: int) -> list[tuple[int, float]]:
    # A stable sort keeps equally similar documents in their original order on every machine.
    order = np.argsort(-similarities, kind="stable")[:k]
    return [(int(index), float(similarities[index])) for index in order]
