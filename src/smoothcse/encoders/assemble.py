"""A sentence-transformers model made of given modules."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from torch import nn


def assemble(modules: list[nn.Module], like: SentenceTransformer) -> SentenceTransformer:
    """Return a model of these modules that has the device, prompts and similarity function of another model."""
    model = SentenceTransformer(
        modules=modules,
        device=str(like.device),
        prompts=like.prompts,
        default_prompt_name=like.default_prompt_name,
        similarity_fn_name=like.similarity_fn_name,
    )
    model.model_card_data = like.model_card_data
    return model
