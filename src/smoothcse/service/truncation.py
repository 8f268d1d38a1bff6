"""Refusal of texts beyond a model's token limit, for clients that ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from smoothcse.encoders.length import length_limit
from smoothcse.service.limits import Refusal
from smoothcse.service.queues import Encoders
from smoothcse.service.served import Reranker, Served
from smoothcse.service.tei_schemas import TeiOptions


async def check_truncation(
    encoders: Encoders,
    served: Served | Reranker,
    options: TeiOptions,
    texts: Sequence[str | tuple[str, str]],
    field: str,
) -> None:
    """Refuse a request whose texts would be truncated although it forbids this.

    Args:
        encoders: Served models.
        served: Model that reads the texts.
        options: Options of the request.
        texts: Texts as the model reads them, with their prompt or paired with a query.
        field: Name of the request's field, for the message.

    Raises:
        Refusal: Status 413 if the request forbids truncation and a text is too long.
        SmoothCSEError: If the tokens cannot be counted, because the model has no fast tokenizer.
    """
    longest = length_limit(served.model)
    if options.truncate is not False or longest is None:
        return
    counts = await run_in_threadpool(lambda: encoders.tokens_of(served).counts(texts))
    for number, count in enumerate(counts):
        if count > longest:
            raise Refusal(
                413,
                f"{field}: text {number} (from 0) has {count} tokens, and the model reads {longest}; shorten it, or "
                "leave out truncate.",
            )
