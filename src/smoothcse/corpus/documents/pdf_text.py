"""Text and title of PDF files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
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
    from pypdf import PageObject, PdfReader

MOST_PAGES = 20_000
LARGEST_PAGE = 8 << 20
"""Maximum bytes of the decompressed content of a page. Parsing takes many times as much memory."""
MOST_OPERATIONS = 2_000_000
"""Maximum operations of a page, those of nested forms included, which a small file can repeat exponentially."""


def read_pdf(file: TextFile) -> ExtractedDocument:
    """Read the text of a PDF file page by page.

    A file that is encrypted with an empty password, as many publishers' are, is read.

    Args:
        file: PDF file.

    Raises:
        SkippedDocument: If the file is damaged, password-protected or too large, or contains no text (a scan).
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
        text = _page_text(page)
        size += len(text)
        if size > LARGEST_TEXT:
            raise SkippedDocument(TOO_LARGE)
        yield text


def _page_text(page: PageObject) -> str:
    contents = page.get_contents()
    if contents is not None and len(contents.get_data()) > LARGEST_PAGE:
        raise SkippedDocument(TOO_LARGE)
    operations = count()

    def visit(*_: object) -> None:
        # pypdf catches exceptions in a form. Each later operation raises again, up to the page itself.
        if next(operations) >= MOST_OPERATIONS:
            raise SkippedDocument(TOO_LARGE)

    text = page.extract_text(visitor_operand_before=visit)
    visit()
    return text


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
