"""The last layer of an encoder with single-token pooling, computed for the pooled token only."""

from __future__ import annotations

from typing import Any, NamedTuple

from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WordWeights
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.roberta.modeling_roberta import RobertaLayer
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from smoothcse.encoders import devices
from smoothcse.fastpath.attention import attend_tokens
from smoothcse.fastpath.batch import FastPath
from smoothcse.fastpath.patches import Patches

LAYERS = (BertLayer, RobertaLayer, XLMRobertaLayer)
"""Layers of the families that the fast path knows."""


def reads_one_token(model: nn.Module) -> bool:
    """Return whether the sentence embedding is the state of [CLS], or of the token that ``WordWeights`` selects."""
    return any(isinstance(module, WordWeights) or _reads_first_token(module) for module in model.children())


def patch_last_layer(model: nn.Module, state: FastPath, patches: Patches) -> None:
    """Make the last layer of an encoder with single-token pooling compute only that token for a loss.

    The token is [CLS], or on CPUs the one to which sentence-transformers' ``WordWeights`` gives a weight, [MASK] in a
    template. The queries, attention outputs and feed-forward network of all other tokens do not affect the loss; in a
    layer with a feed-forward network of ``4 d`` they are ten twelfths of the multiplications. Values and gradients of
    the sentence embedding do not change, and neither does ``encode``. Models of other families or with another pooling
    are not changed, and neither is a layer with gradient checkpointing, which computes it again outside of the loss.

    Args:
        model: Encoder to train.
        state: State of the model, which knows the batch that a loss runs.
        patches: Changes of the model.
    """
    encoder = next(model.children(), None)
    if not isinstance(encoder, Transformer) or not reads_one_token(model):
        return
    weights = next((module for module in model.children() if isinstance(module, WordWeights)), None)
    layers = getattr(getattr(encoder.model, "encoder", None), "layer", None)
    if not layers or type(layers[-1]) not in LAYERS or encoder.model.config.is_decoder:
        return
    if not layers[-1].gradient_checkpointing:
        patches.replace(layers[-1], _forward, state, weights)


def _reads_first_token(module: Any) -> bool:
    if not isinstance(module, Pooling) or not module.include_prompt:  # without its prompt, a text starts later
        return False
    return module.pooling_mode in ("cls", ("cls",), ["cls"])


class _Read(NamedTuple):
    """The pooled token of each row."""

    places: Tensor | None
    """Position in each row, long ``(B,)``; None for the first token of every row."""

    def of(self, values: Tensor) -> Tensor:
        """Return the states, or the rows of a mask, of these tokens: ``(B, ..., 1, d)`` from ``(B, ..., L, d)``."""
        if self.places is None:
            return values[..., :1, :]
        index = self.places.view(-1, *[1] * (values.ndim - 1))
        return values.take_along_dim(index.expand(len(index), *values.shape[1:-2], 1, values.shape[-1]), dim=-2)


def _find(state: FastPath, weights: WordWeights | None, hidden_states: Tensor) -> _Read | None:
    """Return the token that a loss reads; None outside of a loss, or if it reads more than one token per row."""
    batch = state.batch
    if batch is None or batch.every_token:
        return None
    if weights is None:
        return _Read(None)
    ids = batch.ids
    if ids.shape != hidden_states.shape[:2] or not devices.is_cpu(ids.device):  # reading it would wait for a GPU
        return None
    weighed = weights.emb_layer.weight.detach()[:, 0][ids] != 0
    return _Read(weighed.long().argmax(dim=1)) if bool((weighed.sum(dim=1) == 1).all()) else None


def _forward(
    layer: Any,
    state: FastPath,
    weights: WordWeights | None,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    *others: Any,
    **options: Any,
) -> Tensor:
    """Return the pooled token of each row for a loss, otherwise the layer's own output ``(B, L, d)``.

    The shape is ``(B, 1, d)`` for first-token pooling. For ``WordWeights``, which multiplies all other tokens by 0, it
    is ``(B, L, d)`` with equal tokens.

    The layer itself handles packed rows, whose first tokens lie inside one long row, and masks of a shape other than
    (B, heads, queries, keys), which belong to a kernel that is not used here.
    """
    fits = "cu_seq_lens_q" not in options and (attention_mask is None or attention_mask.ndim == 4)
    read = _find(state, weights, hidden_states) if fits else None
    if read is None:
        return type(layer).forward(layer, hidden_states, attention_mask, *others, **options)  # type: ignore[no-any-return]
    attention = layer.attention.self
    token = read.of(hidden_states)
    mask = None if attention_mask is None else read.of(attention_mask)
    attended = layer.attention.output(attend_tokens(attention, token, hidden_states, mask), token)
    computed: Tensor = layer.feed_forward_chunk(attended)
    return computed if weights is None else computed.expand_as(hidden_states)
