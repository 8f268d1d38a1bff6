"""A BERT encoder on packed rows: the tokens of all texts in one row, without padding.

Attention gets the limits of the texts. The last layer computes [CLS] only, as in a step of this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from smoothcse.encoders.projection import PROJECTION


@dataclass(frozen=True)
class Limits:
    """Limits of the rows in a packed tensor.

    Attributes:
        offsets: First token of each row and the total, int32 ``(N + 1,)``.
        longest: Tokens of the longest row.
    """

    offsets: Tensor
    longest: int


Attend = Callable[[Tensor, Tensor, Tensor, Limits, Limits, float], Tensor]
"""Attention of ``(T, heads, d)`` queries, keys and values, the limits of queries and keys, and the dropout rate."""


def varlen(queries: Tensor, keys: Tensor, values: Tensor, of_queries: Limits, of_keys: Limits, rate: float) -> Tensor:
    """Attend with torch's attention for rows of varying length, which has no dropout."""
    from torch.nn.attention.varlen import varlen_attn

    half = [part.to(torch.bfloat16) for part in (queries, keys, values)]
    longest = (of_queries.longest, of_keys.longest)
    attended: Tensor = varlen_attn(*half, of_queries.offsets, of_keys.offsets, *longest)
    return attended


def nested(queries: Tensor, keys: Tensor, values: Tensor, of_queries: Limits, of_keys: Limits, rate: float) -> Tensor:
    """Attend with torch's scaled dot product on nested tensors in the jagged layout."""

    def jagged(packed: Tensor, limits: Limits) -> Tensor:
        rows = torch.nested.nested_tensor_from_jagged(
            packed.contiguous(), limits.offsets.long(), min_seqlen=1, max_seqlen=limits.longest
        )
        return rows.transpose(1, 2)

    parts = (jagged(queries, of_queries), jagged(keys, of_keys), jagged(values, of_keys))
    attended: Tensor = scaled_dot_product_attention(*parts, dropout_p=rate).transpose(1, 2).values()
    return attended


class PackedViews:
    """Two views of a batch in one pass over packed rows.

    Args:
        model: Encoder with a BERT and [CLS] pooling.
        features: Features of the batch, on the model's device; packed once, as a collator would do it on the CPU.
        attend: Attention.
    """

    def __init__(self, model: SentenceTransformer, features: dict[str, Any], attend: Attend) -> None:
        self.bert: Any = model[0].model
        self.after = list(model)[2:]
        self.attend = attend
        mask = torch.cat([features["attention_mask"]] * 2).bool()
        lengths = mask.sum(dim=1)
        self.ids = torch.cat([features["input_ids"]] * 2)[mask][None]
        self.positions = (mask.cumsum(dim=1) - 1)[mask][None]
        self.rows = Limits(pad(lengths.cumsum(dim=0), (1, 0)).int(), int(lengths.max()))
        self.first = Limits(torch.arange(len(lengths) + 1, device=mask.device).int(), 1)

    def __call__(self) -> list[Tensor]:
        """Return the two views, ``(N, d)`` each."""
        tokens = self.bert.embeddings(
            input_ids=self.ids, position_ids=self.positions, token_type_ids=torch.zeros_like(self.ids)
        )[0]
        *layers, last = self.bert.encoder.layer
        for layer in layers:
            tokens = self._layer(layer, tokens, tokens, self.rows)
        first = self._layer(last, tokens[self.rows.offsets[:-1]], tokens, self.first)
        features = {"sentence_embedding": first}
        for module in self.after:
            features = module(features)
        return list(features.get(PROJECTION, features["sentence_embedding"]).chunk(2))

    def _layer(self, layer: Any, queries: Tensor, tokens: Tensor, of_queries: Limits) -> Tensor:
        attention = layer.attention.self
        rate = attention.dropout.p if layer.training else 0.0

        def heads(projection: nn.Module, states: Tensor) -> Tensor:
            projected: Tensor = projection(states)
            return projected.unflatten(-1, (attention.num_attention_heads, -1))

        parts = heads(attention.query, queries), heads(attention.key, tokens), heads(attention.value, tokens)
        attended = self.attend(*parts, of_queries, self.rows, rate).flatten(1)
        computed: Tensor = layer.feed_forward_chunk(layer.attention.output(attended, queries))
        return computed
