"""How the encoder of a run turns the tokens of a sentence into one vector, in words."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, WeightedLayerPooling

from smoothcse.methods.table import find_method
from smoothcse.runs.config import TrainConfig


def reading(config: TrainConfig, pooling: str | None) -> str:
    """Say how the encoder of a run reads a sentence.

    Args:
        config: Configuration of the run.
        pooling: Name that the run recorded, from :func:`pooling_of`; None if it is not known.
    """
    if find_method(config.method).prepare:
        return f"as the method {config.method} does"
    return f"by {config.pooling or pooling or 'its own'} pooling"


def pooling_of(model: SentenceTransformer) -> str | None:
    """Return the name of a model's pooling, such as ``mean``; None if it has no pooling module."""
    modes = [module.pooling_mode for module in model if isinstance(module, Pooling)]
    if not modes:
        return None
    names = [modes[0]] if isinstance(modes[0], str) else modes[0]
    layers = any(isinstance(module, WeightedLayerPooling) for module in model)
    return "+".join(names) + (" over weighted layers" if layers else "")
