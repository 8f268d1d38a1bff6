"""Semantic search: a persistent index of documents and their embeddings.

The public names are imported when they are first used, so that a search by a running service loads no model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcse.search.documents import Document, read_documents
    from smoothcse.search.hits import Hit
    from smoothcse.search.index import Index

__all__ = ["Document", "Hit", "Index", "read_documents"]

_FILES = {"Document": "documents", "Hit": "hits", "Index": "index", "read_documents": "documents"}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module 'smoothcse.search' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smoothcse.search.{_FILES[name]}"), name)
