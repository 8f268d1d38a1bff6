"""A persistent index: the name of a model, and a table of documents with their embeddings.

::

    docs.index/
      index.json         model, fingerprint, quantisation, unfinished changes
      documents.lance/   text, id, metadata and unit vector of each document
      .lock              held by the writing process; readers need no lock
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from rich.console import Console

from smoothcse._utils.choices import IndexQuantisation, PoolingName, Precision
from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse._utils.progress import progress_bar
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.search.column_names import OWN, name_of
from smoothcse.search.documents import Document, Scalar, whole_characters
from smoothcse.search.filters import Filter
from smoothcse.search.index_record import IndexRecord, check_quantisation, choose_quantisation
from smoothcse.search.store import TABLE_FOLDER, Store
from smoothcse.search.table_rows import check_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

T = TypeVar("T")

_NO_METADATA = (*OWN, "_distance")

_COMMIT = 4096  # documents encoded and written at a time, which is what a killed process loses at most


@dataclass(frozen=True)
class Hit:
    """A search result.

    Attributes:
        id: Id of the document.
        text: Text of the document.
        score: Cosine similarity with the query.
        metadata: Other fields of the document.
    """

    id: str
    text: str
    score: float
    metadata: dict[str, Scalar]


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
        is_there = (path / "index.json").is_file()
        pooling = pooling or (IndexRecord.read(path).pooling if is_there else None)
        encoder = load_encoder(model, pooling)
        if not is_there:
            first = list(islice(documents, _COMMIT))
            name = str(Path(model).resolve()) if Path(model).is_dir() else model  # valid in any working directory
            width = _width(encoder, dimensions)
            record = IndexRecord(
                name, pooling, fingerprint(encoder), choose_quantisation(quantisation, width), (source,)
            )
            _require_room(path, first)
            documents = chain(first, documents)
        with _locked(path):
            if new := not (path / "index.json").is_file():
                _create(path, record, width, first)
            index = cls._open(path, encoder, precision)
            if dimensions not in (None, index.dimensions):
                raise SmoothCSEError(
                    f"{path} keeps {index.dimensions} dimensions, not {dimensions}; build a new index for these."
                )
            if quantisation not in (None, index.record.quantisation):
                index._requantise(quantisation)
            try:
                index._take_in(documents, source, skip_known=True, complete=complete, console=console)
            except BaseException:
                if new and not len(index):
                    _remove(path)
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
        names = ", ".join(repr(Path(source).name) for source in self.record.unfinished)
        if not names:
            return None
        return (
            f"The index {self.path.name} is incomplete: a change from {names} has not ended; documents are missing or "
            "outdated until the same command has finished."
        )

    @property
    def fields(self) -> list[str]:
        """Names of the metadata fields."""
        return self._store.fields

    @property
    def dimensions(self) -> int:
        """Dimension of the stored vectors, which hold the first dimensions of the model's embeddings."""
        return self._store.dimensions

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
    ) -> None:
        """Add documents; a document with a known id replaces the earlier one.

        Args:
            documents: Documents; they are read and committed once, a few thousand at a time.
            skip_known: Whether to leave documents with a known id as they are, without encoding them again.
            source: Name of the documents' source, as in :meth:`build`.
            complete: Whether to mark the index as complete afterwards, as in :meth:`build`.
            console: Console for the progress bar. Default: standard error.

        Raises:
            SmoothCSEError: If the metadata of a document do not fit the index, or another process is writing to it.
        """
        with _locked(self.path):
            self._take_in(documents, source, skip_known=skip_known, complete=complete, console=console)

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
        with _locked(self.path), self._unfinished(source, complete):
            before = len(self)
            for part in _batched(ids, _COMMIT):
                self._store.delete(part)
            return before - len(self)

    def requantise(self, quantisation: IndexQuantisation) -> None:
        """Change the quantisation for approximate search; the documents and their vectors stay unchanged."""
        with _locked(self.path):
            self._requantise(quantisation)

    def _requantise(self, quantisation: IndexQuantisation | None) -> None:
        chosen = choose_quantisation(quantisation, self.dimensions)
        self._store.build_vector_index(chosen)
        replace(self.record, quantisation=chosen).write(self.path)

    def _take_in(
        self, documents: Iterable[Document], source: str, *, skip_known: bool, complete: bool, console: Console | None
    ) -> None:
        with self._unfinished(source, complete), progress_bar(console, unit="documents") as bar:
            task = bar.add_task("indexing", total=None)
            for number, part in enumerate(_batched(documents, _COMMIT)):
                self._commit(list({document.id: document for document in part}.values()), skip_known)
                bar.update(task, completed=number * _COMMIT + len(part))
            bar.update(task, description="optimising")
            self._store.put_in_order(self.record.quantisation)

    @contextmanager
    def _unfinished(self, source: str, complete: bool) -> Iterator[None]:
        """Mark the index as incomplete until the block has succeeded, or has failed before it changed anything."""
        before, version = self.record, self._store.version
        others = tuple(name for name in before.unfinished if name != source)
        replace(before, unfinished=(*others, source)).write(self.path)
        try:
            yield
        except BaseException as error:
            if self._store.version == version:
                before.write(self.path)
            elif type(error) is SmoothCSEError:
                raise SmoothCSEError(f"{error} {self.incomplete}") from error
            raise
        replace(before, unfinished=() if complete else others).write(self.path)

    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        queries: str,
        k: int = ...,
        *,
        where: Filter | str | None = ...,
        threshold: float | None = ...,
        exact: bool = ...,
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
    ) -> list[list[Hit]]: ...

    def search(
        self,
        queries: str | Sequence[str] | NDArray[np.float32],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        threshold: float | None = None,
        exact: bool = False,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the documents that are most similar to a query.

        Args:
            queries: One query, several queries, or query vectors ``(n, d)``.
            k: Maximum hits per query.
            where: Filter on the metadata, see :mod:`smoothcse.search.filters`, or a condition as a string, see
                :mod:`smoothcse.search.conditions`.
            threshold: Minimum score of a hit.
            exact: Whether to search exhaustively, even in a large index.

        Returns:
            For one query, hits in order of decreasing similarity; for several queries, a list of such lists.

        Raises:
            SmoothCSEError: If the filter cannot be used.
        """
        vectors = self._vectors([queries] if isinstance(queries, str) else queries)
        found = [self.nearest(vector, k, where=where, threshold=threshold, exact=exact) for vector in vectors]
        return found[0] if isinstance(queries, str) else found

    def nearest(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        *,
        where: Filter | str | None = None,
        threshold: float | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the hits for one vector ``(d,)``; the arguments are those of :meth:`search`."""
        rows = self._store.nearest(self._kept(vector[None])[0], k, where, exact)
        hits = [Hit(row["id"], row["text"], 1.0 - row["_distance"], _metadata(row)) for row in rows]
        return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]

    def neighbours(self, id: str, k: int = 10) -> list[Hit]:
        """Return the documents that are most similar to a stored document, without the document itself.

        Args:
            id: Id of the stored document.
            k: Maximum number of neighbours.

        Raises:
            SmoothCSEError: If there is no document with this id.
        """
        row = self._store.find(id)
        if row is None:
            raise SmoothCSEError(f"The index {self.path} has no document {id!r}.")
        hits = self.nearest(np.asarray(row["vector"], dtype=np.float32), k + 1)
        return [hit for hit in hits if hit.id != id][:k]

    def sample(self, count: int, seed: int = 0) -> tuple[list[Document], NDArray[np.float32]]:
        """Return a random sample of up to ``count`` documents, and their unit vectors ``(n, d)``."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        rows, vectors = self._store.at(chosen.tolist())
        return [Document(row["text"], row["id"], _metadata(row)) for row in rows], vectors

    def _commit(self, documents: list[Document], skip_known: bool) -> None:
        if skip_known:
            known = self._store.known([document.id for document in documents])
            documents = [document for document in documents if document.id not in known]
        if documents:
            texts = [document.text for document in documents]
            self._store.write(documents, self._kept(encode(self._encoder, texts, input_type="document")))

    def _vectors(self, queries: Sequence[str] | NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(queries, np.ndarray):
            return self._kept(np.atleast_2d(queries))
        return self._kept(encode(self._encoder, [whole_characters(text) for text in queries], input_type="query"))

    @cached_property
    def _encoder(self) -> SentenceTransformer:
        """The model in the precision of the index, so that bf16 does not copy the weights again for each query."""
        return in_precision(self.model, self.precision)

    def _kept(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut vectors to the dimensions of the index and scale them to length 1."""
        return unit_rows(vectors[:, : self.dimensions].astype(np.float32))


def _require_room(path: Path, first: list[Document]) -> None:
    """Refuse a folder with other content, and missing or unusable documents, before anything is written."""
    if not first:
        raise SmoothCSEError("There is no document to index: the text of each row is empty.")
    ours = {*LOCK_FILES, TABLE_FOLDER, "index.json", "index.json.new"}  # left by a killed process
    if path.exists() and (not path.is_dir() or any(file.name not in ours for file in path.iterdir())):
        raise SmoothCSEError(f"{path} holds something other than an index; give an empty or a new folder.")
    check_metadata(first)


def _width(model: SentenceTransformer, dimensions: int | None) -> int:
    width = model.get_embedding_dimension() or 0
    if dimensions is not None and not 1 <= dimensions <= width:
        raise SmoothCSEError(f"{dimensions} dimensions cannot be kept: the model's embeddings have {width}.")
    return dimensions or width


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of an index, or of the folder that becomes one."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmoothCSEError(f"The index {path} cannot be created: {first_line(error)}") from error
    with lock_folder(path, remedy="wait until it has ended, then run this again"):
        yield


def _create(path: Path, record: IndexRecord, dimensions: int, sample: list[Document]) -> None:
    """Create an index without documents; the record, which makes the folder an index, is written last."""
    try:
        Store.create(path, dimensions, sample)
    except (OSError, RuntimeError, ValueError) as error:
        raise SmoothCSEError(f"The index {path} cannot be created: {first_line(error)}") from error
    record.write(path)


def _remove(path: Path) -> None:
    """Remove an index that received no document, because its columns would constrain the next attempt."""
    (path / "index.json").unlink(missing_ok=True)
    shutil.rmtree(path / TABLE_FOLDER, ignore_errors=True)


def _metadata(row: Mapping[str, Any]) -> dict[str, Scalar]:
    return {name_of(column): row[column] for column in row if column not in _NO_METADATA and row[column] is not None}


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
