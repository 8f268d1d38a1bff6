"""The embedding endpoints of OpenAI's API."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse.bulk.quantisation import EmbeddingFormat
from smoothcse.service.limits import Refusal
from smoothcse.service.openai_schemas import EmbeddingAnswer, EmbeddingRequest, OpenAIModel, OpenAIModels
from smoothcse.service.request_inputs import texts_of
from smoothcse.service.the_encoders import TheEncoders

if TYPE_CHECKING:
    from smoothcse.service.batcher import Encoded
    from smoothcse.service.queues import Encoders

_WRITTEN_AT_ONCE = 16_384  # numbers, which take a few milliseconds

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])


@router.get("/models")
async def models(encoders: TheEncoders) -> OpenAIModels:
    """List the models: the encoders, and the reranker if there is one."""
    return OpenAIModels(data=[OpenAIModel(id=name) for name in encoders.names])


@router.get("/models/{name:path}")
async def model(name: str, encoders: TheEncoders) -> OpenAIModel:
    """Describe one model."""
    if name not in encoders.names:
        raise Refusal(404, f"There is no model {name!r}; available: {', '.join(encoders.names)}.")
    return OpenAIModel(id=name)


@router.post("/embeddings", response_model=EmbeddingAnswer)
async def embeddings(request: EmbeddingRequest, encoders: TheEncoders) -> Response:
    """Embed texts; the embeddings have length 1."""
    return Response(await answer_embeddings(request, encoders), media_type="application/json")


async def answer_embeddings(request: EmbeddingRequest, encoders: Encoders) -> bytes:
    """Return the JSON of an :class:`EmbeddingAnswer`."""
    served = encoders.find(request.model)
    texts = await texts_of(request.input, "input", encoders.limits, lambda rows: encoders.decode(served, rows))
    encoded = await encoders.encode(served, texts, request.input_type, request.prompt_name)
    if encoded.vectors.size <= _WRITTEN_AT_ONCE:
        return _written(encoded, served.name, request)
    return await run_in_threadpool(_written, encoded, served.name, request)


def _written(encoded: Encoded, name: str, request: EmbeddingRequest) -> bytes:
    """Serialise an :class:`EmbeddingAnswer` row by row, without a Python object per number.

    Serialising a million numbers in one call would block the event loop, even from another thread. A few rows take
    less time than another thread, which would have to wait for the one that encodes.
    """
    rows = EmbeddingFormat(request.dimensions, normalize=True).quantise(encoded.vectors)
    entries = []
    for number, row in enumerate(rows):
        if request.encoding_format == "base64":
            embedding = to_json(base64.b64encode(row.astype("<f4").tobytes()).decode())
        else:
            embedding = to_json(row.tolist())
        entries.append(b'{"object":"embedding","index":%d,"embedding":%b}' % (number, embedding))
    usage = {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens}
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(entries), to_json(name), to_json(usage))
