"""Cleaning and hashing of sentences on Arrow batches; only hashing creates a Python object per sentence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

# Unicode white space other than U+0020, and the control characters.
_OTHER_SPACES = r"\p{Cc}\p{Zl}\p{Zp}\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}"
# A clean sentence contains no match. This is far faster than replacing every space by itself.
_UNFOLDED = f" *[{_OTHER_SPACES}][ {_OTHER_SPACES}]*|  +"


def clean(texts: pa.StringArray) -> pa.StringArray:
    """Normalise the spelling of sentences; the function is idempotent.

    Unicode is composed (NFC). Every run of white space, line ends and control characters becomes one space, and the
    ends are trimmed. Control characters count as separators, since they separate words more often than they join them
    and tokenizers ignore them.

    Args:
        texts: Sentences without nulls, ``(n,)``.

    Returns:
        Cleaned sentences, ``(n,)``, some of which may be empty.
    """
    trimmed = pc.utf8_trim_whitespace(texts)
    folded = pc.replace_substring_regex(_compose(trimmed), pattern=_UNFOLDED, replacement=" ")
    return pc.utf8_trim(folded, characters=" ")


def _compose(texts: pa.StringArray) -> pa.StringArray:
    """Normalise to NFC. ASCII sentences, most of an English corpus, are in NFC already and skip the costly kernel."""
    other = pc.invert(pc.string_is_ascii(texts))
    if not pc.any(other).as_py():
        return texts
    return pc.replace_with_mask(texts, other, pc.utf8_normalize(texts.filter(other), form="NFC"))


def hash_sentences(texts: pa.StringArray) -> NDArray[np.uint64]:
    """Return the 64-bit XXH3 hash of each sentence, ``(n,)``; it is the same on every machine and in every release."""
    rows = texts.cast(pa.binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, rows), np.uint64, len(rows))


def hash_rows(rows: pa.RecordBatch) -> NDArray[np.uint64]:
    """Return the hash of each row of cleaned text, ``(n,)``.

    Several texts of a row are joined by the control character U+001F, which no cleaned text contains.
    """
    texts = pc.binary_join_element_wise(*rows.columns, "\x1f") if rows.num_columns > 1 else rows.column(0)
    return hash_sentences(texts)


def first_occurrences(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the positions, ascending, at which a hash occurs for the first time.

    Two different sentences share a 64-bit hash with probability 2^-64, so at least one of n sentences is wrongly
    dropped with probability about n² / 2^65: 3e-8 for a million, 3e-6 for ten million.

    Args:
        hashes: Hashes, ``(n,)``.

    Returns:
        Positions, ``(number of distinct hashes,)``.
    """
    return np.sort(np.unique(hashes, return_index=True)[1])
