"""The interface of SimCSE's tool, which many scripts know, on top of this package's encoder and index."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from smoothcse.encoder import PoolingName, load_encoder
from smoothcse.encoding import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.search.documents import Document, read_documents
from smoothcse.search.index import Hit, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

Found = list[tuple[str, float]]
"""Sentences with their cosine similarities, the most similar first."""


class SimCSE:
    """Encode, compare and search sentences.

    Example::

        model = SimCSE("my-encoder")
        model.similarity("a cat", ["a dog", "a stone"])
        model.build_index("sentences.txt")
        model.search("a kitten", threshold=0.5, top_k=3)

    Args:
        model_name_or_path: a run folder, a model folder or a hub name.
        pooler: in place of the model's own pooling.
    """

    def __init__(self, model_name_or_path: str, pooler: PoolingName | None = None) -> None:
        self.name, self.pooler = model_name_or_path, pooler
        self.model = load_encoder(model_name_or_path, pooler)
        self.index: Index | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def encode(self, sentence: str | Sequence[str], normalize_to_unit: bool = True) -> NDArray[np.float32]:
        """Return the embedding of a sentence, ``(d,)``, or of several, ``(n, d)``."""
        single = isinstance(sentence, str)
        rows = encode(self.model, [sentence] if isinstance(sentence, str) else sentence, normalize=normalize_to_unit)
        return rows[0] if single else rows

    def similarity(self, queries: str | Sequence[str], keys: str | Sequence[str]) -> float | NDArray[np.float32]:
        """Return the cosine similarities of queries with keys: a number for two sentences, else an array."""
        similarities: NDArray[np.float32] = self.encode(queries) @ self.encode(keys).T
        return similarities if similarities.ndim else float(similarities)

    def build_index(self, sentences_or_file_path: str | Path | Sequence[str], path: str | Path | None = None) -> None:
        """Index the lines of a file, or sentences.

        Args:
            sentences_or_file_path: what to index.
            path: folder to keep the index in, which :meth:`~smoothcse.search.Index.open` finds again; None for one
                that goes with this object.
        """
        if isinstance(sentences_or_file_path, str | Path):
            documents = read_documents(Path(sentences_or_file_path))
        else:
            documents = (Document(sentence) for sentence in sentences_or_file_path)
        if path is None:
            self._folder = tempfile.TemporaryDirectory()
            path = Path(self._folder.name) / "index"
        self.index = Index.build(path, self.name, documents, pooling=self.pooler, console=Console(quiet=True))

    def search(self, queries: str | Sequence[str], threshold: float = 0.6, top_k: int = 5) -> Found | list[Found]:
        """Return the indexed sentences of at least a threshold, for one query or for each of several alike.

        Raises:
            SmoothCSEError: before :meth:`build_index`.
        """
        if self.index is None:
            raise SmoothCSEError("There is nothing to search yet; call build_index first.")
        several = [queries] if isinstance(queries, str) else list(queries)
        vectors = self.encode(several)
        found = [_pairs(self.index.nearest(vector, top_k, threshold=threshold)) for vector in vectors]
        return found[0] if isinstance(queries, str) else found


def _pairs(hits: list[Hit]) -> Found:
    return [(hit.text, hit.score) for hit in hits]
