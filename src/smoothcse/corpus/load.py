"""Loading of a corpus for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse.corpus.cache import cached
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.pipeline import CorpusOptions, write_corpus
from smoothcse.corpus.sources import WIKI1M, WIKI1M_LINES, Source, resolve
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Corpus:
    """Sentences, or labelled pairs of them, ready for training.

    Attributes:
        dataset: String column ``sentence``; for pairs and triplets also ``positive`` and ``hard_negative``. It is
            memory-mapped from disk.
        report: Numbers of rows read, dropped and kept.
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
    """Load sentences, clean them, and drop empty sentences and duplicates.

    Each sentence is normalised to Unicode NFC, runs of white space and control characters become one space, and the
    ends are trimmed. Of equal sentences the first is kept; the order never changes. The result is cached on disk
    (environment variable ``SMOOTHCSE_CACHE``) under a key of the options and of the files' paths, sizes and times, so
    that the next load is instant.

    Args:
        source: File in the format ``.txt`` (one sentence per line), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``,
            the text formats also with ``.gz`` or ``.zst``; folder of such files, read recursively in path order;
            dataset on the hub (``owner/name``, optionally with ``@revision`` and ``:file``); ``wiki1m``, the million
            sentences of SimCSE; or ``python-docs``, the built-in corpus.
        column: Column or field to read. Default: ``sentence``, else ``text``, else the only column of text.
        columns: Two or three columns of labelled pairs or triplets: a sentence, its positive, and its hard negative. A
            row with an empty text is dropped, and of rows that are equal in all columns the first is kept.
        limit: Size of a random sample to keep, at least 2. The default, None, keeps all sentences.
        seed: Seed of the sample. Default 0.
        min_chars: Minimum number of characters of a sentence. The default, 1, drops only empty sentences.
        max_chars: Maximum number of characters of a sentence. The default, None, drops none; the tokenizer truncates.

    Returns:
        Corpus and its report.

    Raises:
        SmoothCSEError: If the source is missing or cannot be read, or fewer than two sentences are left.
    """
    if column is not None and columns is not None:
        raise SmoothCSEError("column and columns are both set; give one of them.")
    wanted = tuple(columns) if columns is not None else None if column is None else (column,)
    options = CorpusOptions(wanted, limit, seed, min_chars, max_chars)
    found = resolve(source)
    plain = [file for file in found.files if file.format == ".txt"]
    if wanted and (len(plain) == len(found.files) or (plain and columns is not None)):
        option = "column" if columns is None else "columns"
        raise SmoothCSEError(f"{plain[0].label} is plain text and has no column {wanted[0]!r}: leave out `{option}`.")
    parts = [found.identity(), list(found.notes), asdict(options)]
    path, report = cached(parts, CorpusReport, lambda target: _build(found, options, target))
    from datasets import Dataset

    return Corpus(Dataset.from_file(str(path)), replace(report, source=found.name))


def _build(source: Source, options: CorpusOptions, target: Path) -> CorpusReport:
    source.verify()
    report = write_corpus(source.name, source.batches(options.columns), target, options)
    return replace(report, notes=(*source.notes, *_count_notes(source.name, report.read)))


def _count_notes(name: str, read: int) -> tuple[str, ...]:
    if name != WIKI1M or read in WIKI1M_LINES:
        return ()
    return (f"{read:,} lines read, but {WIKI1M} has {WIKI1M_LINES[0]:,}: the file on the hub may have changed",)
