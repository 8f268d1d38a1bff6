"""What makes a run repeatable: its random streams, and deterministic kernels on GPUs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import set_seed

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def seed_rank(seed: int, rank: int) -> None:
    """Seed this process for training: the dropout of each rank is a random stream of its own.

    From one seed all ranks would draw the same masks, so that a batch had a ``W``-th of the independent ones that one
    process draws. The host saves each rank's stream with a checkpoint, so a resumed run goes on with it. Gaussian
    noise does not come from these streams; it is the same on all ranks.

    Args:
        seed: Of the run.
        rank: Of this process; 0 gets the stream of a run on one device.
    """
    set_seed(seed)
    if rank:
        digest = hashlib.blake2b(f"dropout:{seed}:{rank}".encode(), digest_size=4).digest()
        torch.manual_seed(int.from_bytes(digest, "little"))


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Let torch use deterministic kernels only, and refuse an operation that has none.

    cuBLAS reads its setting when a process first uses the GPU, so a process that has used it before may stay free to
    choose; `smoothcse train` starts afresh. CPUs need none of this.

    Args:
        wanted: False to change nothing.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it may choose another kernel each time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
