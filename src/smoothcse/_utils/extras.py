"""Optional dependencies, which come with an extra."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from smoothcse.errors import SmoothCSEError


class MissingExtraError(SmoothCSEError, ImportError):
    """A package of an extra is not installed."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Explain how to install an extra if the block fails to import one of its packages.

    Args:
        name: Name of the extra in pyproject.toml.
        what: Feature that needs the extra. The start of the sentence.

    Raises:
        MissingExtraError: If a package is missing; the message gives the command that installs the extra.
    """
    try:
        yield
    except MissingExtraError:  # raised by another extra, with its own sentence
        raise
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "smoothcse":  # a bug in this package
            raise
        raise MissingExtraError(f"{what}: {_reason(error)}. {install_hint(name)}") from error


def require(module: str, name: str, what: str) -> Any:
    """Import a module of an extra; see :func:`extra`."""
    with extra(name, what):
        return importlib.import_module(module)


def install_hint(name: str) -> str:
    """Return the sentence that explains how to install an extra."""
    return f'Install the extra {name} from your clone of smoothcse: pip install -c constraints.txt ".[{name}]"'


def _reason(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the package {error.name.partition('.')[0]} is not installed"
    return f"a package cannot be imported ({error})"
