"""Dynamic batching: texts of concurrent requests are encoded together.

One thread owns the model. It takes the waiting texts, up to one batch, and encodes them immediately; meanwhile, the
next batch accumulates. No request waits for a timer, and a single request is encoded at once.
:mod:`smoothcse.service.schedule` decides the order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from time import time_ns
from typing import TYPE_CHECKING

import numpy as np
import torch

from smoothcse._utils.freed_memory import give_back_freed_memory
from smoothcse.encoders.inference import tokens_at_a_time
from smoothcse.encoders.length import length_limit
from smoothcse.service.limits import Refusal
from smoothcse.service.readings import Embeddings, Reading
from smoothcse.service.schedule import Schedule
from smoothcse.service.threads import SHORT, torch_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

_FORWARDS_IN_A_BATCH = 4  # for long texts; with more, a small request would wait for seconds
_CHARACTERS_OF_A_TOKEN = 4
_TEXTS_BETWEEN_CLEARINGS = 256  # seconds of work, compared with milliseconds for returning memory to the system


@dataclass(frozen=True)
class ForwardPass:
    """One batch, as one of its requests sees it. Times are in nanoseconds since the epoch.

    Attributes:
        started: Time at which the model began.
        ended: Time at which it had finished.
        texts: Number of texts of the request.
        tokens: Number of their tokens.
        batch_texts: Number of texts of all requests.
    """

    started: int
    ended: int
    texts: int
    tokens: int
    batch_texts: int


@dataclass(frozen=True)
class Encoded:
    """Result of a request.

    Attributes:
        vectors: One row per text, float32: its embedding, ``(n, d)``, or its score, ``(n,)``.
        tokens: Number of tokens that the model processed.
        submitted: Time at which the request began to wait, in nanoseconds since the epoch.
        passes: The batches in which the texts were processed; a small request has one.
    """

    vectors: NDArray[np.float32]
    tokens: int
    submitted: int
    passes: Sequence[ForwardPass]


class Batcher:
    """Answers the requests of many callers with one model.

    Args:
        model: Encoder or cross-encoder, for exclusive use.
        batch_texts: Maximum texts per batch; 1 encodes each text alone.
        waiting_texts: Number of waiting texts above which callers are refused.
        on_batch: Function called with the number of texts of each batch.
        short_text_threads: Number of torch's threads for a batch of one short text, see
            :mod:`smoothcse.service.threads`. Default: all.
    """

    def __init__(
        self,
        model: SentenceTransformer | CrossEncoder,
        *,
        batch_texts: int,
        waiting_texts: int,
        on_batch: Callable[[int], None] = lambda texts: None,
        short_text_threads: int | None = None,
    ) -> None:
        self._model = model
        self._longest = length_limit(model) or 512
        self._waiting_texts = waiting_texts
        self._on_batch = on_batch
        self._threads = torch.get_num_threads()
        self._short_text_threads = short_text_threads or self._threads
        tokens = _FORWARDS_IN_A_BATCH * tokens_at_a_time(model.device.type)
        self._schedule: Schedule[_Job] = Schedule(batch_texts, tokens)
        self._waiting = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of texts of all unanswered requests."""
        return self._waiting

    def submit(self, texts: Sequence[str], reading: Reading | None = None) -> Future[Encoded]:
        """Request a row per text; a cancelled future is not processed further.

        Args:
            texts: Texts of one request.
            reading: What the model is asked about them. Default: their embeddings, with the model's default prompt.

        Raises:
            Refusal: Status 429 if too many texts are waiting, 503 after :meth:`close`.
        """
        reading = reading or Embeddings.of(self._model)
        count = len(texts)
        with self._changed:
            if self._closing:
                raise Refusal(503, "The service is shutting down; try again in a moment.")
            if self._waiting and self._waiting + count > self._waiting_texts:
                raise Refusal(429, f"{self._waiting} texts are already waiting; try again in a moment.")
            job = _Job(texts, self._longest, reading)
            self._waiting += count
            self._schedule.add(job)
            self._changed.notify()
        job.result.add_done_callback(lambda _: self._release(count))
        return job.result

    def close(self) -> None:
        """Encode all waiting texts, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _release(self, count: int) -> None:
        with self._changed:
            self._waiting -= count

    def _work(self) -> None:
        since_clearing = 0
        torch.set_num_threads(self._threads)  # each thread has its own number; a new one takes that set last by any
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._schedule or self._closing)
                if not self._schedule:
                    return
                batch = self._schedule.next_batch()
            for part in _of_one_reading(batch):
                self._encode(part)
            since_clearing += sum(len(texts) for _, texts in batch)
            if since_clearing >= _TEXTS_BETWEEN_CLEARINGS:
                give_back_freed_memory()
                since_clearing = 0

    def _encode(self, batch: list[tuple[_Job, list[str]]]) -> None:
        texts = [text for _, portion in batch for text in portion]
        reading = batch[0][0].reading
        short = len(texts) == 1 and len(texts[0]) <= SHORT * _CHARACTERS_OF_A_TOKEN
        started = time_ns()
        try:
            with torch_threads(self._short_text_threads if short else self._threads):
                vectors, ended = reading.rows(self._model, texts), time_ns()
            tokens = reading.tokens(self._model, texts)
        except Exception as error:  # any error goes to the callers; this thread continues with other requests
            for job, _ in batch:
                job.fail(error)
            return
        finally:
            self._on_batch(len(texts))
        ends = list(accumulate(len(portion) for _, portion in batch))[:-1]
        for (job, _), rows, counts in zip(batch, np.split(vectors, ends), np.split(tokens, ends), strict=True):
            job.receive(rows, ForwardPass(started, ended, len(rows), int(counts.sum()), len(texts)))


class _Job:
    """The texts of one request, encoded one portion at a time.

    Args:
        texts: Texts of the request.
        longest: Maximum tokens that the model reads of a text.
        reading: What the model is asked about them.
    """

    def __init__(self, texts: Sequence[str], longest: int, reading: Reading) -> None:
        self.reading = reading
        self.result: Future[Encoded] = Future()
        self.costs = [min(1 + len(text) // _CHARACTERS_OF_A_TOKEN, longest) for text in texts]
        self._texts = list(texts)
        self._rows: list[NDArray[np.float32]] = []
        self._passes: list[ForwardPass] = []
        self._submitted = time_ns()

    @property
    def cancelled(self) -> bool:
        return self.result.done()

    def take(self, count: int) -> list[str]:
        first = len(self._texts) - len(self.costs)
        del self.costs[:count]
        return self._texts[first : first + count]

    def receive(self, rows: NDArray[np.float32], one: ForwardPass) -> None:
        self._rows.append(rows)
        self._passes.append(one)
        if sum(map(len, self._rows)) == len(self._texts):
            tokens = sum(one.tokens for one in self._passes)
            with suppress(InvalidStateError):  # cancelled meanwhile
                self.result.set_result(Encoded(np.concatenate(self._rows), tokens, self._submitted, self._passes))

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):
            self.result.set_exception(error)


def _of_one_reading(batch: list[tuple[_Job, list[str]]]) -> list[list[tuple[_Job, list[str]]]]:
    """Split a batch into parts whose requests share a reading."""
    parts: dict[Reading, list[tuple[_Job, list[str]]]] = {}
    for job, portion in batch:
        parts.setdefault(job.reading, []).append((job, portion))
    return list(parts.values())
