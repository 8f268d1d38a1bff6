"""What a reader returns for each document: its text, or the reason why it has none."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

PARAGRAPH_BREAK = "\n\n"

LONGEST_TITLE = 500  # characters
LARGEST_TEXT = 64 << 20
"""Maximum characters of one document."""

_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ") | {ord("\n"): "\n", ord("\t"): "\t"}


@dataclass(frozen=True)
class ExtractedDocument:
    """Text of a document.

    Attributes:
        file: Place of the document: its file, with the line or row in a table (``docs.jsonl:7``).
        text: Text in Unicode NFC with line feeds as line ends and no other control characters but tabs.
        title: Title, or an empty string.
        page_starts: Position in ``text`` at which each page starts; empty for a document without pages.
    """

    file: str
    text: str
    title: str = ""
    page_starts: tuple[int, ...] = ()

    def page(self, position: int) -> int | None:
        """Return the number of the page, from 1, that contains a position; None for a document without pages."""
        return bisect_right(self.page_starts, position) if self.page_starts else None


class SkippedDocument(Exception):
    """A document that cannot be read.

    Args:
        reason: Reason in one or two words, by which skipped documents are counted.
        detail: What the reader says about it, or None.
    """

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


NO_TEXT = "no text"
TOO_LARGE = "too large"
UNREADABLE = "unreadable"
NO_TEXT_COLUMN = "no text column"
PASSWORD = "password-protected"


def extracted(file: str, text: str, title: str | None = None) -> ExtractedDocument:
    """Return a document with its text and title in canonical form.

    Args:
        file: Place of the document.
        text: Text as read.
        title: Title as read, or None.

    Raises:
        SkippedDocument: If the text is blank or too large.
    """
    return extracted_pages(file, [text], title, numbered=False)


def extracted_pages(file: str, pages: list[str], title: str | None, *, numbered: bool = True) -> ExtractedDocument:
    """Return a document of several pages, separated by blank lines.

    Args:
        file: Place of the document.
        pages: Text of each page as read.
        title: Title as read, or None.
        numbered: Whether the pages have numbers. Default True.

    Raises:
        SkippedDocument: If the pages are blank or too large.
    """
    if sum(map(len, pages)) > LARGEST_TEXT:
        raise SkippedDocument(TOO_LARGE)
    texts = [canonical(page) for page in pages]
    if not any(map(str.strip, texts)):
        raise SkippedDocument(NO_TEXT)
    starts, end = [], 0
    for text in texts:
        starts.append(end)
        end += len(text) + len(PARAGRAPH_BREAK)
    short = fold(canonical((title or "")[:LONGEST_TITLE]))
    return ExtractedDocument(file, PARAGRAPH_BREAK.join(texts), short, tuple(starts) if numbered else ())


def canonical(text: str) -> str:
    """Return a text in Unicode NFC, with line feeds as line ends and no other control characters but tabs."""
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, such as a truncated emoji
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    with_line_feeds = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", with_line_feeds).translate(_CONTROLS)


def fold(text: str) -> str:
    """Replace each run of white space by one space, and trim the ends."""
    return " ".join(text.split())
