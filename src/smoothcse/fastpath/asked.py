"""What a loss asks of an encoder while it runs: which tokens are in the batch, and whether all of them are needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_EVERY_TOKEN = ContextVar("every_token", default=False)
IDS: ContextVar[Tensor | None] = ContextVar("ids", default=None)
"""Token ids ``(N, L)`` of the batch that a loss is running; None outside of one."""


def current_ids() -> Tensor | None:
    """Return the token ids ``(N, L)`` of what :func:`run` is running; None outside of it."""
    return IDS.get()


@contextmanager
def every_token() -> Iterator[None]:
    """Let encoders compute all tokens, as one that is read at [CLS] alone does not in training."""
    before = _EVERY_TOKEN.set(True)
    try:
        yield
    finally:
        _EVERY_TOKEN.reset(before)


def wants_every_token() -> bool:
    """Whether this is inside :func:`every_token`."""
    return _EVERY_TOKEN.get()
