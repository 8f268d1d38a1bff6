"""The endpoints of text-embeddings-inference; those for reranking and similarities are beside this service's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse import __version__
from smoothcse.bulk.quantisation import EmbeddingFormat
from smoothcse.encoders.inference import tokens_at_a_time
from smoothcse.encoders.length import length_limit
from smoothcse.encoders.pooling import pooling_of
from smoothcse.encoders.prompts import prompt_of
from smoothcse.service.limits import Refusal
from smoothcse.service.readings import Embeddings
from smoothcse.service.request_inputs import TokenIds, texts_of
from smoothcse.service.tei_schemas import TeiDecodeRequest, TeiEmbedRequest, TeiInfo, TeiToken, TeiTokenizeRequest
from smoothcse.service.the_encoders import TheEncoders
from smoothcse.service.truncation import check_truncation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sentence_transformers import SentenceTransformer
    from tokenizers import Encoding

    from smoothcse.service.model_tokens import ModelTokens
    from smoothcse.service.queues import Encoders
    from smoothcse.service.served import Served

_CHARACTERS = 1_000_000
"""Maximum characters of a request to /tokenize, whose answer is many times as large."""

router = APIRouter(tags=["text-embeddings-inference"])


@router.post("/embed", response_model=list[list[float]])
@router.post("/", response_model=list[list[float]])
async def embed(request: TeiEmbedRequest, encoders: TheEncoders) -> Response:
    """Embed texts."""
    served = encoders.find(request.model)
    texts = await texts_of(request.inputs, "inputs", encoders.limits, lambda rows: _decoded(encoders, served, rows))
    reading = Embeddings.of(
        served.model,
        prompt_name=request.prompt_name,
        normalize=request.normalize,
        side=request.truncation_direction,
    )
    await check_truncation(encoders, served, request, [reading.prompt + text for text in texts], "inputs")
    encoded = await encoders.ask(served, texts, reading)
    rows = EmbeddingFormat(request.dimensions, normalize=request.normalize).quantise(encoded.vectors)
    return await _written(row.tolist() for row in rows)


@router.post("/tokenize", response_model=list[list[TeiToken]])
async def tokenize(request: TeiTokenizeRequest, encoders: TheEncoders) -> Response:
    """Split texts into the tokens of the model, without truncation."""
    served = encoders.find(request.model)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    encoders.limits.check_texts(texts, "inputs")
    if (characters := sum(map(len, texts))) > _CHARACTERS:
        raise Refusal(
            413, f"inputs has {characters} characters, and the limit is {_CHARACTERS}; send several requests."
        )
    prompt = "" if request.prompt_name is None else prompt_of(served.model, prompt_name=request.prompt_name)
    read = [prompt + text for text in texts]
    tokens = await _tokens(encoders, served)
    encoded = await run_in_threadpool(lambda: tokens.encode(read, special=request.add_special_tokens))
    return await _written(_tokens_of(text, encoding) for text, encoding in zip(read, encoded, strict=True))


@router.post("/decode", response_model=list[str])
async def decode(request: TeiDecodeRequest, encoders: TheEncoders) -> Response:
    """Return the text of each list of token ids."""
    ids = request.ids
    rows = [row for row in ids if isinstance(row, list)] or [[id for id in ids if isinstance(id, int)]]
    encoders.limits.check_count(len(rows), "ids")
    tokens = await _tokens(encoders, encoders.find(request.model))
    return await _written(
        await run_in_threadpool(lambda: tokens.decode(rows, skip_special=request.skip_special_tokens))
    )


@router.get("/info")
async def info(encoders: TheEncoders) -> TeiInfo:
    """Describe the default encoder and the limits of the service."""
    served, limits = encoders.find(None), encoders.limits
    return TeiInfo(
        model_id=served.name,
        model_dtype=_dtype_of(served.model),
        model_type={"embedding": {"pooling": pooling_of(served.model)}},
        max_concurrent_requests=limits.requests,
        max_input_length=length_limit(served.model),
        max_batch_tokens=tokens_at_a_time(served.model.device.type),
        max_client_batch_size=limits.texts,
        version=__version__,
    )


@router.get("/health", response_class=PlainTextResponse)
async def health() -> str:
    """Report that the service is running."""
    return "ok"


async def _written(rows: Iterable[Any]) -> Response:
    """Serialise an answer row by row in a thread, since a large one would block the event loop."""
    body = await run_in_threadpool(lambda: b"[%b]" % b",".join(map(to_json, rows)))
    return Response(body, media_type="application/json")


def _dtype_of(model: SentenceTransformer) -> str:
    weights = next(model.parameters(), None)  # exported models have none
    return "float32" if weights is None else str(weights.dtype).removeprefix("torch.")


async def _decoded(encoders: Encoders, served: Served, rows: Sequence[TokenIds]) -> list[str]:
    tokens = await _tokens(encoders, served)
    return await run_in_threadpool(lambda: tokens.decode(rows))


async def _tokens(encoders: Encoders, served: Served) -> ModelTokens:
    return await run_in_threadpool(encoders.tokens_of, served)


def _tokens_of(text: str, encoding: Encoding) -> list[dict[str, Any]]:
    """Return the fields of a :class:`TeiToken` for each token."""
    parts = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
    return [
        {"id": id, "text": token, "special": True, "start": None, "stop": None}
        if special
        else {"id": id, "text": text[start:stop], "special": False, "start": start, "stop": stop}
        for id, token, special, (start, stop) in parts
    ]
