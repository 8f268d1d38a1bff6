"""Loading of documents as a corpus of passages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash
from rich.console import Console
from rich.progress import Progress

from smoothcse._utils.progress import progress_bar
from smoothcse.corpus.cache import cached
from smoothcse.corpus.documents.document_pipeline import PassageOptions, write_passages
from smoothcse.corpus.documents.document_report import DocumentReport
from smoothcse.corpus.documents.document_source import DocumentSource, find_source
from smoothcse.corpus.documents.extracted import ExtractedDocument
from smoothcse.corpus.documents.passages import CountTokens, count_words
from smoothcse.corpus.documents.read_documents import Skipped, TableColumns
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

_VERSION = 2  # increment when the same documents and options give other passages or another report
_LIBRARIES = ("lxml", "markdown-it-py", "pypdf", "python-docx", "rensa", "semchunk")


@dataclass(frozen=True)
class DocumentCorpus:
    """Passages of documents, ready for training.

    Attributes:
        dataset: One row for each passage, memory-mapped from disk, with the columns ``text``, ``title`` (title of the
            document, may be empty), ``document`` (number of the document, from 0) and ``place``. A place has the
            fields ``file`` (with the line or row in a table: ``docs.jsonl:7``; the dotted name in ``python-docs``),
            ``page`` (of a PDF, from 1; otherwise None), and ``start`` and ``end``, positions in the text of the
            document. For a plain text file in Unicode NFC these are positions in the file, in characters.
        report: Numbers of documents read and skipped and of passages dropped and kept.
    """

    dataset: Dataset
    report: DocumentReport

    def __len__(self) -> int:
        return len(self.dataset)


def load_documents(
    source: str | Path,
    *,
    column: str | None = None,
    title: str | None = None,
    max_tokens: int | None = 128,
    min_tokens: int = 1,
    tokenizer: PreTrainedTokenizerBase | None = None,
    near_duplicates: float | None = 0.8,
    limit: int | None = None,
    min_passages: int = 2,
    console: Console | None = None,
) -> DocumentCorpus:
    """Load documents, split them into passages, and drop duplicates and near-duplicates.

    A file in the format ``.txt``, ``.md``, ``.html``, ``.pdf`` or ``.docx`` is one document; each row of a ``.jsonl``,
    ``.csv``, ``.tsv`` or ``.parquet`` file is one. Passages end at paragraphs and sentences where the limit allows. Of
    equal or similar passages the first is kept; the order never changes. Files that cannot be read are skipped,
    counted and named in the report, and so are tables of a folder that have no clear column of text; a table that
    cannot be read is an error. The result is cached on disk (environment
    variable ``SMOOTHCSE_CACHE``) under a key of the options and of the files' paths, sizes and times. Nothing in a
    file is run, and nothing is fetched. Needs the extra ``documents``.

    Args:
        source: File; folder of files, read recursively in the order of their names; dataset on the hub
            (``owner/name``, optionally with ``@revision`` and ``:file``); or ``python-docs``, the documents that
            :func:`~smoothcse.evaluation.retrieval.python_docs_task` searches. The text formats may also be compressed
            with ``.gz`` or ``.zst``.
        column: Column or field of the text in tables. Default: ``sentence``, else ``text``, else the only column of
            text other than the title.
        title: Column or field of the title in tables. Default: ``title``, where there is one. Rows may lack it.
        max_tokens: Maximum tokens of a passage, special tokens not counted, at least 16. Default 128. None keeps each
            document whole, as one passage.
        min_tokens: Minimum tokens of a passage. The default, 1, drops none.
        tokenizer: Fast tokenizer of an encoder, which counts the tokens. The default, None, counts words and
            punctuation marks.
        near_duplicates: Jaccard similarity of three-word sequences from which a passage is dropped as a near-duplicate
            of an earlier one, above 0 and at most 1. Default 0.8; None drops equal passages only.
        limit: Number of documents to read, the first ones, skipped ones included. The default, None, reads all.
        min_passages: Minimum number of passages; fewer are an error. Default 2, which contrastive training needs.
        console: Console for the progress bar. The default, None, shows none.

    Returns:
        Passages and their report.

    Raises:
        SmoothCSEError: If the source is missing or has no documents, a table cannot be read, an option is invalid, or
            fewer than ``min_passages`` are left.
    """
    options = PassageOptions(max_tokens, min_tokens, near_duplicates, limit)
    count_tokens, counted_by = _token_counter(tokenizer)
    found = find_source(source)
    columns = TableColumns(column, title)

    def build(target: Path) -> DocumentReport:
        with progress_bar(console or Console(quiet=True)) as bar:
            documents = _limited(found, columns, limit, bar)
            return write_passages(found.name, documents, target, options, count_tokens, bar)

    versions = [_VERSION, counted_by, *_versions()]
    parts = ["documents", found.name, found.identity, asdict(columns), asdict(options), versions]
    path, report = cached(parts, DocumentReport, build)
    _require_passages(report, min_passages)
    from datasets import Dataset

    return DocumentCorpus(Dataset.from_file(str(path)), replace(report, notes=(*found.notes, *report.notes)))


def _require_passages(report: DocumentReport, least: int) -> None:
    if report.kept >= least:
        return
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.items() if count)
    left = {0: "no passage is", 1: "only one distinct passage is"}.get(report.kept, f"only {report.kept} passages are")
    facts = [f"documents read: {report.documents:,}"]
    facts += [f"passages dropped: {dropped}"] if dropped else []
    facts += report.notes or ([] if dropped or report.kept else ["the files are empty"])
    raise SmoothCSEError(f"{report.source}: {left} left, and at least {least} needed; {'; '.join(facts)}.")


def _limited(
    source: DocumentSource, columns: TableColumns, limit: int | None, bar: Progress
) -> Iterator[ExtractedDocument | Skipped]:
    """Yield the first documents of a source, and show how many have been split."""
    task = bar.add_task("reading documents", total=min(filter(None, (source.count, limit)), default=None))
    for document in islice(source.read(columns), limit):
        yield document
        bar.advance(task)


def _token_counter(tokenizer: PreTrainedTokenizerBase | None) -> tuple[CountTokens, str]:
    """Return a function that counts tokens, and a string that identifies it."""
    if tokenizer is None:
        return count_words, "words"
    if not getattr(tokenizer, "is_fast", False):
        raise SmoothCSEError(f"{type(tokenizer).__name__} is not a fast tokenizer: load it with use_fast=True.")
    # How a batch was last truncated and padded is a part of the state that does not change the count.
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    identity = json.dumps({**state, "truncation": None, "padding": None})

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"])

    return count, xxhash.xxh3_128_hexdigest(identity.encode())


def _versions() -> Iterator[str]:
    """Yield the versions of the libraries on which the passages depend."""
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:  # needed only if a file has its format
            yield f"{name} missing"
