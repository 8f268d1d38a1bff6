"""One reader per format: from a file to Arrow batches of raw text. Errors name ``file:line``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from smoothcse.corpus.blocks import BLOCK_BYTES, Block, read_blocks
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.parquet import parquet_batches
from smoothcse.corpus.records import Fields, delimited_rows, numbered_lines, parse_record
from smoothcse.corpus.text_columns import choose_columns
from smoothcse.errors import SmoothCSEError

BATCH_ROWS = 16_384

Batches = Iterator[pa.RecordBatch]
Texts = tuple[str, ...]
"""Texts of one record, one for each column to read."""


def read_batches(file: TextFile, columns: Sequence[str] | None = None, block_bytes: int = BLOCK_BYTES) -> Batches:
    """Read the raw text of one file.

    Args:
        file: File in a supported format.
        columns: Columns to read, see :func:`~smoothcse.corpus.text_columns.choose_columns`. Plain text has none.
        block_bytes: Bytes of a text file to read at once.

    Returns:
        Iterator of batches with one string column per column to read. It raises :class:`SmoothCSEError` at the first
        record that cannot be read.
    """
    if file.format == ".parquet":
        return _read_parquet(file, columns)
    blocks = read_blocks(file, block_bytes)
    if file.format == ".txt":
        return (_to_batch([_lines(block)]) for block in blocks)
    empty = ("",) * len(columns or "1")
    return to_batches(row or empty for row in _read_rows(file, columns, blocks))


def read_texts(file: TextFile, column: str | None = None) -> Iterator[str]:
    """Read one text per record of a file, in order and unchanged.

    Each line of plain text is a record, including empty lines. In the other formats an empty line is not a record. A
    record whose text is empty, or missing in Parquet, gives an empty text.

    Args:
        file: File in a supported format.
        column: Column to read, see :func:`~smoothcse.corpus.text_columns.choose_column`. Plain text has none.

    Raises:
        SmoothCSEError: If a record cannot be read.
    """
    if file.format == ".txt":
        return (line for _, line in numbered_lines(read_blocks(file)))
    columns = None if column is None else [column]
    if file.format == ".parquet":
        batches = _read_parquet(file, columns)
    else:
        batches = to_batches(filter(None, _read_rows(file, columns, read_blocks(file))))
    return (text for batch in batches for text in batch.column(0).to_pylist())


def to_batches(rows: Iterable[Texts]) -> Batches:
    """Collect rows of Python strings in Arrow batches."""
    iterator = iter(rows)
    while some := list(islice(iterator, BATCH_ROWS)):
        yield _to_batch([_to_array(column) for column in zip(*some, strict=True)])


def _to_batch(columns: list[pa.StringArray]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])


def _to_array(rows: Sequence[str]) -> pa.StringArray:
    try:
        return pa.array(rows, pa.string())
    except UnicodeEncodeError:
        # JSON can contain half of a surrogate pair, such as a truncated emoji. UTF-8 cannot, so it becomes U+FFFD.
        return pa.array([row.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for row in rows])


def _lines(block: Block) -> pa.StringArray:
    """View a block as one string per line, without copying and without a Python object per line."""
    data = np.frombuffer(block.data, np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1  # the line keeps its line feed, which cleaning removes
    offsets = np.concatenate(([0], ends, [len(data)])).astype(np.int32)
    return pa.StringArray.from_buffers(len(ends) + 1, pa.py_buffer(offsets), pa.py_buffer(block.data))


def _read_rows(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Texts | None]:
    """Yield the texts of each record, and None for an empty line."""
    return (_read_jsonl if file.format == ".jsonl" else _read_delimited)(file, columns, blocks)


def _read_jsonl(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Texts | None]:
    names: list[str] | None = None
    for number, line in numbered_lines(blocks):
        if not line.strip():
            yield None
            continue
        place = f"{file.label}:{number}"
        record = parse_record(place, line)
        if names is None:
            texts = [key for key, value in record.items() if isinstance(value, str)]
            names = choose_columns(place, list(record), texts, columns)
        yield tuple([_text_of(place, record, name) for name in names])


def _text_of(place: str, record: Fields, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        found = f"of type {type(value).__name__}" if name in record else "missing"
        raise SmoothCSEError(f"{place}: field {name!r} must be a string and is {found}: correct or remove the line.")
    return value


def _read_delimited(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Texts | None]:
    rows = delimited_rows(file, blocks)
    _, header = next(rows)
    indices = [header.index(name) for name in choose_columns(file.label, header, header, columns)] if header else []
    return (tuple([row[index] for index in indices]) if row else None for _, row in rows)


def _read_parquet(file: TextFile, columns: Sequence[str] | None) -> Batches:
    def choose(names: list[str], texts: list[str]) -> list[str]:
        return list(dict.fromkeys(choose_columns(file.label, names, texts, columns)))

    for batch in parquet_batches(file, BATCH_ROWS, choose):
        read = [batch.column(name) for name in columns or batch.schema.names]
        yield _to_batch([column.cast(pa.string()).fill_null("") for column in read])
