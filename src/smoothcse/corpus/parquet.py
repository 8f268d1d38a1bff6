"""Reading of Parquet files in checked batches, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from smoothcse.corpus.formats import TextFile
from smoothcse.errors import SmoothCSEError, first_line

BATCH_BYTES = 64 << 20
"""Maximum bytes of decoded text in a batch; larger batches are split."""

LONGEST_TEXT = 10 << 20
"""Maximum bytes of one value, the same as for one line of a text file."""

Choice = Callable[[list[str], list[str]], list[str]]
"""Function of all column names and of those that contain text, which returns the columns to read."""


def parquet_batches(file: TextFile, rows: int, choose: Choice | None = None) -> Iterator[pa.RecordBatch]:
    """Read all or some columns of a file, in the order of the file.

    Dictionary encoding can repeat a text of ten megabytes a million times in a few bytes. Text therefore stays
    dictionary-encoded until its length has been checked.

    Args:
        file: Parquet file.
        rows: Maximum rows of a batch.
        choose: Function that chooses the columns; None reads all.

    Yields:
        Batches with decoded columns.

    Raises:
        SmoothCSEError: If the file is damaged, or contains text that is not UTF-8 or a value that is too long.
    """
    try:
        # Opened here, since Arrow takes no names that are not UTF-8.
        with file.path.open("rb") as opened, pq.ParquetFile(opened) as table:
            texts = [field.name for field in table.schema_arrow if _is_text(field.type)]
            columns = None if choose is None else choose(table.schema_arrow.names, texts)
            _require_one_each(file, table.schema_arrow.names, columns)
        kept = texts if columns is None else columns
        with file.path.open("rb") as opened, pq.ParquetFile(opened, read_dictionary=kept) as table:
            for batch in table.iter_batches(rows, columns=columns):
                batch.validate(full=True)
                for part in _parts(file, batch):
                    yield _decoded(part)
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise SmoothCSEError(
            f"{file.label} cannot be read as Parquet ({first_line(error).rstrip('.')}): download or write it again."
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _require_one_each(file: TextFile, names: list[str], columns: list[str] | None) -> None:
    for name in columns or dict.fromkeys(names):
        if names.count(name) > 1:
            raise SmoothCSEError(f"{file.label} has {names.count(name)} columns called {name!r}: rename them.")


def _parts(file: TextFile, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halve a batch until the text of each part is at most ``BATCH_BYTES``."""
    size = sum(_text_bytes(file, column) for column in batch.columns)
    if size <= BATCH_BYTES or batch.num_rows <= 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(file, batch.slice(0, half))
    yield from _parts(file, batch.slice(half))


def _text_bytes(file: TextFile, column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type):
        return 0
    lengths = pc.binary_length(column.dictionary)
    if (pc.max(lengths).as_py() or 0) > LONGEST_TEXT:
        raise SmoothCSEError(
            f"{file.label} contains a text of more than {LONGEST_TEXT >> 20} MB: put one sentence in each row."
        )
    return pc.sum(lengths.take(column.indices)).as_py() or 0


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
