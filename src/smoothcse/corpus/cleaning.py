"""What is done to every sentence, on Arrow batches: no Python object per sentence except for hashing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

# Every blank of Unicode other than U+0020, and the control characters.
_ODD_BLANKS = r"\p{Cc}\p{Zl}\p{Zp}\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
# Matches nothing in a clean sentence: far faster than replacing each blank by itself.
_UNFOLDED = f" *[{_ODD_BLANKS}][ {_ODD_BLANKS}]*|  +"


def clean(texts: pa.StringArray) -> pa.StringArray:
    """Bring sentences into one canonical spelling; applying it twice changes nothing more.

    Unicode is composed (NFC). Every run of blanks, line ends and control characters becomes one blank: a
    control character separates more often than it joins, and no tokenizer has a use for it. The ends are
    trimmed.

    Args:
        texts: Sentences without nulls.

    Returns:
        As many sentences, some perhaps empty.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    folded = pc.replace_substring_regex(_compose(trimmed), pattern=_UNFOLDED, replacement=" ")
    return pc.utf8_trim(folded, characters=" ")


def _compose(texts: pa.StringArray) -> pa.StringArray:
    """NFC; sentences in ASCII, most of an English corpus, are composed already and skip the costly kernel."""
    other = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(other).as_py():
        return texts
    return pc.replace_with_mask(texts, other, pc.utf8_normalize(texts.filter(other), form="NFC"))


def hash_sentences(texts: pa.StringArray) -> NDArray[np.uint64]:
    """Hash each sentence to 64 bits with XXH3, which is the same on every machine and in every release."""
    rows = texts.cast(pa.binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, rows), np.uint64, len(rows))


def hash_rows(rows: pa.RecordBatch) -> NDArray[np.uint64]:
    """Hash each row of cleaned text: the one sentence, or several with a character between that no clean text has."""
    texts = pc.binary_join_element_wise(*rows.columns, "\x1f") if rows.num_columns > 1 else rows.column(0)
    return hash_sentences(texts)


def first_occurrences(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the positions, ascending, at which a hash is seen for the first time.

    Two different sentences share a 64-bit hash with probability 2^-64, so among n sentences one or more is
    wrongly dropped with probability about n² / 2^65: 3e-8 for a million, 3e-6 for ten million.

    Args:
        hashes: ``(n,)``.

    Returns:
        ``(number of different hashes,)``.
    """
    return np.sort(np.unique(hashes, return_index=True)[1])
