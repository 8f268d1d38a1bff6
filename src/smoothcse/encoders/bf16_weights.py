"""A copy of a model for inference whose transformer has bf16 weights."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import Tensor, nn

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def with_bf16_weights(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model that computes token embeddings in bf16 and everything after them in fp32.

    Under autocast every matrix product casts its inputs and every addition returns to fp32. On a processor with fast
    bf16 products these casts take much of the time. Here only the output of the last layer is cast, to fp32, so that
    pooling does not round.

    Args:
        model: Model in fp32, which is not changed. A model that does not start with a transformer in fp32 is returned
            as it is.

    Returns:
        Model with bf16 copies of the transformer's weights, which shares the tokenizer and all other modules.
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
