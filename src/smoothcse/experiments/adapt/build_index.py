"""The index of an adaptation: the documents that were adapted to, searched with the model that was handed out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from smoothcse._utils.extras import MissingExtraError, require
from smoothcse._utils.paths import local_path
from smoothcse.encoders.load import load_encoder
from smoothcse.experiments.adapt.layout import MODEL
from smoothcse.experiments.adapt.read_corpus import has_rows, read_corpus
from smoothcse.experiments.adapt.record import read_record
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.search.documents import Document, read_documents
from smoothcse.search.index import Index
from smoothcse.search.index_places import ADAPTED_INDEX, is_index
from smoothcse.search.index_record import IndexRecord
from smoothcse.search.split_documents import passages_of


def build_index(request: AdaptRequest, folder: Path, console: Console) -> None:
    """Index the documents of a finished adaptation in its folder, unless this has been done.

    An interrupted call resumes when it is repeated. Without the extra ``search``, a sentence says so.

    Args:
        request: Arguments of the adaptation.
        folder: Output folder, which holds the model.
        console: Console for the progress bar.

    Raises:
        SmoothCSEError: If the documents cannot be read, or the index cannot be written.
    """
    path = folder / ADAPTED_INDEX
    if is_index(path) and not IndexRecord.read(path).unfinished:
        return
    try:
        require("lancedb", "search", "The documents are not indexed")
    except MissingExtraError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return
    Index.build(
        path,
        str(folder / MODEL),
        _documents(request, console),
        source=request.documents,
        precision=request.precision,
        console=console,
    )


def documents_of(adaptation: Path, console: Console) -> Iterable[Document]:
    """Return the documents of a finished adaptation, divided as in its own index.

    Args:
        adaptation: Output folder of the adaptation.
        console: Console for the progress bar.

    Raises:
        SmoothCSEError: If the record or the documents cannot be read.
    """
    return _documents(AdaptRequest(**read_record(adaptation).request), console)


def _documents(request: AdaptRequest, console: Console) -> Iterable[Document]:
    """Return rows of a table with all their columns, and other documents as the passages that were trained on."""
    if has_rows(request.documents):
        return read_documents(local_path(request.documents), request.column)
    return passages_of(read_corpus(request, load_encoder(request.model), console))
