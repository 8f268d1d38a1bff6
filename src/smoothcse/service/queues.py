"""The served models by name, each with its queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from starlette.concurrency import run_in_threadpool

from smoothcse._utils.choices import InputType, TokenIdsOf
from smoothcse.service.batcher import Batcher, Encoded
from smoothcse.service.limits import Limits, Refusal
from smoothcse.service.maps import Maps
from smoothcse.service.model_tokens import ModelTokens
from smoothcse.service.openai_tokens import OpenAITokens
from smoothcse.service.readings import Embeddings, Reading
from smoothcse.service.request_inputs import TokenIds
from smoothcse.service.served import Reranker, Served
from smoothcse.service.threads import threads_for_short_texts

if TYPE_CHECKING:
    from smoothcse.search import Index
    from smoothcse.service.prometheus import ServiceMetrics
    from smoothcse.service.tracing import Tracing

T = TypeVar("T")


class Encoders:
    """The served models by name, each with its queue, as the endpoints use them.

    Args:
        served: At least one encoder; the first is the default.
        limits: Limits on requests.
        batch_texts: Maximum texts of different requests per batch.
        metrics: Metrics that record batches and queues.
        reranker: Cross-encoder for the endpoints that rerank.
        token_ids: Tokenizer of the token ids in requests of OpenAI's API.
        tracing: Traces of requests; None for none.
    """

    def __init__(
        self,
        served: Sequence[Served],
        limits: Limits,
        batch_texts: int,
        metrics: ServiceMetrics,
        reranker: Reranker | None = None,
        token_ids: TokenIdsOf = "cl100k_base",
        tracing: Tracing | None = None,
    ) -> None:
        self.by_name = {entry.name: entry for entry in served}
        self.limits = limits
        self.reranker = reranker
        self._default = served[0].name
        self.maps = Maps()
        self._tracing = tracing
        self._openai_tokens = OpenAITokens() if token_ids == "cl100k_base" else None
        self._tokens: dict[str, ModelTokens] = {}
        self._writing = {name: asyncio.Lock() for name in self.by_name}
        every: list[Served | Reranker] = [*served, *([reranker] if reranker else [])]
        self._batchers = {
            entry.name: Batcher(
                entry.model,
                batch_texts=batch_texts,
                waiting_texts=limits.waiting_texts,
                on_batch=metrics.batch_texts.labels(entry.name).observe,
                short_text_threads=threads_for_short_texts(entry.model) if isinstance(entry, Served) else None,
            )
            for entry in every
        }
        for name, batcher in self._batchers.items():
            metrics.watch_queue(name, batcher)

    @property
    def names(self) -> list[str]:
        """Names of all models, the encoders first."""
        return list(self._batchers)

    def find(self, name: str | None) -> Served:
        """Return the encoder with a name, or the default encoder.

        Raises:
            Refusal: Status 404 if there is no such encoder.
        """
        if name is not None and name not in self.by_name:
            raise no_such_model(name, self.by_name)
        return self.by_name[name or self._default]

    def find_indexed(self, name: str | None) -> tuple[Served, Index]:
        """Return the encoder with a name, and its index.

        Raises:
            Refusal: Status 404 if there is no such encoder, or it has no index.
        """
        served = self.find(name)
        if served.index is None:
            raise Refusal(404, f"The model {served.name} is served without an index; start the service with --index.")
        return served, served.index

    def tokens_of(self, served: Served | Reranker) -> ModelTokens:
        """Return the tokenizer of a model, which is copied at the first call.

        Raises:
            SmoothCSEError: If its tokenizer is not a fast one.
        """
        if served.name not in self._tokens:
            self._tokens[served.name] = ModelTokens(served.model)
        return self._tokens[served.name]

    async def decode(self, served: Served, rows: Sequence[TokenIds]) -> list[str]:
        """Return the text of each list of token ids in a request of OpenAI's API.

        Args:
            served: Encoder of the request.
            rows: Token ids of each text.

        Raises:
            Refusal: Status 400 if OpenAI's vocabulary cannot be read, or has no such id.
            SmoothCSEError: If the model's tokenizer has no such id.
        """
        if self._openai_tokens is not None:
            return await self._openai_tokens.decode(rows)
        return await run_in_threadpool(lambda: self.tokens_of(served).decode(rows))

    async def encode(
        self,
        served: Served,
        texts: Sequence[str],
        input_type: InputType | None = None,
        prompt_name: str | None = None,
    ) -> Encoded:
        """Encode texts, batched with those of other requests; see :mod:`smoothcse.encoders.prompts` for the prompts.

        Args:
            served: Encoder.
            texts: Texts of one request.
            input_type: Kind of text.
            prompt_name: Name of a prompt of the model.

        Raises:
            Refusal: Status 429 if too many texts are waiting, 503 if encoding took too long.
            SmoothCSEError: If the model has no prompt with this name.
        """
        return await self.ask(served, texts, Embeddings.of(served.model, input_type, prompt_name))

    async def ask(self, served: Served | Reranker, texts: Sequence[str], reading: Reading) -> Encoded:
        """Ask a model about texts, batched with those of other requests.

        Args:
            served: Model.
            texts: Texts of one request.
            reading: What the model is asked about them.

        Raises:
            Refusal: Status 429 if too many texts are waiting, 503 if the model took too long.
        """
        with self.span("encode", served):
            try:
                async with asyncio.timeout(self.limits.answer_seconds):
                    encoded = await asyncio.wrap_future(self._batchers[served.name].submit(texts, reading))
            except TimeoutError as error:
                raise self._busy() from error
            return self._recorded(encoded)

    def wait(self, served: Served | Reranker, texts: Sequence[str], reading: Reading) -> Encoded:
        """Do as :meth:`ask` does, in a thread that may wait."""
        with self.span("encode", served):
            asked = self._batchers[served.name].submit(texts, reading)
            try:
                encoded = asked.result(self.limits.answer_seconds)
            except TimeoutError as error:
                asked.cancel()  # otherwise the texts would still be encoded
                raise self._busy() from error
            return self._recorded(encoded)

    def span(self, name: str, served: Served | Reranker) -> AbstractContextManager[None]:
        """Trace the block, if the service traces requests.

        Args:
            name: Name of the span.
            served: Model that it uses.
        """
        return nullcontext() if self._tracing is None else self._tracing.span(name, served.name)

    def _recorded(self, encoded: Encoded) -> Encoded:
        if self._tracing is not None:
            self._tracing.record(encoded)
        return encoded

    def _busy(self) -> Refusal:
        message = f"The model was busy for {self.limits.answer_seconds:g} seconds; try again with fewer texts."
        return Refusal(503, message)

    async def change(self, served: Served, change: Callable[[], T]) -> T:
        """Change the index of an encoder, one change at a time.

        A change that has begun is completed, even if the client disconnects; one that waits is dropped.

        Args:
            served: Encoder with an index.
            change: Function that changes the index; it runs in another thread.
        """
        writing = self._writing[served.name]
        await writing.acquire()

        async def changing() -> T:
            try:
                return await run_in_threadpool(change)
            finally:
                writing.release()

        return await asyncio.shield(asyncio.create_task(changing()))

    async def close(self) -> None:
        """Encode all waiting texts, then stop."""
        self.maps.close()
        for batcher in self._batchers.values():
            await run_in_threadpool(batcher.close)
        if self._tracing is not None:
            await run_in_threadpool(self._tracing.close)


def no_such_model(name: str, available: Iterable[str]) -> Refusal:
    """Return the answer to a request for a model that is not among those available: status 404."""
    return Refusal(404, f"There is no model {name!r}; available: {', '.join(available)}.")
