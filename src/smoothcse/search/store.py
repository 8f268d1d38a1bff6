"""The table of an index, in LanceDB: documents and unit vectors on disk, read as needed.

LanceDB writes each change atomically as a new version, so a killed process loses only what it has not committed. Small
indexes are searched exhaustively. In large ones, quantised vectors in the most promising partitions of the table
select several times as many candidates as requested, which are then ranked by their full vectors on disk.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from smoothcse._utils.choices import IndexQuantisation
from smoothcse._utils.extras import extra, require
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.search.column_names import NO_METADATA, WORDS, column_of, name_of
from smoothcse.search.conditions import translate
from smoothcse.search.documents import Document
from smoothcse.search.filters import Filter, Filters, Kind
from smoothcse.search.table_indexes import (
    gather,
    has_vector_index,
    index_vectors,
    index_words,
    is_approximate,
    is_scattered,
)
from smoothcse.search.table_rows import filter_fields, metadata_fields, own_fields, to_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTITIONS = 64
"""Number of partitions that an approximate search looks at, the most promising first."""

REFINE_FACTOR = 10
"""Number of candidates per requested document that are ranked by their full vectors."""

STALE = timedelta(seconds=1)
"""Interval after which a reader checks for changes by other processes."""

_TABLE = "documents"
TABLE_FOLDER = f"{_TABLE}.lance"
"""Folder of the table within an index."""

Row = dict[str, Any]


class Store:
    """The table of an index.

    Attributes:
        path: Index folder.
        dimensions: Dimension of the vectors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._table = _connect(path).open_table(_TABLE)
        except (ValueError, OSError, RuntimeError) as error:
            raise SmoothCSEError(f"The index {path} cannot be opened: {_reason(error)}") from error
        self.dimensions: int = self._table.schema.field("vector").type.list_size

    @staticmethod
    def create(path: Path, dimensions: int, sample: Sequence[Document]) -> None:
        """Create an empty table with the columns that the sample needs, replacing a table without a record.

        Args:
            path: Index folder.
            dimensions: Dimension of the vectors.
            sample: Documents whose metadata determine the columns.
        """
        schema = pa.schema([*own_fields(dimensions), *metadata_fields(sample)])
        shutil.rmtree(path / TABLE_FOLDER, ignore_errors=True)  # left by a killed process
        index_words(_connect(path).create_table(_TABLE, schema=schema))

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return [name_of(column) for column in self._table.schema.names if column not in NO_METADATA]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Type of the values of each metadata field."""
        return {name: field.kind for name, field in filter_fields(self._table.schema).items() if name in self.fields}

    def __len__(self) -> int:
        """Return the number of documents."""
        return int(self._table.count_rows())

    @property
    def version(self) -> int:
        """Version number of the table after its last change."""
        self._table.checkout_latest()
        return int(self._table.version)

    @property
    def read_version(self) -> int:
        """Version number of the table that is read, which may not be the last."""
        return int(self._table.version)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the subset of the ids that exist."""
        found = self._table.search().where(self._filters.one_of("id", ids)).select(["id"]).limit(len(ids)).to_list()
        return {row["id"] for row in found}

    def write(
        self, documents: Sequence[Document], vectors: NDArray[np.float32], words: Sequence[str | None] | None = None
    ) -> None:
        """Add documents, or replace those with the same ids, in one atomic change.

        Args:
            documents: ``n`` documents.
            vectors: Unit vectors of the documents, shape ``(n, d)``.
            words: Words of each document, separated by spaces. Default: unknown.

        Raises:
            SmoothCSEError: If the metadata do not fit, or the table cannot be changed.
        """
        with self._changing():
            new = metadata_fields(documents, self.fields)
            schema = pa.schema([*self._table.schema, *new])
            rows = to_rows(documents, vectors, words or [None] * len(documents), schema)  # fails before any change
            if new:
                self._table.add_columns(new)
            self._insert(rows)

    def add_words(self) -> None:
        """Give a table of an earlier version an indexed column for words, in place of an unfinished one."""
        with self._changing():
            if WORDS in self._table.schema.names:
                self._table.drop_columns([f"`{WORDS}`"])
            self._table.add_columns([pa.field(WORDS, pa.string())])
            index_words(self._table)

    def texts_without_words(self, count: int) -> list[Row]:
        """Return id and text of up to ``count`` documents whose words are unknown."""
        query = self._table.search().where(f"`{WORDS}` IS NULL").select(["id", "text"]).limit(count)
        return list(query.to_list())

    def set_words(self, ids: Sequence[str], words: Sequence[str]) -> None:
        """Store the words of documents, separated by spaces, in one atomic change."""
        with self._changing():
            self._insert(pa.table({"id": ids, WORDS: words}), new=False)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete documents by id."""
        with self._changing():
            self._table.delete(self._filters.one_of("id", ids))

    def nearest(self, vector: NDArray[np.float32], k: int, where: Filter | str | None, exact: bool) -> list[Row]:
        """Return the nearest rows, nearest first, without vectors but with the cosine ``_distance``.

        Args:
            vector: Unit query vector, shape ``(d,)``.
            k: Maximum number of rows.
            where: Filter or condition on the metadata, or None.
            exact: Whether to search exhaustively.

        Raises:
            SmoothCSEError: If the filter cannot be used, or the table cannot be read.
        """
        return list(self.nearest_table(vector, k, where, exact).drop_columns("_rowid").to_pylist())

    def nearest_table(self, vector: NDArray[np.float32], k: int, where: Filter | str | None, exact: bool) -> pa.Table:
        """Return what :meth:`nearest` does as a table, with the number of each row as ``_rowid``."""
        query = self._table.search(vector).distance_type("cosine").limit(k).select([*self._shown, "_distance"])
        query = query.bypass_vector_index() if exact else query.nprobes(PARTITIONS).refine_factor(REFINE_FACTOR)
        return self._found(query, self._condition(where))

    def matching_table(self, words: str, k: int, where: Filter | str | None) -> pa.Table:
        """Return the rows that share words with a query, best first, with ``_rowid``, ``_score`` (BM25) and vector.

        Args:
            words: Words of the query, separated by spaces.
            k: Maximum number of rows.
            where: Filter or condition on the metadata, or None.

        Raises:
            SmoothCSEError: If the filter cannot be used, or the table cannot be read.
        """
        query = self._matching(words).limit(k).select([*self._shown, "vector", "_score"])
        return self._found(query, self._condition(where))

    def bm25_of(self, words: str, rows: Sequence[int]) -> dict[int, float]:
        """Return the BM25 score of each of these rows that shares words with a query, by ``_rowid``."""
        if not rows:
            return {}
        query = self._matching(words).limit(len(rows)).select(["_score"])
        found = self._found(query, f"_rowid IN ({', '.join(map(str, rows))})")
        return dict(zip(found["_rowid"].to_pylist(), found["_score"].to_pylist(), strict=True))

    def count(self, where: Filter | str | None) -> int:
        """Return the number of rows that fulfil a filter."""
        return int(self._table.count_rows(self._condition(where) or None))

    def metadata_table(self, where: Filter | str | None, names: Sequence[str]) -> pa.Table:
        """Return some metadata fields of the rows that fulfil a filter.

        Args:
            where: Filter or condition on the metadata, or None.
            names: Names of the fields, which are those of the table's columns.

        Raises:
            SmoothCSEError: If the filter cannot be used, or the table cannot be read.
        """
        columns = [column_of(name) for name in names]
        found = self._found(self._table.search().limit(len(self)).select(columns), self._condition(where))
        return found.select(columns).rename_columns(list(names))

    def find(self, id: str) -> Row | None:
        """Return the row with an id, or None."""
        rows = self._table.search().where(self._filters.compare("id", "=", id)).limit(1).to_list()
        return rows[0] if rows else None

    def at(self, places: Sequence[int]) -> tuple[list[Row], NDArray[np.float32]]:
        """Return the rows at these positions of the table without their vectors, and the vectors ``(n, d)``."""
        found: pa.Table = self._table.take_offsets(list(places)).to_arrow()
        vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), self.dimensions)
        return found.select(self._shown).to_pylist(), vectors

    def put_in_order(self, quantisation: IndexQuantisation) -> None:
        """Build the vector index once there are enough documents, and merge accumulated small changes."""
        if not has_vector_index(self._table):
            self.build_vector_index(quantisation)
        if is_scattered(self._table):
            with self._changing():
                gather(self._table)

    def build_vector_index(self, quantisation: IndexQuantisation) -> None:
        """Build the vector index with a quantisation, if there are enough documents for approximate search."""
        if is_approximate(self._table):
            with self._changing():
                index_vectors(self._table, quantisation)

    def _insert(self, rows: pa.Table, *, new: bool = True) -> None:
        change = self._table.merge_insert("id").when_matched_update_all()
        (change.when_not_matched_insert_all() if new else change).execute(rows)

    def _matching(self, words: str) -> Any:
        query = require("lancedb.query", "search", "Indexes").MatchQuery(words, WORDS)
        return self._table.search(query, query_type="fts")

    def _found(self, query: Any, condition: str) -> pa.Table:
        query = query.with_row_id(True)
        try:
            return (query.where(condition, prefilter=True) if condition else query).to_arrow()
        except (ValueError, OSError, RuntimeError) as error:
            raise SmoothCSEError(f"The index {self.path} cannot be searched: {_reason(error)}") from error

    @property
    def _shown(self) -> list[str]:
        return [column for column in self._table.schema.names if column not in ("vector", WORDS)]

    @property
    def _filters(self) -> Filters:
        return Filters(filter_fields(self._table.schema))

    def _condition(self, where: Filter | str | None) -> str:
        """Return a filter as a condition of the database, or an empty string for no filter."""
        if where is None:
            return ""
        if isinstance(where, str):
            return translate(where, self._filters)
        if isinstance(where, Mapping):
            return self._filters.all_of(where)
        raise self._filters.refusal(f"A filter is a mapping or a condition, not of the type {type(where).__name__}")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Prepare the latest version of the table for changes; the caller holds the index's lock."""
        try:
            self._table.checkout_latest()
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise SmoothCSEError(
                f"The index {self.path} cannot be changed and holds what it held before: {_reason(error)}"
            ) from error


def _reason(error: Exception) -> str:
    """Return the database's message, without the location in its source code."""
    return re.sub(r", /\S+\.rs:\d+:\d+$", "", first_line(error))


def _connect(path: Path) -> Any:
    with extra("search", "Indexes"):
        import lancedb
    return lancedb.connect(str(path), read_consistency_interval=STALE)
