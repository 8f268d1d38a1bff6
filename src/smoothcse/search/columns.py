"""Between documents and the columns of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.search.documents import Document, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OWN = ("id", "text", "vector")
"""Columns that are no metadata."""


def own_fields(dimensions: int) -> list[pa.Field]:
    """Return the columns that every index has."""
    kinds = (pa.string(), pa.string(), pa.list_(pa.float32(), dimensions))
    return [pa.field(name, kind) for name, kind in zip(OWN, kinds, strict=True)]


def metadata_fields(documents: Sequence[Document], known: Sequence[str] = ()) -> list[pa.Field]:
    """Return a column for each field of metadata that is not known yet and has a value in one of the documents.

    Raises:
        SmoothCSEError: for a name that an index cannot have.
    """
    kinds: dict[str, set[type]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            if value is not None and name not in known:
                kinds.setdefault(name, set()).add(type(value))
    for name in kinds:
        if name in (*OWN, "_distance", "") or "." in name:
            why = "a dot is no part of a column's name" if "." in name else "an index has that name of its own"
            raise SmoothCSEError(f"The documents have a field {name!r}, and {why}: rename it.")
    return [pa.field(name, _kind(found)) for name, found in kinds.items()]


def to_rows(documents: Sequence[Document], vectors: NDArray[np.float32], schema: pa.Schema) -> pa.Table:
    """Return documents and their vectors as rows of a table.

    Raises:
        SmoothCSEError: for a document whose metadata do not fit.
    """
    columns: dict[str, Any] = {
        "id": [document.id for document in documents],
        "text": [document.text for document in documents],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
    }
    for name in schema.names:
        if name not in OWN:
            columns[name] = _column(name, documents, schema.field(name).type)
    return pa.table(columns, schema=schema)


def _kind(found: set[type]) -> pa.DataType:
    if found == {bool}:
        return pa.bool_()
    if found == {int}:
        return pa.int64()
    return pa.float64() if found <= {int, float} else pa.string()


def _column(name: str, documents: Sequence[Document], kind: pa.DataType) -> pa.Array:
    values: list[Scalar] = [document.metadata.get(name) for document in documents]
    if kind == pa.string():
        return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SmoothCSEError(
            f"Field {name!r} of a document does not fit the index, where it is {kind}: {first_line(error)}"
        ) from error
