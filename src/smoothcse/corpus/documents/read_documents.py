"""Reading of documents, whatever their format, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from smoothcse.corpus.blocks import read_blocks
from smoothcse.corpus.documents.document_files import TABLES
from smoothcse.corpus.documents.docx_text import read_docx
from smoothcse.corpus.documents.extracted import (
    LARGEST_TEXT,
    NO_TEXT_COLUMN,
    TOO_LARGE,
    UNREADABLE,
    ExtractedDocument,
    SkippedDocument,
    extracted,
)
from smoothcse.corpus.documents.html_text import LARGEST_MARKUP, html_text, markdown_text
from smoothcse.corpus.documents.pdf_text import read_pdf
from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.records import Fields, read_records
from smoothcse.corpus.text_columns import choose_column
from smoothcse.errors import SmoothCSEError, did_you_mean, some_of

LARGEST_FILE = 256 << 20
"""Maximum bytes of a file that is one document."""

USUAL_TITLE = "title"


@dataclass(frozen=True)
class Skipped:
    """A document that was not read.

    Attributes:
        file: Place of the document.
        reason: Reason in one or two words.
        detail: What the reader says about it, or None.
    """

    file: str
    reason: str
    detail: str | None = None

    def __str__(self) -> str:
        return f"{self.file} ({self.reason}{f': {self.detail}' if self.detail else ''})"


@dataclass(frozen=True)
class TableColumns:
    """Columns of the tables.

    Attributes:
        text: Column of the text; None to choose one, see :func:`~smoothcse.corpus.text_columns.choose_column`.
        title: Column of the title; None for ``title``, where there is one.
    """

    text: str | None = None
    title: str | None = None


def read_documents(
    name: str, files: Iterable[TextFile], columns: TableColumns, *, whole_folder: bool
) -> Iterator[ExtractedDocument | Skipped]:
    """Read all documents of a source.

    A file that is one document and cannot be read is skipped, so that one of them does not stop a folder of thousands.
    A table that cannot be read is an error, because only a part of its documents would be missing. In a folder, a
    table without a clear column of text is skipped if no column is requested.

    Args:
        name: Name of the source in messages.
        files: Files to read.
        columns: Columns of the tables.
        whole_folder: Whether the files are those of a folder, rather than one that the user named.

    Yields:
        Document, or what was skipped, in the order of the files.

    Raises:
        SmoothCSEError: If a table cannot be read, or a column was requested and there is no table.
    """
    tables = 0
    required = columns.text is not None or not whole_folder
    for file in files:
        if file.format in TABLES:
            tables += 1
            yield from _read_table(file, columns, required)
        else:
            yield read_file(file)
    option = "column" if columns.text else "title" if columns.title else None
    if option and not tables:
        wanted = columns.text or columns.title
        raise SmoothCSEError(f"{name} contains no table and has no column {wanted!r}: leave out `{option}`.")


def read_file(file: TextFile) -> ExtractedDocument | Skipped:
    """Read a file that is one document.

    Args:
        file: File in a supported format other than a table.

    Returns:
        Document, or the reason why it cannot be read.
    """
    read: Callable[[TextFile], ExtractedDocument] = _FILE_READERS.get(file.format, _read_text)
    try:
        if file.path.stat().st_size > LARGEST_FILE:
            raise SkippedDocument(TOO_LARGE)
        return read(file)
    except SkippedDocument as skipped:
        return Skipped(file.label, skipped.reason, skipped.detail)
    except OSError as error:  # removed while the folder was being read
        return Skipped(file.label, UNREADABLE, error.strerror)


def _read_text(file: TextFile) -> ExtractedDocument:
    return extracted(file.label, _decoded(file))


def _read_html(file: TextFile) -> ExtractedDocument:
    return extracted(file.label, *html_text(_markup(file)))


def _read_markdown(file: TextFile) -> ExtractedDocument:
    return extracted(file.label, *markdown_text(_markup(file)))


def _markup(file: TextFile) -> str:
    text = _decoded(file)
    if len(text) > LARGEST_MARKUP:
        raise SkippedDocument(TOO_LARGE)
    return text


_FILE_READERS = {
    ".html": _read_html,
    ".htm": _read_html,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
    ".pdf": read_pdf,
    ".docx": read_docx,
}


def _decoded(file: TextFile) -> str:
    """Return the whole text of a file, which is UTF-8 and at most ``LARGEST_TEXT`` long when decompressed."""
    texts, size = [], 0
    try:
        for block in read_blocks(file, longest_line=2 * LARGEST_TEXT):
            size += len(block.text) + 1
            if size > LARGEST_TEXT:
                raise SkippedDocument(TOO_LARGE)
            texts.append(block.text)
    except SmoothCSEError as error:
        raise SkippedDocument(UNREADABLE, str(error).rstrip(".")) from error
    return "\n".join(texts)


def _read_table(file: TextFile, columns: TableColumns, required: bool) -> Iterator[ExtractedDocument | Skipped]:
    text, titled = None, False
    title = columns.title or USUAL_TITLE
    for place, fields in read_records(file):
        if text is None:
            try:
                text = _text_column(file, fields, columns.text, title)
            except SmoothCSEError as error:
                if required:
                    raise
                yield Skipped(file.label, NO_TEXT_COLUMN, str(error).rstrip("."))
                return
        titled = titled or title in fields
        try:
            yield extracted(place, _value(place, fields, text), _value(place, fields, title))
        except SkippedDocument as skipped:
            yield Skipped(place, skipped.reason)
    if columns.title and text and not titled:
        raise SmoothCSEError(
            f"{file.label} has no column {columns.title!r}; it has {some_of([repr(name) for name in fields])}."
            f"{did_you_mean(columns.title, fields)}"
        )


def _text_column(file: TextFile, fields: Fields, wanted: str | None, title: str) -> str:
    texts = [name for name, value in fields.items() if value is None or isinstance(value, str)]
    # The title is no candidate for the text, unless there is nothing else.
    candidates = [name for name in texts if name != title] or texts
    return choose_column(file.label, list(fields), candidates if wanted is None else texts, wanted)


def _value(place: str, fields: Fields, name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SmoothCSEError(
            f"{place}: field {name!r} must be a string and is of type {type(value).__name__}: correct or remove it."
        )
    return value
