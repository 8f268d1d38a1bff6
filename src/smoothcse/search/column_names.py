"""Names of metadata fields, and the columns that store them.

The database reads a dot as a path, fails at backticks and asterisks, and reserves names such as ``_rowid``. Metadata
fields may have any name: characters other than letters, digits, underscores, spaces and hyphens are percent-encoded in
the column's name (``a.b`` is the column ``a%2Eb``), and so is a leading underscore.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from smoothcse.errors import SmoothCSEError

OWN = ("id", "text", "vector")
"""Columns that every index has and that are not metadata."""

WORDS = "%words"
"""Column with the words of each text for BM25; ``%`` keeps it apart from the columns of metadata fields."""

NO_METADATA = (*OWN, WORDS)
"""Columns that are not metadata. Indexes of earlier versions have no words."""

_SPECIAL = re.compile(r"^_|[^\w \-]")


def column_of(name: str) -> str:
    """Return the column of a metadata field.

    Raises:
        SmoothCSEError: If a field cannot have this name.
    """
    if not name:
        raise SmoothCSEError("The documents have a field without a name: name it, or remove it.")
    if name in OWN:
        raise SmoothCSEError(f"The documents have a field {name!r}, which is a reserved name: rename the field.")
    return _SPECIAL.sub(lambda found: "%5F" if found[0] == "_" else _escaped(found[0]), name)


def name_of(column: str) -> str:
    """Return the metadata field of a column; the inverse of :func:`column_of`."""
    return unquote(column)


def _escaped(character: str) -> str:
    special = quote(character, safe="")
    return special if special != character else f"%{ord(character):02X}"  # quote does not escape ". ~"
