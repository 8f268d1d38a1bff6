"""The built-in corpus: the documentation of the running Python.

Nothing is stored and nothing is downloaded. The docstrings of the standard library are read from its source files
(parsed, never imported) and from its compiled modules; the language reference is read from ``pydoc_data.topics``. The
text is therefore the same on every call and differs slightly between Python versions.
"""

from __future__ import annotations

from smoothcse.corpus.python_docs.docstrings import Docstring, iter_docstrings
from smoothcse.corpus.python_docs.pairs import DocPair, labelled_pairs
from smoothcse.corpus.python_docs.sentences import iter_sentences

__all__ = ["DocPair", "Docstring", "iter_docstrings", "iter_sentences", "labelled_pairs"]
