"""Indexes of the table: quantised vectors for approximate search, and the words of each text for BM25."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from smoothcse._utils.choices import IndexQuantisation
from smoothcse._utils.extras import require
from smoothcse.search.column_names import WORDS

APPROXIMATE_FROM = 50_000
"""Number of documents from which search is approximate."""

MAX_FRAGMENTS = 128
"""Number of table fragments, one per change, from which they are merged."""

_KEPT = timedelta(hours=1)  # readers may still use recent versions

_VECTOR_INDEXES: dict[IndexQuantisation, str] = {"pq": "IvfPq", "int8": "IvfSq", "binary": "IvfRq"}
"""LanceDB's configuration of each quantisation; IvfRq is RaBitQ, of one bit per dimension."""


def is_approximate(table: Any) -> bool:
    """Return whether a table has enough documents for approximate search."""
    return bool(table.count_rows() >= APPROXIMATE_FROM)


def index_vectors(table: Any, quantisation: IndexQuantisation) -> None:
    """Build the vector index with a quantisation."""
    config = getattr(_configurations(), _VECTOR_INDEXES[quantisation])
    table.create_index("vector", config=config(distance_type="cosine"))


def index_words(table: Any) -> None:
    """Build the index of the words; it splits at spaces alone, because the words have been processed before."""
    config = _configurations().FTS(
        base_tokenizer="whitespace",
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
        max_token_length=None,
    )
    table.create_index(WORDS, config=config)


def has_vector_index(table: Any) -> bool:
    """Return whether the vectors are indexed."""
    return any("vector" in found.columns for found in table.list_indices())


def is_scattered(table: Any) -> bool:
    """Return whether many rows are outside an index, or the table has many fragments.

    Rows outside the index of the words are searched one by one, and do not count in the statistics of BM25.
    """
    loose = max((table.index_stats(found.name).num_unindexed_rows for found in table.list_indices()), default=0)
    most = min(APPROXIMATE_FROM, table.count_rows()) // 10
    return bool(loose > most or table.stats()["fragment_stats"]["num_fragments"] >= MAX_FRAGMENTS)


def gather(table: Any) -> None:
    """Add rows to the indexes that lack them, and merge fragments."""
    table.optimize(cleanup_older_than=_KEPT)


def _configurations() -> Any:
    return require("lancedb.index", "search", "Indexes")
