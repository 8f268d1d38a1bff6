"""Reproducible runs: a random stream per rank, and deterministic kernels on GPUs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import set_seed

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def seed_rank(seed: int, rank: int) -> None:
    """Seed this process for training, with a dropout stream of its own for each rank.

    With one seed for all ``W`` ranks, all would draw the same dropout masks, and a batch would have only a ``W``-th of
    the independent masks that a single process draws. The trainer saves each rank's stream with a checkpoint, so that
    a resumed run continues it. Gaussian noise does not come from these streams; it is the same on all ranks.

    Args:
        seed: Seed of the run.
        rank: Rank of this process; 0 gets the stream of a run on one device.
    """
    set_seed(seed)
    if rank:
        digest = hashlib.blake2b(f"dropout:{seed}:{rank}".encode(), digest_size=4).digest()
        torch.manual_seed(int.from_bytes(digest, "little"))


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Restrict torch to deterministic kernels; an operation without one raises an error.

    cuBLAS reads its setting when a process first uses the GPU, so the setting may have no effect in a process that has
    used the GPU before. `smoothcse train` starts a new process. CPUs are not affected.

    Args:
        wanted: Whether to restrict torch; False changes nothing.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # benchmark mode may choose another kernel each time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
