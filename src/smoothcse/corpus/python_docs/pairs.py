"""Labelled pairs from the documentation: what a docstring says first, and what it says then."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from smoothcse.corpus.python_docs.docstrings import Docstring, iter_docstrings
from smoothcse.corpus.python_docs.prose import prose_paragraphs


@dataclass(frozen=True)
class DocPair:
    """The opening paragraph of a docstring and the prose that follows it.

    Attributes:
        name: Dotted public name of the documented object.
        query: The first paragraph, one line, without markup.
        document: All later prose paragraphs, joined by spaces.
    """

    name: str
    query: str
    document: str


def labelled_pairs() -> list[DocPair]:
    """Return (first paragraph, remaining prose) of the docstrings that have both: retrieval with real labels.

    The author of the docstring is the labeller: a summary and the details after it are about the same object.
    What makes the task honest:

    * The name of the object is in neither side, unless the prose itself uses it.
    * A document that contains its query word for word is dropped: string matching would find it.
    * No two queries or documents are the same up to case and punctuation (the first is kept): a query has no
      second right answer in the same words. Near-duplicates stay; they are the hard part of the task.
    * A query has at least 4 words and a document 8: nobody can say what "Constructor." or "Non-standard."
      belongs to. No document is shortened; how much of it is read is the model's business.
    * Private objects are left out: their docstrings speak to those who have the code before them.

    The same prose is in `iter_sentences`. A model trained on those sentences has seen the texts, not which
    belongs to which, so a gain here is a gain on the domain it was trained on.

    Raises:
        SmoothCSEError: This Python comes without the sources of its standard library.
    """
    return list(_labelled_pairs())


@cache
def _labelled_pairs() -> tuple[DocPair, ...]:
    pairs: list[DocPair] = []
    seen: set[str] = set()
    for pair in (_as_pair(docstring) for docstring in iter_docstrings() if docstring.is_public):
        query, document = _fold(pair.query), _fold(pair.document)
        if _is_informative(query, document) and seen.isdisjoint({query, document}):
            seen |= {query, document}
            pairs.append(pair)
    return tuple(pairs)


def _as_pair(docstring: Docstring) -> DocPair:
    query, *details = [*prose_paragraphs(docstring.text)] or [""]
    return DocPair(docstring.name, query, " ".join(details))


def _is_informative(query: str, document: str) -> bool:
    return len(query.split()) >= 4 and len(document.split()) >= 8 and query not in document


def _fold(text: str) -> str:
    """Lower-case words of a text, the key under which two texts count as the same."""
    return " ".join(re.findall(r"\w+", text.lower()))
