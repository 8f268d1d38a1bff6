"""A model's copy for inference whose encoder holds bf16 weights."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def with_bf16_weights(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model that computes token embeddings in bf16, and all that follows them as the given one does.

    Under autocast every product casts what it reads, and what it adds to is fp32 again: on a processor whose products
    are fast in bf16 these copies take a good part of the time. Here nothing is cast before the last layer's output,
    which becomes fp32, so that pooling rounds nothing.

    Args:
        model: in fp32; left as it is. One that does not begin with a transformer of fp32 weights is returned itself.

    Returns:
        A model with bf16 copies of the encoder's weights, which shares the tokenizer and all other modules.
    """
    encoder = model[0]
    if not isinstance(encoder, Transformer) or not _is_fp32(encoder):
        return model
    shared: list[Any] = [*list(model)[1:], *encoder.buffers(), encoder.processor, model.model_card_data]
    memo: dict[int, Any] = {id(one): one for one in shared}
    memo |= {id(p): nn.Parameter(p.detach().bfloat16(), requires_grad=False) for p in encoder.parameters()}
    copy = deepcopy(model, memo)
    copy[0].register_forward_hook(_tokens_in_fp32)
    return copy


def _is_fp32(encoder: Transformer) -> bool:
    weights = list(encoder.parameters())
    return bool(weights) and all(weight.dtype == torch.float32 for weight in weights)


def _tokens_in_fp32(encoder: nn.Module, given: Any, features: dict[str, Any]) -> dict[str, Any]:
    tokens = features.get("token_embeddings")
    return {**features, "token_embeddings": tokens.float()} if isinstance(tokens, Tensor) else features
