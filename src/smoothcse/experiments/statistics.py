"""Mean, standard deviation and paired confidence intervals of scores, over seeds or over queries."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
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

    @property
    def half_width(self) -> float:
        """Half the width of the interval; 0 for a single pair."""
        return 0.0 if self.low is None or self.high is None else (self.high - self.low) / 2

    def __str__(self) -> str:
        """Return e.g. ``+0.33 [-0.76, +1.42]``."""
        return self.words(2)

    def words(self, decimals: int) -> str:
        """Return mean and interval, rounded to a number of decimals."""
        interval = "" if self.low is None else f" [{self.low:+.{decimals}f}, {self.high:+.{decimals}f}]"
        return f"{self.mean:+.{decimals}f}{interval}"


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
    means = [differences[drawn].mean(axis=1) for drawn in _resamples(n, resamples, seed)]
    return Difference(float(differences.mean()), *_interval(np.concatenate(means), confidence), n)


def paired_bootstrap_spearman(
    treated: NDArray[np.floating[Any]],
    control: NDArray[np.floating[Any]],
    gold: NDArray[np.floating[Any]],
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Difference:
    """Compare the Spearman correlations x 100 of two systems with the same scores, by resampling the scored pairs.

    Both correlations are computed anew on each sample of pairs (percentile bootstrap). A sample in which all pairs
    have the same score has no correlation and is left out.

    Args:
        treated: Similarity of each pair, ``(n,)``. Equal similarities have the correlation 0.
        control: Similarity of the same pairs, in the same order.
        gold: Human score of each pair, at least two of them distinct.
        confidence: Confidence level of the interval.
        resamples: Number of samples.
        seed: Seed of the samples.

    Returns:
        Correlation of ``treated`` minus that of ``control``, as the ``mean``, with its interval.
    """
    n = len(gold)
    whole = np.arange(n)[None]
    differences = [
        _spearman(treated[drawn], gold[drawn]) - _spearman(control[drawn], gold[drawn])
        for drawn in (whole, *_resamples(n, resamples, seed))
    ]
    [mean], samples = differences[0], np.concatenate(differences[1:])
    return Difference(float(mean), *_interval(samples[np.isfinite(samples)], confidence), n)


def _resamples(n: int, count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield ``count`` samples of ``n`` row numbers drawn with replacement, as many at a time as memory allows."""
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWN_AT_A_TIME // n)
    for first in range(0, count, rows):
        yield generator.integers(n, size=(min(rows, count - first), n))


def _interval(samples: NDArray[np.floating[Any]], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _spearman(x: NDArray[np.floating[Any]], gold: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the correlation x 100 of each row, ``(r,)``: 0 where ``x`` is constant, NaN where ``gold`` is."""
    from scipy.stats import rankdata

    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(gold, axis=1)))
    spread_a, spread_b = (a * a).sum(axis=1), (b * b).sum(axis=1)
    lengths = np.sqrt(np.where(spread_a > 0, spread_a, 1.0) * np.where(spread_b > 0, spread_b, np.nan))
    return np.asarray(100.0 * (a * b).sum(axis=1) / lengths)
