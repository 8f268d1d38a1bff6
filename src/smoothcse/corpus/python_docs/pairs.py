"""Labelled pairs from the documentation: the first paragraph of a docstring and the prose after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from smoothcse.corpus.python_docs.docstrings import Docstring, iter_docstrings
from smoothcse.corpus.python_docs.prose import prose_paragraphs


@dataclass(frozen=True)
class DocPair:
    """First paragraph of a docstring and the prose that follows it.

    Attributes:
        name: Dotted public name of the documented object.
        query: First paragraph, on one line, without markup.
        document: All later prose paragraphs, joined by spaces.
    """

    name: str
    query: str
    document: str


def labelled_pairs() -> list[DocPair]:
    """Return (first paragraph, remaining prose) of the docstrings that have both, for retrieval with real labels.

    The labels come from the authors of the docstrings: a summary and the details after it describe the same object.
    These rules make the task meaningful:

    * Neither side contains the name of the object, unless the prose itself uses it.
    * Documents that contain their query verbatim are dropped, since string matching would find them.
    * No two queries or documents are equal up to case and punctuation (the first is kept), so that a query has no
      second correct answer in the same words. Near-duplicates stay; they are the hard part of the task.
    * A query has at least 4 words and a document at least 8, since "Constructor." or "Non-standard." could belong to
      many objects. Documents are not shortened; models truncate them by their own limits.
    * Private objects are left out, since their docstrings address readers of the code.

    :func:`~smoothcse.corpus.python_docs.sentences.iter_sentences` yields the same prose. A model trained on those
    sentences has seen the texts but not the pairing, so a gain here is a gain in the training domain.

    Raises:
        SmoothCSEError: If the sources of the standard library are not installed.
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
    """Return the lower-case words of a text, joined by spaces; texts with equal results count as equal."""
    return " ".join(re.findall(r"\w+", text.lower()))
