"""Pooling: how the token embeddings of a text become one vector."""

from __future__ import annotations

from typing import Any, get_args

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Normalize,
    Pooling,
    Transformer,
    WeightedLayerPooling,
)
from sentence_transformers.util import is_sentence_transformer_model
from torch import nn
from transformers import PreTrainedTokenizerBase

from smoothcse._utils.choices import PoolingName
from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.behaviour import is_causal, runs_decoder
from smoothcse.errors import SmoothCSEError

# Layers, out of 1 to L, that each of SimCSE's layer averages takes.
_LAYER_AVERAGES: dict[str, tuple[int, int]] = {"avg_first_last": (0, -1), "avg_top2": (-2, -1)}


def check_pooling(pooling: str | None) -> None:
    """Raise a :class:`SmoothCSEError` if a pooling has an unknown name."""
    names = get_args(PoolingName)
    if pooling is not None and pooling not in names:
        raise SmoothCSEError(f"pooling {pooling!r} is unknown; choose one of {', '.join(names)}.")


def pooling_settings(pooling: PoolingName | None) -> dict[str, Any]:
    """Return the configuration entries that a pooling needs: averages over layers read all hidden states."""
    return {"output_hidden_states": True} if pooling in _LAYER_AVERAGES else {}


def with_pooling(
    model: SentenceTransformer, name: str, pooling: PoolingName | None, *, default: PoolingName
) -> SentenceTransformer:
    """Return a model with the requested pooling, whose tokenizer pads on the right.

    Args:
        model: Model as the host loads it.
        name: Folder or hub name of the model.
        pooling: Requested pooling. None keeps the pooling of a sentence-transformers model; a bare Hugging Face model
            gets ``lasttoken`` if it is causal, otherwise ``default``.
        default: Pooling of bare models that are not causal.

    Raises:
        SmoothCSEError: If the model cannot have this pooling, or is an encoder-decoder that cannot be loaded alone.
    """
    transformer, is_bare = model[0], not is_sentence_transformer_model(name)
    if not isinstance(transformer, Transformer) or transformer.module_output_name != "token_embeddings":
        return model if pooling is None else _replaced(model, pooling)
    if is_bare and runs_decoder(transformer):
        raise SmoothCSEError(
            f"{name} is an encoder-decoder ({transformer.config.model_type}), and sentence-transformers cannot load "
            "its encoder alone; choose an encoder such as BERT, a T5 model or a decoder."
        )
    causal = (is_bare or pooling == "cls") and is_causal(transformer)
    if causal and pooling == "cls":
        raise SmoothCSEError(
            f"{name} is causal: its first token sees none of the sentence, so --pooling cls gives every sentence the "
            "same embedding; use --pooling lasttoken or mean."
        )
    if isinstance(model.tokenizer, PreTrainedTokenizerBase):
        model.tokenizer.padding_side = "right"  # padding on the left shifts the positions of GPT-2's tokens
    if is_bare and pooling is None:
        pooling = "lasttoken" if causal else default
    return model if pooling is None else _replaced(model, pooling)


def _replaced(model: SentenceTransformer, pooling: PoolingName) -> SentenceTransformer:
    """Return the model with its pooling replaced and its normalisation, if any, kept."""
    transformer = model[0]
    if not isinstance(transformer, Transformer):
        raise SmoothCSEError(
            f"This model starts with a {type(transformer).__name__} module, which has no tokens to pool; "
            "do not set a pooling, or start from a transformer."
        )
    tail = [module for module in model if isinstance(module, Normalize)]
    prompt = all(module.include_prompt for module in model if isinstance(module, Pooling))
    replaced = assemble([transformer, *_pooling_modules(pooling, transformer, prompt), *tail], model)
    replaced.truncate_dim = model.truncate_dim
    return replaced


def _pooling_modules(pooling: PoolingName, transformer: Transformer, include_prompt: bool) -> list[nn.Module]:
    width = transformer.get_embedding_dimension()
    if pooling not in _LAYER_AVERAGES:
        return [Pooling(width, pooling_mode=pooling, include_prompt=include_prompt)]
    layers = transformer.config.num_hidden_layers
    weights = torch.zeros(layers)  # of hidden states 1 to L; state 0 is the embedding layer
    weights[list(_LAYER_AVERAGES[pooling])] = 1.0
    average = WeightedLayerPooling(
        width,
        num_hidden_layers=layers,
        layer_start=1,
        layer_weights=nn.Parameter(weights, requires_grad=False),
    )
    return [average, Pooling(width, pooling_mode="mean", include_prompt=include_prompt)]


def added_pooling(model: SentenceTransformer, name: str) -> PoolingName | None:
    """Return the pooling with which a bare Hugging Face model was loaded; None for a sentence-transformers model.

    Args:
        model: Loaded model.
        name: Folder or hub name of the model.
    """
    if is_sentence_transformer_model(name):
        return None
    return next((module.pooling_mode for module in model if isinstance(module, Pooling)), None)


def pooling_of(model: SentenceTransformer) -> str | None:
    """Return the name of a model's pooling, such as ``mean``; None if it has no pooling module."""
    modes = [module.pooling_mode for module in model if isinstance(module, Pooling)]
    if not modes:
        return None
    names = [modes[0]] if isinstance(modes[0], str) else modes[0]
    layers = any(isinstance(module, WeightedLayerPooling) for module in model)
    return "+".join(names) + (" over weighted layers" if layers else "")
