"""The user's own labelled queries: a pairs file, or a folder in BEIR's layout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from smoothcse._utils.paths import local_path
from smoothcse.corpus.formats import COMPRESSIONS, TextFile, is_supported
from smoothcse.corpus.records import Fields, read_records
from smoothcse.corpus.text_columns import choose_columns
from smoothcse.errors import SmoothCSEError, some_of
from smoothcse.evaluation.retrieval import RetrievalTask

USUAL_COLUMNS = (("query", "document"), ("question", "answer"), ("anchor", "positive"))
"""Default columns of a pairs file: the first of these pairs that the file has."""

TAKES = (
    "a .jsonl, .csv, .tsv or .parquet file with the columns query and document (or question and answer, or anchor and "
    "positive, or two named ones), or a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/*.tsv)"
)

_BEIR = ("corpus.jsonl", "queries.jsonl")
_JUDGEMENTS = ("query-id", "corpus-id", "score")


def is_pairs_file(source: str | Path) -> bool:
    """Return whether a path is a file of a format with columns."""
    path = local_path(source)
    return path.is_file() and is_supported(path.name) and TextFile(path, "").format != ".txt"


def is_beir_folder(source: str | Path) -> bool:
    """Return whether a folder, or its subfolder ``retrieval``, has any file of BEIR's layout."""
    folder = _level(source)
    return any((folder / name).exists() for name in _BEIR) or any(map(_is_there, (folder / name for name in _BEIR)))


def load_retrieval(
    source: str | Path, columns: Sequence[str] | None = None, *, split: str = "test", titles: bool = True
) -> RetrievalTask:
    """Read labelled queries.

    Args:
        source: Pairs file, or folder in BEIR's layout (or a folder that contains one named ``retrieval``).
        columns: Query column and document column of a pairs file. Default: the first of :data:`USUAL_COLUMNS` that the
            file has.
        split: Relevance judgements to use of a folder with several: ``qrels/SPLIT.tsv``. Default ``"test"``.
        titles: Whether a document of a folder starts with its title, as in BEIR. Default True.

    Raises:
        SmoothCSEError: If the data cannot be read or is incomplete; the message names file and line.
    """
    if is_pairs_file(source):
        return _from_pairs(local_path(source), columns)
    if columns:
        raise SmoothCSEError(
            f"{source} is not a pairs file and has no columns {' and '.join(columns)}; leave them out."
        )
    return _from_beir(_level(source), split, titles)


def _from_pairs(path: Path, columns: Sequence[str] | None) -> RetrievalTask:
    """Build a task from pairs, with each distinct text once: queries with all their documents, and all documents."""
    documents: dict[str, int] = {}
    answers: dict[str, dict[int, float]] = {}
    names: Sequence[str] | None = None
    for place, record in read_records(TextFile(path, str(path))):
        names = names or _pair_columns(place, record, columns)
        query, document = (text_of(place, record, name) for name in names)
        answers.setdefault(query, {})[documents.setdefault(document, len(documents))] = 1.0
    return make_task(path.name, list(answers), list(documents), answers.values(), path)


def _pair_columns(place: str, record: Fields, columns: Sequence[str] | None) -> Sequence[str]:
    if columns is not None and len(columns) != 2:
        raise SmoothCSEError(f"A pairs file needs two columns, queries and their documents, not {', '.join(columns)}.")
    wanted = columns or next((pair for pair in USUAL_COLUMNS if set(pair) <= record.keys()), None)
    if wanted is None:
        raise SmoothCSEError(
            f"{place} has the columns {some_of(list(record))}, and none of the default pairs "
            f"({'; '.join(map(' and '.join, USUAL_COLUMNS))}): name the query column and the document column."
        )
    return choose_columns(place, list(record), list(record), wanted)


def _from_beir(folder: Path, split: str, titles: bool) -> RetrievalTask:
    corpus, queries = (_beir_file(folder, name) for name in _BEIR)
    judgements = _split_file(folder / "qrels", split)
    documents = _by_id(corpus, with_title=titles)
    texts = _by_id(queries)
    place_of = {name: index for index, name in enumerate(documents)}
    answers: dict[str, dict[int, float]] = {}
    for place, query, document, gain in _relevant(judgements):
        for name, known, file in ((query, texts, queries), (document, place_of, corpus)):
            if name not in known:
                raise SmoothCSEError(f"{place} names {name!r}, which is not in {file}; download the data set again.")
        answers.setdefault(query, {})[place_of[document]] = gain
    name = f"{folder.resolve().name}, {judgements.parent.name}/{judgements.name}"
    return make_task(name, [texts[query] for query in answers], list(documents.values()), answers.values(), folder)


def _by_id(path: Path, *, with_title: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, record in read_records(TextFile(path, str(path))):
        name = str(record.get("_id", ""))
        if not name or name in found:
            raise SmoothCSEError(
                f"{place} has {'the _id of an earlier line' if name else 'no _id'}: give each line its own."
            )
        if not isinstance(record.get("text"), str):
            raise SmoothCSEError(f"{place} has no field 'text' that is a string: fix or remove the line.")
        # As in BEIR, title and text form one document.
        found[name] = f"{record.get('title') or ''} {record['text']}".strip() if with_title else record["text"]
    return found


def _relevant(path: Path) -> Iterator[tuple[str, str, str, float]]:
    """Yield place, query, document and score of all judgements with a positive score."""
    for place, record in read_records(TextFile(path, str(path))):
        query, document, score = (
            record[name] for name in choose_columns(place, list(record), list(record), _JUDGEMENTS)
        )
        try:
            gain = float(score)
        except ValueError:
            gain = math.nan
        if not math.isfinite(gain):
            raise SmoothCSEError(f"{place}: the score {score!r} is not a number: fix the line.")
        if gain > 0:
            yield place, query, document, gain


def make_task(
    name: str, queries: list[str], documents: list[str], answers: Iterable[Mapping[int, float]], source: str | Path
) -> RetrievalTask:
    """Return a task of queries with any number of relevant documents.

    Args:
        name: Short name for reports.
        queries: ``q`` texts.
        documents: ``d`` texts.
        answers: Gain of each relevant document by its index, for each query.
        source: Source of the labels, for messages.

    Raises:
        SmoothCSEError: There is no query, or less than two documents.
    """
    if not queries or len(documents) < 2:
        raise SmoothCSEError(
            f"{source} has {len(queries)} queries with a document and {len(documents)} distinct documents; retrieval "
            "needs at least one query and two documents."
        )
    rows = [list(row.items()) for row in answers]
    most = max(map(len, rows))
    filled = [row + row[:1] * (most - len(row)) for row in rows]
    relevant = np.array([[document for document, _ in row] for row in filled], dtype=np.int64)
    gains = np.array([[gain for _, gain in row] for row in filled])
    return RetrievalTask(name, queries, documents, relevant, gains)


def text_of(place: str, record: Mapping[str, object], name: str) -> str:
    """Return the text of one column.

    Args:
        place: Place of the record in messages, such as ``pairs.jsonl:7``.
        record: Fields of the record.
        name: Name of the column.

    Raises:
        SmoothCSEError: The record has no text there.
    """
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise SmoothCSEError(f"{place} has no text in {name!r}: fix or remove the line.")
    return value


# ---- where BEIR's files lie -------------------------------------------------------------------------------


def _level(source: str | Path) -> Path:
    folder = local_path(source)
    return inner if (inner := folder / "retrieval").is_dir() else folder


def _names(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + packing) for packing in COMPRESSIONS)]


def _is_there(path: Path) -> bool:
    return any(name.is_file() for name in _names(path))


def _beir_file(folder: Path, name: str) -> Path:
    found = [path for path in _names(folder / name) if path.is_file()]
    if not found:
        raise SmoothCSEError(f"{folder} has no {name}; BEIR's layout is corpus.jsonl, queries.jsonl and qrels/*.tsv.")
    return found[0]


def _split_file(folder: Path, split: str) -> Path:
    """Return the file of relevance judgements: that of the split, or the only file."""
    if not folder.is_dir():
        raise SmoothCSEError(
            f"{folder.parent} has no folder qrels; BEIR's layout is corpus.jsonl, queries.jsonl and qrels/*.tsv."
        )
    found = sorted(folder.glob("*.tsv"))
    chosen = [path for path in found if path.name == f"{split}.tsv"] or found
    if len(chosen) != 1:
        names = f"{some_of([path.name for path in found])}, and none is {split}.tsv" if found else "no .tsv file"
        raise SmoothCSEError(f"{folder} holds {names}; keep only the file to be scored in it, or name it {split}.tsv.")
    return chosen[0]
