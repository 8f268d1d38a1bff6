"""Number of tokens per mini-batch for gradient caching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from sentence_transformers import SentenceTransformer

from smoothcse.encoders import devices
from smoothcse.encoders.precision import Resolved
from smoothcse.errors import SmoothCSEError

WHOLE_BATCH = 1024
"""Largest number of sentences per device that is encoded as one batch by default."""

_CPU_TOKENS, _CPU_TOKENS_IN_BF16 = 1024, 4096
"""Tokens on a CPU. In fp32, larger mini-batches exceed the cache and are slower; in bf16, smaller ones are slower
(``benchmarks/caching.py``)."""
_MOST_TOKENS = 2**17


def mini_batch_tokens(
    wanted: int | Literal["auto"] | None,
    model: SentenceTransformer,
    *,
    sentences: int,
    max_length: int,
    precision: Resolved = "fp32",
) -> int | None:
    """Return the number of tokens per mini-batch, or None to encode the whole batch at once.

    Args:
        wanted: Field ``mini_batch`` of the configuration: a number of tokens, ``"auto"``, or None.
        model: Encoder, on its device.
        sentences: Sentences per step on each device.
        max_length: Tokens per sentence.
        precision: Arithmetic of the steps.

    Raises:
        SmoothCSEError: If not even one sentence fits into the device's memory.
    """
    if wanted is None and sentences <= WHOLE_BATCH:
        return None
    if isinstance(wanted, int):
        return wanted
    if devices.is_cpu(model.device):
        return _CPU_TOKENS_IN_BF16 if precision == "bf16" else _CPU_TOKENS
    return largest_that_fits(lambda tokens: _train_on(model, tokens, max_length), max_length)


def largest_that_fits(attempt: Callable[[int], None], smallest: int) -> int:
    """Return half of the largest power of two, up to 131,072, for which the attempt succeeds.

    Half, to leave room for the optimiser's state, which does not exist yet at the time of the attempt.

    Args:
        attempt: Function of a number of tokens that raises ``torch.OutOfMemoryError`` if they do not fit.
        smallest: Smallest number of tokens to try.

    Raises:
        SmoothCSEError: If even the smallest number does not fit.
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
        f"Not even {smallest} tokens fit into the device's memory; use a smaller model or a shorter max_length."
    )


def _train_on(model: SentenceTransformer, tokens: int, max_length: int) -> None:
    """Run a forward and a backward pass over the given number of tokens, and free the memory."""
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
