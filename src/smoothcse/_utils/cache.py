"""Cache folder for fetched and prepared data."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the absolute path of ``$SMOOTHCSE_CACHE``, by default ``~/.cache/smoothcse``. It may not exist yet."""
    return Path(os.environ.get("SMOOTHCSE_CACHE") or "~/.cache/smoothcse").expanduser().absolute()
