"""Encoding of files of text of any length at constant memory."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import new_file
from smoothcse._utils.choices import EmbeddingPrecision, InputType, Precision
from smoothcse.bulk.quantisation import EmbeddingFormat, read_ranges
from smoothcse.corpus.readers import read_texts
from smoothcse.corpus.sources import require_file
from smoothcse.encoders.inference import encode
from smoothcse.encoders.precision import precision_notice, resolve_precision
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError

CHUNK = 8192
"""Lines held at a time; enough that sorting them by length leaves little padding."""


def encode_file(
    model: SentenceTransformer,
    source: Path,
    target: Path,
    input_type: InputType | None = None,
    *,
    column: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    batch_size: int | None = None,
    precision: Precision = "auto",
    normalize: bool = False,
    dimensions: int | None = None,
    embedding_precision: EmbeddingPrecision = "float32",
    ranges: Path | None = None,
    console: Console | None = None,
) -> int:
    """Encode each record of a file into a row of an array or a table, in the order of the file.

    Row ``i`` of the result is line ``i`` of plain text, an empty line included, and record ``i`` of another format,
    where an empty line is no record. A record whose text is empty, or missing in Parquet, has its row as well: that of
    the empty sentence.

    The file appears under its name only when it is complete. The ranges of int8 and uint8 embeddings are found in the
    first 8,192 lines, hold for all, and are saved beside the file as ``NAME.ranges.npy``; further shards of a corpus,
    and the queries to it, are encoded with those ``ranges``.

    Args:
        model: any sentence-transformers model.
        source: A ``.txt`` (a sentence per line), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file, the text ones
            also with ``.gz`` or ``.zst``; or ``-`` for plain text on standard input, where bytes that are not UTF-8
            become U+FFFD.
        target: ``.npy`` (``(n, d)``) or ``.parquet`` (columns ``sentence`` and ``embedding``).
        column: Column or field of the text. Default: ``sentence``, else ``text``, else the only one of text.
        input_type: As in :func:`~smoothcse.encoders.inference.encode`, like ``prompt_name`` and ``prompt``.
        prompt_name: Name of one of the model's prompts.
        prompt: Prompt to use instead of one of the model's.
        batch_size: sentences per forward; None for what suits the device.
        precision: As in :func:`~smoothcse.encoders.inference.encode`; what it came to is printed.
        normalize: whether to scale each embedding to length 1, after it is cut to ``dimensions``.
        dimensions: keep the first so many of each embedding; None for all.
        embedding_precision: what an embedding is kept in, see :class:`~smoothcse.bulk.quantisation.EmbeddingFormat`.
        ranges: a ``.ranges.npy`` of an earlier encoding; None to find them.
        console: where the progress is drawn, and where it is said how many nearest neighbours a smaller format keeps;
            None for standard error.

    Returns:
        Number of records encoded.

    Raises:
        SmoothCSEError: if the text cannot be read, the target has another ending or cannot be written, or the
            embeddings cannot be had in the format asked for.
    """
    if target.suffix not in (".npy", ".parquet"):
        raise SmoothCSEError(f"{target} must end in .npy or .parquet.")
    resolved = resolve_precision(precision, "encode", model.device.type)
    prompt = prompt_of(model, input_type, prompt_name=prompt_name, prompt=prompt)
    form = EmbeddingFormat(
        dimensions, embedding_precision, normalize=normalize, ranges=read_ranges(ranges) if ranges else None
    )
    done = 0
    with _complete_or_absent(target) as file, _progress(console) as progress:
        progress.console.print(precision_notice(precision, resolved))
        writer = _NpyWriter(file) if target.suffix == ".npy" else _ParquetWriter(file)
        task = progress.add_task("", total=None, lines=0, rate=0.0)
        for lines in _chunks(source, column):
            embeddings = encode(model, lines, input_type, prompt=prompt, batch_size=batch_size, precision=precision)
            shrunk = form.shrink(embeddings)
            if not done and not form.is_plain:
                _tell_cost(form, embeddings, shrunk, progress.console)
            writer.write(lines, shrunk)
            done += len(lines)
            progress.update(task, lines=done, rate=done / max(progress.tasks[0].elapsed or 0, 1e-9))
        if not done:
            raise SmoothCSEError(f"{source} holds no text to encode.")
        writer.close()
        _save_ranges(form, target)
    return done


def ranges_file(target: Path) -> Path:
    """Return where the ranges of int8 and uint8 embeddings are saved."""
    return target.with_name(f"{target.name}.ranges.npy")


def _save_ranges(form: EmbeddingFormat, target: Path) -> None:
    if form.ranges is None:
        ranges_file(target).unlink(missing_ok=True)  # those of the file that is replaced
        return
    with _complete_or_absent(ranges_file(target)) as file:
        np.save(file, form.ranges)


def _tell_cost(form: EmbeddingFormat, embeddings: NDArray[Any], shrunk: NDArray[Any], console: Console) -> None:
    kept = form.neighbours_kept(embeddings, shrunk)
    if kept is not None:
        console.print(
            f"{shrunk[0].nbytes:,} bytes an embedding instead of {embeddings[0].nbytes:,}; among the first "
            f"{len(shrunk):,} lines {kept:.1%} of the ten nearest neighbours stay the same."
        )


class _NpyWriter:
    """Writes rows behind a header whose number of rows is filled in at the end."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.rows, self.dim, self.dtype = file, 0, 0, np.dtype("<f4")

    def write(self, lines: list[str], embeddings: NDArray[Any]) -> None:
        if not self.rows:
            self.dim, self.dtype = embeddings.shape[1], embeddings.dtype.newbyteorder("<")
            self._header()
        self.file.write(np.ascontiguousarray(embeddings, dtype=self.dtype).tobytes())
        self.rows += len(embeddings)

    def close(self) -> None:
        self._header()

    def _header(self) -> None:
        # numpy pads its header so that a number of rows that grows fits into the place of the first one.
        self.file.seek(0)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, self.dim)}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.file.seek(0, os.SEEK_END)


class _ParquetWriter:
    """Writes one row group per chunk."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.writer: Any = None

    def write(self, lines: list[str], embeddings: NDArray[Any]) -> None:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
        table = pa.table({"sentence": pa.array(lines), "embedding": vectors})
        self.writer = self.writer or pq.ParquetWriter(self.file, table.schema)
        self.writer.write_table(table)

    def close(self) -> None:
        self.writer.close()


def _chunks(source: Path, column: str | None) -> Iterator[list[str]]:
    texts = _texts(source, column)
    while chunk := list(itertools.islice(texts, CHUNK)):
        yield chunk


def _texts(source: Path, column: str | None) -> Iterator[str]:
    file = require_file(source) if str(source) != "-" else None
    if column is not None and (file is None or file.format == ".txt"):
        raise SmoothCSEError(f"{source} is plain text and has no column {column!r}: leave out `column`.")
    if file is not None:
        return read_texts(file, column)
    return (line.rstrip("\r\n") for line in io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"))


@contextmanager
def _complete_or_absent(target: Path) -> Iterator[IO[bytes]]:
    try:
        with new_file(target) as file:
            yield file
    except OSError as error:
        raise SmoothCSEError(
            f"{target} cannot be written ({error.strerror or error}): make room, or give another place."
        ) from error


def _progress(console: Console | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[lines]:,} lines, {task.fields[rate]:,.0f} a second"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )
