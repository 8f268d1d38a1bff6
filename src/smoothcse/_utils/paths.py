"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def local_path(path: str | Path) -> Path:
    """Return a path with its ``~`` expanded; the ``~name`` of an unknown user stays unchanged.

    ``Path.expanduser`` would raise a RuntimeError for it.
    """
    return Path(os.path.expanduser(path))
