r"""Late interaction (MaxSim) over the first candidates, with the encoder's own token embeddings.

.. math:: s(q, d) = \frac{1}{|q|} \sum_{i ∈ q} \max_{j ∈ d} \cos(q_i, d_j)

is ColBERT's score (Khattab and Zaharia, SIGIR 2020), divided by the number of query tokens. ColBERT trains its token
embeddings for it. Here they are those that the encoder pools into its sentence embedding, and nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers.util import maxsim

from smoothcse._utils.choices import InputType, Precision
from smoothcse.encoders.inference import in_precision, token_counts
from smoothcse.encoders.precision import without_autocast
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.fusion import scale_rows
from smoothcse.objectives.rows import unit_rows

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

CANDIDATES = 50
"""Default number of documents per query that are compared token by token."""

_QUERIES_AT_A_TIME = 512
_TEXTS_AT_A_TIME = 32


def first_candidates(scores: FloatArray, count: int = CANDIDATES) -> IntArray:
    """Return the indices of the best documents of each query, best first, ``(q, min(count, d))``.

    Args:
        scores: Scores of the first stage, ``(q, d)``.
        count: Number of documents per query.
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def late_interaction(
    model: SentenceTransformer,
    queries: Sequence[str],
    documents: Sequence[str],
    candidates: IntArray,
    *,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """Compare the tokens of each query with the tokens of its candidates.

    The queries are taken 512 at a time. For each of these blocks, each candidate is encoded once, 32 texts at a time,
    so that memory does not grow with the number of documents. The cost is one forward pass per distinct candidate of
    a block.

    Args:
        model: Encoder with token embeddings, i.e. any transformer.
        queries: ``q`` texts.
        documents: ``d`` texts.
        candidates: Indices of the documents to compare with each query, ``(q, k)``.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.

    Returns:
        Mean over the query's tokens of the highest cosine similarity with a token of the document, float32 ``(q, k)``.

    Raises:
        SmoothCSEError: The model has no token embeddings.
    """
    model = in_precision(model, precision)
    found = np.zeros(candidates.shape, dtype=np.float32)
    for first in range(0, len(queries), _QUERIES_AT_A_TIME):
        rows = slice(first, first + _QUERIES_AT_A_TIME)
        found[rows] = _compare(model, queries[rows], documents, candidates[rows])
    return found


def late_interaction_of(model: SentenceTransformer, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the late interaction of a query with each of some texts, ``(n,)``.

    Args:
        model: Encoder with token embeddings.
        query: The query.
        texts: At least one text.

    Raises:
        SmoothCSEError: The model has no token embeddings.
    """
    found: NDArray[np.float32] = late_interaction(model, [query], texts, np.arange(len(texts))[None])[0]
    return found


def rerank(scores: FloatArray, candidates: IntArray, late: FloatArray, late_weight: float = 0.5) -> FloatArray:
    """Reorder the candidates of each query by a weighted mean of the first stage and late interaction.

    Both are scaled to 0..1 over the candidates of a query. All other documents keep their order behind the candidates.

    Args:
        scores: Scores of the first stage, ``(q, d)``.
        candidates: Best documents of the first stage, ``(q, k)``, see :func:`first_candidates`.
        late: Their late interaction, ``(q, k)``, see :func:`late_interaction`.
        late_weight: Weight of late interaction, from 0 to 1.

    Returns:
        Scores, float64 ``(q, d)``: 2 to 3 for the candidates, 0 to 1 for all others.
    """
    combined = scale_rows(scores)
    early = scale_rows(np.take_along_axis(scores, candidates, axis=1))
    np.put_along_axis(combined, candidates, 2 + (1 - late_weight) * early + late_weight * scale_rows(late), axis=1)
    return combined


def check_token_embeddings(model: SentenceTransformer) -> None:
    """Refuse a model that late interaction cannot use.

    Raises:
        SmoothCSEError: The model has no token embeddings.
    """
    late_interaction(model, ["a"], ["a"], np.zeros((1, 1), dtype=np.int64))


def _compare(
    model: SentenceTransformer, queries: Sequence[str], documents: Sequence[str], candidates: IntArray
) -> NDArray[np.float32]:
    asked: list[Tensor] = [torch.empty(0)] * len(queries)
    for row, tokens in _token_embeddings(model, queries, "query"):
        asked[row] = tokens
    named, which = np.unique(candidates, return_inverse=True)
    which = which.reshape(-1)
    by_document = np.argsort(which, kind="stable")  # places in the flattened candidates, document by document
    bounds = np.searchsorted(which[by_document], np.arange(len(named) + 1))
    scores = np.zeros(candidates.size, dtype=np.float32)
    for number, tokens in _token_embeddings(model, [documents[index] for index in named], "document"):
        places = by_document[bounds[number] : bounds[number + 1]]
        asking = [asked[place // candidates.shape[1]] for place in places]
        scores[places] = maxsim(asking, [tokens], length_normalize=True)[:, 0].cpu().numpy()
    return scores.reshape(candidates.shape)


def _token_embeddings(
    model: SentenceTransformer, texts: Sequence[str], input_type: InputType
) -> Iterator[tuple[int, Tensor]]:
    """Yield each text's index and its token embeddings of length 1, ``(t, k)``, the longest texts first."""
    prompt = prompt_of(model, input_type)
    order = np.argsort(-token_counts(model, texts, prompt), kind="stable")
    method: Any = {"query": model.encode_query, "document": model.encode_document}[input_type]
    for first in range(0, len(order), _TEXTS_AT_A_TIME):
        rows = order[first : first + _TEXTS_AT_A_TIME].tolist()
        with without_autocast(model):
            outputs = method(
                [texts[row] for row in rows],
                prompt=prompt,
                batch_size=_TEXTS_AT_A_TIME,
                output_value=None,
                show_progress_bar=False,
            )
        yield from zip(rows, map(_tokens, outputs), strict=True)


def _tokens(output: dict[str, Tensor]) -> Tensor:
    if "token_embeddings" not in output or "attention_mask" not in output:
        raise SmoothCSEError(
            "The model has no token embeddings, which late interaction compares; use a transformer, or leave late "
            "interaction out."
        )
    tokens = output["token_embeddings"][output["attention_mask"].bool()]
    return unit_rows(tokens.float())
