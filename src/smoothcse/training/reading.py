"""How the encoder of a run turns the tokens of a sentence into one vector, in words."""

from __future__ import annotations

from smoothcse.methods.table import find_method
from smoothcse.runs.config import TrainConfig


def reading(config: TrainConfig, pooling: str | None) -> str:
    """Say how the encoder of a run reads a sentence.

    Args:
        config: Configuration of the run.
        pooling: Name that the run recorded (:func:`~smoothcse.encoders.pooling.pooling_of`); None if unknown.
    """
    if find_method(config.method).prepare:
        return f"as the method {config.method} does"
    return f"by {config.pooling or pooling or 'its own'} pooling"
