"""What the C library does with freed memory: keep it for later allocations, or return it to the system.

glibc does some of both. Blocks of varying sizes fit badly into what it keeps, so the memory of a long-running process
grows. (A small fixed M_MMAP_THRESHOLD would prevent that, but every tensor would then map its pages anew, and encoding
would take a third longer.) What it returns, a training step has mapped and cleared again, page by page.
"""

from __future__ import annotations

import ctypes
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LARGEST_THRESHOLD = 32 << 20  # bytes; glibc refuses more
_ALL = 2**31 - 1  # bytes


def keep_freed_memory() -> None:
    """Keep freed memory for later allocations, except blocks of 32 MiB and more; lasts until the process ends.

    Spares a training step on a CPU from mapping tens of thousands of pages again, which takes up to a twentieth of its
    time (``benchmarks/step_settings.py``). :func:`give_back_freed_memory` still returns the memory. Does nothing
    without glibc.
    """
    if glibc := _glibc():
        glibc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        glibc.mallopt(_M_TRIM_THRESHOLD, _ALL)


def give_back_freed_memory() -> None:
    """Return whole pages of freed memory to the system. Takes milliseconds; does nothing without glibc."""
    if glibc := _glibc():
        glibc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        _ = library.malloc_trim, library.mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return library
