"""Text and title of HTML and Markdown. Nothing is run, and nothing is fetched."""

from __future__ import annotations

import re

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

_FRONT_MATTER = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.DOTALL)


def html_text(html: str) -> tuple[str, str]:
    """Return the text of a page, one paragraph for each block, and its title.

    The title is the ``title`` element, or else the first ``h1``.

    Args:
        html: HTML, which need not be valid.
    """
    with extra("documents", "Reading HTML"):
        from lxml import etree

    parser = etree.HTMLParser(target=_Blocks(), encoding="utf-8", no_network=True)
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

    return html_text(MarkdownIt("commonmark").enable("table").render(_FRONT_MATTER.sub("", markdown, count=1)))


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
