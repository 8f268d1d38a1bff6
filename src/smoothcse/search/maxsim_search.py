"""The second stage of a search: late interaction (MaxSim) over the first results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from smoothcse._utils.choices import Rerank
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import CANDIDATES, late_interaction_of, rerank
from smoothcse.search.hits import Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer


def rerank_hits(model: SentenceTransformer, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Reorder the first 50 hits by the mean of their score and late interaction, each scaled to 0..1 over them.

    Args:
        model: Encoder with token embeddings.
        query: The query.
        hits: Hits in order of decreasing score.

    Returns:
        The hits, best first. The first 50 have the scores of :func:`~smoothcse.evaluation.maxsim.rerank`, from 2 to 3;
        all others follow with the score that they had, at most 1.

    Raises:
        SmoothCSEError: If the model has no token embeddings.
    """
    texts = [hit.text for hit in hits[:CANDIDATES]]
    return reorder_hits(hits, late_interaction_of(model, query, texts)) if texts else []


def reorder_hits(hits: Sequence[Hit], late: NDArray[np.float32]) -> list[Hit]:
    """Reorder the first hits as :func:`rerank_hits` does, given their late interaction.

    Args:
        hits: Hits in order of decreasing score.
        late: Late interaction of the first ``n`` hits, ``(n,)``.
    """
    first, others = hits[: len(late)], hits[len(late) :]
    scores, places = np.array([[hit.score for hit in first]]), np.arange(len(first))[None]
    combined = rerank(scores, places, late[None])[0]
    order = np.argsort(-combined, kind="stable")
    return [*(replace(first[place], score=float(combined[place])) for place in order), *others]


def check_rerank(rerank: str) -> None:
    """Raise :class:`SmoothCSEError` for an unknown second stage."""
    if rerank not in get_args(Rerank):
        raise SmoothCSEError(f"There is no reranking {rerank!r}; choose one of {', '.join(get_args(Rerank))}.")
