"""Files of the user's own labels: the kinds, recognised from their columns, and the rows of pairs and triplets.

======== ============================================================== =====================================
kind     columns                                                        label
======== ============================================================== =====================================
queries  query, document (or question, answer; or anchor, positive)     the document answers the query
pairs    sentence1, sentence2, score (or text1, text2, score)           similarity, on any scale
triplets anchor, positive, negative                                     the positive is the closer one
======== ============================================================== =====================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smoothcse.corpus.formats import TextFile
from smoothcse.corpus.records import read_records
from smoothcse.errors import SmoothCSEError, some_of
from smoothcse.evaluation.retrieval_data import USUAL_COLUMNS, text_of

LabelKind = Literal["queries", "pairs", "triplets"]

SCORE = "score"
NEEDS = (
    "queries need the columns query and document (or question and answer, or anchor and positive); scored pairs "
    "sentence1, sentence2 (or text1, text2) and score; triplets anchor, positive and negative"
)


@dataclass(frozen=True)
class LabelColumns:
    """Kind of labels and the columns that hold them."""

    kind: LabelKind
    names: tuple[str, ...]


_KNOWN = (
    LabelColumns("triplets", ("anchor", "positive", "negative")),
    LabelColumns("pairs", ("sentence1", "sentence2", SCORE)),
    LabelColumns("pairs", ("text1", "text2", SCORE)),
    *(LabelColumns("queries", pair) for pair in USUAL_COLUMNS),
)


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs of texts with a score of their similarity each, ``n`` of each."""

    firsts: tuple[str, ...]
    seconds: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.scores)


@dataclass(frozen=True)
class Triplets:
    """Anchors, each with a text that should be more similar to it than another, ``n`` of each."""

    anchors: tuple[str, ...]
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of triplets."""
        return len(self.anchors)


def recognise_columns(path: Path) -> LabelColumns:
    """Return the kind of labels that a file holds, and their columns.

    Args:
        path: File of a format with columns.

    Raises:
        SmoothCSEError: The file is empty, or its columns fit no kind or several.
    """
    found: LabelColumns | None = None
    for place, record in read_records(TextFile(path, str(path))):
        own = _fitting(place, record)
        if found is None:
            if own is None:
                raise SmoothCSEError(
                    f"{place} has the columns {some_of(list(record))}, which hold no labels: {NEEDS}."
                )
            found = own
        elif own is not None and own.kind != found.kind:
            raise SmoothCSEError(
                f"{place} has the columns {some_of(list(record))} of {own.kind}, but the lines before hold "
                f"{found.kind}; put each kind of labels into a file of its own."
            )
    if found is None:
        raise SmoothCSEError(f"{path} is empty; give a file with labels: {NEEDS}.")
    return found


def _fitting(place: str, names: Iterable[str]) -> LabelColumns | None:
    """Return the known columns among the given ones, or None; columns of several kinds are an error."""
    names = list(names)
    fitting = [known for known in _KNOWN if set(known.names) <= set(names)]
    fitting = [known for known in fitting if not any(set(known.names) < set(other.names) for other in fitting)]
    kinds = {known.kind for known in fitting} | ({"pairs"} if fitting and SCORE in names else set())
    if len(kinds) > 1:
        raise SmoothCSEError(
            f"{place} has the columns {some_of(names)}, which mix {' and '.join(sorted(kinds))}; keep the columns of "
            f"one kind: {NEEDS}."
        )
    return next(iter(fitting), None)


def read_scored_pairs(path: Path, columns: LabelColumns) -> ScoredPairs:
    """Read pairs of texts with scores.

    Args:
        path: File of a format with columns.
        columns: Names of the first text, the second text and the score.

    Raises:
        SmoothCSEError: A text or a score is missing, a score is no number, or all scores are equal.
    """
    first, second, _ = columns.names
    rows = [
        (text_of(place, record, first), text_of(place, record, second), _score(place, record.get(SCORE)))
        for place, record in read_records(TextFile(path, str(path)))
    ]
    scores = tuple(score for *_, score in rows)
    if len(rows) > 1 and len(set(scores)) < 2:
        raise SmoothCSEError(
            f"{path}: all {len(scores)} scores are {scores[0]:g}, so Spearman's correlation is undefined; give pairs "
            "of different similarity."
        )
    return ScoredPairs(tuple(row[0] for row in rows), tuple(row[1] for row in rows), scores)


def read_triplets(path: Path, columns: LabelColumns) -> Triplets:
    """Read triplets.

    Args:
        path: File of a format with columns.
        columns: Names of the anchor, the positive and the negative.

    Raises:
        SmoothCSEError: A text is missing.
    """
    rows = [
        [text_of(place, record, name) for name in columns.names]
        for place, record in read_records(TextFile(path, str(path)))
    ]
    return Triplets(*(tuple(column) for column in zip(*rows, strict=True)))


def _score(place: str, value: object) -> float:
    if value is None or not str(value).strip():
        raise SmoothCSEError(f"{place} has no score: fix or remove the line.")
    try:
        score = float(str(value))
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise SmoothCSEError(f"{place}: the score {value!r} is not a number: fix or remove the line.")
    return score
