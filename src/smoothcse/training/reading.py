"""The pooling of an encoder, in words."""

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
    return f"by {config.pooling or pooling or 'its own'} pooling"
