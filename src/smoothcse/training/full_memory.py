"""Full memory, explained."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.disk import again
from smoothcse.runs.folder import RunFolder


@contextmanager
def explain_full_memory(folder: RunFolder) -> Iterator[None]:
    """Turn a refusal of memory, a CPU's or a GPU's, into one sentence.

    Args:
        folder: of the run, for what is kept of it.

    Raises:
        SmoothCSEError: in place of such a refusal; any other error passes as it is.
    """
    try:
        yield
    except Exception as error:
        if not _is_refusal(error):
            raise
        raise SmoothCSEError(
            f"There is not enough memory for the run in {folder.path}; {folder.kept()}. Let it have more and "
            f"{again(folder.path)}, or start anew with a smaller batch_size or max_length, or with mini_batch."
        ) from error


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Torch has no type of its own for the CPU's allocator.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
