"""Fuzzing targets of the index: search filters and document metadata."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smoothcse.errors import SmoothCSEError
from smoothcse.search import Document
from smoothcse.search.store import Store

NAMES = ("year", "source", "a.b`c", "_rowid", "odd")
_ROWS = ((2000, "a", 0.5, True, True), (2001, "it's", -1.5, False, None), (None, None, None, None, False))


def filter_target(scratch: Path, parse: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    """Search a small index; a filter is either refused before it reaches the database, or the database accepts it."""
    documents = [Document(f"text {n}", str(n), dict(zip(NAMES, row, strict=True))) for n, row in enumerate(_ROWS)]
    store = _filled(scratch / "filter.index", documents)
    query = np.ones(8, np.float32)

    def read(data: bytes) -> None:
        where = parse(data)
        try:
            rows = store.nearest(query, 9, where, exact=True)
        except SmoothCSEError as error:
            if str(error).count(" (fields: id, year, source, a.b`c, _rowid, odd).") != 1:
                raise AssertionError(str(error)) from error
            raise
        assert len({row["id"] for row in rows}) == len(rows) <= len(_ROWS)

    return read


def metadata_target(scratch: Path) -> Callable[[bytes], None]:
    """Index a document with the metadata of a JSON object, and find it by each field."""
    numbers = itertools.count()

    def read(data: bytes) -> None:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(found, dict):
            return
        metadata = {name: value for name, value in found.items() if not isinstance(value, list | dict)}
        document, path = Document("text", "1", metadata), scratch / f"metadata-{next(numbers)}.index"
        try:
            store = _filled(path, [document, Document("other", "2")])
            kept = {name: value for name, value in document.metadata.items() if value is not None}
            assert store.fields == list(kept)
            for name, value in kept.items():
                if value == value and value not in (float("inf"), -float("inf"), -(2**63)):
                    assert [row["id"] for row in store.nearest(np.ones(8, np.float32), 9, {name: value}, True)] == [
                        "1"
                    ]
        finally:
            shutil.rmtree(path, ignore_errors=True)

    return read


def _filled(path: Path, documents: list[Document]) -> Store:
    path.mkdir(exist_ok=True)
    Store.create(path, 8, documents)
    store = Store(path)
    store.write(documents, np.eye(8, dtype=np.float32)[: len(documents)])
    return store
