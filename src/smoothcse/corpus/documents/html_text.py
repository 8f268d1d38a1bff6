"""Text and title of HTML and Markdown. Nothing is run, and nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smoothcse._utils.extras import extra
from smoothcse.corpus.documents.extracted import PARAGRAPH_BREAK, fold

_CODE = {"script", "style", "noscript", "template", "svg", "iframe", "object"}
_CONTROLS = {"nav", "footer", "aside", "button", "select", "textarea"}
_HIDDEN = frozenset(_CODE | _CONTROLS)
"""Elements whose text is not part of the document: code, navigation and controls."""

_INLINE = frozenset(
    {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins"}
    | {"kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u"}
    | {"var", "wbr"}
)
"""Elements that continue the line; all others start a block."""

LARGEST_MARKUP = 16 << 20
"""Maximum characters of HTML or Markdown. Its blocks take up to twenty times as much memory."""

SECTION = 128 << 10
"""Characters of Markdown that are parsed at once."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?!\s*\n)(?:.*?\n)??(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
"""With a blank line after it, ``---`` is a rule, as in Pandoc."""


def html_text(html: str) -> tuple[str, str]:
    """Return the text of a page, one paragraph for each block, and its title.

    The title is the ``title`` element, or else the first ``h1``.

    Args:
        html: HTML, which need not be valid.
    """
    with extra("documents", "Reading HTML"):
        from lxml import etree

    parser = etree.HTMLParser(target=_Blocks(), encoding="utf-8", no_network=True, huge_tree=True)
    try:
        blocks: _Blocks = etree.fromstring(html.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, etree.ParserError):  # lxml's words for an empty page
        return "", ""
    return PARAGRAPH_BREAK.join(blocks.blocks), blocks.title or blocks.heading


def markdown_text(markdown: str) -> tuple[str, str]:
    """Return the text of a Markdown document, one paragraph for each block, and its first heading of level 1.

    Front matter (YAML between ``---`` lines) is left out.

    Args:
        markdown: CommonMark, with tables.
    """
    with extra("documents", "Reading Markdown"):
        from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table")
    return html_text("".join(map(parser.render, _sections(_FRONT_MATTER.sub("", markdown, count=1)))))


def _sections(markdown: str) -> Iterator[str]:
    """Yield consecutive parts that end at blank lines outside of fenced code, where that is possible.

    The parser's memory is hundreds of times the size of its input. Only a link whose definition is in another part is
    not recognised.
    """
    part: list[str] = []
    size, fence = 0, ""
    for line in markdown.splitlines(keepends=True):
        part.append(line)
        size += len(line)
        fence = _fence_after(line, fence)
        if size >= SECTION and (size >= 4 * SECTION or not (fence or line.strip())):
            yield "".join(part)
            part, size, fence = [], 0, ""
    yield "".join(part)


def _fence_after(line: str, fence: str) -> str:
    """Return the marker of the fenced code that is open after a line, or an empty string."""
    found = _FENCE.match(line)
    if not found:
        return fence
    if not fence:
        return found[1]
    return "" if found[1].startswith(fence) and not found[2].strip() else fence


class _Blocks:
    """Target of lxml's event parser: collects the text of each block of a page."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.title = ""
        self.heading = ""
        self._line: list[str] = []
        self._hidden = 0  # hidden elements that are open

    def start(self, tag: str, attributes: object) -> None:
        self._hidden += tag in _HIDDEN
        if tag not in _INLINE:
            self._end_block("")

    def end(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN
        if tag not in _INLINE:
            self._end_block(tag)

    def data(self, text: str) -> None:
        if not self._hidden:
            self._line.append(text)

    def close(self) -> _Blocks:
        self._end_block("")
        return self

    def _end_block(self, tag: str) -> None:
        line = fold("".join(self._line))
        self._line.clear()
        if tag == "title":
            self.title = self.title or line
        elif line:
            self.heading = self.heading or (line if tag == "h1" else "")
            self.blocks.append(line)
