"""The served encoders: how they are loaded, and how requests reach them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse._utils.choices import Backend, InputType, PoolingName, Rerank
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import CANDIDATES, check_token_embeddings
from smoothcse.service.batcher import Batcher, Encoded
from smoothcse.service.limits import Limits, Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from smoothcse.search import Hit, Index
    from smoothcse.service.prometheus import ServiceMetrics


@dataclass(frozen=True)
class Served:
    """A served encoder with its index, if any.

    Attributes:
        name: Name by which requests select the encoder.
        model: Encoder.
        index: Index built with this encoder, or None.
        cosine_weight: Default weight of the cosine similarity in a search; None for that of the index.
        rerank: Default second stage of a search; None for that of the index.
    """

    name: str
    model: SentenceTransformer
    index: Index | None = None
    cosine_weight: float | None = None
    rerank: Rerank | None = None


class Encoders:
    """The encoders by name, each with its queue, as the endpoints use them.

    Args:
        served: At least one encoder; the first is the default.
        limits: Limits on requests.
        batch_texts: Maximum texts of different requests per batch.
        metrics: Metrics that record batches and queues.
    """

    def __init__(self, served: Sequence[Served], limits: Limits, batch_texts: int, metrics: ServiceMetrics) -> None:
        self.by_name = {entry.name: entry for entry in served}
        self.limits = limits
        self._default = served[0].name
        self._maps: dict[str, asyncio.Task[bytes]] = {}
        self._batchers = {
            name: Batcher(
                entry.model,
                batch_texts=batch_texts,
                waiting_texts=limits.waiting_texts,
                on_batch=metrics.batch_texts.labels(name).observe,
            )
            for name, entry in self.by_name.items()
        }
        for name, batcher in self._batchers.items():
            metrics.watch_queue(name, batcher)

    def find(self, name: str | None) -> Served:
        """Return the encoder with a name, or the default encoder.

        Raises:
            Refusal: Status 404 if there is no such encoder.
        """
        if name is not None and name not in self.by_name:
            raise Refusal(404, f"There is no model {name!r}; available: {', '.join(self.by_name)}.")
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
        prompt = prompt_of(served.model, input_type, prompt_name=prompt_name)
        return await self._answer(self._batchers[served.name].submit(texts, input_type, prompt))

    async def rerank(self, served: Served, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """Reorder the first 50 hits by late interaction, see :mod:`smoothcse.search.maxsim_search`.

        Args:
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
        compared = await self._answer(self._batchers[served.name].compare(query, texts))
        return reorder_hits(hits, compared.vectors)

    async def _answer(self, future: Future[Encoded]) -> Encoded:
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            message = f"The model was busy for {self.limits.answer_seconds:g} seconds; try again with fewer texts."
            raise Refusal(503, message) from error

    async def corpus_map(self, name: str | None) -> bytes:
        """Return the map of an encoder's index as JSON; it is computed once."""
        served, index = self.find_indexed(name)
        drawing = self._maps.get(served.name)
        if drawing is None or (drawing.done() and drawing.exception()):
            drawing = asyncio.create_task(run_in_threadpool(_draw, index))
            self._maps[served.name] = drawing
        return await asyncio.shield(drawing)

    async def close(self) -> None:
        """Encode all waiting texts, then stop."""
        for batcher in self._batchers.values():
            await run_in_threadpool(batcher.close)


def load_served(
    models: Sequence[str],
    indexes: Sequence[Path] = (),
    poolings: Sequence[PoolingName] = (),
    cosine_weight: float | None = None,
    rerank: Rerank | None = None,
    backend: Backend | None = None,
) -> list[Served]:
    """Load models, and assign each index to the model that built it.

    Args:
        models: Run folders, model folders or Hub names.
        indexes: Indexes, each built with one of the models.
        poolings: One pooling per model, to use instead of its own. Default: the models' own.
        cosine_weight: Default weight of the cosine similarity in a search. Default: that of each index.
        rerank: Default second stage of a search. Default: that of each index.
        backend: Runtime of the models, see :func:`~smoothcse.encoders.load.load_encoder`. Default: that of each
            folder.

    Raises:
        SmoothCSEError: If a model or an index cannot be read, an index has no words for the weight, a model has no
            token embeddings for the second stage, an index matches none of the models, or two indexes match one model.
    """
    from smoothcse.search import Index

    if poolings and len(poolings) != len(models):
        raise SmoothCSEError(f"{len(poolings)} poolings are given for {len(models)} models; give one per model.")
    chosen: list[PoolingName | None] = [*poolings] or [None] * len(models)
    encoders = [load_encoder(name, pooling, backend=backend) for name, pooling in zip(models, chosen, strict=True)]
    made_by = {fingerprint(encoder): number for number, encoder in enumerate(encoders)}
    found: dict[int, Index] = {}
    for path in indexes:
        number = made_by.get(Index.fingerprint_of(path))
        if number is None:
            raise SmoothCSEError(
                f"The index {path} was built with another model than {' and '.join(models)}, or with another "
                "--pooling; give the model and pooling that it was built with."
            )
        if number in found:
            raise SmoothCSEError(f"The index {path} is a second one for {models[number]}; give one per model.")
        with warnings.catch_warnings(action="ignore"):  # the service itself reports incomplete indexes
            found[number] = Index.open(path, encoders[number])
        if cosine_weight is not None:
            found[number].check_cosine_weight(cosine_weight)
        if rerank == "maxsim":
            check_token_embeddings(encoders[number])
    names = _names(models, chosen)
    return [
        Served(name, model, found.get(row), cosine_weight, rerank)
        for row, (name, model) in enumerate(zip(names, encoders, strict=True))
    ]


def _names(models: Sequence[str], poolings: Sequence[PoolingName | None]) -> list[str]:
    """Return short, distinct names."""
    short = [Path(name).name for name in models]
    names = short if len(set(short)) == len(short) else list(models)
    if len(set(names)) < len(names):
        names = [f"{name} ({pooling})" for name, pooling in zip(short, poolings, strict=True)]
    if len(set(names)) < len(names):
        raise SmoothCSEError(f"The model {models[0]} is given twice; give it once, or with two poolings.")
    return names


def _draw(index: Index) -> bytes:
    from smoothcse.service.corpus_map import corpus_map

    return to_json(corpus_map(index), inf_nan_mode="null")  # browsers cannot parse NaN
