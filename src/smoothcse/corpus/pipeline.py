"""Cleaning, de-duplication and sampling: from raw batches to an Arrow file of kept rows, in two streaming passes.

A row is a sentence, or the two or three texts of a labelled pair or triplet. The first pass cleans the rows, writes
those whose texts have an allowed length, and keeps an 8-byte hash of each. The hashes determine the duplicates and the
sample; the second pass copies the remaining rows. Memory is about 50 bytes per row (for the sort that finds the
duplicates), independent of the length of the texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from smoothcse.corpus.cleaning import clean, first_occurrences, hash_rows
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.errors import SmoothCSEError

COLUMNS = ("sentence", "positive", "hard_negative")
"""Column names of the corpus, independent of the names in the source."""


@dataclass(frozen=True)
class CorpusOptions:
    """CorpusOptions of :func:`~smoothcse.corpus.load.load_sentences`, checked.

    Attributes:
        columns: Columns to read; None to choose one, see :func:`~smoothcse.corpus.text_columns.choose_column`.
        limit: Size of the random sample, at least 2; None keeps all rows.
        seed: Seed of the sample.
        min_chars: Minimum characters of a text, at least 1.
        max_chars: Maximum characters of a text; None for no maximum.
    """

    columns: tuple[str, ...] | None = None
    limit: int | None = None
    seed: int = 0
    min_chars: int = 1
    max_chars: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns to write."""
        return COLUMNS[: len(self.columns or "1")]

    def __post_init__(self) -> None:
        if len(self.columns or ()) > len(COLUMNS):
            raise SmoothCSEError(f"columns={list(self.columns or ())} are too many: give at most {len(COLUMNS)}.")
        if self.limit is not None and self.limit < 2:
            raise SmoothCSEError(f"limit={self.limit} is too small: contrastive training needs at least 2 sentences.")
        if self.min_chars < 1:
            raise SmoothCSEError(f"min_chars={self.min_chars} is too small: give at least 1, which drops empty lines.")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise SmoothCSEError(
                f"max_chars={self.max_chars} is below min_chars={self.min_chars}: raise max_chars or lower min_chars."
            )


def write_corpus(name: str, batches: Iterable[pa.RecordBatch], target: Path, options: CorpusOptions) -> CorpusReport:
    """Clean, de-duplicate and sample rows, and write those kept as an Arrow stream.

    A row is dropped if any of its texts is empty, too short or too long. Rows are duplicates if all their texts are
    equal.

    Args:
        name: Name of the source in the report and in messages.
        batches: Raw text, with one column per column of ``options``.
        target: File to write. A scratch file is written beside it and not removed.
        options: Columns, length limits and sample size.

    Returns:
        Numbers of rows read, dropped and kept.

    Raises:
        SmoothCSEError: If fewer than two distinct rows are left, or a batch cannot be read.
    """
    scratch = target.with_suffix(".cleaned")
    dropped = Counter({"empty": 0, "too short": 0, "too long": 0})
    hashes = _write_cleaned(batches, scratch, options, dropped)
    read = len(hashes) + dropped.total()
    kept = first_occurrences(hashes)
    dropped["duplicate"] = len(hashes) - len(kept)
    _check_enough(name, read, len(kept), dropped, "row" if len(options.names) > 1 else "sentence")
    sample = _sample(kept, options)
    dropped["over the limit"] = len(kept) - len(sample)
    _copy_rows(scratch, target, sample)
    pairs = options.columns if len(options.names) > 1 else None
    return CorpusReport(name, read, len(sample), dict(dropped), fingerprint(hashes[sample]), columns=pairs or ())


def _write_cleaned(
    batches: Iterable[pa.RecordBatch], path: Path, options: CorpusOptions, dropped: Counter[str]
) -> NDArray[np.uint64]:
    """Write the rows of allowed length, count the others, and return the hashes of the written rows."""
    hashes = [np.empty(0, np.uint64)]
    schema = pa.schema([(name, pa.string()) for name in options.names])
    most = options.max_chars or np.iinfo(np.int32).max
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            rows = pa.record_batch([clean(texts) for texts in batch.columns], schema=schema)
            lengths = [pc.utf8_length(texts).to_numpy(zero_copy_only=False) for texts in rows.columns]
            shortest, longest = np.minimum.reduce(lengths), np.maximum.reduce(lengths)
            long_enough = shortest >= options.min_chars
            dropped["empty"] += int((shortest == 0).sum())
            dropped["too short"] += int(((shortest > 0) & ~long_enough).sum())
            dropped["too long"] += int((long_enough & (longest > most)).sum())
            rows = rows.filter(pa.array(long_enough & (longest <= most)))
            writer.write_batch(rows)
            hashes.append(hash_rows(rows))
    return np.concatenate(hashes)


def _sample(kept: NDArray[np.intp], options: CorpusOptions) -> NDArray[np.intp]:
    """Draw ``limit`` positions without replacement, and return them in ascending order."""
    if options.limit is None or options.limit >= len(kept):
        return kept
    drawn = np.random.default_rng(options.seed).choice(len(kept), options.limit, replace=False)
    return kept[np.sort(drawn)]


def _copy_rows(source: Path, target: Path, rows: NDArray[np.intp]) -> None:
    """Copy rows, given in ascending order, from one Arrow stream to another, batch by batch."""
    start = 0
    with (
        pa.OSFile(str(source)) as file,
        pa.ipc.open_stream(file) as reader,
        pa.OSFile(str(target), "wb") as sink,
        pa.ipc.new_stream(sink, reader.schema) as writer,
    ):
        for batch in reader:
            low, high = np.searchsorted(rows, (start, start + batch.num_rows))
            if high > low:
                writer.write_batch(batch.take(pa.array(rows[low:high] - start)))
            start += batch.num_rows


def fingerprint(hashes: NDArray[np.uint64]) -> str:
    """Return 32 hex digits that depend on the hashes of the kept rows and their order.

    Args:
        hashes: Hash of each row, ``(n,)``.
    """
    return xxhash.xxh3_128_hexdigest(hashes.astype("<u8").tobytes())


def _check_enough(name: str, read: int, different: int, dropped: Counter[str], what: str) -> None:
    if different >= 2:
        return
    if read == 0:
        raise SmoothCSEError(f"{name} is empty: give text with one {what} on each line.")
    if different == 1:
        raise SmoothCSEError(
            f"{name} has only one distinct {what} in {read:,} read: contrastive training needs at least 2."
        )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    limits = dropped["too short"] or dropped["too long"]  # can be set in the Python interface only
    raise SmoothCSEError(
        f"{name}: no {what} is left of the {read:,} read ({counts}): "
        f"check the file{', or loosen min_chars and max_chars' if limits else ''}."
    )
