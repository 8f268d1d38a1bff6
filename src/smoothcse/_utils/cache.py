"""Where this package keeps what it has fetched and prepared."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the absolute path of ``$SMOOTHCSE_CACHE``, by default ``~/.cache/smoothcse``; it may not exist yet."""
    return Path(os.environ.get("SMOOTHCSE_CACHE") or "~/.cache/smoothcse").expanduser().absolute()
