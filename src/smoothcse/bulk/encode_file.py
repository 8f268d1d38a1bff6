"""Encoding of text files of any length in constant memory."""

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
from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import explain_unwritable, open_atomic
from smoothcse._utils.choices import EmbeddingPrecision, InputType, Precision
from smoothcse._utils.progress import progress_bar
from smoothcse.bulk.quantisation import EmbeddingFormat, read_ranges
from smoothcse.corpus.readers import read_texts
from smoothcse.corpus.sources import require_file
from smoothcse.encoders.inference import encode
from smoothcse.encoders.precision import precision_notice, resolve_precision
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError

CHUNK = 8192
"""Lines in memory at a time, enough that sorting them by length leaves little padding."""


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

    Row ``i`` of the result belongs to line ``i`` of plain text, counting empty lines, or to record ``i`` of another
    format, in which an empty line is not a record. A record whose text is empty, or missing in Parquet, is encoded as
    the empty sentence.

    The target file appears only when it is complete. The ranges of int8 and uint8 embeddings are computed from the
    first 8,192 lines, used for all lines, and saved beside the target as ``NAME.ranges.npy``. Pass them as ``ranges``
    to encode further shards of the same corpus, and queries to it.

    Args:
        model: Any sentence-transformers model.
        source: File in the format ``.txt`` (one sentence per line), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``,
            the text formats also with ``.gz`` or ``.zst``; or ``-`` for plain text on standard input, where bytes that
            are not UTF-8 become U+FFFD.
        target: File to write: ``.npy``, an array ``(n, d)``, or ``.parquet``, with the columns ``sentence`` and
            ``embedding``.
        input_type: As in :func:`~smoothcse.encoders.inference.encode`.
        column: Column or field of the text. Default: ``sentence``, else ``text``, else the only column of text.
        prompt_name: As in :func:`~smoothcse.encoders.inference.encode`.
        prompt: As in :func:`~smoothcse.encoders.inference.encode`.
        batch_size: Sentences per forward pass; None (default) suits the device.
        precision: As in :func:`~smoothcse.encoders.inference.encode`. The precision in use is printed.
        normalize: Whether to scale each embedding to length 1, after truncation to ``dimensions``.
        dimensions: Number of leading dimensions to keep; None (default) keeps all.
        embedding_precision: Data type of the embeddings, see :class:`~smoothcse.bulk.quantisation.EmbeddingFormat`.
        ranges: ``.ranges.npy`` file of an earlier encoding; None computes the ranges.
        console: Console for the progress bar and for the measured cost of quantisation; None uses standard error.

    Returns:
        Number of records encoded.

    Raises:
        SmoothCSEError: If the text cannot be read, the target has another suffix or cannot be written, or the
            embeddings cannot be converted to the requested format.
    """
    if target.suffix not in (".npy", ".parquet"):
        raise SmoothCSEError(f"{target} must end in .npy or .parquet.")
    resolved = resolve_precision(precision, "encode", model.device.type)
    prompt = prompt_of(model, input_type, prompt_name=prompt_name, prompt=prompt)
    form = EmbeddingFormat(
        dimensions, embedding_precision, normalize=normalize, ranges=read_ranges(ranges) if ranges else None
    )
    done = 0
    with _complete_or_absent(target) as file, progress_bar(console, unit="lines") as progress:
        progress.console.print(precision_notice(precision, resolved))
        writer = _NpyWriter(file) if target.suffix == ".npy" else _ParquetWriter(file)
        task = progress.add_task("encoding", total=None)
        for lines in _chunks(source, column):
            embeddings = encode(model, lines, input_type, prompt=prompt, batch_size=batch_size, precision=precision)
            quantised = form.quantise(embeddings)
            if not done and not form.is_plain:
                _print_cost(form, embeddings, quantised, progress.console)
            writer.write(lines, quantised)
            done += len(lines)
            rate = done / max(progress.tasks[0].elapsed or 0, 1e-9)
            progress.update(task, completed=done, status=f"{rate:,.0f} lines/s")
        if not done:
            raise SmoothCSEError(f"{source} contains no text to encode; give another file.")
        writer.close()
        _save_ranges(form, target)
    return done


def ranges_file(target: Path) -> Path:
    """Return the path of the ranges of int8 and uint8 embeddings.

    Args:
        target: File of the embeddings.
    """
    return target.with_name(f"{target.name}.ranges.npy")


def _save_ranges(form: EmbeddingFormat, target: Path) -> None:
    if form.ranges is None:
        ranges_file(target).unlink(missing_ok=True)  # ranges of the file that is replaced
        return
    with _complete_or_absent(ranges_file(target)) as file:
        np.save(file, form.ranges)


def _print_cost(form: EmbeddingFormat, embeddings: NDArray[Any], quantised: NDArray[Any], console: Console) -> None:
    kept = form.neighbours_kept(embeddings, quantised)
    if kept is not None:
        console.print(
            f"{quantised[0].nbytes:,} bytes per embedding instead of {embeddings[0].nbytes:,}; among the first "
            f"{len(quantised):,} lines {kept:.1%} of the ten nearest neighbours stay the same."
        )


class _NpyWriter:
    """Writer of a .npy file, which fills in the number of rows when it is closed."""

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
        # numpy pads its header, so that the final number of rows fits into the same space.
        self.file.seek(0)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, self.dim)}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.file.seek(0, os.SEEK_END)


class _ParquetWriter:
    """Writer of a Parquet file with one row group per chunk."""

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
    with explain_unwritable(target), open_atomic(target) as file:
        yield file
