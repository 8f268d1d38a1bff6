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
from smoothcse.search.column_names import OWN, name_of
from smoothcse.search.conditions import translate
from smoothcse.search.documents import Document
from smoothcse.search.filters import Filter, Filters
from smoothcse.search.table_rows import filter_fields, metadata_fields, own_fields, to_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

APPROXIMATE_FROM = 50_000
"""Number of documents from which search is approximate."""

PARTITIONS = 64
"""Number of partitions that an approximate search looks at, the most promising first."""

REFINE_FACTOR = 10
"""Number of candidates per requested document that are ranked by their full vectors."""

MAX_FRAGMENTS = 128
"""Number of table fragments, one per change, from which they are merged."""

STALE = timedelta(seconds=1)
"""Interval after which a reader checks for changes by other processes."""

_INDEXES: dict[IndexQuantisation, str] = {"pq": "IvfPq", "int8": "IvfSq", "binary": "IvfRq"}
"""LanceDB's configuration of each quantisation; IvfRq is RaBitQ, of one bit per dimension."""

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
        _connect(path).create_table(_TABLE, schema=schema)

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return [name_of(column) for column in self._table.schema.names if column not in OWN]

    def __len__(self) -> int:
        """Return the number of documents."""
        return int(self._table.count_rows())

    @property
    def version(self) -> int:
        """Version number of the table after its last change."""
        self._table.checkout_latest()
        return int(self._table.version)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the subset of the ids that exist."""
        found = self._table.search().where(self._filters.one_of("id", ids)).select(["id"]).limit(len(ids)).to_list()
        return {row["id"] for row in found}

    def write(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Add documents, or replace those with the same ids, in one atomic change.

        Args:
            documents: Documents to write.
            vectors: Unit vectors of the documents, shape ``(n, d)``.

        Raises:
            SmoothCSEError: If the metadata do not fit, or the table cannot be changed.
        """
        with self._changing():
            new = metadata_fields(documents, self.fields)
            rows = to_rows(documents, vectors, pa.schema([*self._table.schema, *new]))  # fails before any change
            if new:
                self._table.add_columns(new)
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

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
        columns = [column for column in self._table.schema.names if column != "vector"]
        query = self._table.search(vector).distance_type("cosine").limit(k).select([*columns, "_distance"])
        query = query.bypass_vector_index() if exact else query.nprobes(PARTITIONS).refine_factor(REFINE_FACTOR)
        if condition := self._condition(where):
            query = query.where(condition, prefilter=True)
        try:
            return list(query.to_list())
        except (ValueError, OSError, RuntimeError) as error:
            raise SmoothCSEError(f"The index {self.path} cannot be searched: {_reason(error)}") from error

    def find(self, id: str) -> Row | None:
        """Return the row with an id, or None."""
        rows = self._table.search().where(self._filters.compare("id", "=", id)).limit(1).to_list()
        return rows[0] if rows else None

    def at(self, places: Sequence[int]) -> tuple[list[Row], NDArray[np.float32]]:
        """Return the rows at these positions of the table without their vectors, and the vectors ``(n, d)``."""
        found: pa.Table = self._table.take_offsets(list(places)).to_arrow()
        vectors = found["vector"].combine_chunks().flatten().to_numpy().reshape(len(found), self.dimensions)
        return found.drop_columns("vector").to_pylist(), vectors

    def put_in_order(self, quantisation: IndexQuantisation) -> None:
        """Build the vector index once there are enough documents, and merge accumulated small changes."""
        name = next((found.name for found in self._table.list_indices() if "vector" in found.columns), None)
        if name is None and len(self) >= APPROXIMATE_FROM:
            self.build_vector_index(quantisation)
            return
        loose = 0 if name is None else self._table.index_stats(name).num_unindexed_rows
        if loose >= APPROXIMATE_FROM // 10 or self._table.stats()["fragment_stats"]["num_fragments"] >= MAX_FRAGMENTS:
            with self._changing():
                self._table.optimize(cleanup_older_than=timedelta(hours=1))  # readers may still use recent versions

    def build_vector_index(self, quantisation: IndexQuantisation) -> None:
        """Build the vector index with a quantisation, if there are enough documents for approximate search."""
        if len(self) >= APPROXIMATE_FROM:
            with self._changing():
                index = getattr(require("lancedb.index", "search", "Indexes"), _INDEXES[quantisation])(
                    distance_type="cosine"
                )
                self._table.create_index("vector", config=index)

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
