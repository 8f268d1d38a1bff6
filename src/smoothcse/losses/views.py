"""From the trainer's feature dicts to embeddings: how one column of text becomes two views."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smoothcse.encoder import PROJECTION

Features = dict[str, Any]


def embed_views(model: nn.Module, columns: list[Features]) -> list[Tensor]:
    """Embed the columns of a batch, a single column as two dropout views of itself.

    Args:
        model: the encoder; in training mode, or both views are the same.
        columns: one feature dict per text column, as the host's collator makes them, of N rows each.

    Returns:
        One ``(N, d)`` tensor per column: ``[z1, z2]`` for a single column, else ``[z1, z2, z3, ...]``.
    """
    if len(columns) > 1:
        return [embed(model, column) for column in columns]
    column = columns[0]
    if "cu_seq_lens_q" in column:  # packed rows lie end to end in one long one, which cannot be repeated by cat
        return [embed(model, dict(column)), embed(model, dict(column))]
    first, second = embed(model, repeat_rows(column)).chunk(2)
    return [first, second]


def embed(model: nn.Module, features: Features) -> Tensor:
    """Return what the loss reads: the training head's output, or the sentence embedding of a model without one."""
    output = model(features)
    return output[PROJECTION] if PROJECTION in output else output["sentence_embedding"]  # type: ignore[no-any-return]


def repeat_rows(features: Features) -> Features:
    """Return the features of a batch of 2N rows: the N given ones, then the same again."""
    return {
        key: torch.cat([value, value]) if isinstance(value, Tensor) and value.ndim else value
        for key, value in features.items()
    }
