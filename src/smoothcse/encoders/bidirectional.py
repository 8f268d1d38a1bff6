"""Attention of a decoder to all tokens of a text, not only to earlier ones: the first step of LLM2Vec.

LLM2Vec: BehnamGhader et al., COLM 2024, https://arxiv.org/abs/2404.05961.
"""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from smoothcse.encoders.behaviour import is_causal, runs_decoder
from smoothcse.errors import SmoothCSEError


def attend_both_ways(model: SentenceTransformer, name: str) -> None:
    """Let each token of a causal model attend to all tokens of its text.

    This is transformers' setting ``is_causal: false``, which is saved in ``config.json`` and holds wherever the saved
    model is loaded. The effect is checked, since an architecture may ignore the setting.

    Args:
        model: Model that starts with a causal transformer.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: If the model is not causal, or stays causal.
    """
    transformer = model[0]
    if not isinstance(transformer, Transformer) or runs_decoder(transformer) or not is_causal(transformer):
        raise SmoothCSEError(f"bidirectional is for causal models, and {name} is not causal; leave it out.")
    config = transformer.model.config
    config.is_causal = False
    if is_causal(transformer) or is_causal(transformer, padded=True):
        raise SmoothCSEError(
            f"bidirectional has no effect on {name}: in transformers, models of type {config.model_type} attend to "
            "earlier tokens only; leave it out, or start from another decoder, such as Llama, Mistral, Qwen or Gemma."
        )


def reads_both_ways(model: SentenceTransformer) -> bool:
    """Return whether a model is a decoder that attends to all tokens."""
    transformer = model[0]
    return isinstance(transformer, Transformer) and getattr(transformer.config, "is_causal", True) is False
