"""Import of the library bm25s without JAX.

bm25s calls JAX as soon as it is imported, to be ready for a selection that this package does not use. On a machine
with JAX and a GPU, that call reserves three quarters of the GPU's memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make an import of a package fail, unless it was imported before."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python documents for this purpose
    try:
        yield
    finally:
        del sys.modules[name]


with _hidden("jax"):
    import bm25s
    from bm25s import stopwords

__all__ = ["bm25s", "stopwords"]
