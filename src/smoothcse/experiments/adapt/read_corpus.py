"""The documents of an adaptation: rows of tables stay whole, files are split into passages."""

from __future__ import annotations

from rich.console import Console
from sentence_transformers import SentenceTransformer

from smoothcse._utils.paths import local_path
from smoothcse.corpus.documents import DocumentCorpus, load_documents
from smoothcse.corpus.documents.document_files import TABLES
from smoothcse.corpus.formats import TextFile
from smoothcse.experiments.adapt.request import AdaptRequest

PASSAGE_TOKENS = 128
"""Default maximum tokens of a passage of a file."""


def read_corpus(request: AdaptRequest, start: SentenceTransformer, console: Console) -> DocumentCorpus:
    """Load the documents of a request, in the units that a search would return.

    Args:
        request: Checked arguments.
        start: Encoder to adapt, whose tokenizer counts tokens.
        console: Console for the progress bar.

    Raises:
        SmoothCSEError: If the documents cannot be read.
    """
    return load_documents(
        request.documents,
        column=request.column,
        title=request.title,
        max_tokens=_passage_tokens(request),
        tokenizer=start.tokenizer,
        console=console,
    )


def read_whole(request: AdaptRequest) -> list[str]:
    """Return the documents of a request, none of them split."""
    corpus = load_documents(request.documents, column=request.column, title=request.title, max_tokens=None)
    texts: list[str] = corpus.dataset["text"][:]
    return texts


def has_rows(source: str) -> bool:
    """Return whether a source is one table, whose rows are documents with further columns."""
    path = local_path(source)
    return path.is_file() and TextFile(path, "").format in TABLES


def _passage_tokens(request: AdaptRequest) -> int | None:
    return request.max_tokens or (PASSAGE_TOKENS if _is_files(request.documents) else None)


def _is_files(source: str) -> bool:
    """Return whether a source is a file or folder of running text, rather than rows."""
    path = local_path(source)
    return path.is_dir() or (path.is_file() and not has_rows(source))
