"""Crops: two independent random spans of a text (Izacard et al., TMLR 2022)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from random import Random

from smoothcse.views.row_random import below

# A word is a run of non-space characters, or a single character, with its marks, of a script that is written without
# spaces: Thai and Lao, Burmese, Khmer, kana, Han.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "".join(mark for mark in map(chr, range(0x0E00, 0x3100)) if unicodedata.category(mark).startswith("M"))
_WORD = re.compile(rf"[{_UNSPACED}][{_MARKS}\ufe00-\ufe0f\U000e0100-\U000e01ef]*|[^\s{_UNSPACED}]+")


def crops(text: str, random: Random, *, lengths: Sequence[float], deletion: float = 0.0) -> tuple[str, str]:
    """Draw two crops of a text.

    Args:
        text: Text, at least one word.
        random: Random generator.
        lengths: Minimum and maximum length: fractions of the text's words if both are at most 1, else word counts.
        deletion: Probability with which each word of a crop is deleted; at least one word is kept.

    Returns:
        Two non-empty spans of the text or, with deletion, of what is left of them.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    if not words:
        return text, text
    first, second = (_crop(text, words, random, lengths, deletion) for _ in range(2))
    return first, second


def _crop(
    text: str, words: Sequence[tuple[int, int]], random: Random, lengths: Sequence[float], deletion: float
) -> str:
    count = _word_count(len(words), random, *lengths)
    first = below(random, len(words) - count + 1)
    chosen = range(first, first + count)
    if not deletion:
        return text[words[chosen[0]][0] : words[chosen[-1]][1]]
    kept = [word for word in chosen if random.random() >= deletion] or [chosen[below(random, count)]]
    ends = [start for start, _ in words[1:]] + [words[-1][1]]  # a word with the white space after it
    return "".join(text[words[word][0] : ends[word]] for word in kept).rstrip()


def _word_count(available: int, random: Random, shortest: float, longest: float) -> int:
    if longest <= 1:
        count = round((shortest + random.random() * (longest - shortest)) * available)
    else:
        count = int(shortest) + below(random, int(longest) - int(shortest) + 1)
    return min(max(count, 1), available)
