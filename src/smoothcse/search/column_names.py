"""Names of metadata, and the columns that keep them.

The database reads a dot as a path, breaks at backticks and asterisks, and keeps names such as ``_rowid`` for itself.
Metadata may be called anything: what is neither a letter, a digit, an underscore, a space nor a hyphen stands in the
column's name as in a URL (``a.b`` is the column ``a%2Eb``), and so does a leading underscore.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from smoothcse.errors import SmoothCSEError

OWN = ("id", "text", "vector")
"""Columns that every index has, which are no metadata."""

_SPECIAL = re.compile(r"^_|[^\w \-]")


def column_of(name: str) -> str:
    """Return the column for a field of metadata.

    Raises:
        SmoothCSEError: for a name that no field can have.
    """
    if not name:
        raise SmoothCSEError("The documents have a field without a name: give it one, or remove it.")
    if name in OWN:
        raise SmoothCSEError(f"The documents have a field {name!r}, and an index has that name of its own: rename it.")
    return _SPECIAL.sub(lambda found: "%5F" if found[0] == "_" else _escaped(found[0]), name)


def name_of(column: str) -> str:
    """Return the field of metadata that a column keeps; the inverse of :func:`column_of`."""
    return unquote(column)


def _escaped(character: str) -> str:
    special = quote(character, safe="")
    return special if special != character else f"%{ord(character):02X}"  # quote leaves ". ~" as they are
