"""A persistent index: the name of a model, and a table of documents with their embeddings.

::

    docs.index/
      index.json         model, fingerprint, quantisation, language, search settings, unfinished changes
      documents.lance/   text, id, metadata, unit vector and words of each document
      map.json           latest map of the service, if it was asked for one
      .lock              held by the writing process; readers need no lock
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from rich.console import Console

from smoothcse._utils.choices import IndexQuantisation, PoolingName, Precision, Rerank
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.fusion import COSINE_WEIGHT, check_weight
from smoothcse.evaluation.lexical import Words, detect_language
from smoothcse.evaluation.maxsim import CANDIDATES
from smoothcse.runs.search_settings import find_search_settings
from smoothcse.search.documents import Document, whole_characters
from smoothcse.search.facets import VALUES, Facet, FacetCache
from smoothcse.search.filters import Filter
from smoothcse.search.fused_search import search_fused
from smoothcse.search.hits import Hit, hit_of, metadata_of
from smoothcse.search.index_folder import create_index, locked, remove_index, require_room
from smoothcse.search.index_places import is_index
from smoothcse.search.index_record import IndexRecord, check_quantisation, choose_quantisation
from smoothcse.search.index_writer import IndexWriter, joined
from smoothcse.search.maxsim_search import check_rerank, rerank_hits
from smoothcse.search.store import Row, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

__all__ = ["Hit", "Index"]


class Index:
    """Documents and their vectors in a folder; created by :meth:`build` or :meth:`open`.

    Attributes:
        path: Index folder.
        model: Encoder of documents and queries.
        precision: Arithmetic of the model.
    """

    def __init__(self, path: Path, model: SentenceTransformer, precision: Precision = "fp32") -> None:
        self.path = path
        self.model = model
        self.precision = precision
        self._store = Store(path)
        self._facets = FacetCache(self._store)
        self._writer = IndexWriter(path, self._store, self._embed)

    @classmethod
    def build(
        cls,
        path: str | Path,
        model: str,
        documents: Iterable[Document],
        *,
        pooling: PoolingName | None = None,
        dimensions: int | None = None,
        quantisation: IndexQuantisation | None = None,
        source: str = "documents",
        complete: bool = False,
        precision: Precision = "fp32",
        console: Console | None = None,
    ) -> Index:
        """Index documents in a new folder, or add missing ones to an existing index without encoding the others again.

        Args:
            path: Index folder.
            model: Run folder, model folder or Hub name. The index records it, so that :meth:`open` finds the model.
            documents: Documents; they are read once, a few thousand at a time.
            pooling: Pooling to use instead of the model's own.
            dimensions: Number of leading dimensions of each vector to keep. Default: all. Dropping dimensions costs
                little quality only if the model was trained for it (Matryoshka representation learning).
            quantisation: Quantisation for approximate search. Default: that of an existing index; for a new index
                ``binary``, or ``int8`` if the dimension is not divisible by 8.
            source: Name of the documents' source. Until all documents are indexed, the index is :attr:`incomplete` and
                names the source; building from that source again resumes.
            complete: Whether to mark the index as complete afterwards, even if other sources are unfinished.
            precision: Arithmetic of the model, see :func:`~smoothcse.encoders.inference.encode`.
            console: Console for the progress bar. Default: standard error.

        Raises:
            SmoothCSEError: If the folder holds something other than an index, the index was built with another model,
                another process is writing to it, or there is no document.
        """
        if quantisation is not None:
            check_quantisation(quantisation)
        path, documents = Path(path), iter(documents)
        is_there = is_index(path)
        pooling = pooling or (IndexRecord.read(path).pooling if is_there else None)
        encoder, settings = load_encoder(model, pooling), find_search_settings(model)
        if not is_there:
            first = list(islice(documents, IndexWriter.COMMIT))
            width = _width(encoder, dimensions)
            require_room(path, first)
            record = IndexRecord(
                model=str(Path(model).resolve()) if Path(model).is_dir() else model,  # valid in any working directory
                pooling=pooling,
                fingerprint=fingerprint(encoder),
                quantisation=choose_quantisation(quantisation, width),
                unfinished=(source,),
                language=detect_language(document.text for document in first),
            )
            documents = chain(first, documents)
        with locked(path):
            if new := not is_index(path):
                create_index(path, record, width, first)
            index = cls._open(path, encoder, precision)
            if dimensions not in (None, index.dimensions):
                raise SmoothCSEError(
                    f"{path} keeps {index.dimensions} dimensions, not {dimensions}; build a new index for these."
                )
            if quantisation not in (None, index.record.quantisation):
                index._writer.requantise(quantisation)
            index._writer.set_search_settings(settings)
            try:
                index._writer.add(documents, source, skip_known=True, complete=complete, console=console)
            except BaseException:
                if new and not len(index):
                    remove_index(path)
                raise
        return index

    @classmethod
    def open(
        cls, path: str | Path, model: str | SentenceTransformer | None = None, *, precision: Precision = "fp32"
    ) -> Index:
        """Open an index.

        Args:
            path: Index folder.
            model: Model, or its path or Hub name. Default: the one that the index names.
            precision: Arithmetic of the model, see :func:`~smoothcse.encoders.inference.encode`.

        Raises:
            SmoothCSEError: If the folder holds no index, or the index was built with another model.

        Warns:
            UserWarning: If the index is :attr:`incomplete`.
        """
        index = cls._open(Path(path), model, precision)
        if sentence := index.incomplete:
            warnings.warn(sentence, UserWarning, stacklevel=2)
        return index

    @classmethod
    def _open(cls, path: Path, model: str | SentenceTransformer | None, precision: Precision = "fp32") -> Index:
        record = IndexRecord.read(path)
        if model is None or isinstance(model, str):
            model = load_encoder(model or record.model, record.pooling)
        if fingerprint(model) != record.fingerprint:
            raise SmoothCSEError(
                f"The index {path} was made by another model ({record.model} as it was then), whose vectors cannot be "
                "compared with this model's; give that model, or build a new index."
            )
        return cls(path, model, precision)

    @staticmethod
    def fingerprint_of(path: str | Path) -> str:
        """Return the fingerprint of the model that an index was built with.

        Args:
            path: Index folder.

        Raises:
            SmoothCSEError: If the folder holds no index.
        """
        return IndexRecord.read(Path(path)).fingerprint

    @property
    def record(self) -> IndexRecord:
        """Current content of ``index.json``."""
        return IndexRecord.read(self.path)

    @property
    def incomplete(self) -> str | None:
        """One sentence on why documents may be missing; None for a complete index."""
        return self.record.incomplete(self.path)

    @property
    def cosine_weight(self) -> float:
        """Default weight of the cosine similarity in a search: the model's own, else 0.7; 1 if there are no words."""
        record = self.record
        if record.language is None:
            return 1.0
        return COSINE_WEIGHT if record.cosine_weight is None else record.cosine_weight

    @property
    def rerank(self) -> Rerank:
        """Default second stage of a search: what came with the model, else none."""
        return self.record.rerank

    @property
    def without_words(self) -> str | None:
        """One sentence on why the index is searched by meaning alone; None for an index with words."""
        if self.record.language is not None:
            return None
        return (
            f"The index {self.path.name} is of an earlier version without words for BM25 and is searched by meaning "
            "alone; run `smoothcse index` with the same arguments again to add them."
        )

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return self._store.fields

    @property
    def version(self) -> int:
        """Number that increases with each change of the documents."""
        return self._store.version

    @property
    def language(self) -> str | None:
        """Language of the words; None for an index without words."""
        return self.record.language

    @property
    def dimensions(self) -> int:
        """Dimension of the stored vectors, which hold the first dimensions of the model's embeddings."""
        return self._store.dimensions

    def check_cosine_weight(self, cosine_weight: float) -> str | None:
        """Check that the index can be searched with a weight, and return the language of its words, if it has any.

        Args:
            cosine_weight: Weight of the cosine similarity.

        Raises:
            SmoothCSEError: If the weight is outside 0..1, or less than 1 and the index has no words.
        """
        check_weight(cosine_weight)
        if self.without_words and cosine_weight < 1:
            raise SmoothCSEError(f"A cosine weight below 1 needs words in the index. {self.without_words}")
        return self.record.language

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._store)

    def add(
        self,
        documents: Iterable[Document],
        *,
        skip_known: bool = False,
        source: str = "documents",
        complete: bool = False,
        console: Console | None = None,
        embed: Callable[[Sequence[str]], NDArray[np.float32]] | None = None,
    ) -> None:
        """Add documents; a document with a known id replaces the earlier one.

        Args:
            documents: Documents; they are read and committed once, a few thousand at a time.
            skip_known: Whether to leave documents with a known id as they are, without encoding them again.
            source: Name of the documents' source, as in :meth:`build`.
            complete: Whether to mark the index as complete afterwards, as in :meth:`build`.
            console: Console for the progress bar. Default: standard error.
            embed: Function from texts to the model's embeddings of them as documents, ``(n, d)``, for callers that
                share the model with other threads. Default: the model encodes them here.

        Raises:
            SmoothCSEError: If the metadata of a document do not fit the index, or another process is writing to it.
        """
        writer = self._writer
        if embed is not None:
            writer = IndexWriter(self.path, self._store, lambda texts: self._kept(embed(texts)))
        with locked(self.path):
            writer.add(documents, source, skip_known=skip_known, complete=complete, console=console)

    def update(
        self,
        documents: Iterable[Document],
        *,
        source: str = "updates",
        complete: bool = False,
        console: Console | None = None,
    ) -> None:
        """Encode documents and replace those with the same ids, or add them, as :meth:`add` does."""
        self.add(documents, source=source, complete=complete, console=console)

    def delete(self, ids: Iterable[str], *, source: str = "deletions", complete: bool = False) -> int:
        """Delete documents by id, and return how many of the ids existed."""
        with locked(self.path):
            return self._writer.delete(ids, source, complete)

    def requantise(self, quantisation: IndexQuantisation) -> None:
        """Change the quantisation for approximate search; the documents and their vectors stay unchanged."""
        with locked(self.path):
            self._writer.requantise(quantisation)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        queries: str,
        k: int = ...,
        *,
        where: Filter | str | None = ...,
        threshold: float | None = ...,
        exact: bool = ...,
        cosine_weight: float | None = ...,
        rerank: Rerank | None = ...,
    ) -> list[Hit]: ...

    @overload
    def search(
        self,
        queries: Sequence[str] | NDArray[np.float32],
        k: int = ...,
        *,
        where: Filter | str | None = ...,
        threshold: float | None = ...,
        exact: bool = ...,
        cosine_weight: float | None = ...,
        rerank: Rerank | None = ...,
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str] | NDArray[np.float32],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        threshold: float | None = None,
        exact: bool = False,
        cosine_weight: float | None = None,
        rerank: Rerank | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the documents that match a query best, by words and meaning.

        Args:
            queries: One query, several queries, or query vectors ``(n, d)``.
            k: Maximum hits per query.
            where: Filter on the metadata, see :mod:`smoothcse.search.filters`, or a condition as a string, see
                :mod:`smoothcse.search.conditions`.
            threshold: Minimum cosine similarity of a hit.
            exact: Whether to compare all vectors, even in a large index.
            cosine_weight: Weight of the cosine similarity in the score, from 0 (words alone) to 1 (meaning alone);
                BM25 has the rest, see :mod:`smoothcse.search.fused_search`. Default: :attr:`cosine_weight`. Query
                vectors have no words and are always searched by meaning alone.
            rerank: ``maxsim`` compares the first 50 documents with the query token by token, at the cost of encoding
                them again, see :func:`~smoothcse.search.maxsim_search.rerank_hits`; ``none`` leaves this out. Default:
                :attr:`rerank`. Query vectors have no tokens and are never reranked.

        Returns:
            For one query, hits in order of decreasing score; for several queries, a list of such lists.

        Raises:
            SmoothCSEError: If the filter, the weight or the reranking cannot be used.
        """
        if isinstance(queries, np.ndarray):
            if cosine_weight not in (None, 1):
                raise SmoothCSEError("Query vectors have no words; give texts, or leave out the cosine weight.")
            if rerank not in (None, "none"):
                raise SmoothCSEError("Query vectors have no tokens; give texts, or leave out the reranking.")
            vectors = np.atleast_2d(queries)
            return [self.nearest(vector, k, where=where, threshold=threshold, exact=exact) for vector in vectors]
        rerank = self.rerank if rerank is None else rerank
        check_rerank(rerank)
        texts = [whole_characters(text) for text in ([queries] if isinstance(queries, str) else queries)]
        vectors = encode(self._encoder, texts, input_type="query")
        count = max(k, CANDIDATES) if rerank == "maxsim" else k
        found = [
            self.fused(text, vector, count, where=where, threshold=threshold, exact=exact, cosine_weight=cosine_weight)
            for text, vector in zip(texts, vectors, strict=True)
        ]
        if rerank == "maxsim":
            found = [rerank_hits(self._encoder, text, hits)[:k] for text, hits in zip(texts, found, strict=True)]
        return found[0] if isinstance(queries, str) else found

    def fused(
        self,
        query: str,
        vector: NDArray[np.float32],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        threshold: float | None = None,
        exact: bool = False,
        cosine_weight: float | None = None,
    ) -> list[Hit]:
        """Return the hits for a query and its vector ``(d,)``; the other arguments are those of :meth:`search`."""
        weight = self.cosine_weight if cosine_weight is None else cosine_weight
        language = self.check_cosine_weight(weight)
        if language is None or weight == 1:
            return self.nearest(vector, k, where=where, threshold=threshold, exact=exact)
        words = joined(Words(language), query)
        kept = self._kept(vector[None])[0]
        return search_fused(self._store, kept, words, k, weight, where=where, threshold=threshold, exact=exact)

    def nearest(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        threshold: float | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the hits for one vector ``(d,)`` by meaning alone; the arguments are those of :meth:`search`."""
        rows = self._store.nearest(self._kept(vector[None])[0], k, where, exact)
        hits = [hit_of(row, 1.0 - row["_distance"]) for row in rows]
        return hits if threshold is None else [hit for hit in hits if hit.cosine >= threshold]

    def neighbours(self, id: str, k: int = 10) -> list[Hit]:
        """Return the documents that are most similar to a stored document, without the document itself.

        Args:
            id: Id of the stored document.
            k: Maximum number of neighbours.

        Raises:
            SmoothCSEError: If there is no document with this id.
        """
        hits = self.nearest(np.asarray(self._row(id)["vector"], dtype=np.float32), k + 1)
        return [hit for hit in hits if hit.id != id][:k]

    def document(self, id: str) -> Document:
        """Return a stored document.

        Args:
            id: Id of the document.

        Raises:
            SmoothCSEError: If there is no document with this id.
        """
        row = self._row(id)
        return Document(row["text"], row["id"], metadata_of(row))

    def sample(self, count: int, seed: int = 0) -> tuple[list[Document], NDArray[np.float32]]:
        """Return a random sample of up to ``count`` documents, and their unit vectors ``(n, d)``."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        rows, vectors = self._store.at(chosen.tolist())
        return [Document(row["text"], row["id"], metadata_of(row)) for row in rows], vectors

    def count(self, where: Filter | str | None = None) -> int:
        """Return the number of documents that fulfil a filter.

        Args:
            where: Filter or condition on the metadata, as in :meth:`search`. Default: all documents.

        Raises:
            SmoothCSEError: If the filter cannot be used.
        """
        return self._store.count(where)

    def facets(self, where: Filter | None = None, values: int = VALUES) -> list[Facet]:
        """Return the frequent values and the range of each metadata field, among the documents that fulfil a filter.

        They are counted once for each filter and :attr:`version`.

        Args:
            where: Filter on the metadata. It is applied to each field without its condition on that field, so that
                the other values can be chosen, too. Default: all documents.
            values: Maximum values per field.

        Raises:
            SmoothCSEError: If the filter cannot be used.
        """
        return self._facets.find(where or {}, values)

    def _row(self, id: str) -> Row:
        row = self._store.find(id)
        if row is None:
            raise SmoothCSEError(f"The index {self.path} has no document {id!r}.")
        return row

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._kept(encode(self._encoder, texts, input_type="document"))

    @cached_property
    def _encoder(self) -> SentenceTransformer:
        """The model in the precision of the index, so that bf16 does not copy the weights again for each query."""
        return in_precision(self.model, self.precision)

    def _kept(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut vectors to the dimensions of the index and scale them to length 1."""
        return unit_rows(vectors[:, : self.dimensions].astype(np.float32))


def _width(model: SentenceTransformer, dimensions: int | None) -> int:
    width = model.get_embedding_dimension() or 0
    if dimensions is not None and not 1 <= dimensions <= width:
        raise SmoothCSEError(f"{dimensions} dimensions cannot be kept: the model's embeddings have {width}.")
    return dimensions or width
