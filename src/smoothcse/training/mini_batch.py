"""How many tokens to encode at a time when a batch is cut into pieces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sentence_transformers import SentenceTransformer

from smoothcse.encoders import devices
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.config import TrainConfig

WHOLE_BATCH = 1024
"""Sentences per device up to which a batch is encoded in one go unless the configuration says otherwise."""

_CPU_TOKENS = 1024  # larger pieces fall out of the cache and are slower, memory or not
_MOST_TOKENS = 2**17


def mini_batch_tokens(config: TrainConfig, model: SentenceTransformer, world_size: int) -> int | None:
    """Return the tokens to encode at a time, or None to encode the batch whole.

    Args:
        config: of the run.
        model: on its device.
        world_size: devices that share the batch.

    Raises:
        SmoothCSEError: if not even a single sentence fits into the device's memory.
    """
    if config.mini_batch is None and config.batch_size // world_size <= WHOLE_BATCH:
        return None
    if isinstance(config.mini_batch, int):
        return config.mini_batch
    if devices.is_cpu(model.device):
        return _CPU_TOKENS
    return largest_that_fits(lambda tokens: _train_on(model, tokens, config.max_length), config.max_length)


def largest_that_fits(attempt: Callable[[int], None], smallest: int) -> int:
    """Return half of the largest power of two, up to 131,072, that an attempt survives.

    Half, because the optimiser's state is not there yet at the time of the attempt.

    Args:
        attempt: takes a number of tokens and raises ``torch.OutOfMemoryError`` if these are too many.
        smallest: number of tokens below which it is pointless.

    Raises:
        SmoothCSEError: if even the smallest does not fit.
    """
    tokens = _MOST_TOKENS
    while tokens >= smallest:
        try:
            attempt(tokens)
        except torch.OutOfMemoryError:
            tokens //= 2
        else:
            return max(tokens // 2, smallest)
    raise SmoothCSEError(
        f"Not even {smallest} tokens fit into the device's memory; take a smaller model or a shorter max_length."
    )


def _train_on(model: SentenceTransformer, tokens: int, max_length: int) -> None:
    """Run forward and backward over so many tokens, and free what it took."""
    shape = (max(1, tokens // max_length), max_length)
    features = {
        name: torch.ones(shape, dtype=torch.long, device=model.device) for name in ("input_ids", "attention_mask")
    }
    was_training = model.training
    try:
        model.train()
        model(features)["sentence_embedding"].float().sum().backward()
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        del features
        torch.cuda.empty_cache()
