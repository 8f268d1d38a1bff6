"""Matryoshka training: the loss of a method at several widths of the embedding.

sentence-transformers' ``MatryoshkaLoss`` cannot wrap the losses of this package. It calls the whole loss once per
width, so that a method would update its queue and its momentum encoder several times a step and fill the queue with
vectors of different widths, and it truncates the feature ``sentence_embedding`` only. Here the batch is embedded once,
and only the arithmetic on the embeddings is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse.encoders.projection import head_of
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.base import ContrastiveLoss


class Matryoshka(ContrastiveLoss):
    r"""Mixin that averages a loss over truncated embeddings (Kusupati et al., NeurIPS 2022).

    .. math:: L = \frac1{|D|} \sum_{d \in D} L\bigl(z1_{1:d}, z2_{1:d}, \ldots\bigr)

    Losses normalise the rows that they are given, so each width has its own cosine. The noise of a width is drawn for
    it. ``D`` always includes the full width, whose noise share is reported.

    Args:
        model: Encoder without a projection head, which would mix the dimensions.
        dimensions: Widths, each at least 2 and at most the full one.
        **settings: Arguments of the loss.

    Raises:
        SmoothCSEError: If a width is out of range, or the encoder has a projection head.
    """

    def __init__(self, model: SentenceTransformer, *, dimensions: Sequence[int], **settings: Any) -> None:
        super().__init__(model, **settings)
        full = model.get_embedding_dimension() or 0
        if wrong := [width for width in dimensions if not 2 <= width <= full]:
            raise SmoothCSEError(
                f"matryoshka names {wrong[0]} dimensions, but the embeddings have {full}; give numbers from 2 to "
                f"{full}."
            )
        if head_of(model) is not None:
            raise SmoothCSEError("Matryoshka training reads the embedding itself; build the encoder without a head.")
        self.dimensions = sorted({*dimensions, full})

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the mean loss over the widths, the full one last, whose state and noise share a method keeps."""
        loss_at = super().compute_loss_from_embeddings
        losses = [loss_at([view[:, :width] for view in embeddings], labels) for width in self.dimensions]
        return torch.stack(losses).mean()


def with_matryoshka(loss: type[ContrastiveLoss]) -> type[ContrastiveLoss]:
    """Return a subclass of a method's loss with Matryoshka training, which also takes ``dimensions``."""
    made: Any = type(f"Matryoshka{loss.__name__}", (Matryoshka, loss), {})
    nested: type[ContrastiveLoss] = made
    return nested
