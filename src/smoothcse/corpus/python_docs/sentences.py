"""Sentences of the documentation, for training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from smoothcse.corpus.python_docs.docstrings import iter_docstrings, reference_topics
from smoothcse.corpus.python_docs.prose import is_sentence, prose_paragraphs, split_sentences


def iter_sentences() -> Iterator[str]:
    """Yield the distinct sentences of all docstrings, then those of the language reference.

    Raises:
        SmoothCSEError: If the sources of the standard library are not installed.
    """
    return iter(_sentences())


@cache
def _sentences() -> tuple[str, ...]:
    texts = [docstring.text for docstring in iter_docstrings()] + reference_topics()
    found = (s for text in texts for paragraph in prose_paragraphs(text) for s in split_sentences(paragraph))
    return tuple(dict.fromkeys(s for s in found if is_sentence(s)))
