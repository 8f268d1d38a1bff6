"""Ids of documents that come without one."""

from __future__ import annotations

import xxhash


def text_id(text: str) -> str:
    """Return the id of a document without one: a hash of its text, so that the same text is the same document."""
    return xxhash.xxh3_64_hexdigest(text.encode())
