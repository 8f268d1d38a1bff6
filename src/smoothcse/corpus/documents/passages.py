"""Splitting of documents into passages, by paragraphs, sentences and tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import cast

from smoothcse._utils.extras import extra
from smoothcse.corpus.documents.extracted import PARAGRAPH_BREAK, fold

SECTION = 50_000
"""Characters that are split at once, which bounds time and memory for a document of any length."""

CountTokens = Callable[[str], int]

_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")
_NO_SPACE = re.compile(r"\S+")


@dataclass(frozen=True)
class Passage:
    """Part of a document.

    Attributes:
        text: Text with single spaces.
        start: Position of the first character in the text of the document.
        end: Position after the last character. ``fold(document[start:end]) == text``.
    """

    text: str
    start: int
    end: int


def count_words(text: str) -> int:
    """Count words and punctuation marks."""
    return sum(1 for _ in _WORD_OR_MARK.finditer(text))


def whole_passage(document: str) -> Passage:
    """Return a document as a single passage.

    Args:
        document: Text of the document, which is not blank.
    """
    start = len(document) - len(document.lstrip())
    return Passage(fold(document), start, len(document.rstrip()))


def has_tokens(text: str, least: int, count_tokens: CountTokens) -> bool:
    """Return whether a text has at least ``least`` tokens, without counting all those of a long text.

    Args:
        text: Text.
        least: Minimum number of tokens.
        count_tokens: Function that counts the tokens of a text.
    """
    counts = (count_tokens(text[start : start + SECTION]) for start in range(0, len(text), SECTION))
    return any(count >= least for count in accumulate(counts))


def split_passages(document: str, max_tokens: int, count_tokens: CountTokens) -> Iterator[Passage]:
    """Split a document into passages.

    Paragraphs and sentences are joined up to the limit. A sentence that is longer than the limit is split at commas
    and the like, then between words, then inside of a word. Each character that is not white space is in exactly
    one passage.

    Args:
        document: Text of the document.
        max_tokens: Maximum number of tokens of a passage.
        count_tokens: Function that counts the tokens of a text.

    Yields:
        Passages in order.
    """
    with extra("documents", "Splitting documents"):
        from semchunk.semchunk import chunk

    def count(text: str) -> int:
        return count_tokens(fold(text))

    for start, end in _sections(document):
        folded = _Folded(document, start, end)
        _, spans = chunk(folded.text, max_tokens, count, memoize=False, offsets=True)
        for first, after in cast(list[tuple[int, int]], spans):
            text = fold(folded.text[first:after])
            yield Passage(text, folded.position(first), folded.position(after - 1) + 1)


def _sections(document: str) -> Iterator[tuple[int, int]]:
    """Yield consecutive spans of at most ``SECTION`` characters, cut where a passage may end."""
    start = 0
    while len(document) - start > SECTION:
        low, high = start + SECTION // 2, start + SECTION
        cuts = (document.rfind(mark, low, high) + len(mark) for mark in (PARAGRAPH_BREAK, ". ", "\n", " "))
        end = next((cut for cut in cuts if cut > low), high)
        yield start, end
        start = end
    yield start, len(document)


class _Folded:
    """Part of a document with one space between words and one blank line between paragraphs.

    Hard-wrapped lines and indentation would otherwise count as better places to split than the ends of sentences.
    """

    def __init__(self, document: str, start: int, end: int) -> None:
        self._original: list[int] = []  # start of each word in the document
        self._folded: list[int] = []  # start of each word in the folded text
        pieces: list[str] = []
        length, last = 0, start
        for word in _NO_SPACE.finditer(document, start, end):
            if pieces:
                gap = PARAGRAPH_BREAK if document.count("\n", last, word.start()) > 1 else " "
                pieces.append(gap)
                length += len(gap)
            self._original.append(word.start())
            self._folded.append(length)
            pieces.append(word.group())
            length, last = length + len(word.group()), word.end()
        self.text = "".join(pieces)

    def position(self, index: int) -> int:
        """Return the position in the document of a character of the folded text that is no white space."""
        word = bisect_right(self._folded, index) - 1
        return self._original[word] + index - self._folded[word]
