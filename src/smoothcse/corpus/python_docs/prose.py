"""Extraction of prose from marked-up text, and of sentences from prose."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BULLET = re.compile(r"\s*(?:[*+•-]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")
_OPTION = re.compile(
    # "name -- meaning", "name : type", "name: meaning", "-v", ":param name:", a bare "Args:"
    r"\S+(?: \S+)? --? |\S+ : |[a-z_*]\S*: |[-@:]\S|\w+(?: \w+)?:$"
)
_HEADING_RULE = re.compile(r"\s*([=\-*~^#\"+.`])\1{2,}[\s=|+-]*")
_WORD = re.compile(r"[\"'(\[“‘]*[A-Za-z]+(?:['’/-][A-Za-z]+)*[\"')\]”’]*[.,;:!?]*[\"')\]”’]*")


def prose_paragraphs(text: str) -> Iterator[str]:
    """Yield the prose paragraphs of a docstring, unwrapped and without markup.

    Doctests, literal blocks, directives, tables, headings, grammar and lists of options are left out.

    Args:
        text: Dedented docstring, in reStructuredText or similar.
    """
    for lines in _unwrapped_blocks(text):
        paragraph = strip_markup(" ".join(line.strip() for line in lines))
        if _is_prose(paragraph):
            yield paragraph


def _unwrapped_blocks(text: str) -> Iterator[list[str]]:
    """Yield the lines of each paragraph outside literal blocks and directives."""
    literal_indent: int | None = None
    for block in re.split(r"\n\s*\n", text.expandtabs()):
        lines = _without_headings([line for line in block.split("\n") if line.strip()])
        indent = _indent(lines[0]) if lines else 0
        if not lines or (literal_indent is not None and indent > literal_indent):
            continue
        opens_literal = lines[-1].rstrip().endswith("::") or lines[0].lstrip().startswith("..")
        literal_indent = indent if opens_literal else None
        if not lines[0].lstrip().startswith(".."):
            yield from _paragraphs_of(lines)


def _without_headings(lines: list[str]) -> list[str]:
    rules = {i for i, line in enumerate(lines) if _HEADING_RULE.fullmatch(line)}
    return [line for i, line in enumerate(lines) if i not in rules and i + 1 not in rules]


def _paragraphs_of(lines: list[str]) -> Iterator[list[str]]:
    """Split a block where the indentation changes or a bullet starts."""
    paragraph: list[str] = []
    hang = 0  # indentation of the continuation lines of the current paragraph
    for line in lines:
        if line.lstrip().startswith(">>>"):
            break  # a doctest extends to the end of its block
        bullet = _BULLET.match(line)
        if bullet or _indent(line) != hang:
            yield paragraph
            paragraph = []
            hang = bullet.end() if bullet else _indent(line)
        paragraph.append(line[hang:])
    yield paragraph


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_prose(paragraph: str) -> bool:
    """Return whether a paragraph is mostly plain words, and not code, grammar or an entry of a list of options."""
    words = paragraph.split()
    if not words or "::=" in paragraph or ">>>" in paragraph or _OPTION.match(paragraph):
        return False
    return sum(_WORD.fullmatch(word) is not None for word in words) >= 0.7 * len(words)


_MARKUP = [
    (re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),  # :func:`name`, :ref:`text <target>`
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r"`([^`']+?)(?:\s*<[^`>]*>)?[`']_{0,2}"), r"\1"),  # `name`, `text <address>`_, `old quotes'
    (re.compile(r"(?<![\w*])(\*{1,2})(?=[^\s*])([^*]*[^\s*])\1(?![\w*])"), r"\2"),  # *emphasis*, **strong**
    (re.compile(r"\"([A-Za-z_][\w.]*(?:\(\))?)\""), r"\1"),  # code, as quoted by the language reference
    (re.compile(r"\s+\[(?:\d+|#\w*)\]_?(?=[\s.,;:)]|$)"), ""),  # footnote marks
    (re.compile(r"::(?=\s|$)"), ":"),
    (re.compile(r"\s+"), " "),
]


def strip_markup(text: str) -> str:
    """Remove the inline markup of reStructuredText and collapse white space; the words stay.

    >>> strip_markup("See :func:`time.sleep` and *args*; ``None`` means   forever.")
    'See time.sleep and args; None means forever.'
    """
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


# A full stop ends a sentence if white space and a possible beginning of a sentence follow it ...
_BOUNDARY = re.compile(r"(?<=[.!?])(?<!\.\.\.)[\"')\]”’]*\s+(?=[\"'(\[“‘]*[A-Z])")
# ... unless it belongs to one of these abbreviations.
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|resp|viz|approx|Mr|Mrs|Dr|Fig|Sec)|(?:^|[\s(])[A-Z])\.$")


def split_sentences(paragraph: str) -> list[str]:
    """Split one unwrapped paragraph into sentences.

    Full stops inside names (``os.path``), numbers (3.11) and abbreviations (e.g., i.e., initials) do not split, nor
    does one before a lower-case letter: two joined sentences do less harm than half a sentence.

    >>> split_sentences("Use os.path, e.g. Path. It needs 3.11.")
    ['Use os.path, e.g. Path.', 'It needs 3.11.']
    """
    sentences: list[str] = []
    start = 0
    for boundary in _BOUNDARY.finditer(paragraph):
        if not _ABBREVIATION.search(paragraph[start : boundary.start()]):
            sentences.append(paragraph[start : boundary.end()].strip())
            start = boundary.end()
    return [*sentences, paragraph[start:].strip()] if paragraph[start:].strip() else sentences


# Fragments of tables and lists. A sentence begins with a capital letter or ends with a full stop.
_FRAGMENT = re.compile(r"(?![\"'(\[“‘]*[A-Z]).*[^.!?\"')\]’”]|.*[,;:]", re.DOTALL)


def is_sentence(text: str) -> bool:
    """Return whether a text is a sentence of 3 to 80 mostly plain words, and not a fragment of a table or list."""
    return 3 <= len(text.split()) <= 80 and _is_prose(text) and not _FRAGMENT.fullmatch(text)
