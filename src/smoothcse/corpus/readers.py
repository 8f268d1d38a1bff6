"""One reader per format: a file in, Arrow batches of raw text out, mistakes reported as ``file:line``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from smoothcse.corpus.blocks import BLOCK_BYTES, Block, read_blocks
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.parquet import parquet_batches
from smoothcse.corpus.records import Record, delimited_rows, numbered_lines, parse_record
from smoothcse.corpus.text_columns import choose_columns
from smoothcse.errors import SmoothCSEError

BATCH_ROWS = 16_384

Batches = Iterator[pa.RecordBatch]
Row = tuple[str, ...]


def read_batches(file: TextFile, columns: Sequence[str] | None = None, block_bytes: int = BLOCK_BYTES) -> Batches:
    """Read the text of one file, uncleaned.

    Args:
        file: A file whose format is supported.
        columns: The columns to read; see ``choose_columns``. Plain text has none.
        block_bytes: How much of a text file to read at once.

    Returns:
        An iterator of batches with as many columns of strings; it raises ``SmoothCSEError`` at the first thing it
        cannot read.
    """
    if file.format == ".parquet":
        return _read_parquet(file, columns)
    blocks = read_blocks(file, block_bytes)
    if file.format == ".txt":
        return (_to_batch([_lines(block)]) for block in blocks)
    empty = ("",) * len(columns or "1")
    return to_batches(row or empty for row in _read_rows(file, columns, blocks))


def read_texts(file: TextFile, column: str | None = None) -> Iterator[str]:
    """Read one text for each record of a file, in order, as it stands there.

    Each line of plain text is a record, the empty one included. In the other formats an empty line is none; a record
    whose text is empty, or missing in Parquet, is one.

    Args:
        file: A file whose format is supported.
        column: The column to read; see ``choose_column``. Plain text has none.

    Raises:
        SmoothCSEError: at the first thing that cannot be read.
    """
    if file.format == ".txt":
        return (line for _, line in numbered_lines(read_blocks(file)))
    columns = None if column is None else [column]
    if file.format == ".parquet":
        batches = _read_parquet(file, columns)
    else:
        batches = to_batches(filter(None, _read_rows(file, columns, read_blocks(file))))
    return (text for batch in batches for text in batch.column(0).to_pylist())


def to_batches(rows: Iterable[Row]) -> Batches:
    """Gather rows of Python strings into Arrow batches."""
    iterator = iter(rows)
    while some := list(islice(iterator, BATCH_ROWS)):
        yield _to_batch([_to_array(column) for column in zip(*some, strict=True)])


def _to_batch(columns: list[pa.StringArray]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(columns, names=[str(number) for number in range(len(columns))])


def _to_array(rows: Sequence[str]) -> pa.StringArray:
    try:
        return pa.array(rows, pa.string())
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair, as a truncated emoji; UTF-8 cannot: it becomes U+FFFD.
        return pa.array([row.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for row in rows])


def _lines(block: Block) -> pa.StringArray:
    """View a block as one string per line, without a copy or a Python object per line."""
    data = np.frombuffer(block.data, np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1  # the line feed stays on its line; cleaning trims it
    offsets = np.concatenate(([0], ends, [len(data)])).astype(np.int32)
    return pa.StringArray.from_buffers(len(ends) + 1, pa.py_buffer(offsets), pa.py_buffer(block.data))


def _read_rows(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Row | None]:
    """Yield the texts of each record, and None for an empty line."""
    return (_read_jsonl if file.format == ".jsonl" else _read_delimited)(file, columns, blocks)


def _read_jsonl(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Row | None]:
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


def _text_of(place: str, record: Record, name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        found = f"of type {type(value).__name__}" if name in record else "missing"
        raise SmoothCSEError(f"{place}: field {name!r} must be a string and is {found}: mend or remove the line.")
    return value


def _read_delimited(file: TextFile, columns: Sequence[str] | None, blocks: Iterator[Block]) -> Iterator[Row | None]:
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
