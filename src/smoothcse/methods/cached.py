"""Gradient caching for batches whose activations do not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, RandContext
from torch import Tensor

from smoothcse.errors import SmoothCSEError
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.gs_info_nce import GSInfoNCELoss
from smoothcse.views.embed import Features, embed, take_rows


class GradientCaching(CachedLossMixin):
    """Mixin that makes the memory of a loss independent of the batch size (GradCache: Gao et al., RepL4NLP 2021).

    The batch is encoded in mini-batches without activations. The loss and its gradient with respect to the embeddings
    are computed once for the whole batch, and each mini-batch is encoded again, with the same dropout, to propagate
    the gradient to the weights. That takes three passes instead of two, about a third more time, for any batch size.

    Value and gradients equal those of the plain loss under the autocast of the call. A single column of text is
    encoded as two dropout views of each sentence, shortest sentences first, so that a mini-batch holds sentences of
    similar length.

    Args:
        model: Encoder.
        mini_batch_tokens: Maximum tokens of a mini-batch, padding included. A mini-batch has at least one sentence.
        **settings: Arguments of the loss.

    Raises:
        SmoothCSEError: If an argument is out of range.
    """

    model: SentenceTransformer

    def __init__(self, model: SentenceTransformer, *, mini_batch_tokens: int = 1024, **settings: Any) -> None:
        super().__init__(model, **settings)
        if mini_batch_tokens < 1:
            raise SmoothCSEError(f"mini_batch_tokens must be at least 1, not {mini_batch_tokens}.")
        self.mini_batch_num_tokens = mini_batch_tokens
        self.mini_batch_size = 1  # sentence-transformers requires one; mini_batch_tokens takes precedence

    def _loss_of(self, columns: list[Features]) -> Tensor:
        order = _order_of_length(columns)
        self._back = order.argsort()
        loss: Tensor = CachedLossMixin.forward_cached(self, _sorted(columns, order))
        return loss

    def embed_minibatch_iter(
        self,
        sentence_feature: Features,
        with_grad: bool,
        copy_random_state: bool,
        random_states: list[RandContext] | None = None,
        ranges: list[tuple[int, int]] | None = None,
    ) -> Iterator[tuple[Tensor, RandContext | None]]:
        """Embed a column in mini-batches that count padding, which the host's ``ranges`` do not."""
        ranges = _ranges(_widths(sentence_feature["attention_mask"]), self.mini_batch_num_tokens)
        pieces: Iterator[tuple[Tensor, RandContext | None]] = super().embed_minibatch_iter(
            sentence_feature, with_grad, copy_random_state, random_states, ranges
        )
        return pieces

    def embed_minibatch(
        self,
        sentence_feature: Features,
        begin: int,
        end: int,
        with_grad: bool,
        copy_random_state: bool,
        random_state: RandContext | None = None,
    ) -> tuple[Tensor, RandContext | None]:
        """Embed the rows from ``begin`` to ``end`` with the output of the training head."""
        piece = take_rows(sentence_feature, torch.arange(begin, end, device=sentence_feature["input_ids"].device))
        state = _Replay(piece) if copy_random_state else None
        with _same_autocast(piece) if random_state is None else random_state, torch.set_grad_enabled(with_grad):
            return embed(self.model, piece), state

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the loss of the whole batch, given the embeddings of its mini-batches per column."""
        columns = [torch.cat(pieces) for pieces in reps]
        if len(columns) == 1:
            columns = [columns[0][0::2], columns[0][1::2]]
        columns = [column[self._back] for column in columns]
        loss: Tensor = self.compute_loss_from_embeddings(columns)  # a method of the loss class
        if with_backward:
            with torch.autocast(
                loss.device.type, enabled=False
            ):  # autocast would lower the precision of the products in the backward pass
                loss.backward()
            _fill_gradients(reps)
        return loss.detach()


class _Replay(RandContext):
    """Random state and autocast of the first pass over a mini-batch, restored for the second pass."""

    def __init__(self, piece: Features) -> None:
        super().__init__(*piece.values())
        self._autocast = _same_autocast(piece)

    def __enter__(self) -> None:
        super().__enter__()
        self._autocast.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._autocast.__exit__(*error)
        super().__exit__(*error)


class CachedGSInfoNCELoss(GradientCaching, GSInfoNCELoss):
    """:class:`GSInfoNCELoss` with memory independent of the batch size; takes the arguments of both classes."""


def with_gradient_caching(loss: type[ContrastiveLoss]) -> Callable[..., ContrastiveLoss]:
    """Return a subclass of a method's loss with gradient caching, which also takes ``mini_batch_tokens``."""
    return type(f"Cached{loss.__name__}", (GradientCaching, loss), {})


def _widths(mask: Tensor) -> list[int]:
    """Return the number of places that each row takes up to its last token, at least 1."""
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    widths: list[int] = (mask.bool() * places).amax(dim=1).clamp(min=1).tolist()
    return widths


def _ranges(widths: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Divide rows into consecutive ranges of at most ``most`` places each, padding included, or of a single row."""
    ranges, first, longest = [], 0, 0
    for row, width in enumerate(widths):
        longest = max(longest, width)
        if row > first and (row + 1 - first) * longest > most:
            ranges.append((first, row))
            first, longest = row, width
    return [*ranges, (first, len(widths))]


def _fill_gradients(reps: list[list[Tensor]]) -> None:
    """Give a gradient of zero to embeddings that the loss learns nothing from, such as keys without gradient."""
    for piece in (piece for pieces in reps for piece in pieces):
        if piece.requires_grad and piece.grad is None:
            piece.grad = torch.zeros_like(piece)


def _same_autocast(piece: Features) -> torch.autocast:
    """Return a context with the current autocast state.

    It does not cache casts of the weights: those of the first pass have no gradient, and the second must not use them.
    """
    device = piece["input_ids"].device.type
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False)


def _order_of_length(columns: list[Features]) -> Tensor:
    """Return the order of the rows by length in the first column."""
    if any("cu_seq_lens_q" in column for column in columns):
        raise SmoothCSEError("Gradient caching needs padded batches, not packed ones; turn off input packing.")
    order: Tensor = columns[0]["attention_mask"].sum(dim=1).argsort(stable=True)
    return order


def _sorted(columns: list[Features], order: Tensor) -> list[Features]:
    """Return the columns with their rows reordered; each row of a single column is repeated next to itself."""
    rows = order.repeat_interleave(2) if len(columns) == 1 else order
    return [take_rows(column, rows) for column in columns]
