"""Map of a corpus: its documents on a plane, with similar documents close together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smoothcse.search import Index

COMPONENTS = 50
"""Number of principal components given to t-SNE; distances in 50 dimensions are cheap and contain less noise."""

TEXT_LIMIT = 500
"""Maximum characters per document in the map; 5,000 whole documents would be a large download."""

# With 5,000 documents of d = 384, these settings took 24 s of CPU time with a trustworthiness (k = 10) of 0.963;
# perplexity 30, 500 iterations and angle 0.5 took 41 s with 0.965.
_PERPLEXITY = 15.0
_ITERATIONS = 400
_ANGLE = 0.8


def corpus_map(index: Index, limit: int = 5000, seed: int = 0) -> dict[str, Any]:
    """Lay out a sample of an index on a plane.

    Args:
        index: Index with the documents and their vectors.
        limit: Maximum documents on the map. Default 5000, which takes about 14 s of one core at d = 384.
        seed: Seed of the sample and of the projection. The same index, limit and seed give the same map.

    Returns:
        A dictionary ready for JSON: ``points``, one ``{"id", "x", "y", "text", "metadata"}`` per document with x and
        y in [-1, 1] and the text cut at 500 characters; ``fields``, the names of the metadata fields; ``method``, the
        projection method; and ``incomplete``, why documents may be missing, or None.
    """
    incomplete = index.incomplete  # read before the sample, which may contain more
    documents, vectors = index.sample(limit, seed)
    positions, method = project(vectors, seed)
    points = [
        {"id": document.id, "x": x, "y": y, "text": _clipped(document.text), "metadata": dict(document.metadata)}
        for document, (x, y) in zip(documents, positions.round(4).tolist(), strict=True)
    ]
    return {"points": points, "fields": list(index.fields), "method": method, "incomplete": incomplete}


def project(vectors: NDArray[np.float32], seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Project vectors to the plane so that cosine neighbours stay neighbours.

    The projection is t-SNE (van der Maaten & Hinton, 2008) of the first 50 principal components, initialised with the
    first two. With fewer than five distinct vectors, which have no meaningful neighbourhoods, it is the first two
    principal components.

    Args:
        vectors: Vectors of any length, shape ``(n, d)``, n >= 0.
        seed: Seed of the randomised decomposition.

    Returns:
        Centred positions ``(n, 2)`` in [-1, 1] with one scale for both axes, and the name of the method.
    """
    from sklearn.preprocessing import normalize

    different = len(np.unique(vectors, axis=0))
    if different < 2:
        return np.zeros((len(vectors), 2)), "one point"
    directions = normalize(np.asarray(vectors, dtype=np.float64))
    components = _principal_components(directions, seed)
    if different < 5:
        return _framed(components[:, :2]), "PCA"
    return _framed(_tsne(components, seed)), "t-SNE"


def _principal_components(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return up to 50 principal components ``(n, c)``, and at least two; a single one is padded with zeros."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *vectors.shape)
    found: NDArray[np.float64] = PCA(count, svd_solver="auto", random_state=seed).fit_transform(vectors)
    return found if count > 1 else np.hstack([found, np.zeros_like(found)])


def _tsne(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    start = vectors[:, :2] / (vectors[:, 0].std() or 1.0) * 1e-4
    tsne = TSNE(
        init=start,
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        max_iter=_ITERATIONS,
        angle=_ANGLE,
        random_state=seed,
    )
    found: NDArray[np.float64] = tsne.fit_transform(vectors)
    return found.astype(np.float64)


def _framed(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre positions and scale them into the square from -1 to 1."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    centred: NDArray[np.float64] = positions - (low + high) / 2
    return centred / (float((high - low).max()) / 2 or 1.0)


def _clipped(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1].rstrip() + "…"
