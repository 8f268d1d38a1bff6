"""Gradient caching: batches of which the activations do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, RandContext
from torch import Tensor

from smoothcse.errors import SmoothCSEError
from smoothcse.methods.base import GSInfoNCELoss
from smoothcse.views.embed import Features, embed, take_rows


class GradientCaching(CachedLossMixin):
    """Makes the memory of a loss independent of the batch (GradCache: Gao et al., RepL4NLP 2021).

    The batch is encoded piece by piece without activations, the loss and its gradient with respect to the embeddings
    are computed once for all of it, and each piece is encoded again, with the same dropout, to carry that gradient
    into the weights. That makes three passes of two: about a third more time for any batch at all.

    Value and gradients are those of the plain loss. A single text column is encoded as two dropout views of each
    sentence, shortest sentences first, so that a piece holds sentences of similar length.

    Args:
        model: the encoder.
        mini_batch_tokens: tokens that are encoded at a time, padding not counted; at least one sentence is.
        **settings: of the loss it is mixed into.

    Raises:
        SmoothCSEError: for an argument out of its range.
    """

    model: SentenceTransformer

    def __init__(self, model: SentenceTransformer, *, mini_batch_tokens: int = 1024, **settings: Any) -> None:
        super().__init__(model, **settings)
        if mini_batch_tokens < 1:
            raise SmoothCSEError(f"mini_batch_tokens must be at least 1, not {mini_batch_tokens}.")
        self.mini_batch_num_tokens = mini_batch_tokens
        self.mini_batch_size = 1  # the host wants one; the number of tokens goes before it

    def _loss_of(self, columns: list[Features]) -> Tensor:
        order = _order_of_length(columns)
        self._back = order.argsort()
        loss: Tensor = CachedLossMixin.forward_cached(self, _sorted(columns, order))
        return loss

    def embed_minibatch(
        self,
        sentence_feature: Features,
        begin: int,
        end: int,
        with_grad: bool,
        copy_random_state: bool,
        random_state: RandContext | None = None,
    ) -> tuple[Tensor, RandContext | None]:
        """Embed the rows from ``begin`` to ``end``: what the host does, but reading the training head."""
        piece = take_rows(sentence_feature, torch.arange(begin, end, device=sentence_feature["input_ids"].device))
        state = RandContext(*piece.values()) if copy_random_state else None
        if random_state is None:
            with torch.set_grad_enabled(with_grad):
                return embed(self.model, piece), state
        with random_state, torch.set_grad_enabled(with_grad):
            return embed(self.model, piece), state

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of the whole batch, given the embeddings of its pieces, per column."""
        columns = [torch.cat(pieces) for pieces in reps]
        if len(columns) == 1:
            columns = [columns[0][0::2], columns[0][1::2]]
        columns = [column[self._back] for column in columns]
        loss: Tensor = self.compute_loss_from_embeddings(columns)  # of the loss that this is mixed into
        if with_backward:
            loss.backward()
        return loss.detach()


class CachedGSInfoNCELoss(GradientCaching, GSInfoNCELoss):
    """:class:`GSInfoNCELoss` in memory that does not grow with the batch; the arguments are those of both."""


def with_gradient_caching(loss: type[GSInfoNCELoss]) -> Callable[..., GSInfoNCELoss]:
    """Return the cached form of a method's loss: a class that takes ``mini_batch_tokens``, too."""
    return type(f"Cached{loss.__name__}", (GradientCaching, loss), {})


def _order_of_length(columns: list[Features]) -> Tensor:
    """Return the rows in the order of their length in the first column."""
    if any("cu_seq_lens_q" in column for column in columns):
        raise SmoothCSEError("Gradient caching needs padded batches, not packed ones; turn off the packing of inputs.")
    order: Tensor = columns[0]["attention_mask"].sum(dim=1).argsort(stable=True)
    return order


def _sorted(columns: list[Features], order: Tensor) -> list[Features]:
    """Return the columns in an order of rows; those of a single column are repeated, each next to itself."""
    rows = order.repeat_interleave(2) if len(columns) == 1 else order
    return [take_rows(column, rows) for column in columns]
