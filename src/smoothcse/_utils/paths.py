"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def local_path(path: str | Path) -> Path:
    """Return a path with its ``~`` expanded; the ``~name`` of an unknown user stays unchanged.

    ``Path.expanduser`` would raise a RuntimeError for it.
    """
    return Path(os.path.expanduser(path))


def shown_path(path: str | Path) -> str:
    """Return a path as text that can be printed and written; bytes of a name that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")
