"""Near-duplicates by MinHash and locality-sensitive hashing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from smoothcse._utils.extras import require

PERMUTATIONS = 128
FOUND = 0.94
"""Minimum probability that two texts with a similarity at the threshold are compared."""

WORDS = 3
SEED = 1

PART = 1 << 20
"""Characters whose sequences of words are held at once. Those at the border of two parts are not compared."""

_WORD = re.compile(r"\w+")


class NearDuplicates:
    """Filter for texts that resemble an earlier text.

    Two texts are compared by the estimated Jaccard similarity of their sets of three consecutive words, in lower case.
    The estimate has a standard error of about 0.035 at a similarity of 0.8. Memory is about 3 KB for each text kept.

    Args:
        threshold: Similarity from which a text counts as a near-duplicate, between 0 and 1.
    """

    def __init__(self, threshold: float) -> None:
        self._rensa = require("rensa", "documents", "Removing near-duplicates")
        self._seen = self._rensa.RMinHashDeduplicator(
            threshold, PERMUTATIONS, use_lsh=True, num_bands=bands_for(threshold), seed=SEED
        )
        self._added = 0

    def keep(self, texts: Iterable[str]) -> list[bool]:
        """Return which texts to keep: those that resemble neither an earlier text that was kept nor one another.

        Args:
            texts: Next texts, in order.
        """
        return [self._add(text) for text in texts]

    def _add(self, text: str) -> bool:
        signature = self._rensa.RMinHash(PERMUTATIONS, SEED)
        for start in range(0, len(text), PART):
            signature.update(shingles(text[start : start + PART]))
        self._added += 1
        return bool(self._seen.add(str(self._added), signature))


def bands_for(threshold: float) -> int:
    """Return the smallest number of bands that finds pairs with a Jaccard similarity at the threshold.

    Two texts are compared if all rows of a band agree, which has the probability ``1 - (1 - t^(P/b))^b`` for a
    similarity ``t``, ``b`` bands and ``P`` permutations (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
    3.4). More bands compare more texts.
    """
    choices = (16, 32, 64)
    found = (bands for bands in choices if 1 - (1 - threshold ** (PERMUTATIONS // bands)) ** bands >= FOUND)
    return next(found, PERMUTATIONS)


def shingles(text: str) -> list[str]:
    """Return all runs of three words of a text in lower case; the whole text if it has fewer words."""
    words = _WORD.findall(text.lower())
    if len(words) < WORDS:
        return [text]
    return [" ".join(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)]
