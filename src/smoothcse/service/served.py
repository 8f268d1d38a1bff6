"""The encoders that are served: where they come from, and how requests reach them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse._utils.choices import InputType, PoolingName
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.service.batcher import Batcher, Encoded
from smoothcse.service.limits import Limits, Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from smoothcse.search import Index
    from smoothcse.service.metrics import Metrics


@dataclass(frozen=True)
class Served:
    """An encoder and, where there is one, its index.

    Attributes:
        name: that requests choose it by.
        model: the encoder.
        index: made by it, or None.
    """

    name: str
    model: SentenceTransformer
    index: Index | None = None


class Encoders:
    """What the endpoints work with: the encoders by name, each with its queue.

    Args:
        served: at least one; the first is the default.
        limits: of requests.
        batch_texts: of different requests that are encoded together.
        metrics: told about batches and queues.
    """

    def __init__(self, served: Sequence[Served], limits: Limits, batch_texts: int, metrics: Metrics) -> None:
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
        """Return the encoder of this name, or the default one.

        Raises:
            Refusal: with status 404.
        """
        if name is not None and name not in self.by_name:
            raise Refusal(404, f"There is no model {name!r}; there is {', '.join(self.by_name)}.")
        return self.by_name[name or self._default]

    def find_indexed(self, name: str | None) -> tuple[Served, Index]:
        """Return the encoder of this name and its index.

        Raises:
            Refusal: with status 404.
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
        """Encode texts together with those of others; :mod:`smoothcse.encoders.prompts` explains the prompts.

        Raises:
            Refusal: with status 429 if too many wait, 503 if it took too long.
            SmoothCSEError: If the model has no prompt of that name.
        """
        prompt = prompt_of(served.model, input_type, prompt_name=prompt_name)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return await asyncio.wrap_future(self._batchers[served.name].submit(texts, input_type, prompt))
        except TimeoutError as error:
            message = f"The model was busy for {self.limits.answer_seconds:g} seconds; try again with fewer texts."
            raise Refusal(503, message) from error

    async def corpus_map(self, name: str | None) -> bytes:
        """Return the map of a model's index as JSON; it is drawn once."""
        served, index = self.find_indexed(name)
        drawing = self._maps.get(served.name)
        if drawing is None or (drawing.done() and drawing.exception()):
            drawing = asyncio.create_task(run_in_threadpool(_draw, index))
            self._maps[served.name] = drawing
        return await asyncio.shield(drawing)

    async def close(self) -> None:
        """Encode what waits, and end."""
        for batcher in self._batchers.values():
            await run_in_threadpool(batcher.close)


def load_served(
    models: Sequence[str], indexes: Sequence[Path] = (), poolings: Sequence[PoolingName] = ()
) -> list[Served]:
    """Load models and give each index to the one that made it.

    Args:
        models: names of run folders, model folders or of the hub.
        indexes: each made by one of the models.
        poolings: one for each model, in place of its own; none to leave them all.

    Raises:
        SmoothCSEError: if a model or an index cannot be read, an index fits none of the models, or two fit one.
    """
    from smoothcse.search import Index

    if poolings and len(poolings) != len(models):
        raise SmoothCSEError(f"{len(poolings)} poolings are given for {len(models)} models; give one for each.")
    chosen: list[PoolingName | None] = [*poolings] or [None] * len(models)
    encoders = [load_encoder(name, pooling) for name, pooling in zip(models, chosen, strict=True)]
    made_by = {fingerprint(encoder): number for number, encoder in enumerate(encoders)}
    found: dict[int, Index] = {}
    for path in indexes:
        number = made_by.get(Index.fingerprint_of(path))
        if number is None:
            raise SmoothCSEError(
                f"The index {path} was made by another model than {' and '.join(models)}, or with another --pooling; "
                "give those that made it."
            )
        if number in found:
            raise SmoothCSEError(f"The index {path} is a second one for {models[number]}; give one per model.")
        with warnings.catch_warnings(action="ignore"):  # who serves it tells of an incomplete one
            found[number] = Index.open(path, encoders[number])
    names = _names(models, chosen)
    return [Served(name, model, found.get(row)) for row, (name, model) in enumerate(zip(names, encoders, strict=True))]


def _names(models: Sequence[str], poolings: Sequence[PoolingName | None]) -> list[str]:
    """Return short names that differ."""
    short = [Path(name).name for name in models]
    names = short if len(set(short)) == len(short) else list(models)
    if len(set(names)) < len(names):
        names = [f"{name} ({pooling})" for name, pooling in zip(short, poolings, strict=True)]
    if len(set(names)) < len(names):
        raise SmoothCSEError(f"The model {models[0]} is given twice; give it once, or with two poolings.")
    return names


def _draw(index: Index) -> bytes:
    from smoothcse.service.corpus_map import corpus_map

    return to_json(corpus_map(index), inf_nan_mode="null")  # browsers read no NaN
