"""A persistent index of documents: a model, and a table of what it made of them.

::

    docs.index/
      index.json         the model, its fingerprint, and how large indexes are searched
      documents.lance/   text, id, metadata, and the unit vector of each document
      .lock              held by who writes; readers need none
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
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from smoothcse._utils.choices import IndexQuantisation, PoolingName, Precision
from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.search.column_names import OWN, name_of
from smoothcse.search.documents import Document, Scalar, whole_characters
from smoothcse.search.filters import Filter
from smoothcse.search.index_record import IndexRecord, check_quantisation, choose_quantisation
from smoothcse.search.rows import check_metadata
from smoothcse.search.store import TABLE_FOLDER, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

T = TypeVar("T")

_NO_METADATA = (*OWN, "_distance")

_COMMIT = 4096  # documents encoded and written at a time: what a kill can lose


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        id: of the document.
        text: of the document.
        score: cosine similarity with the query.
        metadata: its other fields.
    """

    id: str
    text: str
    score: float
    metadata: dict[str, Scalar]


class Index:
    """Documents and their vectors in a folder; made by :meth:`build` or :meth:`open`.

    Attributes:
        path: of the folder.
        model: that encodes documents and queries.
        precision: in which the model computes documents and queries.
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
        """Index documents in a new folder, or go on with one that was cut off: what is there is not encoded again.

        Args:
            path: of the folder.
            model: a run folder, a model folder or a hub name; its name is kept, so that :meth:`open` finds it.
            documents: read once, a few thousand at a time.
            pooling: in place of the model's own.
            dimensions: keep the first so many of each vector; None for all. It costs little only where the model was
                trained for it (Matryoshka representation learning).
            quantisation: Quantisation for approximate search. Default: that of an existing index; for a new index
                ``binary``, or ``int8`` if the dimension is not divisible by 8.
            source: Where the documents come from. Until all of them are in, the index says that it is
                :attr:`incomplete` and names the source; building from that source again goes on.
            complete: Whether these documents complete the index, whatever other sources have left unfinished.
            precision: As in :func:`~smoothcse.encoders.inference.encode`.
            console: where the progress is drawn; None for standard error.

        Raises:
            SmoothCSEError: if the folder holds something else, was made by another model, is being written by another
                process, or there is no document.
        """
        if quantisation is not None:
            check_quantisation(quantisation)
        path, documents = Path(path), iter(documents)
        is_there = (path / "index.json").is_file()
        pooling = pooling or (IndexRecord.read(path).pooling if is_there else None)
        encoder = load_encoder(model, pooling)
        if not is_there:
            first = list(islice(documents, _COMMIT))
            name = str(Path(model).resolve()) if Path(model).is_dir() else model  # it may be opened from elsewhere
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
                    f"{path} keeps {index.dimensions} dimensions, not {dimensions}; build another index for these."
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
            path: of its folder.
            model: to encode with; None for the one that the index names.
            precision: As in :func:`~smoothcse.encoders.inference.encode`.

        Raises:
            SmoothCSEError: if the folder holds no index, or the model is not the one that made it.

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
                f"The index {path} was made by another model ({record.model} as it was then); its vectors cannot "
                "be compared with this one's. Give that model, or build the index anew."
            )
        return cls(path, model, precision)

    @staticmethod
    def fingerprint_of(path: str | Path) -> str:
        """Return the fingerprint of the model that made an index.

        Raises:
            SmoothCSEError: if the folder holds no index.
        """
        return IndexRecord.read(Path(path)).fingerprint

    @property
    def record(self) -> IndexRecord:
        """How the index was made, as its folder says now."""
        return IndexRecord.read(self.path)

    @property
    def incomplete(self) -> str | None:
        """Why documents may be missing, in a sentence; None for an index that holds all it was given."""
        names = ", ".join(repr(Path(source).name) for source in self.record.unfinished)
        if not names:
            return None
        return (
            f"The index {self.path.name} is incomplete: a change from {names} has not ended; documents are missing or "
            "outdated until the same command has run to its end."
        )

    @property
    def fields(self) -> list[str]:
        """Names of the metadata."""
        return self._store.fields

    @property
    def dimensions(self) -> int:
        """Of the vectors that are kept: the first of the model's."""
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
        """Add documents; one whose id is there already takes its place.

        Args:
            documents: read once, a few thousand at a time, and committed as often.
            skip_known: leave those as they are whose id is there, without encoding them again.
            source: as in :meth:`build`.
            complete: as in :meth:`build`.
            console: where the progress is drawn; None for standard error.

        Raises:
            SmoothCSEError: for a document whose metadata do not fit the index, or if another process writes to it.
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
        """Encode documents again and put them in the place of those with the same ids, or add them."""
        self.add(documents, source=source, complete=complete, console=console)

    def delete(self, ids: Iterable[str], *, source: str = "deletions", complete: bool = False) -> int:
        """Delete documents; return how many of the ids were there."""
        with _locked(self.path), self._unfinished(source, complete):
            before = len(self)
            for part in _batched(ids, _COMMIT):
                self._store.delete(part)
            return before - len(self)

    def requantise(self, quantisation: IndexQuantisation) -> None:
        """Search by other codes from now on; the documents and their vectors stay as they are."""
        with _locked(self.path):
            self._requantise(quantisation)

    def _requantise(self, quantisation: IndexQuantisation | None) -> None:
        chosen = choose_quantisation(quantisation, self.dimensions)
        self._store.build_vector_index(chosen)
        replace(self.record, quantisation=chosen).write(self.path)

    def _take_in(
        self, documents: Iterable[Document], source: str, *, skip_known: bool, complete: bool, console: Console | None
    ) -> None:
        with self._unfinished(source, complete), _progress(console) as bar:
            task = bar.add_task("indexing", total=None, done=0)
            for number, part in enumerate(_batched(documents, _COMMIT)):
                self._commit(list({document.id: document for document in part}.values()), skip_known)
                bar.update(task, done=number * _COMMIT + len(part))
            bar.update(task, description="putting in order")
            self._store.put_in_order(self.record.quantisation)

    @contextmanager
    def _unfinished(self, source: str, complete: bool) -> Iterator[None]:
        """Mark the index as incomplete until the block has ended, or has failed before it changed anything."""
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
            queries: a sentence, several, or vectors ``(n, d)``.
            k: at most so many hits for each.
            where: a filter of the metadata, see :mod:`smoothcse.search.filters`, or a condition as a string, see
                :mod:`smoothcse.search.conditions`.
            threshold: the least score of a hit.
            exact: compare with every document, however many there are.

        Returns:
            Hits, the most similar first, for one query; a list of such lists for several.

        Raises:
            SmoothCSEError: for a filter that cannot be used.
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
        """Return the hits for one vector ``(d,)``; :meth:`search` explains the arguments."""
        rows = self._store.nearest(self._kept(vector[None])[0], k, where, exact)
        hits = [Hit(row["id"], row["text"], 1.0 - row["_distance"], _metadata(row)) for row in rows]
        return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]

    def neighbours(self, id: str, k: int = 10) -> list[Hit]:
        """Return the documents that are most similar to a stored one, itself left out.

        Raises:
            SmoothCSEError: if there is no such document.
        """
        row = self._store.find(id)
        if row is None:
            raise SmoothCSEError(f"The index {self.path} has no document {id!r}.")
        hits = self.nearest(np.asarray(row["vector"], dtype=np.float32), k + 1)
        return [hit for hit in hits if hit.id != id][:k]

    def sample(self, count: int, seed: int = 0) -> tuple[list[Document], NDArray[np.float32]]:
        """Return up to ``count`` documents, drawn at random, and their unit vectors ``(n, d)``."""
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
        """The model in the precision of the index; in bf16 each query would else copy the weights anew."""
        return in_precision(self.model, self.precision)

    def _kept(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the dimensions that the index keeps, scaled to length 1."""
        rows = vectors[:, : self.dimensions].astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.divide(rows, lengths, where=lengths > 0, out=np.zeros_like(rows))
        return unit


def _require_room(path: Path, first: list[Document]) -> None:
    """Refuse, before anything is written, a folder that holds something else, and no or unusable documents."""
    if not first:
        raise SmoothCSEError("There is no document to index; the text of each row is empty.")
    ours = {*LOCK_FILES, TABLE_FOLDER, "index.json", "index.json.new"}  # of a process that was killed
    if path.exists() and (not path.is_dir() or any(file.name not in ours for file in path.iterdir())):
        raise SmoothCSEError(f"{path} holds something that is no index; give an empty or a new folder.")
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
        raise SmoothCSEError(f"The index {path} could not be made: {first_line(error)}") from error
    with lock_folder(path, remedy="wait until it has ended, then run this again"):
        yield


def _create(path: Path, record: IndexRecord, dimensions: int, sample: list[Document]) -> None:
    """Make an index without documents; until its record is written, at last, it is none."""
    try:
        Store.create(path, dimensions, sample)
    except (OSError, RuntimeError, ValueError) as error:
        raise SmoothCSEError(f"The index {path} could not be made: {first_line(error)}") from error
    record.write(path)


def _remove(path: Path) -> None:
    """Take an index away that got no document: its columns would bind the next try."""
    (path / "index.json").unlink(missing_ok=True)
    shutil.rmtree(path / TABLE_FOLDER, ignore_errors=True)


def _metadata(row: Mapping[str, Any]) -> dict[str, Scalar]:
    return {name_of(column): row[column] for column in row if column not in _NO_METADATA and row[column] is not None}


def _progress(console: Console | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.fields[done]:,} documents"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
