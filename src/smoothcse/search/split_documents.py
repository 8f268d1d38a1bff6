"""Documents that are indexed by passage: folders, files with markup or pages, hub datasets, ``python-docs``."""

from __future__ import annotations

from collections.abc import Iterator

from smoothcse._utils.paths import local_path
from smoothcse.corpus.documents import DocumentCorpus, load_documents
from smoothcse.corpus.formats import is_document
from smoothcse.corpus.sources import PYTHON_DOCS, file_mode, is_on_hub
from smoothcse.errors import SmoothCSEError
from smoothcse.search.documents import Document, read_documents


def find_to_index(source: str, text: str | None = None, id: str | None = None) -> Iterator[Document]:
    """Read the documents to index: rows and lines as they are, other documents by passage.

    Args:
        source: File, folder, dataset on the hub, or ``python-docs``.
        text: Text column of tables.
        id: Id column of a table; a passage has a hash of its text as id.

    Raises:
        SmoothCSEError: If the documents cannot be read, or passages are to have the ids of a column.
    """
    if not _is_split(source):
        return read_documents(local_path(source), text, id)
    if id is not None:
        raise SmoothCSEError(f"The passages of {source} have no id column; leave out --id.")
    return passages_of(load_documents(source, column=text, min_passages=1))


def _is_split(source: str) -> bool:
    path = local_path(source)
    if file_mode(path) is None:
        return source == PYTHON_DOCS or is_on_hub(source)
    return path.is_dir() or is_document(path.name)


def passages_of(corpus: DocumentCorpus) -> Iterator[Document]:
    """Yield the passages of a corpus as documents to index, with title, file and page as metadata."""
    for batch in corpus.dataset.select_columns(["text", "title", "place"]).iter(batch_size=1000):
        for passage, title, place in zip(batch["text"], batch["title"], batch["place"], strict=True):
            fields = {"title": title, "file": place["file"], "page": place["page"]}
            yield Document(passage, metadata={name: value for name, value in fields.items() if value})
