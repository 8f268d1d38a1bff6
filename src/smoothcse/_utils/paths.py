"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def local_path(path: str | Path) -> Path:
    """Return a path with its ``~`` spelled out; with an unknown user's ``~name``, the path as it is.

    ``Path.expanduser`` raises a RuntimeError there.
    """
    return Path(os.path.expanduser(path))
