"""Libraries that only some formats need."""

from __future__ import annotations

import importlib
from typing import Any

from smoothcse.errors import SmoothCSEError


def require(module: str, extra: str) -> Any:
    """Import a module that comes with an extra.

    Raises:
        SmoothCSEError: with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SmoothCSEError(
            f"This format needs {module}, which comes with an extra: pip install 'smoothcse[{extra}]'."
        ) from error
