"""Search results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smoothcse._utils.choices import Rerank
from smoothcse.search.column_names import NO_METADATA, name_of

if TYPE_CHECKING:
    from smoothcse.search.documents import Scalar

_COMPUTED = ("_distance", "_rowid")


@dataclass(frozen=True)
class Hit:
    """A search result.

    Attributes:
        id: Id of the document.
        text: Text of the document.
        score: Score by which the results are ordered: the fused score of words and meaning, from 0 to 1, or the cosine
            similarity in a search by meaning alone. A reranked search has scores of its own, see
            :func:`~smoothcse.search.maxsim_search.rerank_hits`.
        metadata: Other fields of the document.
        cosine: Cosine similarity with the query.
    """

    id: str
    text: str
    score: float
    metadata: dict[str, Scalar]
    cosine: float


@dataclass(frozen=True)
class SearchOutcome:
    """Hits of a search, and what to say about it.

    Attributes:
        hits: Documents in order of decreasing score.
        milliseconds: Duration, without loading.
        rerank: Second stage of the search.
        notes: Sentences about the index, such as that documents may be missing.
    """

    hits: list[Hit]
    milliseconds: float
    rerank: Rerank
    notes: list[str]


def hit_of(row: Mapping[str, Any], cosine: float, score: float | None = None) -> Hit:
    """Return a row of the table as a result.

    Args:
        row: Row of the table.
        cosine: Cosine similarity with the query.
        score: Score of the row. Default: the cosine similarity.
    """
    return Hit(row["id"], row["text"], cosine if score is None else score, metadata_of(row), cosine)


def metadata_of(row: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the metadata fields of a row that have a value."""
    hidden = (*NO_METADATA, *_COMPUTED)
    return {name_of(column): row[column] for column in row if column not in hidden and row[column] is not None}
