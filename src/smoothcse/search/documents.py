"""Documents: texts with an id and metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smoothcse.corpus.records import read_records
from smoothcse.corpus.sources import require_file
from smoothcse.corpus.text_columns import choose_column
from smoothcse.errors import SmoothCSEError
from smoothcse.search.text_ids import text_id

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Document:
    """A document to index.

    Attributes:
        text: Text to encode.
        id: Unique id within an index. Default: a hash of the text, so that the same text is the same document.
        metadata: Other fields by name. From files, lists and mappings become JSON strings, and dates become strings.
    """

    text: str
    id: str = ""
    metadata: dict[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Fill in the id, and replace unpaired surrogates, which no file can store, by U+FFFD."""
        text = whole_characters(self.text)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "id", whole_characters(self.id) or text_id(text))
        object.__setattr__(self, "metadata", {whole_characters(k): _whole(v) for k, v in self.metadata.items()})


def whole_characters(text: str) -> str:
    """Return a text with U+FFFD for each unpaired surrogate, as a truncated emoji in JSON leaves it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def read_documents(file: Path, text: str | None = None, id: str | None = None) -> Iterator[Document]:
    """Read documents from a .txt (one per line), .jsonl, .csv, .tsv or .parquet file, compressed or not.

    Args:
        file: File to read; memory does not grow with its size.
        text: Text column. Default: ``sentence``, else ``text``, else the only text column.
        id: Id column. Default: ``id`` if it exists, and a hash of the text for rows without.

    Yields:
        One document per row with a non-empty text.

    Raises:
        SmoothCSEError: If a row cannot be read; the message names file and line.
    """
    column: str | None = None
    for place, record in read_records(require_file(file)):
        if column is None:
            texts = [name for name, value in record.items() if isinstance(value, str)]
            column = choose_column(place, list(record), texts, text)
        value = record.get(column)
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise SmoothCSEError(f"{place}: field {column!r} must be a string, not {value!r}: fix or remove the row.")
        if id is not None and record.get(id) in (None, ""):
            raise SmoothCSEError(f"{place} has no {id!r}, the chosen id column: add a value, or leave out the option.")
        named = id or "id"
        rest = {name: _scalar(entry) for name, entry in record.items() if name not in (column, named)}
        yield Document(value, "" if record.get(named) in (None, "") else str(record[named]), rest)


def _whole(value: Scalar) -> Scalar:
    return whole_characters(value) if isinstance(value, str) else value


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
