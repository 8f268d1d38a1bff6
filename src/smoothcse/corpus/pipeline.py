"""From raw batches to the Arrow file of kept rows, in two streaming passes.

A row is a sentence, or the two or three texts of a labelled pair or triplet. Pass one cleans and writes every row
whose texts have the right length, and remembers 8 bytes of each: its hash. What is a duplicate, and what the limit
leaves out, is known only then; pass two copies the rows that stay. Memory is about 50 bytes per row (the sort that
finds duplicates), whatever the length of the text.
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
"""Names of the texts of a row, whatever their source calls them."""


@dataclass(frozen=True)
class Options:
    """How sentences are chosen; see ``load_sentences``."""

    columns: tuple[str, ...] | None = None
    limit: int | None = None
    seed: int = 0
    min_chars: int = 1
    max_chars: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that are written."""
        return COLUMNS[: len(self.columns or "1")]

    def __post_init__(self) -> None:
        if len(self.columns or ()) > len(COLUMNS):
            raise SmoothCSEError(f"columns={list(self.columns or ())} are too many: the most are {len(COLUMNS)}.")
        if self.limit is not None and self.limit < 2:
            raise SmoothCSEError(f"limit={self.limit} is too small: contrastive training needs at least 2 sentences.")
        if self.min_chars < 1:
            raise SmoothCSEError(f"min_chars={self.min_chars} is too small: the least is 1, which drops empty lines.")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise SmoothCSEError(
                f"max_chars={self.max_chars} is below min_chars={self.min_chars}: no sentence satisfies both."
            )


def build(name: str, batches: Iterable[pa.RecordBatch], target: Path, options: Options) -> CorpusReport:
    """Clean, de-duplicate and sample rows, and write those kept as an Arrow stream.

    A row with an empty, short or long text goes as a whole, and rows are duplicates if all their texts are equal.

    Args:
        name: What the report and the messages call the source.
        batches: Raw text, in as many columns as the options name.
        target: The file to write; a scratch file is written, and left, beside it.
        options: What to keep.

    Returns:
        The counts.

    Raises:
        SmoothCSEError: When fewer than two different rows are left, or a batch cannot be read.
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
    return CorpusReport(name, read, len(sample), dict(dropped), _fingerprint(hashes[sample]), columns=pairs or ())


def _write_cleaned(
    batches: Iterable[pa.RecordBatch], path: Path, options: Options, dropped: Counter[str]
) -> NDArray[np.uint64]:
    """Write the rows of the right length; count the others; return the hashes of those written."""
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


def _sample(kept: NDArray[np.intp], options: Options) -> NDArray[np.intp]:
    """Draw ``limit`` of the positions without replacement, in their old order."""
    if options.limit is None or options.limit >= len(kept):
        return kept
    drawn = np.random.default_rng(options.seed).choice(len(kept), options.limit, replace=False)
    return kept[np.sort(drawn)]


def _copy_rows(source: Path, target: Path, rows: NDArray[np.intp]) -> None:
    """Copy the given rows, ascending, of one Arrow stream to another, batch by batch."""
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


def _fingerprint(hashes: NDArray[np.uint64]) -> str:
    return xxhash.xxh3_128_hexdigest(hashes.astype("<u8").tobytes())


def _check_enough(name: str, read: int, different: int, dropped: Counter[str], what: str) -> None:
    if different >= 2:
        return
    if read == 0:
        raise SmoothCSEError(f"{name} is empty: give text with one {what} on each line.")
    if different == 1:
        raise SmoothCSEError(
            f"{name} holds one distinct {what} in {read:,} read: contrastive training needs at least 2."
        )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    limits = dropped["too short"] or dropped["too long"]  # of the Python interface alone
    raise SmoothCSEError(
        f"{name}: no {what} is left of the {read:,} read ({counts}): "
        f"check the file{', and loosen min_chars and max_chars' if limits else ''}."
    )
