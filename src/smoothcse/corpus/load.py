"""``load_sentences``: the one way text enters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse.corpus.cache import cached
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.pipeline import Options, build
from smoothcse.corpus.sources import WIKI1M, WIKI1M_LINES, Source, resolve
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Corpus:
    """Sentences, or labelled pairs of them, ready for training.

    Attributes:
        dataset: A string column named ``sentence``, for pairs and triplets also ``positive`` and ``hard_negative``,
            mapped from disk: it takes no memory to speak of.
        report: What was read, dropped and kept.
    """

    dataset: Dataset
    report: CorpusReport

    def __len__(self) -> int:
        return len(self.dataset)


def load_sentences(
    source: str | Path,
    *,
    column: str | None = None,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    min_chars: int = 1,
    max_chars: int | None = None,
) -> Corpus:
    """Load sentences from wherever they are, clean them, and drop what is empty or there twice.

    Each sentence is brought to Unicode NFC, runs of blanks and control characters become one blank, and the
    ends are trimmed. Of equal sentences the first is kept; the order never changes. The result is cached on
    disk (variable ``SMOOTHCSE_CACHE``), keyed by the files' paths, sizes and times and by the options: the
    next load is instant.

    Args:
        source: A ``.txt`` (a sentence per line), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file, the
            text ones also with ``.gz`` or ``.zst``; a folder of them, read recursively in path order; a
            dataset on the hub (``owner/name``, optionally ``@revision``, optionally ``:file``); ``wiki1m``,
            the million sentences of SimCSE; or ``python-docs``, the built-in corpus.
        column: The column or field to read. Default: ``sentence``, else ``text``, else the only one of text.
        columns: The two or three of labelled pairs instead: a sentence, its positive, and its hard negative. A row
            with an empty text is dropped, and of rows that are equal in all of them the first is kept.
        limit: Keep a random sample of this many sentences, at least 2.
        seed: Chooses the sample.
        min_chars: Drop sentences shorter than this many characters. The default, 1, drops only empty ones.
        max_chars: Drop longer sentences. The default, None, drops none: the tokenizer truncates them.

    Returns:
        The corpus and its report.

    Raises:
        SmoothCSEError: When the source is missing, cannot be read, or leaves fewer than two sentences.
    """
    if column is not None and columns is not None:
        raise SmoothCSEError("column and columns both say what to read; give one of them.")
    wanted = tuple(columns) if columns is not None else None if column is None else (column,)
    options = Options(wanted, limit, seed, min_chars, max_chars)
    found = resolve(source)
    if wanted and all(file.format == ".txt" for file in found.files):
        option = "column" if columns is None else "columns"
        raise SmoothCSEError(f"{source} is plain text and has no column {wanted[0]!r}: leave out `{option}`.")
    path, report = cached(found, options, lambda target: _build(found, options, target))
    from datasets import Dataset

    return Corpus(Dataset.from_file(str(path)), replace(report, source=found.name))


def _build(source: Source, options: Options, target: Path) -> CorpusReport:
    if any(file.sha256 for file in source.files):
        from smoothcse.corpus.hub_datasets import verify

        for file in source.files:
            verify(file)
    report = build(source.name, source.batches(options.columns), target, options)
    return replace(report, notes=(*source.notes, *_count_notes(source.name, report.read)))


def _count_notes(name: str, read: int) -> tuple[str, ...]:
    if name != WIKI1M or read in WIKI1M_LINES:
        return ()
    return (f"{read:,} lines read where {WIKI1M} has {WIKI1M_LINES[0]:,}: the file on the hub may have changed",)
