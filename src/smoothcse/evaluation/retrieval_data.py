"""Labelled queries of the user's own: a file of pairs, or a folder in BEIR's layout."""

from __future__ import annotations

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
"""Columns of a file of pairs that are taken unasked: the first of these that the file has."""

TAKES = (
    "a .jsonl, .csv, .tsv or .parquet file with the columns query and document (or question and answer, or anchor and "
    "positive, or two named ones), or a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/*.tsv)"
)

_BEIR = ("corpus.jsonl", "queries.jsonl")
_JUDGEMENTS = ("query-id", "corpus-id", "score")


def is_pairs_file(source: str | Path) -> bool:
    """Whether a path is a file whose format has columns."""
    path = local_path(source)
    return path.is_file() and is_supported(path.name) and TextFile(path, "").format != ".txt"


def is_beir_folder(source: str | Path) -> bool:
    """Whether a folder, or its ``retrieval``, has anything of BEIR's layout."""
    folder = _level(source)
    return any((folder / name).exists() for name in _BEIR) or any(map(_is_there, (folder / name for name in _BEIR)))


def load_retrieval(source: str | Path, columns: Sequence[str] | None = None) -> RetrievalTask:
    """Read labelled queries.

    Args:
        source: A file of pairs, or a folder in BEIR's layout (or one that has it under the name ``retrieval``).
        columns: The two columns of a file of pairs: queries and their documents. Default: the first of
            :data:`USUAL_COLUMNS` that the file has.

    Raises:
        SmoothCSEError: With file and line, for what cannot be read or is not complete.
    """
    if is_pairs_file(source):
        return _from_pairs(local_path(source), columns)
    if columns:
        raise SmoothCSEError(f"{source} is no file of pairs, so it has no columns {' and '.join(columns)}.")
    return _from_beir(_level(source))


def _from_pairs(path: Path, columns: Sequence[str] | None) -> RetrievalTask:
    """Take each distinct text once: the queries with all their documents, and the documents to search in."""
    documents: dict[str, int] = {}
    answers: dict[str, list[int]] = {}
    names: Sequence[str] | None = None
    for place, record in read_records(TextFile(path, str(path))):
        names = names or _pair_columns(place, record, columns)
        query, document = (_text(place, record, name) for name in names)
        answers.setdefault(query, []).append(documents.setdefault(document, len(documents)))
    return _task(path.name, list(answers), list(documents), answers.values(), path)


def _pair_columns(place: str, record: Fields, columns: Sequence[str] | None) -> Sequence[str]:
    if columns is not None and len(columns) != 2:
        raise SmoothCSEError(f"The columns of pairs are two, queries and their documents, not {', '.join(columns)}.")
    wanted = columns or next((pair for pair in USUAL_COLUMNS if set(pair) <= record.keys()), None)
    if wanted is None:
        raise SmoothCSEError(
            f"{place} has the columns {some_of(list(record))}, and none of the usual pairs "
            f"({'; '.join(map(' and '.join, USUAL_COLUMNS))}): name two columns, queries and their documents."
        )
    return choose_columns(place, list(record), list(record), wanted)


def _from_beir(folder: Path) -> RetrievalTask:
    corpus, queries = (_beir_file(folder, name) for name in _BEIR)
    judgements = _split_file(folder / "qrels")
    documents = _by_id(corpus, with_title=True)
    texts = _by_id(queries)
    place_of = {name: index for index, name in enumerate(documents)}
    answers: dict[str, list[int]] = {}
    for place, query, document in _relevant(judgements):
        for name, known, file in ((query, texts, queries), (document, place_of, corpus)):
            if name not in known:
                raise SmoothCSEError(f"{place} names {name!r}, which is not in {file}; fetch the data set again.")
        answers.setdefault(query, []).append(place_of[document])
    name = f"{folder.resolve().name}, {judgements.parent.name}/{judgements.name}"
    return _task(name, [texts[query] for query in answers], list(documents.values()), answers.values(), folder)


def _by_id(path: Path, *, with_title: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, record in read_records(TextFile(path, str(path))):
        name = str(record.get("_id", ""))
        if not name or name in found:
            raise SmoothCSEError(
                f"{place} has {'the _id of an earlier line' if name else 'no _id'}: give each its own."
            )
        if not isinstance(record.get("text"), str):
            raise SmoothCSEError(f"{place} has no field 'text' that is a string: mend or remove the line.")
        # As BEIR does it: title and text are one document.
        found[name] = f"{record.get('title') or ''} {record['text']}".strip() if with_title else record["text"]
    return found


def _relevant(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield place, query and document of the judgements whose score is above 0."""
    for place, record in read_records(TextFile(path, str(path))):
        query, document, score = (
            record[name] for name in choose_columns(place, list(record), list(record), _JUDGEMENTS)
        )
        try:
            is_relevant = float(score) > 0
        except ValueError:
            raise SmoothCSEError(f"{place}: the score {score!r} is not a number: mend the line.") from None
        if is_relevant:
            yield place, query, document


def _task(
    name: str, queries: list[str], documents: list[str], answers: Iterable[Sequence[int]], source: Path
) -> RetrievalTask:
    if not queries or len(documents) < 2:
        raise SmoothCSEError(
            f"{source} has {len(queries)} queries with a document and {len(documents)} distinct documents; retrieval "
            "takes at least one query and two documents."
        )
    rows = [list(dict.fromkeys(row)) for row in answers]
    most = max(map(len, rows))
    relevant = np.array([row + row[:1] * (most - len(row)) for row in rows], dtype=np.int64)
    return RetrievalTask(name, queries, documents, relevant)


def _text(place: str, record: Mapping[str, object], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise SmoothCSEError(f"{place} has no text in {name!r}: mend or remove it.")
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


def _split_file(folder: Path) -> Path:
    """Return the judgements: those of the test split, or the only ones."""
    found = sorted(folder.glob("*.tsv"))
    chosen = [path for path in found if path.name == "test.tsv"] or found
    if len(chosen) != 1:
        what = f"{some_of([path.name for path in found])}, and none is test.tsv" if found else "no .tsv file"
        raise SmoothCSEError(f"{folder} holds {what}; leave the one in it that is to be scored.")
    return chosen[0]
