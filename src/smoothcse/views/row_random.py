"""Random draws for one row of a corpus, which depend only on the seed, the epoch and the row."""

from __future__ import annotations

from random import Random

import xxhash


def row_random(seed: int, epoch: int, row: int) -> Random:
    """Return the random generator of a row in an epoch.

    A resumed run, one on several ranks and one with worker processes therefore draw the same. Views use its method
    ``random()`` only, which Python guarantees to return the same numbers in every version.

    Args:
        seed: Seed of the run.
        epoch: Pass over the corpus, from 0.
        row: Row of the corpus, from 0.
    """
    return Random(xxhash.xxh3_64_intdigest(f"{seed}:{epoch}:{row}".encode()))


def below(random: Random, bound: int) -> int:
    """Return a uniformly drawn integer in ``[0, bound)``.

    Args:
        random: Random generator.
        bound: Exclusive upper bound, at least 1.
    """
    return int(random.random() * bound)
