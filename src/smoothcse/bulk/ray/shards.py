"""Shards: ranges of rows of Parquet files, each of which becomes one file of embeddings, written completely or not."""

from __future__ import annotations

import glob
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smoothcse._utils.atomic import explain_unwritable, open_atomic
from smoothcse.errors import SmoothCSEError, first_line

SOURCE_KEY = b"smoothcse.source"
"""Key in a shard's Parquet metadata with the digest of its source file."""


@dataclass(frozen=True)
class Shard:
    """A range of rows and the file of their embeddings.

    Attributes:
        source: Parquet file to read.
        digest: Digest of its footer, which changes with the size, statistics or position of any row group; 32 hex
            digits.
        first: First row, counted from 0.
        rows: Number of rows.
        target: Parquet file to write.
    """

    source: str
    digest: str
    first: int
    rows: int
    target: str


def plan_shards(source: Path, output: Path, rows_per_shard: int) -> list[Shard]:
    """Split the input into shards. Equal input gives equal shards, on which resuming relies.

    Only footers are read. ``a/b.parquet`` becomes ``a/b-00000.parquet``, ``a/b-00001.parquet`` and so on.

    Args:
        source: Parquet file, or folder that is searched recursively for ``*.parquet``.
        output: Folder of the targets.
        rows_per_shard: Maximum rows of a shard. A shard never spans two files.

    Raises:
        SmoothCSEError: If there is no Parquet file, one cannot be read, or there are no rows.
    """
    files = input_files(source)
    root = source if source.is_dir() else source.parent
    shards = []
    for file in files:
        stem = output / file.relative_to(root).with_suffix("")
        metadata = read_footer(file)
        digest = _digest(metadata)
        for index, first in enumerate(range(0, metadata.num_rows, rows_per_shard)):
            rows = min(rows_per_shard, metadata.num_rows - first)
            shards.append(Shard(str(file), digest, first, rows, f"{stem}-{index:05d}.parquet"))
    if not shards:
        raise SmoothCSEError(f"{source} contains no rows to encode; give another file or folder.")
    return shards


def input_files(source: Path) -> list[Path]:
    """Return the Parquet files of the input, sorted by path.

    Args:
        source: Parquet file, or folder that is searched recursively for ``*.parquet``.

    Raises:
        SmoothCSEError: If there is no such file.
    """
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise SmoothCSEError(f"The folder {source} contains no .parquet file; the engine ray reads only Parquet.")
    if not source.exists() or files[0].suffix != ".parquet":
        raise SmoothCSEError(f"{source} must be a .parquet file or a folder of them for the engine ray.")
    return files


def read_footer(file: Path) -> pq.FileMetaData:
    """Read the metadata of a Parquet file from its footer, which a truncated file lacks.

    Args:
        file: Parquet file.

    Raises:
        SmoothCSEError: If the file cannot be read.
    """
    try:
        return pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise SmoothCSEError(
            f"{file} cannot be read as Parquet ({first_line(error).rstrip('.')}): download or write it again."
        ) from error


def is_finished(shard: Shard) -> bool:
    """Return whether the file of a shard exists.

    Args:
        shard: Shard to check.

    Raises:
        SmoothCSEError: If the file is damaged, or was written from other rows than those in the source now.
    """
    target = Path(shard.target)
    if not target.exists():
        return False
    metadata = read_footer(target)
    made_from = (metadata.metadata or {}).get(SOURCE_KEY, b"").decode()
    if made_from != shard.digest or metadata.num_rows != shard.rows:
        raise SmoothCSEError(
            f"{target} was written from another version of {shard.source}; delete it to encode its rows again."
        )
    return True


def read_rows(shard: Shard, columns: Sequence[str], chunk: int) -> Iterator[pa.Table]:
    """Read the rows of a shard, in order and in constant memory.

    Args:
        shard: Shard to read.
        columns: Names of the columns to read.
        chunk: Rows in memory at a time.

    Yields:
        Tables of at most ``chunk`` rows. Only row groups that overlap the shard are read.

    Raises:
        SmoothCSEError: If the file cannot be read on this machine.
    """
    try:
        yield from _read_rows(shard, columns, chunk)
    except (OSError, pa.ArrowException) as error:
        raise SmoothCSEError(
            f"{shard.source} cannot be read on the machine of a worker ({first_line(error).rstrip('.')}): put the "
            "input on a file system that all machines share."
        ) from error


def _read_rows(shard: Shard, columns: Sequence[str], chunk: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(shard.source, pre_buffer=False) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        ends = np.cumsum(sizes)
        inside = (ends > shard.first) & (ends - sizes < shard.first + shard.rows)
        groups = np.flatnonzero(inside).tolist()
        row = int(ends[groups[0]]) - sizes[groups[0]]
        for batch in file.iter_batches(chunk, row_groups=groups, columns=list(columns), use_threads=False):
            begin, end = max(shard.first - row, 0), min(shard.first + shard.rows - row, len(batch))
            row += len(batch)
            if begin < end:
                yield pa.Table.from_batches([batch.slice(begin, end - begin)])


def write_rows(shard: Shard, tables: Iterator[pa.Table]) -> int:
    """Write the file of a shard, which appears under its name only when it is complete and synced to disk.

    Args:
        shard: Shard to write.
        tables: Rows to write.

    Returns:
        Number of rows written.

    Raises:
        SmoothCSEError: If the file cannot be written, or the tables have another number of rows than the shard.
    """
    rows, writer = 0, None
    target = Path(shard.target)
    with explain_unwritable(target), ExitStack() as open_writer:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open_writer.enter_context(open_atomic(target, unique=True))
        for table in tables:
            table = table.replace_schema_metadata({SOURCE_KEY: shard.digest})
            if writer is None:
                # Dictionary encoding of the embeddings, the last column, would cost time and save nothing.
                writer = pq.ParquetWriter(file, table.schema, use_dictionary=table.column_names[:-1])
                open_writer.enter_context(writer)
            writer.write_table(table)
            rows += len(table)
        if rows != shard.rows:
            raise SmoothCSEError(f"{shard.source} changed while it was read; start again and do not change it.")
    return rows


def leftovers(target: Path) -> list[Path]:
    """Return the temporary files that killed writers of a target left behind."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.*.new"))


def _digest(metadata: pq.FileMetaData) -> str:
    footer = io.BytesIO()
    metadata.write_metadata_file(footer)
    return hashlib.sha256(footer.getvalue()).hexdigest()[:32]
