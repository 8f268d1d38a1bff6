"""Semantic search: a persistent index of documents and their embeddings."""

from __future__ import annotations

from smoothcse.search.documents import Document, read_documents
from smoothcse.search.index import Hit, Index

__all__ = ["Document", "Hit", "Index", "read_documents"]
