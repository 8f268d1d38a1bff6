"""Word embeddings, looked up once for all groups and views of a batch."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

from smoothcse.encoders import devices
from smoothcse.fastpath.batch import FastPath, fast_path_of
from smoothcse.fastpath.patches import Patches

WORDS = "words"
"""Key in a view's features of the word embeddings ``(N, L, d)`` of its token ids."""


def patch_word_table(model: nn.Module, state: FastPath, patches: Patches) -> None:
    """Make an encoder use the word embeddings of the current batch, if it has any.

    The gradient of a lookup is as large as the whole table, half of a small encoder's weights, and each group of each
    view would fill and add one of its own. Encoder-decoders are not changed, since the decoder looks up ids of its
    own.

    Args:
        model: Encoder to train on a CPU.
        state: State of the model.
        patches: Changes of the model.
    """
    encoder = next(model.children(), None)
    if not isinstance(encoder, Transformer):
        return
    parameters = signature(encoder.model.forward).parameters
    if "inputs_embeds" not in parameters or "decoder_input_ids" in parameters:
        return
    state.table = encoder.model.get_input_embeddings()
    patches.replace(state.table, _forward, state)


def look_up_words(model: nn.Module, columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the word embeddings of all columns to a batch, if the encoder can use them.

    A model wrapped for several devices looks them up itself, since its wrapper must see each use of a weight.

    Args:
        model: Encoder, accelerated or not.
        columns: Feature dict of each column.

    Returns:
        The columns, on CPUs with :data:`WORDS`.
    """
    state = fast_path_of(model) if isinstance(model, nn.Sequential) else None
    if state is None or state.table is None or not all(_on_cpu(column) for column in columns):
        return columns
    shapes = [column["input_ids"].shape for column in columns]
    ids = torch.cat([column["input_ids"].flatten() for column in columns])
    words = state.table(ids).split([shape.numel() for shape in shapes])
    return [
        {**column, WORDS: found.unflatten(0, shape)}
        for column, found, shape in zip(columns, words, shapes, strict=True)
    ]


def _on_cpu(column: dict[str, Any]) -> bool:
    """Return whether these are padded rows of token ids on a CPU, where ids can be compared without waiting."""
    return "input_ids" in column and "attention_mask" in column and devices.is_cpu(column["input_ids"].device)


def _forward(table: nn.Module, state: FastPath, ids: Tensor) -> Tensor:
    """Return the word embeddings of the current batch if these are its ids; otherwise look them up."""
    batch = state.batch
    if batch is not None and batch.words is not None and torch.equal(ids, batch.ids):
        return batch.words
    found: Tensor = type(table).forward(table, ids)
    return found
