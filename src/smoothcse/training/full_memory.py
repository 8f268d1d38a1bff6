"""A clear error for a run that runs out of memory."""

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
    """Replace an out-of-memory error, on CPU or GPU, by one sentence.

    Args:
        folder: Run folder; the message says which step it has kept.

    Raises:
        SmoothCSEError: If the memory runs out. Other errors are not changed.
    """
    try:
        yield
    except Exception as error:
        if not _is_refusal(error):
            raise
        raise SmoothCSEError(
            f"There is not enough memory for the run in {folder.path}; {folder.kept()}. Provide more memory and "
            f"{again(folder.path)}, or start again with a smaller batch_size or max_length, with mini_batch or with "
            "gradient_checkpointing."
        ) from error


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Torch raises a plain RuntimeError if its CPU allocator fails.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
