"""From documents to an Arrow file of distinct passages, in two streaming passes.

The first pass splits the documents, writes the passages that have a letter and are long enough, and keeps an 8-byte
hash of each. The hashes determine the exact duplicates; the second pass copies the others, less the near-duplicates.
Memory is about 50 bytes for each passage, and 3 KB for each one kept where near-duplicates are dropped, independent of
the length of the documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.progress import Progress

from smoothcse.corpus.cleaning import first_occurrences, hash_sentences
from smoothcse.corpus.documents.document_report import DocumentReport
from smoothcse.corpus.documents.extracted import ExtractedDocument
from smoothcse.corpus.documents.near_duplicates import NearDuplicates
from smoothcse.corpus.documents.passages import (
    CountTokens,
    Passage,
    has_tokens,
    split_passages,
    whole_passage,
)
from smoothcse.corpus.documents.read_documents import Skipped
from smoothcse.corpus.pipeline import fingerprint
from smoothcse.errors import SmoothCSEError

PLACE = pa.struct([("file", pa.string()), ("page", pa.int32()), ("start", pa.int64()), ("end", pa.int64())])
SCHEMA = pa.schema([("text", pa.string()), ("title", pa.string()), ("document", pa.int64()), ("place", PLACE)])
BATCH_ROWS = 2048
BATCH_CHARACTERS = 16 << 20

_LETTER = re.compile(r"[^\W\d_]")
_NAMED = 10
"""Skipped documents that the report names."""


@dataclass(frozen=True)
class PassageOptions:
    """Options of :func:`~smoothcse.corpus.documents.document_corpus.load_documents`, checked.

    Attributes:
        max_tokens: Maximum tokens of a passage; None for one passage per document.
        min_tokens: Minimum tokens of a passage.
        near_duplicates: Similarity from which a passage is a near-duplicate; None to keep near-duplicates.
        limit: Number of documents to read; None for all.
    """

    max_tokens: int | None
    min_tokens: int
    near_duplicates: float | None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 16:
            raise SmoothCSEError(f"max_tokens={self.max_tokens} is too small: give at least 16, or None.")
        if not 1 <= self.min_tokens <= (self.max_tokens or self.min_tokens):
            most = "" if self.max_tokens is None else f" and at most max_tokens={self.max_tokens}"
            raise SmoothCSEError(f"min_tokens={self.min_tokens} must be at least 1{most}.")
        if self.near_duplicates is not None and not 0 < self.near_duplicates <= 1:
            raise SmoothCSEError(
                f"near_duplicates={self.near_duplicates} must be above 0 and at most 1; None keeps near-duplicates."
            )
        if self.limit is not None and self.limit < 1:
            raise SmoothCSEError(f"limit={self.limit} is too small: give at least 1, or None for all documents.")


@dataclass
class _Counts:
    documents: int = 0
    untitled: int = 0
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(
        default_factory=lambda: Counter({"no letters": 0, "too short": 0, "duplicate": 0, "near-duplicate": 0})
    )
    named: list[str] = field(default_factory=list)

    def skip(self, document: Skipped) -> None:
        self.skipped[document.reason] += 1
        if len(self.named) < _NAMED:
            self.named.append(str(document))

    @property
    def notes(self) -> tuple[str, ...]:
        total = self.skipped.total()
        more = f" and {total - len(self.named):,} more" if total > len(self.named) else ""
        return (f"documents skipped ({total:,}): {', '.join(self.named)}{more}",) if total else ()


def write_passages(
    name: str,
    documents: Iterable[ExtractedDocument | Skipped],
    target: Path,
    options: PassageOptions,
    count_tokens: CountTokens,
    bar: Progress,
) -> DocumentReport:
    """Split and de-duplicate documents, and write the passages kept as an Arrow stream.

    Args:
        name: Name of the source in the report and in messages.
        documents: Documents, and those that were skipped.
        target: File to write. A scratch file is written beside it and not removed.
        options: Limits of the passages and threshold of near-duplicates.
        count_tokens: Function that counts the tokens of a text.
        bar: Progress bar, which shows how many of the distinct passages have been compared.

    Returns:
        Numbers of documents and passages.

    Raises:
        SmoothCSEError: If a document cannot be read.
    """
    scratch = target.with_suffix(".passages")
    counts = _Counts()
    hashes = _write(scratch, _batches(_rows(documents, options, count_tokens, counts)))
    distinct = first_occurrences(hashes)
    counts.dropped["duplicate"] = len(hashes) - len(distinct)
    task = bar.add_task("comparing passages", total=len(distinct))
    kept = _write(target, _distinct(scratch, distinct, options.near_duplicates, partial(bar.advance, task)))
    counts.dropped["near-duplicate"] = len(distinct) - len(kept)
    notes = (*counts.notes, *_limit_notes(counts.documents, options.limit))
    return DocumentReport(
        name,
        counts.documents,
        dict(counts.skipped),
        counts.untitled,
        counts.read,
        len(kept),
        dict(counts.dropped),
        fingerprint(kept),
        notes,
    )


def _limit_notes(documents: int, limit: int | None) -> tuple[str, ...]:
    return (f"limit of {limit:,} documents reached: later ones were not read",) if documents == limit else ()


def _rows(
    documents: Iterable[ExtractedDocument | Skipped],
    options: PassageOptions,
    count_tokens: CountTokens,
    counts: _Counts,
) -> Iterator[dict[str, Any]]:
    for number, document in enumerate(documents):
        counts.documents += 1
        if isinstance(document, Skipped):
            counts.skip(document)
            continue
        counts.untitled += not document.title
        for passage in _passages(document.text, options.max_tokens, count_tokens):
            counts.read += 1
            if reason := _reason_to_drop(passage.text, options.min_tokens, count_tokens):
                counts.dropped[reason] += 1
                continue
            page = document.page(passage.start)
            place = {"file": document.file, "page": page, "start": passage.start, "end": passage.end}
            yield {"text": passage.text, "title": document.title, "document": number, "place": place}


def _passages(document: str, max_tokens: int | None, count_tokens: CountTokens) -> Iterable[Passage]:
    if max_tokens is None:
        return [whole_passage(document)]
    return split_passages(document, max_tokens, count_tokens)


def _reason_to_drop(text: str, min_tokens: int, count_tokens: CountTokens) -> str | None:
    if not _LETTER.search(text):  # page numbers, rules, figures
        return "no letters"
    return "too short" if min_tokens > 1 and not has_tokens(text, min_tokens, count_tokens) else None


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    held: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        held.append(row)
        characters += len(row["text"])
        if len(held) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield _to_batch(held)
            held, characters = [], 0
    yield _to_batch(held)


def _to_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _write(path: Path, batches: Iterable[pa.RecordBatch]) -> NDArray[np.uint64]:
    """Write batches as an Arrow stream, and return the hash of the text of each row."""
    hashes = [np.empty(0, np.uint64)]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch)
            hashes.append(hash_sentences(batch.column("text")))
    return np.concatenate(hashes)


def _distinct(
    path: Path, rows: NDArray[np.intp], threshold: float | None, advance: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the given rows of a file, ascending, that are no near-duplicates of earlier ones."""
    seen = None if threshold is None else NearDuplicates(threshold)
    start = 0
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            low, high = np.searchsorted(rows, (start, start + batch.num_rows))
            distinct = batch.take(pa.array(rows[low:high] - start))
            start += batch.num_rows
            advance(len(distinct))
            if seen is not None:
                distinct = distinct.filter(pa.array(seen.keep(distinct.column("text").to_pylist()), pa.bool_()))
            yield distinct
