"""The pooling of an encoder, its adapters, and what keeps it close to the start, in words."""

from __future__ import annotations

from smoothcse.methods.table import Method
from smoothcse.runs.config import TrainConfig


def reading(config: TrainConfig, method: Method, pooling: str | None) -> str:
    """Describe how the encoder turns the tokens of a sentence into one vector.

    Args:
        config: Configuration of the run.
        method: Training method.
        pooling: Recorded pooling (:func:`~smoothcse.encoders.pooling.pooling_of`); None if unknown.
    """
    if method.prepare:
        return f"as the method {config.method.name} does"
    attention = ", each token attending to all" if config.bidirectional else ""
    return f"by {config.pooling or pooling or 'its own'} pooling{attention}"


def closeness(config: TrainConfig) -> str:
    """Describe what keeps the weights close to those of the start; empty if nothing does."""
    words = [f"decay {config.start_decay:g} toward the start"] if config.start_decay else []
    if config.train_layers is not None:
        words.append(f"transformer layers trained: the last {config.train_layers}")
    if config.lora:
        words.append(config.lora.describe())
    return "; ".join(words)
