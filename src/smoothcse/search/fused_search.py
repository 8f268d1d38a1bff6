"""Search by words and meaning: cosine similarity fused with BM25, over the candidates of both.

The candidates are the best documents by cosine similarity and the best by BM25, and each gets both scores. They are
scaled as :func:`~smoothcse.evaluation.fusion.fuse` scales them over all documents, although only the candidates are
read: the smallest cosine similarity is that of the document farthest from the query, which is one more search, and the
smallest BM25 score is 0, that of a document without the query's words. Scaling over the candidates alone would stretch
the cosine similarities and so give BM25 less than its weight. A document outside the candidates is missed if it is
among the best by the fused score and yet among the best by neither. Approximate search finds the
farthest document approximately too, so that the scores in a large index may deviate by a few percent.

BM25 is that of LanceDB: the formula of :mod:`smoothcse.evaluation.bm25`. Its statistics leave out documents without
words and, until the table is next optimised, up to a tenth of the documents: those that came last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from smoothcse.evaluation.fusion import fuse
from smoothcse.search.hits import Hit, hit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smoothcse.search.filters import Filter
    from smoothcse.search.store import Store

CANDIDATES = 100
"""Minimum number of candidates by cosine similarity and by BM25; twice the requested documents if that is more."""

_ATTEMPTS = 3
"""Maximum number of times that candidates are searched while the documents change."""


@dataclass(frozen=True)
class _Candidates:
    """Documents with both scores, ``n`` of each.

    Attributes:
        rows: Rows of the table.
        cosines: Cosine similarities.
        bm25: BM25 scores.
        all: Whether these are all documents that may be found.
    """

    rows: pa.Table
    cosines: NDArray[np.float64]
    bm25: NDArray[np.float64]
    all: bool


def search_fused(
    store: Store,
    vector: NDArray[np.float32],
    words: str,
    k: int,
    cosine_weight: float,
    *,
    where: Filter | str | None = None,
    threshold: float | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Return the documents with the highest fused scores, best first.

    Args:
        store: Table with words.
        vector: Unit query vector, ``(d,)``.
        words: Words of the query, separated by spaces.
        k: Maximum number of documents.
        cosine_weight: Weight of the cosine similarity. With 0, only documents that share a word are returned.
        where: Filter or condition on the metadata, or None. Scores are scaled over the documents that match it.
        threshold: Minimum cosine similarity.
        exact: Whether to search the vectors exhaustively.

    Raises:
        SmoothCSEError: If the filter cannot be used, or the table cannot be read.
    """
    for _ in range(_ATTEMPTS):
        version = store.read_version
        found = _candidates(store, vector, words, max(CANDIDATES, 2 * k), where, exact)
        farthest = [] if found.all else store.nearest(-vector, 1, where, exact)
        if store.read_version == version:  # otherwise the row numbers are those of two versions
            break
    if not found.rows.num_rows:
        return []
    cosines, bm25 = found.cosines, found.bm25
    if farthest:
        cosines = np.append(cosines, farthest[0]["_distance"] - 1)
        bm25 = np.append(bm25, 0.0)
    scores = fuse(cosines[None], bm25[None], cosine_weight)[0, : found.rows.num_rows]
    kept = (found.bm25 > 0) | (cosine_weight > 0)
    if threshold is not None:
        kept &= found.cosines >= threshold
    best = [place for place in np.lexsort((-found.cosines, -scores)) if kept[place]][:k]
    rows = found.rows.take(pa.array(best, pa.int64())).to_pylist()
    return [
        hit_of(row, float(found.cosines[place]), float(scores[place])) for row, place in zip(rows, best, strict=True)
    ]


def _candidates(
    store: Store, vector: NDArray[np.float32], words: str, count: int, where: Filter | str | None, exact: bool
) -> _Candidates:
    near = store.nearest_table(vector, count, where, exact)
    cosines = dict(zip(near["_rowid"].to_pylist(), 1.0 - near["_distance"].to_numpy(), strict=True))
    rows, bm25 = near.drop_columns("_distance"), {}
    if words:
        matching = store.matching_table(words, count, where)
        numbers = matching["_rowid"].to_pylist()
        bm25 = dict(zip(numbers, matching["_score"].to_pylist(), strict=True))
        bm25 |= store.bm25_of(words, [number for number in cosines if number not in bm25])
        new = [place for place, number in enumerate(numbers) if number not in cosines]
        others = matching.take(pa.array(new, pa.int64()))
        vectors = np.array(others["vector"].to_pylist(), dtype=np.float64).reshape(len(new), len(vector))
        cosines |= dict(zip(others["_rowid"].to_pylist(), vectors @ vector.astype(np.float64), strict=True))
        rows = pa.concat_tables([rows, others.select(rows.schema.names)])
    return _Candidates(
        rows,
        np.array(list(cosines.values()), dtype=np.float64),
        np.array([bm25.get(number, 0.0) for number in cosines], dtype=np.float64),
        all=near.num_rows < count,
    )
