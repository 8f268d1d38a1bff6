"""Gathering of vectors from all ranks that share a batch."""

from __future__ import annotations

from sentence_transformers.util import all_gather, all_gather_with_grad
from torch import Tensor, distributed


def across_ranks(keys: Tensor) -> tuple[Tensor, int]:
    """Return the keys ``(N, d)`` of all ranks, with gradient, and the first row of this rank."""
    if not _several():
        return keys, 0
    gathered: Tensor = all_gather_with_grad(keys)
    return gathered, first_row(keys)


def first_row(keys: Tensor) -> int:
    """Return the first row of this rank among the keys ``(N, d)`` of all ranks."""
    return distributed.get_rank() * len(keys) if _several() else 0


def of_all_ranks(vectors: Tensor) -> Tensor:
    """Return the vectors ``(N, d)`` of all ranks, in the order of ranks, without gradient."""
    vectors = vectors.detach()
    if not _several():
        return vectors
    gathered: Tensor = all_gather(vectors)
    return gathered


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
