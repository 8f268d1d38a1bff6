"""Packages that only some parts of the library need, and that come with an extra."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from smoothcse.errors import SmoothCSEError


class MissingExtraError(SmoothCSEError, ImportError):
    """A package is missing that comes with an extra."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Tell how to install an extra if the block imports a package that is missing.

    Args:
        name: Extra, as pyproject.toml has it.
        what: What needs it, to begin the sentence with.

    Raises:
        MissingExtraError: With the command that installs it.
    """
    try:
        yield
    except MissingExtraError:  # of another extra; it has its sentence
        raise
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "smoothcse":  # a fault of ours
            raise
        raise MissingExtraError(f"{what}: {_reason(error)}. {install_hint(name)}") from error


def require(module: str, name: str, what: str) -> Any:
    """Import a module that comes with an extra; see :func:`extra`."""
    with extra(name, what):
        return importlib.import_module(module)


def install_hint(name: str) -> str:
    """Return the sentence that tells how to install an extra."""
    return f'Install the extra {name} from your clone of smoothcse: pip install -c constraints.txt ".[{name}]"'


def _reason(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name.partition('.')[0]} is not installed"
    return f"a package cannot be imported ({error})"
