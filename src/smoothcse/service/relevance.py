"""The relevance of texts for a query: by a cross-encoder, or by an encoder itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from smoothcse.encoders.prompts import prompt_of
from smoothcse.evaluation.maxsim import CANDIDATES
from smoothcse.service.cross_encoder import Logits
from smoothcse.service.queues import Encoders, no_such_model
from smoothcse.service.readings import Embeddings, LateInteraction, Side
from smoothcse.service.served import Reranker, Served

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smoothcse.search import Hit


@dataclass(frozen=True)
class Relevance:
    """The relevance of texts for a query.

    Attributes:
        scores: One score per text, ``(n,)``.
        tokens: Number of tokens that the model processed.
    """

    scores: NDArray[np.floating]
    tokens: int

    @property
    def order(self) -> list[int]:
        """Places of the texts, the most relevant first."""
        return [int(place) for place in np.argsort(-self.scores, kind="stable")]


def find_scorer(encoders: Encoders, name: str | None) -> Served | Reranker:
    """Return the model that reranks: the one with a name; by default the cross-encoder, else the first encoder.

    Raises:
        Refusal: Status 404 if there is no such model.
    """
    if encoders.reranker is not None and name in (None, encoders.reranker.name):
        return encoders.reranker
    if name is not None and name not in encoders.by_name:
        raise no_such_model(name, encoders.names)
    return encoders.find(name)


def as_read(scorer: Served | Reranker, query: str, texts: Sequence[str]) -> list[str | tuple[str, str]]:
    """Return texts as a model reads them: paired with the query, or with the prompt for documents."""
    if isinstance(scorer, Reranker):
        return [(query, text) for text in texts]
    prompt = prompt_of(scorer.model, "document")
    return [prompt + text for text in texts]


async def relevance(
    encoders: Encoders,
    scorer: Served | Reranker,
    query: str,
    texts: Sequence[str],
    *,
    raw: bool = False,
    side: Side = "right",
) -> Relevance:
    """Score texts by their relevance for a query.

    Args:
        encoders: Served models.
        scorer: Model that scores. A cross-encoder gives the probability of relevance; an encoder the cosine similarity
            of the embeddings, or the late interaction of the tokens if :attr:`Served.maxsim` is set.
        query: The query.
        texts: ``n`` texts.
        raw: Whether a cross-encoder gives its logits instead of probabilities.
        side: Where long texts are truncated.

    Raises:
        Refusal: Status 429 if too many texts are waiting, 503 if the model took too long.
        SmoothCSEError: If late interaction is asked of a model without token embeddings.
    """
    if isinstance(scorer, Reranker):
        found = await encoders.ask(scorer, texts, Logits(query, side))
        return Relevance(found.vectors if raw else expit(found.vectors), found.tokens)
    if scorer.maxsim:
        found = await encoders.ask(scorer, texts, LateInteraction(query, side))
        return Relevance(found.vectors, found.tokens)
    asked, found = await asyncio.gather(
        encoders.ask(scorer, [query], Embeddings.of(scorer.model, "query", side=side)),
        encoders.ask(scorer, texts, Embeddings.of(scorer.model, "document", side=side)),
    )
    return Relevance(found.vectors @ asked.vectors[0], asked.tokens + found.tokens)


async def reranked(encoders: Encoders, served: Served, query: str, hits: Sequence[Hit]) -> list[Hit]:
    """Reorder the first 50 hits of a search by late interaction, see :mod:`smoothcse.search.maxsim_search`.

    Args:
        encoders: Served models.
        served: Encoder.
        query: The query.
        hits: Hits in order of decreasing score.

    Raises:
        Refusal: Status 429 if too many texts are waiting, 503 if the comparison took too long.
        SmoothCSEError: If the model has no token embeddings.
    """
    from smoothcse.search.maxsim_search import reorder_hits

    if not hits:
        return []
    texts = [hit.text for hit in hits[:CANDIDATES]]
    compared = await encoders.ask(served, texts, LateInteraction(query))
    return reorder_hits(hits, compared.vectors)
