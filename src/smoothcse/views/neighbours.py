"""A sentence and its neighbour in the order of the document (Logeswaran and Lee, ICLR 2018)."""

from __future__ import annotations

from random import Random

from smoothcse.views.row_random import below


def neighbour(row: int, rows: int, random: Random) -> int:
    """Draw the row before or after a row; the first and the last row have one neighbour each.

    Args:
        row: Row of the corpus, from 0.
        rows: Rows of the corpus, at least 2.
        random: Random generator.
    """
    candidates = [other for other in (row - 1, row + 1) if 0 <= other < rows]
    return candidates[below(random, len(candidates))]
