"""A persistent index of documents, on LanceDB.

::

    docs.index/
      index.json         the model, its fingerprint, and what the columns are
      documents.lance/   text, id, metadata, and the unit vector of each document

LanceDB writes each change as a new version that is there whole or not at all, so a process that is killed loses what
it had not committed and nothing else. Few documents are compared one by one. Many are found through codes that are
smaller than the vectors, in the 64 most promising parts of the index, and ten times as many as are wanted are compared
by their vectors, which stay on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from smoothcse.durable import write_whole
from smoothcse.encoding import encode
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.fingerprint import fingerprint
from smoothcse.formats.runtime import load_model
from smoothcse.search.documents import Document, Scalar
from smoothcse.search.filters import Filter, to_sql

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

APPROXIMATE_FROM = 50_000
"""Documents from which on they are not compared one by one."""

Codes = Literal["pq", "int8", "binary"]
"""How an approximate search keeps vectors in memory: product quantisation, a byte or a bit for each dimension."""

_INDEX_TYPES: dict[Codes, str] = {"pq": "IVF_PQ", "int8": "IVF_SQ", "binary": "IVF_RQ"}

_TABLE = "documents"
_OWN = ("id", "text", "vector")
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
        dimensions: of the vectors that are kept, the first of the model's.
        codes: of an approximate search.
        fields: names of the metadata.
    """

    def __init__(self, path: Path, model: SentenceTransformer, table: Any, codes: Codes) -> None:
        self.path = path
        self.model = model
        self.codes: Codes = codes
        self.dimensions: int = table.schema.field("vector").type.list_size
        self._table = table
        self.fields: list[str] = [name for name in table.schema.names if name not in _OWN]

    @classmethod
    def build(
        cls,
        path: str | Path,
        model: str,
        documents: Iterable[Document],
        *,
        pooling: str | None = None,
        dimensions: int | None = None,
        codes: Codes = "pq",
        console: Console | None = None,
    ) -> Index:
        """Index documents in a new folder, or go on with one that was cut off: what is there is not encoded again.

        Args:
            path: of the folder.
            model: a run folder, a model folder or a hub name; its name is kept, so that :meth:`open` finds it.
            documents: read once, a few thousand at a time. The first few decide which metadata there is.
            pooling: in place of the model's own.
            dimensions: keep the first so many of each vector; None for all. It costs little only where the model was
                trained for it (Matryoshka representation learning).
            codes: of an approximate search, for a new index.
            console: where the progress is drawn; None for standard error.

        Raises:
            SmoothCSEError: if the folder holds something else, was made by another model, or there is no document.
        """
        if codes not in _INDEX_TYPES:
            raise SmoothCSEError(f"There are no codes {codes!r}; choose one of {', '.join(_INDEX_TYPES)}.")
        path, encoder = Path(path), load_model(model, pooling)  # type: ignore[arg-type]
        if (path / "index.json").is_file():
            index = cls.open(path, encoder)
            if dimensions not in (None, index.dimensions):
                raise SmoothCSEError(
                    f"{path} keeps {index.dimensions} dimensions, not {dimensions}; build another index for these."
                )
        else:
            documents = iter(documents)
            first = list(islice(documents, _COMMIT))
            index = cls._create(path, model, pooling, encoder, first, dimensions, codes)
            documents = (document for part in (first, documents) for document in part)
        index.add(documents, skip_known=True, console=console)
        return index

    @classmethod
    def open(cls, path: str | Path, model: str | SentenceTransformer | None = None) -> Index:
        """Open an index.

        Args:
            path: of its folder.
            model: to encode with; None for the one that the index names.

        Raises:
            SmoothCSEError: if the folder holds no index, or the model is not the one that made it.
        """
        path = Path(path)
        record = _read_record(path)
        if model is None or isinstance(model, str):
            model = load_model(model or record["model"], record["pooling"])
        if fingerprint(model) != record["fingerprint"]:
            raise SmoothCSEError(
                f"The index {path} was made by another model ({record['model']} as it was then); its vectors cannot "
                "be compared with this one's. Give that model, or build the index anew."
            )
        try:
            return cls(path, model, _connect(path).open_table(_TABLE), record["codes"])
        except (ValueError, OSError, RuntimeError) as error:
            raise SmoothCSEError(f"The index {path} cannot be opened: {first_line(error)}") from error

    @staticmethod
    def fingerprint_of(path: str | Path) -> str:
        """Return the fingerprint of the model that made an index.

        Raises:
            SmoothCSEError: if the folder holds no index.
        """
        return str(_read_record(Path(path))["fingerprint"])

    @classmethod
    def _create(
        cls,
        path: Path,
        name: str,
        pooling: str | None,
        model: SentenceTransformer,
        sample: list[Document],
        dimensions: int | None,
        codes: Codes,
    ) -> Index:
        if not sample:
            raise SmoothCSEError("There is no document to index; the text of each row is empty.")
        if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
            raise SmoothCSEError(f"{path} holds something that is no index; give an empty or a new folder.")
        width = model.get_embedding_dimension() or 0
        if dimensions is not None and not 1 <= dimensions <= width:
            raise SmoothCSEError(f"{dimensions} dimensions cannot be kept: the model's embeddings have {width}.")
        path.mkdir(parents=True, exist_ok=True)
        table = _connect(path).create_table(_TABLE, schema=_schema(dimensions or width, sample))
        record = {"model": name, "pooling": pooling, "fingerprint": fingerprint(model), "codes": codes, "format": 1}
        write_whole(path / "index.json", json.dumps(record, indent=2) + "\n")
        return cls(path, model, table, codes)

    def __len__(self) -> int:
        """Return the number of documents."""
        return int(self._table.count_rows())

    def add(self, documents: Iterable[Document], *, skip_known: bool = False, console: Console | None = None) -> None:
        """Add documents; one whose id is there already takes its place.

        Args:
            documents: read once, a few thousand at a time, and committed as often.
            skip_known: leave those as they are whose id is there, without encoding them again.
            console: where the progress is drawn; None for standard error.

        Raises:
            SmoothCSEError: for a document whose metadata do not fit the index.
        """
        with _progress(console) as bar:
            task = bar.add_task("indexing", total=None, done=0)
            for number, part in enumerate(_batched(documents, _COMMIT)):
                self._commit(list({document.id: document for document in part}.values()), skip_known)
                bar.update(task, done=number * _COMMIT + len(part))
        self._index_vectors()

    def update(self, documents: Iterable[Document], *, console: Console | None = None) -> None:
        """Encode documents again and put them in the place of those with the same ids, or add them."""
        self.add(documents, console=console)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; return how many of the ids were there."""
        before = len(self)
        if ids:
            self._table.delete(to_sql({"id": list(ids)}, ["id"]))
        return before - len(self)

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
            where: a filter of the metadata, see :mod:`smoothcse.search.filters`; a string is the database's own SQL
                and must not come from strangers.
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
        query = self._table.search(self._kept(vector[None])[0]).distance_type("cosine").limit(k)
        query = query.bypass_vector_index() if exact else query.nprobes(64).refine_factor(10)
        if where:
            condition = where if isinstance(where, str) else to_sql(where, ["id", *self.fields])
            query = query.where(condition, prefilter=True)
        try:
            rows = query.to_list()
        except (ValueError, RuntimeError) as error:
            raise SmoothCSEError(f"The search with where={where!r} failed: {first_line(error)}") from error
        hits = [Hit(row["id"], row["text"], 1.0 - row["_distance"], self._metadata(row)) for row in rows]
        return hits if threshold is None else [hit for hit in hits if hit.score >= threshold]

    def neighbours(self, id: str, k: int = 10) -> list[Hit]:
        """Return the documents that are most similar to a stored one, itself left out.

        Raises:
            SmoothCSEError: if there is no such document.
        """
        rows = self._table.search().where(to_sql({"id": id}, ["id"])).limit(1).to_list()
        if not rows:
            raise SmoothCSEError(f"The index {self.path} has no document {id!r}.")
        hits = self.nearest(np.asarray(rows[0]["vector"], dtype=np.float32), k + 1)
        return [hit for hit in hits if hit.id != id][:k]

    def sample(self, count: int, seed: int = 0) -> tuple[list[Document], NDArray[np.float32]]:
        """Return up to ``count`` documents, drawn at random, and their unit vectors ``(n, d)``."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        rows = self._table.take_offsets(chosen.tolist()).to_list()
        vectors = np.asarray([row["vector"] for row in rows], dtype=np.float32)
        return [Document(row["text"], row["id"], self._metadata(row)) for row in rows], vectors

    def _commit(self, documents: list[Document], skip_known: bool) -> None:
        if skip_known:
            known = self._known([document.id for document in documents])
            documents = [document for document in documents if document.id not in known]
        if not documents:
            return
        rows = _rows(documents, self._vectors([document.text for document in documents]), self._table.schema)
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows)

    def _known(self, ids: list[str]) -> set[str]:
        found = self._table.search().where(to_sql({"id": ids}, ["id"])).select(["id"]).limit(len(ids)).to_list()
        return {row["id"] for row in found}

    def _vectors(self, queries: Sequence[str] | NDArray[np.float32]) -> NDArray[np.float32]:
        if isinstance(queries, np.ndarray):
            return self._kept(np.atleast_2d(queries))
        return self._kept(encode(self.model, list(queries), precision="auto"))

    def _kept(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the dimensions that the index keeps, scaled to length 1."""
        rows = vectors[:, : self.dimensions].astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.divide(rows, lengths, where=lengths > 0, out=np.zeros_like(rows))
        return unit

    def _metadata(self, row: Mapping[str, Any]) -> dict[str, Scalar]:
        return {name: row[name] for name in self.fields if row[name] is not None}

    def _index_vectors(self) -> None:
        """Keep the index of the vectors up to date, once there are enough to want one."""
        if len(self) < APPROXIMATE_FROM:
            return
        if any("vector" in found.columns for found in self._table.list_indices()):
            self._table.optimize()
        else:
            self.encode_as(self.codes)

    def encode_as(self, codes: Codes) -> None:
        """Make the index of the vectors anew, with other codes; what is kept of the documents stays as it is."""
        self._table.create_index(metric="cosine", vector_column_name="vector", index_type=_INDEX_TYPES[codes])
        record = json.loads((self.path / "index.json").read_text(encoding="utf-8")) | {"codes": codes}
        write_whole(self.path / "index.json", json.dumps(record, indent=2) + "\n")
        self.codes = codes


def _connect(path: Path) -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise SmoothCSEError(
            "Indexes come with an extra; install it with: pip install 'smoothcse[search]'."
        ) from error
    return lancedb.connect(str(path))


def _read_record(path: Path) -> dict[str, Any]:
    file = path / "index.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return {name: record[name] for name in ("model", "pooling", "fingerprint", "codes")}
    except FileNotFoundError as error:
        raise SmoothCSEError(
            f"{path} holds no index; make one with: smoothcse index MODEL DOCUMENTS -o {path}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SmoothCSEError(f"{file} cannot be read as the record of an index: {error}.") from error


def _schema(dimensions: int, sample: list[Document]) -> pa.Schema:
    """Return the table's columns, those of the metadata as the first documents have them."""
    names = list(dict.fromkeys(name for document in sample for name in document.metadata))
    for name in names:
        if name in (*_OWN, "_distance"):
            raise SmoothCSEError(
                f"A field of the documents is called {name!r}, which an index has of its own: rename it."
            )
    kinds = {name: _kind([document.metadata.get(name) for document in sample]) for name in names}
    vector = pa.list_(pa.float32(), dimensions)
    return pa.schema([("id", pa.string()), ("text", pa.string()), ("vector", vector), *kinds.items()])


def _kind(values: list[Scalar]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} else pa.string()


def _rows(documents: list[Document], vectors: NDArray[np.float32], schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {
        "id": [document.id for document in documents],
        "text": [document.text for document in documents],
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
    }
    for name in schema.names[len(_OWN) :]:
        columns[name] = _column(name, [document.metadata.get(name) for document in documents], schema.field(name).type)
    return pa.table(columns, schema=schema)


def _column(name: str, values: list[Scalar], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SmoothCSEError(
            f"Field {name!r} of a document does not fit the index, where it is {kind}: {first_line(error)}"
        ) from error


def _progress(console: Console | None) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.fields[done]:,} documents"),
        TimeElapsedColumn(),
        console=console or Console(stderr=True),
    )


def _batched(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, size)):
        yield batch
