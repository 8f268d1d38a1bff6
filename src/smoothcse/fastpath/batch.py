"""State of an accelerated model: the batch that is running, known to the changed modules of this model alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

_ATTRIBUTE = "fast_path"


class Batch(NamedTuple):
    """What a loss embeds in one forward pass."""

    ids: Tensor
    """Token ids, long ``(N, L)``."""
    words: Tensor | None = None
    """Word embeddings of the ids, ``(N, L, d)``, where they have been looked up already."""
    every_token: bool = False
    """Whether the loss reads the states of all tokens, not only those that the sentence embedding reads."""


@dataclass
class FastPath:
    """State that :func:`~smoothcse.fastpath.accelerate` gives a model.

    Attributes:
        batch: Batch that is running; None between two forward passes, and in those that no loss asks for.
        table: Word embeddings that can be looked up once per batch; None to look them up in each forward pass.
        length_groups: Whether CPUs encode a batch in groups of similar length.
    """

    batch: Batch | None = None
    table: nn.Module | None = None
    length_groups: bool = False


def attach(model: nn.Module, state: FastPath) -> None:
    """Give a model its state. The first module holds it, so that a copy of the modules has a copy of its own."""
    vars(next(model.children(), model))[_ATTRIBUTE] = state


def detach(model: nn.Module) -> None:
    """Take the state from a model again."""
    del vars(next(model.children(), model))[_ATTRIBUTE]


def fast_path_of(model: nn.Module) -> FastPath | None:
    """Return the state of an accelerated model, of a copy or a wrapper of one; None for other models."""
    return next((vars(module)[_ATTRIBUTE] for module in model.modules() if _ATTRIBUTE in vars(module)), None)


@contextmanager
def running(model: nn.Module, batch: Batch | None) -> Iterator[None]:
    """Tell the changed modules of a model which batch runs through them, if it has any."""
    state = fast_path_of(model)
    if state is None:
        yield
        return
    before, state.batch = state.batch, batch
    try:
        yield
    finally:
        state.batch = before
