"""Ranges of rows of Parquet files, each of which becomes one file of embeddings: whole, or not there."""

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
"""Key in a shard's Parquet metadata: the digest of the file that its rows came from."""


@dataclass(frozen=True)
class Shard:
    """A range of rows and the file that their embeddings go to.

    Attributes:
        source: Parquet file that is read.
        digest: of its footer, which changes with any row group's size, statistics or place; 32 hex digits.
        first: the first row, counted from 0.
        rows: how many rows.
        target: Parquet file that is written.
    """

    source: str
    digest: str
    first: int
    rows: int
    target: str


def plan_shards(source: Path, output: Path, rows_per_shard: int) -> list[Shard]:
    """Cut the input into shards; equal input gives equal shards, which is what a resumed job relies on.

    Only footers are read. ``a/b.parquet`` becomes ``a/b-00000.parquet``, ``a/b-00001.parquet`` and so on.

    Args:
        source: a Parquet file, or a folder that is searched for ``*.parquet`` at any depth.
        output: folder of the targets.
        rows_per_shard: at most this many rows in each; no shard spans two files.

    Raises:
        SmoothCSEError: if there is no Parquet file, one cannot be read, or there is no row.
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
        raise SmoothCSEError(f"{source} holds no row to encode.")
    return shards


def input_files(source: Path) -> list[Path]:
    """Return the Parquet files that ``source`` stands for, in the order of their paths.

    Raises:
        SmoothCSEError: if there is none.
    """
    files = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not files:
        raise SmoothCSEError(f"The folder {source} holds no .parquet file; the engine ray reads Parquet only.")
    if not source.exists() or files[0].suffix != ".parquet":
        raise SmoothCSEError(f"{source} must be a .parquet file or a folder of them for the engine ray.")
    return files


def read_footer(file: Path) -> pq.FileMetaData:
    """Read a Parquet file's metadata, which stand at its end: a file cut short has none.

    Raises:
        SmoothCSEError: if it cannot be read.
    """
    try:
        return pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise SmoothCSEError(
            f"{file} cannot be read as Parquet ({first_line(error).rstrip('.')}): fetch or write the file again."
        ) from error


def is_finished(shard: Shard) -> bool:
    """Whether the shard's file is there.

    Raises:
        SmoothCSEError: if the file is damaged or was made from other rows than those that stand in the source now.
    """
    target = Path(shard.target)
    if not target.exists():
        return False
    metadata = read_footer(target)
    made_from = (metadata.metadata or {}).get(SOURCE_KEY, b"").decode()
    if made_from != shard.digest or metadata.num_rows != shard.rows:
        raise SmoothCSEError(
            f"{target} was not made from {shard.source} as it is now; delete it to have its rows encoded anew."
        )
    return True


def read_rows(shard: Shard, columns: Sequence[str], chunk: int) -> Iterator[pa.Table]:
    """Read the shard's rows, in order and at constant memory.

    Args:
        shard: whose source is read.
        columns: names of those to read.
        chunk: rows held at a time.

    Returns:
        Tables of at most ``chunk`` rows; only row groups that overlap the shard are touched.
    """
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
    """Write the shard's file; it appears under its name when it is complete and on the disk.

    Returns:
        Rows written.

    Raises:
        SmoothCSEError: if the file cannot be written, or the tables have another number of rows than the shard.
    """
    rows, writer = 0, None
    target = Path(shard.target)
    with explain_unwritable(target), ExitStack() as open_writer:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open_writer.enter_context(open_atomic(target, unique=True))
        for table in tables:
            table = table.replace_schema_metadata({SOURCE_KEY: shard.digest})
            if writer is None:
                # Looking for repeated floats among embeddings, the last column, costs time and finds none.
                writer = pq.ParquetWriter(file, table.schema, use_dictionary=table.column_names[:-1])
                open_writer.enter_context(writer)
            writer.write_table(table)
            rows += len(table)
        if rows != shard.rows:
            raise SmoothCSEError(f"{shard.source} changed while it was read; leave it as it is and start again.")
    return rows


def leftovers(target: Path) -> list[Path]:
    """Return the files that killed writers of ``target`` left behind."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.*.new"))


def _digest(metadata: pq.FileMetaData) -> str:
    footer = io.BytesIO()
    metadata.write_metadata_file(footer)
    return hashlib.sha256(footer.getvalue()).hexdigest()[:32]
