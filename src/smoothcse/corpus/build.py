"""From raw batches to the Arrow file of kept sentences, in two streaming passes.

Pass one cleans and writes every sentence of the right length, and remembers 8 bytes of each: its hash. What
is a duplicate, and what the limit leaves out, is known only then; pass two copies the rows that stay. Memory
is about 50 bytes per sentence (the sort that finds duplicates), whatever the length of the text.
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

from smoothcse.corpus.cleaning import clean, first_occurrences, hash_sentences
from smoothcse.corpus.report import CorpusReport
from smoothcse.errors import SmoothCSEError

SCHEMA = pa.schema([("sentence", pa.string())])


@dataclass(frozen=True)
class Options:
    """How sentences are chosen; see ``load_sentences``."""

    column: str | None = None
    limit: int | None = None
    seed: int = 0
    min_chars: int = 1
    max_chars: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 2:
            raise SmoothCSEError(f"limit={self.limit} is too small: contrastive training needs at least 2 sentences.")
        if self.min_chars < 1:
            raise SmoothCSEError(f"min_chars={self.min_chars} is too small: the least is 1, which drops empty lines.")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise SmoothCSEError(
                f"max_chars={self.max_chars} is below min_chars={self.min_chars}: no sentence satisfies both."
            )


def build(name: str, batches: Iterable[pa.StringArray], target: Path, options: Options) -> CorpusReport:
    """Clean, de-duplicate and sample sentences, and write those kept as an Arrow stream.

    Args:
        name: What the report and the messages call the source.
        batches: Raw sentences.
        target: The file to write; a scratch file is written, and left, beside it.
        options: What to keep.

    Returns:
        The counts.

    Raises:
        SmoothCSEError: When fewer than two different sentences are left, or a batch cannot be read.
    """
    scratch = target.with_suffix(".cleaned")
    dropped = Counter({"empty": 0, "too short": 0, "too long": 0})
    hashes = _write_cleaned(batches, scratch, options, dropped)
    read = len(hashes) + dropped.total()
    kept = first_occurrences(hashes)
    dropped["duplicate"] = len(hashes) - len(kept)
    _check_enough(name, read, len(kept), dropped)
    sample = _sample(kept, options)
    dropped["over the limit"] = len(kept) - len(sample)
    _copy_rows(scratch, target, sample)
    return CorpusReport(name, read, len(sample), dict(dropped), _fingerprint(hashes[sample]))


def _write_cleaned(
    batches: Iterable[pa.StringArray], path: Path, options: Options, dropped: Counter[str]
) -> NDArray[np.uint64]:
    """Write the sentences of the right length; count the others; return the hashes of those written."""
    hashes = [np.empty(0, np.uint64)]
    longest = options.max_chars or np.iinfo(np.int32).max
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        for batch in batches:
            texts = clean(batch)
            lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
            dropped["empty"] += int((lengths == 0).sum())
            dropped["too short"] += int(((lengths > 0) & (lengths < options.min_chars)).sum())
            dropped["too long"] += int((lengths > longest).sum())
            texts = texts.filter(pa.array((lengths >= options.min_chars) & (lengths <= longest)))
            writer.write_batch(pa.record_batch([texts], schema=SCHEMA))
            hashes.append(hash_sentences(texts))
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
        pa.ipc.new_stream(sink, SCHEMA) as writer,
    ):
        for batch in reader:
            low, high = np.searchsorted(rows, (start, start + batch.num_rows))
            if high > low:
                writer.write_batch(batch.take(pa.array(rows[low:high] - start)))
            start += batch.num_rows


def _fingerprint(hashes: NDArray[np.uint64]) -> str:
    return xxhash.xxh3_128_hexdigest(hashes.astype("<u8").tobytes())


def _check_enough(name: str, read: int, different: int, dropped: Counter[str]) -> None:
    if different >= 2:
        return
    if read == 0:
        raise SmoothCSEError(f"{name} is empty: give text with one sentence on each line.")
    if different == 1:
        raise SmoothCSEError(
            f"{name} holds one distinct sentence in {read:,} read: contrastive training needs at least 2."
        )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items() if count)
    raise SmoothCSEError(
        f"{name}: no sentence is left of the {read:,} read ({counts}): "
        "check the file, and loosen min_chars and max_chars."
    )
