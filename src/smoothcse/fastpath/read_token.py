"""The last layer of an encoder that is read at one token of a sentence, computed for that token alone."""

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
    """Whether the sentence embedding is the state of [CLS], or of the token that the host's ``WordWeights`` weighs."""
    return any(isinstance(module, WordWeights) or _reads_first_token(module) for module in model.children())


def patch_last_layer(model: nn.Module, state: FastPath, patches: Patches) -> None:
    """Let the last layer of an encoder that reads one token of a sentence compute that token alone for a loss.

    That token is [CLS], or on CPUs the one that the host's ``WordWeights`` gives a weight, [MASK] in a template. The
    queries, the output of attention and the feed-forward network of all other tokens reach no loss: in a layer with a
    feed-forward network of ``4 d`` these are ten twelfths of the products. Values and gradients of the sentence
    embedding stay what they are, and so does what ``encode`` computes. Models of other families, and ones with another
    pooling, are left alone.

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
    if layers and type(layers[-1]) in LAYERS and not encoder.model.config.is_decoder:
        patches.replace(layers[-1], _forward, state, weights)


def _reads_first_token(module: Any) -> bool:
    if not isinstance(module, Pooling) or not module.include_prompt:  # without its prompt, a text starts later
        return False
    return module.pooling_mode in ("cls", ("cls",), ["cls"])


class _Read(NamedTuple):
    """The token that is read of each row."""

    places: Tensor | None
    """Long ``(B,)``; None where it is the first of all."""

    def of(self, values: Tensor) -> Tensor:
        """Return ``(B, ..., 1, d)`` of ``(B, ..., L, d)``: the states, or the mask with its keys, of these tokens."""
        if self.places is None:
            return values[..., :1, :]
        index = self.places.view(-1, *[1] * (values.ndim - 1))
        return values.take_along_dim(index.expand(len(index), *values.shape[1:-2], 1, values.shape[-1]), dim=-2)


def _find(state: FastPath, weights: WordWeights | None, hidden_states: Tensor) -> _Read | None:
    """Return what a loss reads, or None if that is not one token of each row, or no loss has asked."""
    batch = state.batch
    if batch is None or batch.every_token:
        return None
    if weights is None:
        return _Read(None)
    ids = batch.ids
    if ids.shape != hidden_states.shape[:2] or not devices.is_cpu(ids.device):  # a GPU would have to be asked
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
    """Return for a loss what it reads of each row, else the layer's own ``(B, L, d)``.

    That is ``(B, 1, d)`` for a pooling that takes the first token, and for ``WordWeights``, which multiplies all
    others by 0, ``(B, L, d)`` of equal tokens.

    Packed rows have their first tokens in the midst of the one long row, and a mask of other than (B, heads, queries,
    keys) belongs to a kernel that is not used here: both are left to the layer.
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
