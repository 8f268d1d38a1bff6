"""The endpoint for similarities, in the form of this service and in that of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from smoothcse.service.readings import Embeddings
from smoothcse.service.schemas import SimilarityAnswer, SimilarityRequest
from smoothcse.service.tei_schemas import AnySimilarityRequest, TeiSimilarityParameters, TeiSimilarityRequest
from smoothcse.service.the_encoders import TheEncoders
from smoothcse.service.truncation import check_truncation

router = APIRouter(tags=["search"])


@router.post("/similarity")
async def similarity(
    request: Annotated[AnySimilarityRequest, Body()], encoders: TheEncoders
) -> SimilarityAnswer | list[float]:
    """Compute the similarity of each text with each other text; with `inputs`, as text-embeddings-inference does."""
    if isinstance(request, TeiSimilarityRequest):
        return await _similarity_as_tei(request, encoders)
    return await _similarity(request, encoders)


async def _similarity(request: SimilarityRequest, encoders: TheEncoders) -> SimilarityAnswer:
    served = encoders.find(request.model)
    second = request.a if request.b is None else request.b
    encoders.limits.check_pairs(len(request.a), len(second))
    encoders.limits.check_texts(request.a, "a")
    if request.b is not None:
        encoders.limits.check_texts(request.b, "b")
    encoded = await encoders.encode(served, request.a if request.b is None else [*request.a, *request.b])
    first, last = encoded.vectors[: len(request.a)], encoded.vectors[-len(second) :]
    return SimilarityAnswer(scores=(first @ last.T).clip(-1, 1).tolist())


async def _similarity_as_tei(request: TeiSimilarityRequest, encoders: TheEncoders) -> list[float]:
    options = request.parameters or TeiSimilarityParameters()
    served = encoders.find(options.model)
    texts = [request.inputs.source_sentence, *request.inputs.sentences]
    encoders.limits.check_texts(request.inputs.sentences, "sentences")
    encoders.limits.check_texts(texts[:1], "source_sentence")
    reading = Embeddings.of(served.model, prompt_name=options.prompt_name, side=options.truncation_direction)
    await check_truncation(encoders, served, options, [reading.prompt + text for text in texts], "inputs")
    vectors = (await encoders.ask(served, texts, reading)).vectors
    scores: list[float] = (vectors[1:] @ vectors[0]).clip(-1, 1).tolist()
    return scores
