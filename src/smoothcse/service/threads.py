"""Number of threads for a short text.

The products of one short text are small: where sharing them among cores gains little, one thread leaves the others to
the requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from smoothcse.encoders.inference import encode

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SHORT = 48
"""Maximum tokens of a short text."""

_TEXT = (
    "A short text is about as long as this sentence, which has close to thirty tokens in most vocabularies of today."
)
_ROUNDS = 5
_WORTH_SHARING = 1.1
_ENOUGH = 0.2  # seconds


def threads_for_short_texts(model: SentenceTransformer) -> int:
    """Measure how many of torch's threads should encode one short text: one, or all.

    All, if they are at least 1.1 times as fast as one, or take 0.2 seconds and more: then there is enough to share.
    Takes about ten times as long as encoding a short text, or once as long in the latter case.

    Args:
        model: Encoder; on a device other than the CPU, the number of threads is left as it is.
    """
    every = torch.get_num_threads()
    if every == 1 or model.device.type != "cpu":
        return every
    if _seconds(model) >= _ENOUGH:
        return every
    fastest = dict.fromkeys((1, every), float("inf"))
    for _ in range(_ROUNDS):  # alternately, so that a slow moment of the machine affects both
        for threads in fastest:
            with torch_threads(threads):
                fastest[threads] = min(fastest[threads], _seconds(model))
    return every if fastest[every] * _WORTH_SHARING <= fastest[1] else 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with a number of threads what the calling thread asks of it in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(model: SentenceTransformer) -> float:
    started = perf_counter()
    encode(model, [_TEXT])
    return perf_counter() - started
