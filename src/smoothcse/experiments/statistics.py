"""Mean, standard deviation and paired confidence intervals of scores, over seeds or over queries."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWN_AT_A_TIME = 1 << 22
"""Maximum number of differences in memory during a bootstrap, of 8 bytes each."""


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its confidence interval.

    Attributes:
        mean: Mean of treated minus control.
        low: Lower end of the interval; None for a single pair, which has no spread.
        high: Upper end of the interval; None for a single pair.
        n: Number of pairs.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def established(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        """Return e.g. ``+0.33 [-0.76, +1.42]``."""
        interval = "" if self.low is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.mean:+.2f}{interval}"


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (``n - 1``); None for the latter if there is one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def show_mean_sd(values: Sequence[float]) -> str:
    """Return e.g. ``82.51 ± 0.13``, or the mean alone if there is one value."""
    mean, sd = mean_sd(values)
    return f"{mean:.2f}" if sd is None else f"{mean:.2f} ± {sd:.2f}"


def paired_difference(treated: Sequence[float], control: Sequence[float], confidence: float = 0.95) -> Difference:
    r"""Compare runs that differ in one setting and share everything else, including the seed.

    .. math:: \bar δ \pm t_{n-1} \, s_δ / \sqrt n, \qquad δ_i = \text{treated}_i - \text{control}_i

    Sharing the seed removes the effect of data order and head initialisation, which both have in common. The interval
    assumes normally distributed differences. With three seeds ``t`` is 4.30, so only large ones are significant.

    Args:
        treated: Score of each seed.
        control: Score of the same seeds, in the same order.
        confidence: Confidence level of the interval.

    Raises:
        ValueError: If the lengths differ or are zero.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(treated, control, strict=True)]
    if not differences:
        raise ValueError("There are no pairs to compare.")
    mean, sd = mean_sd(differences)
    n = len(differences)
    if sd is None:
        return Difference(mean, None, None, n)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * sd / n**0.5
    return Difference(mean, mean - half, mean + half, n)


def paired_bootstrap(
    treated: Sequence[float] | NDArray[np.floating[Any]],
    control: Sequence[float] | NDArray[np.floating[Any]],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    r"""Compare two systems on the same queries, by resampling the queries.

    The interval holds the middle of the means of ``resamples`` samples, each of ``n`` queries drawn with replacement
    (percentile bootstrap; Sakai, SIGIR 2006, for retrieval). It assumes nothing about the distribution of the
    differences, which is far from normal for reciprocal ranks. It says how certain the difference is for other queries
    like these, and nothing about other seeds of training.

    Args:
        treated: Score of each query, ``n`` numbers, e.g. reciprocal ranks × 100.
        control: Score of the same queries, in the same order.
        confidence: Confidence level of the interval.
        resamples: Number of samples.
        seed: Seed of the samples.

    Raises:
        ValueError: If the lengths differ or are zero.
    """
    if len(treated) != len(control) or not len(treated):
        raise ValueError(
            f"{len(treated)} and {len(control)} scores cannot be paired; give one of each for each query."
        )
    differences = np.asarray(treated, dtype=np.float64) - np.asarray(control, dtype=np.float64)
    n = len(differences)
    if n == 1:
        return Difference(float(differences[0]), None, None, n)
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWN_AT_A_TIME // n)
    means = [
        differences[generator.integers(n, size=(min(rows, resamples - first), n))].mean(axis=1)
        for first in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(differences.mean()), float(low), float(high), n)
