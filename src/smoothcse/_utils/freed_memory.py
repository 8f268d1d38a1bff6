"""Returns freed memory to the system.

The C library keeps freed memory for later allocations. Texts of varying lengths need blocks of varying sizes, which
fit badly into what is kept, so the memory of a long-running process grows. (A fixed M_MMAP_THRESHOLD would prevent
that too, but every tensor would then map its pages anew, and encoding would take a third longer.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_freed_memory() -> None:
    """Return whole pages of freed memory to the system. Takes milliseconds; does nothing without glibc."""
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
