"""One reader per format: a file in, Arrow batches of raw text out, mistakes reported as ``file:line``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from smoothcse.corpus.blocks import BLOCK_BYTES, Block, read_blocks
from smoothcse.corpus.columns import choose_column
from smoothcse.corpus.files import TextFile
from smoothcse.corpus.parquet import parquet_batches
from smoothcse.corpus.records import delimited_rows, numbered_lines, parse_record
from smoothcse.errors import SmoothCSEError

BATCH_ROWS = 16_384

Batches = Iterator[pa.StringArray]


def read_batches(file: TextFile, column: str | None = None, block_bytes: int = BLOCK_BYTES) -> Batches:
    """Read the sentences of one file, uncleaned.

    Args:
        file: A file whose format is supported.
        column: The column to read; see ``choose_column``. Plain text has none.
        block_bytes: How much of a text file to read at once.

    Returns:
        An iterator of ``pa.StringArray``; it raises ``SmoothCSEError`` at the first thing it cannot read.
    """
    if file.format == ".parquet":
        return _read_parquet(file, column)
    blocks = read_blocks(file, block_bytes)
    if file.format == ".txt":
        return map(_lines, blocks)
    reader: Callable[..., Iterator[str]] = _read_jsonl if file.format == ".jsonl" else _read_delimited
    return to_batches(reader(file, column, blocks))


def to_batches(sentences: Iterable[str]) -> Batches:
    """Gather Python strings into Arrow batches."""
    iterator = iter(sentences)
    while rows := list(islice(iterator, BATCH_ROWS)):
        yield _to_array(rows)


def _to_array(rows: list[str]) -> pa.StringArray:
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


def _read_jsonl(file: TextFile, column: str | None, blocks: Iterator[Block]) -> Iterator[str]:
    name: str | None = None
    for number, line in numbered_lines(blocks):
        if not line.strip():
            yield ""
            continue
        place = f"{file.label}:{number}"
        record = parse_record(place, line)
        if name is None:
            texts = [key for key, value in record.items() if isinstance(value, str)]
            name = choose_column(place, list(record), texts, column)
        value = record.get(name)
        if not isinstance(value, str):
            found = f"of type {type(value).__name__}" if name in record else "missing"
            raise SmoothCSEError(f"{place}: field {name!r} must be a string and is {found}: mend or remove the line.")
        yield value


def _read_delimited(file: TextFile, column: str | None, blocks: Iterator[Block]) -> Iterator[str]:
    rows = delimited_rows(file, blocks)
    _, header = next(rows)
    index = header.index(choose_column(file.label, header, header, column)) if header else 0
    return (row[index] if row else "" for _, row in rows)


def read_lines(file: TextFile) -> Iterator[str]:
    """Read the lines of a text file as they are, without their ends.

    Raises:
        SmoothCSEError: As ``read_blocks``, with the line.
    """
    return (line.removesuffix("\r") for _, line in numbered_lines(read_blocks(file)))


def _read_parquet(file: TextFile, column: str | None) -> Batches:
    def choose(names: list[str], texts: list[str]) -> str:
        return choose_column(file.label, names, texts, column)

    for batch in parquet_batches(file, BATCH_ROWS, choose):
        yield batch.column(0).cast(pa.string()).fill_null("")
