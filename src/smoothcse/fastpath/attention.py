"""Self-attention with :func:`~smoothcse.fastpath.dropout.fast_dropout` in place of torch's dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaSelfAttention
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaSelfAttention

from smoothcse.fastpath.dropout import is_fast
from smoothcse.fastpath.patches import Patches

ATTENTIONS = (BertSelfAttention, RobertaSelfAttention, XLMRobertaSelfAttention)
"""Self-attention of the families that the fast path knows."""

_WITHOUT_EFFECT = {"position_ids", "cache_position"}  # on self-attention without a cache; 5.0 still gives the latter


def patch_attention(model: nn.Module, patches: Patches) -> None:
    """Make self-attention use the fast dropout.

    torch's attention on CPUs draws its dropout number by number. Outside of training, and in models of families other
    than BERT, RoBERTa and XLM-RoBERTa, attention does not change.

    Args:
        model: Encoder to train on a CPU, after :func:`~smoothcse.fastpath.dropout.patch_dropout`.
        patches: Changes of the model.
    """
    attentions: list[Any] = [module for module in model.modules() if type(module) in ATTENTIONS]
    for attention in attentions:
        if is_fast(attention.dropout) and not attention.is_causal:
            patches.replace(attention, _forward)


def attend_tokens(attention: Any, tokens: Tensor, hidden_states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the attention output of some tokens of each row, before the module's output layer.

    Args:
        attention: Self-attention of a family named above.
        tokens: States of the query tokens, ``(B, queries, d)``.
        hidden_states: States of all tokens, ``(B, L, d)``.
        mask: Mask of :func:`attend`.

    Returns:
        ``(B, queries, d)``.
    """
    queries, keys, values = (
        _in_rows(projected.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2))
        for projected in (attention.query(tokens), attention.key(hidden_states), attention.value(hidden_states))
    )
    return attend(attention, queries, keys, values, mask).transpose(1, 2).flatten(2)


def attend(attention: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return ``dropout(softmax(s Q Kᵀ + mask)) V`` with the scale and the dropout of a self-attention.

    Args:
        attention: Module with ``scaling``, ``dropout`` and ``training``.
        queries: ``(B, heads, queries, d)``.
        keys: ``(B, heads, keys, d)``.
        values: ``(B, heads, keys, d)``.
        mask: Bool mask of the keys to attend to, or values to add to the scores; broadcast to
            ``(B, heads, queries, keys)``.

    Returns:
        ``(B, heads, queries, d)``.
    """
    if not (attention.training and is_fast(attention.dropout)):
        dropped = attention.dropout.p if attention.training else 0.0
        return scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropped, scale=attention.scaling
        )
    scores = (queries * attention.scaling) @ keys.transpose(-1, -2)
    if mask is not None:
        scores = scores + (_added(mask, scores.dtype) if mask.dtype == torch.bool else mask)
    shares = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    attended: Tensor = attention.dropout(shares.to(values.dtype)) @ values
    return attended


def _in_rows(heads: Tensor) -> Tensor:
    """Return a contiguous tensor in bf16, where a batch of small products costs more than twice as much without."""
    return heads.contiguous() if heads.dtype == torch.bfloat16 else heads


def _added(counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the values to add to the scores; finite, since a row without any key would give NaN."""
    return torch.zeros_like(counts, dtype=dtype).masked_fill_(~counts, torch.finfo(dtype).min)


def _forward(
    attention: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Compute the module's output; by :func:`attend_tokens` in training on padded rows without further options."""
    padded = attention_mask is None or attention_mask.ndim == 4
    asked = {name for name, value in options.items() if value is not None} - _WITHOUT_EFFECT
    if not attention.training or not padded or others or asked or attention.config.output_attentions:
        return type(attention).forward(attention, hidden_states, attention_mask, *others, **options)  # type: ignore[no-any-return]
    return attend_tokens(attention, hidden_states, hidden_states, attention_mask), None
