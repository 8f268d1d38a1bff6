"""Conversion of documents to rows of the index's table, and of their metadata to its columns."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from smoothcse.errors import SmoothCSEError
from smoothcse.search.column_names import NO_METADATA, OWN, WORDS, column_of, name_of
from smoothcse.search.documents import Document, Scalar
from smoothcse.search.filters import Field, Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def own_fields(dimensions: int) -> list[pa.Field]:
    """Return the columns of an index that are not metadata.

    Args:
        dimensions: Dimension of the vectors.
    """
    kinds = (pa.string(), pa.string(), pa.list_(pa.float32(), dimensions), pa.string())
    return [pa.field(name, kind) for name, kind in zip((*OWN, WORDS), kinds, strict=True)]


def metadata_fields(documents: Sequence[Document], known: Sequence[str] = ()) -> list[pa.Field]:
    """Return a column for each new metadata field that has a value in any of the documents.

    Args:
        documents: Documents whose metadata to inspect.
        known: Metadata fields that already have a column.

    Raises:
        SmoothCSEError: If an index cannot have a field of this name.
    """
    kinds: dict[str, set[type]] = {}
    for document in documents:
        for name, value in document.metadata.items():
            if value is not None and name not in known:
                kinds.setdefault(name, set()).add(type(value))
    return [pa.field(column_of(name), _type(found)) for name, found in kinds.items()]


def filter_fields(schema: pa.Schema) -> dict[str, Field]:
    """Return the fields that filters may use: the id and the metadata."""
    own = {"id": Field("id", "text")}
    return own | {
        name_of(column): Field(column, _kind(schema.field(column).type))
        for column in schema.names
        if column not in NO_METADATA
    }


def check_metadata(documents: Sequence[Document]) -> None:
    """Check that documents can be rows of a new table.

    Raises:
        SmoothCSEError: If the metadata of a document cannot be stored.
    """
    for column in metadata_fields(documents):
        _column(name_of(column.name), documents, column.type)


def to_rows(
    documents: Sequence[Document], vectors: NDArray[np.float32], words: Sequence[str | None], schema: pa.Schema
) -> pa.Table:
    """Return documents and their vectors as rows of a table.

    Args:
        documents: ``n`` documents.
        vectors: Unit vectors, shape ``(n, d)``.
        words: Words of each document, separated by spaces, or None; ignored if the table has no words.
        schema: Schema of the table.

    Raises:
        SmoothCSEError: If the metadata of a document do not fit the schema.
    """
    columns: dict[str, Any] = {
        "id": [document.id for document in documents],
        "text": [document.text for document in documents],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        WORDS: words,
    }
    for column in schema.names:
        if column not in NO_METADATA:
            columns[column] = _column(name_of(column), documents, schema.field(column).type)
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _type(found: set[type]) -> pa.DataType:
    if found == {bool}:
        return pa.bool_()
    if found == {int}:
        return pa.int64()
    return pa.float64() if found <= {int, float} else pa.string()


def _kind(type: pa.DataType) -> Kind:
    if pa.types.is_boolean(type):
        return "true or false"
    if pa.types.is_integer(type):
        return "whole numbers"
    return "numbers" if pa.types.is_floating(type) else "text"


def _column(name: str, documents: Sequence[Document], type: pa.DataType) -> pa.Array:
    values: list[Scalar] = [document.metadata.get(name) for document in documents]
    if type == pa.string():
        values = [value if value is None or isinstance(value, str) else _json(value) for value in values]
    try:
        return pa.array(values, type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        document, value = next(pair for pair in zip(documents, values, strict=True) if not _fits(pair[1], type))
        raise SmoothCSEError(
            f"Document {document.id!r} has {reprlib.repr(value)} in the field {name!r}, but the index stores "
            f"{_kind(type)} there: fix the value, or rename the field."
        ) from error


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _fits(value: Scalar, type: pa.DataType) -> bool:
    try:
        pa.array([value], type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True
