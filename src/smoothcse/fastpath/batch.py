"""State of an accelerated model: the current batch, visible only to the changed modules of this model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

_ATTRIBUTE = "fast_path"


class Batch(NamedTuple):
    """A batch that a loss embeds in one forward pass."""

    ids: Tensor
    """Token ids, long ``(N, L)``."""
    words: Tensor | None = None
    """Word embeddings of the ids, ``(N, L, d)``; None if they have not been looked up."""
    every_token: bool = False
    """Whether the loss reads the states of all tokens, not only those that the sentence embedding reads."""


@dataclass
class FastPath:
    """State that :func:`~smoothcse.fastpath.accelerate` attaches to a model.

    Attributes:
        batch: Current batch; None between forward passes, and in passes outside of a loss.
        table: Word embeddings that can be looked up once per batch; None to look them up in each forward pass.
        length_groups: Whether CPUs encode a batch in groups of similar length.
        bf16: Whether the steps are computed in bf16, in which a group of the same memory has twice as many tokens.
    """

    batch: Batch | None = None
    table: nn.Module | None = None
    length_groups: bool = False
    bf16: bool = False


def attach(model: nn.Module, state: FastPath) -> None:
    """Attach a state to the first module of a model, so that a copy of the modules has its own copy of the state."""
    vars(next(model.children(), model))[_ATTRIBUTE] = state


def detach(model: nn.Module) -> None:
    """Remove the state from a model."""
    del vars(next(model.children(), model))[_ATTRIBUTE]


def fast_path_of(model: nn.Module) -> FastPath | None:
    """Return the state of an accelerated model, its copy or its wrapper; None for other models."""
    return next((vars(module)[_ATTRIBUTE] for module in model.modules() if _ATTRIBUTE in vars(module)), None)


@contextmanager
def running(model: nn.Module, batch: Batch | None) -> Iterator[None]:
    """Set the current batch of an accelerated model while the context is open."""
    state = fast_path_of(model)
    if state is None:
        yield
        return
    before, state.batch = state.batch, batch
    try:
        yield
    finally:
        state.batch = before
