"""Equivalence of two settings: a claim that their scores are the same, with its own test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smoothcse.experiments.statistics import Difference, paired_difference


@dataclass(frozen=True)
class Equivalence:
    """Result of two one-sided tests (TOST; Schuirmann, 1987).

    Attributes:
        difference: Mean of treated minus control, with the interval of level ``1 - 2 α`` that decides.
        margin: Differences up to this size count as the same.
        p: Larger p-value of both tests: the probability of a mean as close to zero or closer if the true difference
            were the margin. None for a single pair.
    """

    difference: Difference
    margin: float
    p: float | None

    @property
    def established(self) -> bool:
        """Whether the interval lies within the margin."""
        low, high = self.difference.low, self.difference.high
        return low is not None and high is not None and -self.margin < low and high < self.margin


def paired_equivalence(
    treated: Sequence[float], control: Sequence[float], margin: float, alpha: float = 0.05
) -> Equivalence:
    r"""Test whether runs that differ in one setting have the same score, up to a margin.

    A difference that is not established is no evidence of equality. Two one-sided t-tests reject "lower by the margin
    or more" and "higher by the margin or more", each at level ``α``, which is to say that the interval of level
    ``1 - 2 α`` lies within ``±margin``.

    Args:
        treated: Score of each seed.
        control: Score of the same seeds, in the same order.
        margin: Largest difference that counts as the same, greater than 0.
        alpha: Level of each test.

    Raises:
        ValueError: If the lengths differ or are zero.
    """
    from scipy.stats import ttest_1samp

    difference = paired_difference(treated, control, confidence=1 - 2 * alpha)
    if difference.n == 1:
        return Equivalence(difference, margin, None)
    gaps = [a - b for a, b in zip(treated, control, strict=True)]
    above = ttest_1samp(gaps, -margin, alternative="greater").pvalue
    below = ttest_1samp(gaps, margin, alternative="less").pvalue
    return Equivalence(difference, margin, float(max(above, below)))
