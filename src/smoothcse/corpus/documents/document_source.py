"""Resolution of a source to its documents: files, a dataset on the hub, or the built-in ``python-docs``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smoothcse._utils.paths import local_path
from smoothcse.corpus.documents.document_files import find_documents
from smoothcse.corpus.documents.extracted import ExtractedDocument, extracted
from smoothcse.corpus.documents.read_documents import Skipped, TableColumns, read_documents
from smoothcse.corpus.sources import PYTHON_DOCS, Source, file_mode, from_hub, is_on_hub
from smoothcse.errors import SmoothCSEError

Documents = Iterator[ExtractedDocument | Skipped]


@dataclass(frozen=True)
class DocumentSource:
    """Source of documents.

    Attributes:
        name: Name given by the user.
        identity: Values in plain JSON types that change when a document may have changed.
        read: Function that reads the documents, in order; see
            :func:`~smoothcse.corpus.documents.read_documents.read_documents`.
        notes: Remarks on the choice of files, for the report.
        count: Number of documents, or None where it is not known in advance.
    """

    name: str
    identity: object
    read: Callable[[TableColumns], Documents]
    notes: tuple[str, ...] = ()
    count: int | None = None


def find_source(source: str | Path) -> DocumentSource:
    """Find the documents of a source, without reading them.

    Args:
        source: ``python-docs``, a file, a folder, or a dataset on the hub, see
            :func:`~smoothcse.corpus.sources.resolve`. Local paths take precedence over the hub.

    Raises:
        SmoothCSEError: If the source does not exist, or has no documents.
    """
    name = str(source)
    if name == PYTHON_DOCS:
        return DocumentSource(name, Source(name).identity(), _python_docs)
    if isinstance(source, str) and name.strip() and file_mode(local_path(name)) is None and is_on_hub(name):
        return _from_hub(from_hub(name))
    files = find_documents(source)

    def read(columns: TableColumns) -> Documents:
        return read_documents(name, files, columns, whole_folder=files.root.is_dir())

    return DocumentSource(name, files.digest, read, files.notes, None if files.tables else files.count)


def _from_hub(found: Source) -> DocumentSource:
    def read(columns: TableColumns) -> Documents:
        found.verify()
        yield from read_documents(found.name, found.files, columns, whole_folder=len(found.files) > 1)

    return DocumentSource(found.name, found.identity(), read, found.notes)


def _python_docs(columns: TableColumns) -> Documents:
    """Yield the documents that :func:`smoothcse.evaluation.retrieval.python_docs_task` searches, and not its queries.

    The place of a document is the dotted name of the object that it describes.
    """
    if requested := columns.text or columns.title:
        raise SmoothCSEError(f"{PYTHON_DOCS} has no columns: leave out {requested!r}.")
    from smoothcse.corpus.python_docs import labelled_pairs

    for pair in labelled_pairs():
        yield extracted(pair.name, pair.document)
