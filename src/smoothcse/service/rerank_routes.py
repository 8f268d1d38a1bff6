"""Endpoints that rerank texts, as those of Cohere, Jina and text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Body

from smoothcse.service.relevance import as_read, find_scorer, relevance
from smoothcse.service.rerank_schemas import (
    AnyRerankRequest,
    RerankAnswer,
    RerankDocument,
    RerankRequest,
    RerankResult,
    RerankUsage,
    TeiRank,
    TeiRerankRequest,
)
from smoothcse.service.the_encoders import TheEncoders
from smoothcse.service.truncation import check_truncation

router = APIRouter(tags=["rerank"])


@router.post("/v1/rerank", response_model_exclude_none=True)
@router.post("/v2/rerank", response_model_exclude_none=True)
async def rerank(request: RerankRequest, encoders: TheEncoders) -> RerankAnswer:
    """Order documents by their relevance for a query, as Cohere's and Jina's APIs do."""
    scorer = find_scorer(encoders, request.model)
    encoders.limits.check_texts([request.query], "query")
    encoders.limits.check_texts(request.texts, "documents")
    found = await relevance(encoders, scorer, request.query, request.texts)
    results = [
        RerankResult(
            index=place,
            relevance_score=found.scores[place],
            document=RerankDocument(text=request.texts[place]) if request.return_documents else None,
        )
        for place in found.order[: request.top_n]
    ]
    usage = RerankUsage(total_tokens=found.tokens)
    return RerankAnswer(id=str(uuid4()), model=scorer.name, results=results, usage=usage)


@router.post("/rerank", response_model_exclude_none=True)
async def rerank_any(
    request: Annotated[AnyRerankRequest, Body()], encoders: TheEncoders
) -> RerankAnswer | list[TeiRank]:
    """Do as /v2/rerank for a body with `documents`, and as text-embeddings-inference for a body with `texts`."""
    if isinstance(request, RerankRequest):
        return await rerank(request, encoders)
    return await _rerank_as_tei(request, encoders)


async def _rerank_as_tei(request: TeiRerankRequest, encoders: TheEncoders) -> list[TeiRank]:
    scorer, query, texts = find_scorer(encoders, request.model), request.query, request.texts
    encoders.limits.check_texts([query], "query")
    encoders.limits.check_texts(texts, "texts")
    await check_truncation(encoders, scorer, request, as_read(scorer, query, texts), "texts")
    found = await relevance(encoders, scorer, query, texts, raw=request.raw_scores, side=request.truncation_direction)
    return [
        TeiRank(index=place, score=found.scores[place], text=texts[place] if request.return_text else None)
        for place in found.order
    ]
