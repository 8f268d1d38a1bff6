"""Facets: the frequent values and the range of each metadata field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from smoothcse.search.documents import Scalar
from smoothcse.search.filters import Filter, Kind

if TYPE_CHECKING:
    from smoothcse.search.store import Store

VALUES = 20
"""Default number of values per field."""

FILTERS = 100
"""Number of filters whose facets are kept for a version of the table."""

_DATE = r"^\d{4}-\d{2}(-\d{2}([T ].*)?)?$"


@dataclass(frozen=True)
class Facet:
    """The values of a metadata field.

    Attributes:
        name: Name of the field.
        kind: Type of the values; ``dates`` for texts that are all dates in ISO 8601, such as 2024-05-01.
        values: The most frequent values, each with its number of documents, the most frequent first.
        different: Number of different values.
        minimum: Smallest number or date, or None.
        maximum: Largest number or date, or None.
    """

    name: str
    kind: Kind | Literal["dates"]
    values: tuple[tuple[Scalar, int], ...]
    different: int
    minimum: Scalar = None
    maximum: Scalar = None


class FacetCache:
    """Facets of an index, counted once for each filter and version of its table.

    Several threads may ask at once: what one of them counts for an older version is never shown for a newer one.

    Args:
        store: Table of the index.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: tuple[int, dict[tuple[str, int], list[Facet]]] = (-1, {})

    def find(self, where: Filter, values: int) -> list[Facet]:
        """Return what :func:`find_facets` does for the latest version of the table."""
        version, asked = self._store.version, (repr(dict(where)), values)
        known = self._known
        if known[0] != version or (len(known[1]) >= FILTERS and asked not in known[1]):
            known = self._known = (version, {})
        if asked not in known[1]:
            known[1][asked] = find_facets(self._store, where, values)
        return [*known[1][asked]]


def find_facets(store: Store, where: Filter, values: int) -> list[Facet]:
    """Return the facet of each metadata field that has values, see :meth:`smoothcse.search.Index.facets`.

    Args:
        store: Table of the index.
        where: Filter on the metadata; each field is counted without its own condition.
        values: Maximum values per field.
    """
    names, kinds = store.fields, store.kinds
    free = [name for name in names if name not in where]
    columns = _columns(store, where, free)
    for name in where:
        if name in kinds:
            columns |= _columns(store, {other: one for other, one in where.items() if other != name}, [name])
    counted = (_facet(name, columns[name], kinds[name], values) for name in names)
    return [facet for facet in counted if facet.different]


def _columns(store: Store, where: Filter, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    if not names:
        return {}
    table = store.metadata_table(where or None, names)
    return dict(zip(names, table.columns, strict=True))


def _facet(name: str, column: pa.ChunkedArray, kind: Kind, most: int) -> Facet:
    found = column.drop_null()
    if pa.types.is_floating(found.type):
        found = found.filter(pc.is_finite(found))
    counts = pa.Table.from_struct_array(pc.value_counts(found.combine_chunks()))
    frequent = counts.sort_by([("counts", "descending"), ("values", "ascending")]).slice(0, most).to_pylist()
    dates = kind == "text" and bool(counts) and pc.all(pc.match_substring_regex(found, _DATE)).as_py()
    ranged = bool(counts) and (dates or kind in ("numbers", "whole numbers"))
    bounds = pc.min_max(found).as_py() if ranged else {"min": None, "max": None}
    values = tuple((one["values"], one["counts"]) for one in frequent)
    return Facet(name, "dates" if dates else kind, values, len(counts), bounds["min"], bounds["max"])
