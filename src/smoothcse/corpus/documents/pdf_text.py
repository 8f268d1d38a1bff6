"""Text and title of PDF files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smoothcse._utils.extras import extra
from smoothcse.corpus.documents.extracted import (
    LARGEST_TEXT,
    PASSWORD,
    TOO_LARGE,
    UNREADABLE,
    ExtractedDocument,
    SkippedDocument,
    extracted_pages,
)
from smoothcse.corpus.formats import TextFile
from smoothcse.errors import first_line

if TYPE_CHECKING:
    from pypdf import PdfReader

MOST_PAGES = 20_000


def read_pdf(file: TextFile) -> ExtractedDocument:
    """Read the text of a PDF file page by page.

    A file that is encrypted with an empty password, as many publishers' are, is read.

    Args:
        file: PDF file.

    Raises:
        SkippedDocument: The file is damaged, password-protected or too large, or contains no text (a scan).
    """
    with extra("documents", "Reading PDF"):
        import pypdf

    with _quiet():
        try:
            with pypdf.PdfReader(str(file.path)) as reader:
                _open(reader)
                pages = list(_pages(reader))
                title = _title(reader)
        except SkippedDocument:
            raise
        except Exception as error:  # a damaged file can raise any exception in pypdf
            raise SkippedDocument(UNREADABLE, first_line(error)) from error
    return extracted_pages(file.label, pages, title)


def _open(reader: PdfReader) -> None:
    if reader.is_encrypted and not reader.decrypt(""):
        raise SkippedDocument(PASSWORD)
    if len(reader.pages) > MOST_PAGES:
        raise SkippedDocument(TOO_LARGE)


def _pages(reader: PdfReader) -> Iterator[str]:
    size = 0
    for page in reader.pages:
        text = page.extract_text()
        size += len(text)
        if size > LARGEST_TEXT:
            raise SkippedDocument(TOO_LARGE)
        yield text


def _title(reader: PdfReader) -> str | None:
    title = reader.metadata.title if reader.metadata else None
    return title if isinstance(title, str) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pypdf's warnings on files that it repairs; files that it cannot read are reported by us."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
