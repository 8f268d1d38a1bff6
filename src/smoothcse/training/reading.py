"""How an encoder turns the tokens of a sentence into one vector, in words."""

from __future__ import annotations

from smoothcse.methods.table import Method
from smoothcse.runs.config import TrainConfig


def reading(config: TrainConfig, method: Method, pooling: str | None) -> str:
    """Say how the encoder of a run reads a sentence.

    Args:
        config: Configuration of the run.
        method: Training method.
        pooling: Name that the run recorded (:func:`~smoothcse.encoders.pooling.pooling_of`); None if it is not known.
    """
    if method.prepare:
        return f"as the method {config.method.name} does"
    return f"by {config.pooling or pooling or 'its own'} pooling"
