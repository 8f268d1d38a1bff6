"""From a model and documents to nearest neighbours: a persistent index."""

from __future__ import annotations

from smoothcse.search.documents import Document, read_documents
from smoothcse.search.index import Hit, Index

__all__ = ["Document", "Hit", "Index", "read_documents"]
