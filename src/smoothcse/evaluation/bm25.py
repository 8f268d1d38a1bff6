r"""BM25: how well the words of a query match those of each document.

.. math:: s(q, d) = \sum_{w ∈ q} \ln\Bigl(1 + \frac{N - n_w + 1/2}{n_w + 1/2}\Bigr)
          \frac{f_{w,d}}{f_{w,d} + k_1 (1 - b + b |d| / \bar{|d|})}

with ``N`` documents, of which ``n_w`` contain the word ``w``, and ``f`` occurrences of ``w`` in ``d``; ``k_1 = 1.2``
and ``b = 0.75`` (Robertson and Zaragoza, 2009, in Lucene's variant). LanceDB has the same constants, so that an index
ranks as a verdict does. The index of this module is that of `bm25s <https://github.com/xhluca/bm25s>`_.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from smoothcse.evaluation.bm25s_import import bm25s
from smoothcse.evaluation.lexical import Words, detect_language


class BM25:
    """BM25 index of a list of documents.

    Args:
        documents: ``d`` texts.
        language: Language of the stemmer and the stop words, see :class:`~smoothcse.evaluation.lexical.Words`.
            Default: detected from the documents.

    Attributes:
        language: Language in use.

    Raises:
        SmoothCSEError: If the language is unknown.
    """

    def __init__(self, documents: Sequence[str], language: str | None = None) -> None:
        self._words = Words(language or detect_language(documents))
        self.language = self._words.language
        self._number_of: dict[str, int] = {}
        self._documents = len(documents)
        numbers = [
            [self._number_of.setdefault(word, len(self._number_of)) for word in self._words(text)]
            for text in documents
        ]
        self._index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        if self._number_of:  # bm25s cannot index documents of which none has a word
            self._index.index((numbers, self._number_of), create_empty_token=False, show_progress=False)

    def scores(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Score all documents for each query.

        Args:
            queries: ``q`` texts.

        Returns:
            Scores, float32 ``(q, d)``; 0 for a document that shares no word with the query, otherwise positive.
        """
        found = np.zeros((len(queries), self._documents), dtype=np.float32)
        for row, query in enumerate(queries):
            known = [self._number_of[word] for word in self._words(query) if word in self._number_of]
            if known:
                found[row] = self._index.get_scores_from_ids(known)
        return found

    def blocks(self, queries: Sequence[str], rows: int) -> Iterator[NDArray[np.float32]]:
        """Yield the scores of ``rows`` queries at a time, in the order of the queries.

        Args:
            queries: ``q`` texts.
            rows: Number of queries per block; the last block may be smaller.
        """
        for first in range(0, len(queries), rows):
            yield self.scores(queries[first : first + rows])
