"""Text and title of DOCX files."""

from __future__ import annotations

import zipfile

from smoothcse._utils.extras import extra
from smoothcse.corpus.documents.extracted import (
    LARGEST_TEXT,
    PARAGRAPH_BREAK,
    PASSWORD,
    TOO_LARGE,
    UNREADABLE,
    ExtractedDocument,
    SkippedDocument,
    extracted,
)
from smoothcse.corpus.formats import TextFile
from smoothcse.errors import first_line

_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0"  # container of encrypted documents, and of the older .doc


def read_docx(file: TextFile) -> ExtractedDocument:
    """Read the paragraphs of a DOCX file, those in tables included, in the order of the document.

    Args:
        file: DOCX file.

    Raises:
        SkippedDocument: The file is damaged, password-protected or too large, or contains no text.
    """
    with extra("documents", "Reading DOCX"):
        import docx

    _check(file)
    try:
        document = docx.Document(str(file.path))
        paragraphs = [_text(element) for element in document.element.body.iter(_P)]
        title = document.core_properties.title
    except Exception as error:  # a damaged file can raise any exception in python-docx
        raise SkippedDocument(UNREADABLE, first_line(error)) from error
    return extracted(file.label, PARAGRAPH_BREAK.join(filter(None, paragraphs)), title)


def _check(file: TextFile) -> None:
    """Refuse a file that is not a zip archive, or that expands to more than a document needs."""
    try:
        with open(file.path, "rb") as opened:
            if opened.read(4) == _OLE_SIGNATURE:
                raise SkippedDocument(PASSWORD)
        with zipfile.ZipFile(file.path) as archive:
            # Reading stops at the size that the archive states, so that the statement can be trusted as a bound.
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SkippedDocument(UNREADABLE, first_line(error)) from error
    if size > 4 * LARGEST_TEXT:
        raise SkippedDocument(TOO_LARGE)


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P = f"{_W}p"


def _text(paragraph: object) -> str:
    from docx.text.paragraph import Paragraph

    return Paragraph(paragraph, None).text  # type: ignore[arg-type]  # the parent is needed for styles only
