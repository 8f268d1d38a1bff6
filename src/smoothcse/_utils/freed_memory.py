"""Freed memory goes back to the system.

The C library keeps what is freed for its next allocations. Texts of ever other lengths ask for ever other sizes, which
fit badly into what is kept, so a process that runs for hours comes to hold more and more that nobody uses. (A fixed
M_MMAP_THRESHOLD would end that too, but each tensor would then take its pages anew: a third more time for encoding.)
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_freed_memory() -> None:
    """Return whole pages of freed memory to the system, in some milliseconds; nothing but for glibc, on Linux."""
    if trim := _malloc_trim():
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
