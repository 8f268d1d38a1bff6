"""Map of a corpus: its documents on a plane, with similar documents close together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smoothcse.evaluation.lexical import stop_words_of
from smoothcse.service.map_process import MapProcess

if TYPE_CHECKING:
    from smoothcse.search import Index

TEXT_LIMIT = 500
"""Maximum characters per document in the map; 5,000 whole documents would be a large download."""


def corpus_map(index: Index, process: MapProcess | None = None, limit: int = 5000, seed: int = 0) -> dict[str, Any]:
    """Lay out a sample of an index on a plane.

    Args:
        index: Index with the documents and their vectors.
        process: Process that computes the layout; its ``share`` tells the progress. Default: a new one.
        limit: Maximum documents on the map. Default 5000, which takes about 14 s of one core at d = 384.
        seed: Seed of the sample and of the projection. The same index, limit and seed give the same map.

    Returns:
        A dictionary ready for JSON: ``points``, one ``{"id", "x", "y", "text", "metadata"}`` per document with x and
        y in [-1, 1] and the text cut at 500 characters; ``documents``, the size of the index; ``clusters``, the
        regions of the map, see :func:`~smoothcse.service.map_layout.find_clusters`; ``fields``, the names of the
        metadata fields; ``method``, the projection method; and ``incomplete``, why documents may be missing, or None.

    Raises:
        Refusal: Status 503 if the process is ended.
    """
    incomplete = index.incomplete  # read before the sample, which may contain more
    total = len(index)
    documents, vectors = index.sample(limit, seed)
    texts = [_clipped(document.text) for document in documents]
    layout = (process or MapProcess()).lay_out(vectors, texts, sorted(stop_words_of(index.language)), seed)
    points = [
        {"id": document.id, "x": x, "y": y, "text": text, "metadata": dict(document.metadata)}
        for document, text, (x, y) in zip(documents, texts, layout["positions"], strict=True)
    ]
    return {
        "points": points,
        "documents": max(total, len(points)),
        "clusters": layout["clusters"],
        "fields": list(index.fields),
        "method": layout["method"],
        "incomplete": incomplete,
    }


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1].rstrip() + "…"
