"""Layout of documents on a plane, and names for its regions; run as a program, it lays out one map.

``python map_layout.py FOLDER`` reads ``vectors.npy`` and ``texts.json`` from a folder and writes ``layout.json``. It
imports numpy and scikit-learn alone, so that it starts quickly, and has the lowest priority, so that it delays no
request.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COMPONENTS = 50
"""Number of principal components given to t-SNE; distances in 50 dimensions are cheap and contain less noise."""

# With 5,000 documents of d = 384, these settings took 24 s of CPU time with a trustworthiness (k = 10) of 0.963;
# perplexity 30, 500 iterations and angle 0.5 took 41 s with 0.965.
_PERPLEXITY = 15.0
ITERATIONS = 400
_ANGLE = 0.8

_MOST_CLUSTERS = 20
_DOCUMENTS_PER_CLUSTER = 10  # sqrt(n / 10) clusters: 5 for 300 documents, 20 from 4,000
_NAME_WORDS = 3
_WORD = r"(?u)\b[^\W\d_]\w+\b"


def project(vectors: NDArray[np.float32], seed: int = 0, verbose: bool = False) -> tuple[NDArray[np.float64], str]:
    """Project vectors to the plane so that cosine neighbours stay neighbours.

    The projection is t-SNE (van der Maaten & Hinton, 2008) of the first 50 principal components, initialised with the
    first two. With fewer than five distinct vectors, which have no meaningful neighbourhoods, it is the first two
    principal components.

    Args:
        vectors: Vectors of any length, shape ``(n, d)``, n >= 0.
        seed: Seed of the randomised decomposition.
        verbose: Whether t-SNE prints every 50th iteration.

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
    return _framed(_tsne(components, seed, verbose)), "t-SNE"


def find_clusters(
    positions: NDArray[np.float64], texts: Sequence[str], stop_words: Sequence[str] = (), seed: int = 0
) -> list[dict[str, Any]]:
    """Divide a map into regions by k-means, and name each by the words that are typical of its documents.

    Args:
        positions: Positions of the documents, shape ``(n, 2)``.
        texts: Text of each document.
        stop_words: Words in lower case that are part of no name.
        seed: Seed of k-means.

    Returns:
        ``{"name", "x", "y", "documents"}`` per region, the largest first, with the mean position of its documents.
        A map without two regions, or without words, has none.
    """
    from sklearn.cluster import KMeans

    count = min(_MOST_CLUSTERS, round((len(texts) / _DOCUMENTS_PER_CLUSTER) ** 0.5), len(np.unique(positions, axis=0)))
    if count < 2:
        return []
    labels = KMeans(count, n_init=4, random_state=seed).fit(positions).labels_
    found = []
    for label, name in enumerate(_names(labels, count, texts, stop_words)):
        x, y = positions[labels == label].mean(axis=0).round(4).tolist()
        found.append({"name": name, "x": x, "y": y, "documents": int((labels == label).sum())})
    return sorted((one for one in found if one["name"]), key=lambda one: -one["documents"])


def _names(labels: NDArray[np.int32], count: int, texts: Sequence[str], stop_words: Sequence[str]) -> list[str]:
    """Return the best words of each cluster by c-TF-IDF (Grootendorst, 2022).

    The weight of a term t in a cluster c is sqrt(tf(t, c)) * log(1 + A / f(t)): tf is the share of t among the terms
    of c, f the frequency of t in all clusters, and A the mean number of terms per cluster. A document counts a term
    once, so that no document names its cluster alone.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(token_pattern=_WORD, stop_words=list(stop_words) or None, binary=True, dtype=np.float64)
    try:
        counts = words.fit_transform(texts)
    except ValueError:  # no text has a word
        return [""] * count
    terms = words.get_feature_names_out()
    members = np.eye(count)[labels].T  # (clusters, documents)
    frequency = np.asarray((counts.T @ members.T).T)
    shares = frequency / frequency.sum(axis=1, keepdims=True).clip(1)
    weights = np.sqrt(shares) * np.log1p(frequency.sum() / count / frequency.sum(axis=0))
    best = [[number for number in np.argsort(-row, kind="stable")[:30] if row[number]] for row in weights]
    return [_joined([str(terms[number]) for number in numbers]) for numbers in best]


def _joined(terms: Sequence[str]) -> str:
    """Join the first words, without words that begin like an earlier one."""
    chosen: list[str] = []
    for term in terms:
        if len(chosen) < _NAME_WORDS and not any(term.startswith(one[:5]) for one in chosen):
            chosen.append(term[:24])
    return ", ".join(chosen)


def _principal_components(vectors: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return up to 50 principal components ``(n, c)``, and at least two; a single one is padded with zeros."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *vectors.shape)
    found: NDArray[np.float64] = PCA(count, svd_solver="auto", random_state=seed).fit_transform(vectors)
    return found if count > 1 else np.hstack([found, np.zeros_like(found)])


def _tsne(vectors: NDArray[np.float64], seed: int, verbose: bool) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    start = vectors[:, :2] / (vectors[:, 0].std() or 1.0) * 1e-4
    tsne = TSNE(
        init=start,
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        max_iter=ITERATIONS,
        angle=_ANGLE,
        random_state=seed,
        verbose=2 * verbose,
    )
    found: NDArray[np.float64] = tsne.fit_transform(vectors)
    return found.astype(np.float64)


def _framed(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre positions and scale them into the square from -1 to 1."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    centred: NDArray[np.float64] = positions - (low + high) / 2
    return centred / (float((high - low).max()) / 2 or 1.0)


def main(folder: Path) -> None:
    """Lay out the map of a folder."""
    if hasattr(os, "nice"):
        os.nice(19)
    given = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    positions, method = project(np.load(folder / "vectors.npy"), given["seed"], verbose=True)
    clusters = find_clusters(positions, given["texts"], given["stop_words"], given["seed"])
    layout = {"positions": positions.round(4).tolist(), "method": method, "clusters": clusters}
    (folder / "layout.json").write_text(json.dumps(layout), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
