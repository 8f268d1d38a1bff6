"""Endpoints for search, similarity and the corpus map."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool

from smoothcse._utils.choices import Rerank
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import CANDIDATES
from smoothcse.service.limits import Refusal
from smoothcse.service.relevance import reranked
from smoothcse.service.schemas import (
    FacetsAnswer,
    FacetsRequest,
    FieldFacet,
    FoundDocument,
    MapAnswer,
    MapProgress,
    ModelsAnswer,
    SearchAnswer,
    SearchRequest,
    ServedModel,
)
from smoothcse.service.the_encoders import TheEncoders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smoothcse.search import Hit, Index

router = APIRouter(tags=["search"])
ModelName = Annotated[str | None, Query(description="A name from /models; the first by default.")]


@router.get("/models")
async def models(encoders: TheEncoders) -> ModelsAnswer:
    """List the encoders, the default one first."""
    every = list(encoders.by_name.values())
    counts = [None if one.index is None else await run_in_threadpool(len, one.index) for one in every]
    fields = dict.fromkeys(field for one in every if one.index is not None for field in one.index.fields)
    found = [
        ServedModel(
            name=one.name,
            dimension=one.model.get_embedding_dimension() or 0,
            documents=count,
            incomplete=None if one.index is None else one.index.incomplete,
        )
        for one, count in zip(every, counts, strict=True)
    ]
    return ModelsAnswer(models=found, fields=list(fields))


@router.post("/search")
async def search(request: SearchRequest, encoders: TheEncoders) -> SearchAnswer:
    """Find the documents that match a query best, by words and meaning."""
    started = time.perf_counter()
    served, index = encoders.find_indexed(request.model)
    encoders.limits.check_texts([request.query], "query")
    encoders.limits.check_hits(request.k)
    encoders.limits.check_filter(request.where)
    encoded = await encoders.encode(served, [request.query], "query")
    wanted = (request.cosine_weight, served.cosine_weight, index.cosine_weight)
    weight = next(weight for weight in wanted if weight is not None)
    rerank = request.rerank or served.rerank or index.rerank
    count = max(request.k, CANDIDATES) if rerank == "maxsim" else request.k
    with encoders.span("search", served):
        hits = await run_in_threadpool(
            index.fused, request.query, encoded.vectors[0], count, where=request.where, cosine_weight=weight
        )
    if rerank == "maxsim":
        hits = await reranked(encoders, served, request.query, hits)
    return _found(hits[: request.k], index, weight, started, rerank)


@router.get("/neighbours")
async def neighbours(
    encoders: TheEncoders,
    id: Annotated[str, Query(description="Id of the document.")],
    k: Annotated[int, Query(ge=1, description="Maximum number of documents.")] = 10,
    model: ModelName = None,
) -> SearchAnswer:
    """Find the documents that are most similar to an indexed document."""
    started = time.perf_counter()
    served, index = encoders.find_indexed(model)
    encoders.limits.check_hits(k)
    try:
        with encoders.span("search", served):
            hits = await run_in_threadpool(index.neighbours, id, k)
    except SmoothCSEError as error:
        raise Refusal(404, f"There is no document {id!r}.") from error
    return _found(hits, index, 1.0, started)


@router.get("/map", response_model=MapAnswer)
async def corpus_map(encoders: TheEncoders, model: ModelName = None) -> Response:
    """Lay out the documents on a plane; the first call computes the map, which takes a while."""
    served, index = encoders.find_indexed(model)
    return Response(await encoders.maps.find(served.name, index), media_type="application/json")


@router.get("/map/progress")
async def map_progress(encoders: TheEncoders, model: ModelName = None) -> MapProgress:
    """Report how far the map is computed."""
    served, _ = encoders.find_indexed(model)
    return MapProgress(share=encoders.maps.share(served.name))


@router.post("/facets")
async def facets(request: FacetsRequest, encoders: TheEncoders) -> FacetsAnswer:
    """Count the documents that fulfil a filter, and the values of each metadata field among them.

    The values of a field that the filter limits are those of the documents that fulfil its other conditions.
    """
    _, index = encoders.find_indexed(request.model)
    encoders.limits.check_filter(request.where)
    found, count = await run_in_threadpool(lambda: (index.facets(request.where), index.count(request.where)))
    return FacetsAnswer(documents=count, fields=[FieldFacet.model_validate(asdict(one)) for one in found])


def _found(
    hits: Iterable[Hit], index: Index, cosine_weight: float, started: float, rerank: Rerank = "none"
) -> SearchAnswer:
    results = [
        FoundDocument(id=hit.id, text=hit.text, score=hit.score, cosine=hit.cosine, metadata=hit.metadata)
        for hit in hits
    ]
    milliseconds = (time.perf_counter() - started) * 1000
    return SearchAnswer(
        results=results,
        milliseconds=milliseconds,
        cosine_weight=cosine_weight,
        rerank=rerank,
        incomplete=index.incomplete,
    )
