"""Checks of the maximum text length, in tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from transformers import PreTrainedTokenizerFast

from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError


def positions_of(model: SentenceTransformer) -> int | None:
    """Return the number of tokens for which a model has positions; None if it sets no limit, as T5 and BLOOM.

    For rotary positions it is the length that the configuration names. RoBERTa and its relatives (XLM-R, MPNet,
    Longformer) count from the row after the padding's, so that a table of 514 rows has 512 positions.
    """
    transformer = model[0]
    if not isinstance(transformer, Transformer):
        return None
    positions = getattr(transformer.config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    table = getattr(getattr(transformer.model, "embeddings", None), "position_embeddings", None)
    skipped = table.padding_idx if isinstance(table, nn.Embedding) else None
    return positions if skipped is None else positions - skipped - 1


def length_limit(model: SentenceTransformer | CrossEncoder) -> int | None:
    """Return the maximum number of tokens of a text; None for a static model, whose tokenizer truncates by itself."""
    limit = model.max_seq_length
    return None if limit is None or limit == math.inf else int(limit)


def check_length(max_length: int, model: SentenceTransformer, name: str) -> int:
    """Return a maximum length after checking that the model supports it.

    Args:
        max_length: Tokens of a text, special tokens included.
        model: Encoder.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: If the length is below 3, or exceeds the number of positions of the model.
    """
    positions = positions_of(model)
    if max_length < 3:
        raise SmoothCSEError(
            f"max_length must be at least 3 (two special tokens and one token of text), not {max_length}."
        )
    if positions is not None and positions < max_length:
        raise SmoothCSEError(
            f"max_length {max_length} exceeds the {positions} positions of {name}; choose a smaller one."
        )
    return max_length


def require_room(model: SentenceTransformer, max_length: int, prompts: Sequence[str] | None = None) -> None:
    """Check that a maximum length leaves room for text beside the template, the prompt and the special tokens.

    Args:
        model: Encoder.
        max_length: Tokens of a text, all of these included.
        prompts: Prompts of the texts; None for the prompt of a text without a role.

    Raises:
        SmoothCSEError: If there is no room. The tokenizer would then not truncate at all.
    """
    tokenizer = model.tokenizer
    added = 0
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        texts = [prompt_of(model)] if prompts is None else list(prompts)
        ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        added = tokenizer.num_special_tokens_to_add() + max(map(len, ids))
    if max_length <= added:
        raise SmoothCSEError(
            f"max_length {max_length} leaves no room for a sentence: the model adds {added} tokens to each; set at "
            f"least {added + 1}."
        )
