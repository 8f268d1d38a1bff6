"""The interface of SimCSE's tool, on top of this package's encoder and index."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from smoothcse._utils.choices import InputType, PoolingName
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.search.documents import Document, read_documents
from smoothcse.search.index import Hit, Index

if TYPE_CHECKING:
    from numpy.typing import NDArray

Queries: TypeAlias = "str | Sequence[str] | NDArray[np.float32]"
"""One sentence, several sentences, or embeddings."""

Found = list[tuple[str, float]]
"""Sentences with their cosine similarities, most similar first."""


class SimCSE:
    """Encode, compare and search sentences.

    Example::

        model = SimCSE("my-encoder")
        model.similarity("a cat", ["a dog", "a stone"])
        model.build_index("sentences.txt")
        model.search("a kitten", threshold=0.5, top_k=3)

    Args:
        model_name_or_path: Run folder, model folder or Hub name.
        pooler: Pooling to use instead of the model's own.
    """

    def __init__(self, model_name_or_path: str, pooler: PoolingName | None = None) -> None:
        self.name, self.pooler = model_name_or_path, pooler
        self.model = load_encoder(model_name_or_path, pooler)
        self.index: Index | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @overload
    def encode(
        self,
        sentence: str | Sequence[str],
        device: str | None = ...,
        return_numpy: Literal[False] = ...,
        normalize_to_unit: bool = ...,
        keepdim: bool = ...,
        batch_size: int = ...,
        max_length: int = ...,
    ) -> Tensor: ...

    @overload
    def encode(
        self,
        sentence: str | Sequence[str],
        device: str | None = ...,
        *,
        return_numpy: Literal[True],
        normalize_to_unit: bool = ...,
        keepdim: bool = ...,
        batch_size: int = ...,
        max_length: int = ...,
    ) -> NDArray[np.float32]: ...

    def encode(
        self,
        sentence: str | Sequence[str],
        device: str | None = None,
        return_numpy: bool = False,
        normalize_to_unit: bool = True,
        keepdim: bool = False,
        batch_size: int = 64,
        max_length: int = 128,
    ) -> Tensor | NDArray[np.float32]:
        """Return the embedding of a sentence, ``(d,)``, or of several, ``(n, d)``.

        Args:
            sentence: One sentence or several.
            device: Device to move the model to permanently. Default: its current device.
            return_numpy: Whether to return an array instead of a tensor on the CPU.
            normalize_to_unit: Whether to scale each embedding to length 1.
            keepdim: Whether to return ``(1, d)`` for one sentence.
            batch_size: Sentences per batch.
            max_length: Maximum tokens per sentence, if the model's own limit is not lower.
        """
        if device is not None:
            self.model.to(device)
        single = isinstance(sentence, str)
        rows = self._encoded(
            [sentence] if isinstance(sentence, str) else sentence, max_length, batch_size, normalize_to_unit
        )
        rows = rows[0] if single and not keepdim else rows
        return rows if return_numpy else torch.from_numpy(rows)

    def similarity(self, queries: Queries, keys: Queries, device: str | None = None) -> float | NDArray[np.float32]:
        """Return the cosine similarities of queries with keys.

        Args:
            queries: One sentence, several, or embeddings ``(d,)`` or ``(n, d)``, which need not be normalised.
            keys: Sentences or embeddings, like ``queries``.
            device: Device, as in :meth:`encode`.

        Returns:
            A number for one query and one key, shape ``(m,)`` for one query and m keys, otherwise ``(n, m)``.
        """
        one, other = self._vectors(queries, device), self._vectors(keys, device)
        similarities: NDArray[np.float32] = np.atleast_2d(one) @ np.atleast_2d(other).T
        if one.ndim > 1:
            return similarities
        return similarities[0] if other.ndim > 1 else float(similarities[0, 0])

    def build_index(self, sentences_or_file_path: str | Path | Sequence[str], path: str | Path | None = None) -> None:
        """Index sentences, or the documents of a file.

        Args:
            sentences_or_file_path: Sentences or file to index.
            path: Folder for a permanent index, which :meth:`~smoothcse.search.Index.open` can open. Default: a
                temporary index that is deleted with this object.
        """
        documents = _documents(sentences_or_file_path)
        if path is None:
            self._folder = tempfile.TemporaryDirectory()
            path = Path(self._folder.name) / "index"
        self.index = Index.build(path, self.name, documents, pooling=self.pooler, console=Console(quiet=True))

    def add_to_index(self, sentences_or_file_path: str | Path | Sequence[str]) -> None:
        """Add sentences, or the documents of a file, to the index, without those that it has.

        Raises:
            SmoothCSEError: If :meth:`build_index` has not been called.
        """
        self._index().add(_documents(sentences_or_file_path), skip_known=True, console=Console(quiet=True))

    def search(self, queries: str | Sequence[str], threshold: float = 0.6, top_k: int = 5) -> Found | list[Found]:
        """Return the indexed sentences above a similarity threshold, for one query or for each of several.

        Args:
            queries: One query or several.
            threshold: Minimum cosine similarity.
            top_k: Maximum sentences per query.

        Raises:
            SmoothCSEError: If :meth:`build_index` has not been called.
        """
        index = self._index()
        several = [queries] if isinstance(queries, str) else list(queries)
        vectors = self._encoded(several, input_type="query")
        found = [_pairs(index.nearest(vector, top_k, threshold=threshold)) for vector in vectors]
        return found[0] if isinstance(queries, str) else found

    def _encoded(
        self,
        sentences: Sequence[str],
        max_length: int = 128,
        batch_size: int = 64,
        normalize: bool = True,
        input_type: InputType | None = None,
    ) -> NDArray[np.float32]:
        own = self.model.max_seq_length
        self.model.max_seq_length = max_length if own is None else min(own, max_length)
        try:
            return encode(self.model, sentences, input_type, batch_size=batch_size, normalize=normalize)
        finally:
            self.model.max_seq_length = own

    def _index(self) -> Index:
        if self.index is None:
            raise SmoothCSEError("There is nothing to search yet; call build_index first.")
        return self.index

    def _vectors(self, queries: Queries, device: str | None) -> NDArray[np.float32]:
        if not isinstance(queries, np.ndarray):
            return self.encode(queries, device, return_numpy=True)
        return unit_rows(queries).astype(np.float32)


def _documents(sentences_or_file_path: str | Path | Sequence[str]) -> Iterable[Document]:
    if isinstance(sentences_or_file_path, str | Path):
        return read_documents(Path(sentences_or_file_path))
    return (Document(sentence) for sentence in sentences_or_file_path)


def _pairs(hits: list[Hit]) -> Found:
    return [(hit.text, hit.score) for hit in hits]
