"""Text and title of DOCX files."""

from __future__ import annotations

import zipfile
import zlib
from typing import Any

from smoothcse._utils.extras import extra
from smoothcse.corpus.documents.extracted import (
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

LARGEST_XML = 32 << 20
"""Maximum bytes of all decompressed parts that may be XML. Its tree takes up to twenty times as much memory."""
LARGEST_ARCHIVE = 256 << 20
"""Maximum bytes of all decompressed parts, pictures included."""

_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0"  # container of encrypted documents, and of the older .doc
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*", b"MM\0*", b"\xd7\xcd\xc6\x9a", b"\x01\x00\x00\x00")
_MEDIA = (*_PICTURES, b"RIFF", b"PK", b"%PDF", _OLE_SIGNATURE)
# RuntimeError: the archive is encrypted, or compressed in another way.
_UNREADABLE_ARCHIVE = (OSError, zipfile.BadZipFile, zlib.error, ValueError, RuntimeError)


def read_docx(file: TextFile) -> ExtractedDocument:
    """Read the paragraphs of a DOCX file, those in tables included, in the order of the document.

    Args:
        file: DOCX file.

    Raises:
        SkippedDocument: If the file is damaged, password-protected or too large, or contains no text.
    """
    with extra("documents", "Reading DOCX"):
        import docx

    _check(file)
    try:
        document = docx.Document(str(file.path))
        paragraphs = [_text(element) for element in document.element.body.iter(_P) if not _is_fallback(element)]
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
            sizes = [(member.file_size, _is_media(archive, member)) for member in archive.infolist()]
    except _UNREADABLE_ARCHIVE as error:
        raise SkippedDocument(UNREADABLE, first_line(error)) from error
    xml = sum(size for size, media in sizes if not media)
    if xml > LARGEST_XML or sum(size for size, _ in sizes) > LARGEST_ARCHIVE:
        raise SkippedDocument(TOO_LARGE)


def _is_media(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Return whether a part starts like a picture or an embedded file. Names and types can claim anything."""
    with archive.open(member) as opened:
        return opened.read(8).startswith(_MEDIA)


_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P = f"{_W}p"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"


def _is_fallback(paragraph: Any) -> bool:
    """Return whether a paragraph repeats another one for older readers, as those of text boxes do."""
    return next(paragraph.iterancestors(_FALLBACK), None) is not None


def _text(paragraph: object) -> str:
    from docx.text.paragraph import Paragraph

    return Paragraph(paragraph, None).text  # type: ignore[arg-type]  # the parent is needed for styles only
