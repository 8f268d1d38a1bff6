"""Queries cut out of a document, and the rest of it, which they must find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from smoothcse.evaluation.lexical import word_spans

LEAST_QUERY = 4
"""Minimum number of words of a query."""

LEAST_REST = 8
"""Minimum number of words of what must be found."""

_CROP_SHARE = 0.2
_MOST_CROP = 30  # words


@dataclass(frozen=True)
class Cut:
    """A document without two parts that serve as queries.

    Attributes:
        sentence: One of its sentences.
        crop: Consecutive words that do not overlap the sentence.
        rest: What is left.
    """

    sentence: str
    crop: str
    rest: str


def shared_sentences(documents: Iterable[Sequence[str]]) -> set[str]:
    """Return the sentences that several documents contain."""
    counts = Counter(sentence for pieces in documents for sentence in {piece.strip() for piece in pieces})
    return {sentence for sentence, count in counts.items() if count > 1}


def cut_queries(pieces: Sequence[str], shared: set[str], generator: np.random.Generator) -> Cut | None:
    """Cut a sentence and a crop out of a document, or return None if too little would be left.

    Args:
        pieces: The document, divided into sentences with the white space behind them.
        shared: Sentences that no query may be, see :func:`shared_sentences`.
        generator: Source of the choice.
    """
    own = [piece.strip() for piece in pieces if piece.strip() not in shared and len(word_spans(piece)) >= LEAST_QUERY]
    if not own:
        return None
    sentence = own[generator.integers(len(own))]
    sides = ["".join(side) for kept, side in groupby(pieces, lambda piece: piece.strip() != sentence) if kept]
    if not sides:
        return None
    number = max(range(len(sides)), key=lambda number: len(word_spans(sides[number])))
    side, words = sides[number], word_spans(sides[number])
    size = min(_MOST_CROP, max(LEAST_QUERY, round(_CROP_SHARE * len(words))))
    if len(words) < size + LEAST_REST:
        return None
    first = int(generator.integers(len(words) - size + 1))
    start, end = words[first][0], words[first + size - 1][1]
    crop = side[start:end]
    rest = " ".join([*sides[:number], side[:start].rstrip(), side[end:].lstrip(), *sides[number + 1 :]]).strip()
    # A document can repeat a query inside another sentence.
    return None if sentence in rest or crop in rest else Cut(sentence, crop, rest)
