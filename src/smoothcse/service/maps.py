"""The maps of the served indexes: each is computed once per state of its index, and kept in the index's folder."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from smoothcse._utils.atomic import open_atomic
from smoothcse.service.limits import Refusal
from smoothcse.service.map_process import MapProcess

if TYPE_CHECKING:
    from smoothcse.search import Index

MAP_FILE = "map.json"
"""File of an index's folder with its latest map; the first line says for which state of the index."""

_FORMAT = 1  # increase it when the content or the layout of the map changes


@dataclass
class _Drawing:
    """A map that is being computed, or complete."""

    state: bytes
    task: asyncio.Task[bytes]
    process: MapProcess


class Maps:
    """The maps of the served indexes, by the name of the encoder."""

    def __init__(self) -> None:
        self._drawings: dict[str, _Drawing] = {}

    async def find(self, name: str, index: Index) -> bytes:
        """Return the map of an index as JSON, for the index as it is now.

        Args:
            name: Name of the encoder.
            index: Its index.

        Raises:
            Refusal: Status 503 if the map cannot be computed.
        """
        state = await run_in_threadpool(_state_of, index)
        drawing = self._drawings.get(name)
        if drawing is None or drawing.state != state or (drawing.task.done() and drawing.task.exception()):
            if drawing is not None:
                drawing.process.stop()  # it would draw an index that has changed; has no effect on one that has ended
            process = MapProcess()
            task = asyncio.create_task(run_in_threadpool(_read_or_draw, index, state, process))
            drawing = self._drawings[name] = _Drawing(state, task, process)
        try:
            return await asyncio.shield(drawing.task)
        except Refusal:
            if self._drawings[name] is drawing:
                raise
            return await self.find(name, index)  # the index changed meanwhile

    def share(self, name: str) -> float:
        """Return the share of an encoder's map that is computed, from 0 to 1."""
        return self._drawings[name].process.share if name in self._drawings else 0.0

    def close(self) -> None:
        """Stop computing maps."""
        for drawing in self._drawings.values():
            drawing.process.stop()


def _state_of(index: Index) -> bytes:
    described = repr((_FORMAT, index.version, index.record.fingerprint, index.incomplete))
    return hashlib.sha256(described.encode()).hexdigest().encode()


def _read_or_draw(index: Index, state: bytes, process: MapProcess) -> bytes:
    from smoothcse.service.corpus_map import corpus_map

    file = index.path / MAP_FILE
    with suppress(OSError):
        saved, _, found = file.read_bytes().partition(b"\n")
        if saved == state:
            process.share = 1.0
            return found
    drawn = to_json(corpus_map(index, process), inf_nan_mode="null")  # browsers cannot parse NaN
    with suppress(OSError), open_atomic(file, unique=True) as out:  # an index that cannot be written needs no file
        out.write(state + b"\n" + drawn)
    return drawn
