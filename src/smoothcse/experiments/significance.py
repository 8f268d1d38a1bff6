"""p-values of paired runs, their correction for many comparisons, and the number of runs that a comparison needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def paired_p(treated: Sequence[float], control: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the paired t-test: 1 if all scores are equal, None for a single pair.

    Args:
        treated: Score of each seed.
        control: Score of the same seeds, in the same order.
    """
    from scipy.stats import ttest_rel

    if len(treated) == 1:
        return None
    if all(a == b for a, b in zip(treated, control, strict=True)):
        return 1.0  # the statistic is 0 / 0
    return float(ttest_rel(treated, control).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of tests (Holm, 1979): step down, without assumptions on their dependence.

    Args:
        p_values: p-value of each test of the family.

    Returns:
        Adjusted p-values, in the same order. Those at most ``α`` are established at family-wise level ``α``.
    """
    order = np.argsort(p_values, kind="stable")
    sorted_p = np.asarray(p_values, dtype=np.float64)[order]
    stepped = np.maximum.accumulate(sorted_p * np.arange(len(sorted_p), 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return [float(p) for p in adjusted]


def seeds_for(
    sd: float, difference: float, *, alpha: float = 0.05, power: float = 0.9, equivalence: bool = False
) -> int:
    """Return the number of paired runs that a planned comparison needs.

    Args:
        sd: Standard deviation of the paired differences.
        difference: Mean difference to detect; for an equivalence test, its margin, with a true difference of 0.
        alpha: Level of the two-sided test, after correction for many comparisons; of each one-sided test of an
            equivalence.
        power: Probability of establishing it; for an equivalence, a lower bound of that probability.
        equivalence: Whether to plan for :func:`~smoothcse.experiments.equivalence.paired_equivalence`.

    Raises:
        ValueError: If 10,000 runs are too few.
    """
    from scipy.stats import nct, t

    for n in range(2, 10_000):
        effect = difference / sd * n**0.5
        critical = t.ppf(1 - alpha, n - 1) if equivalence else t.ppf(1 - alpha / 2, n - 1)
        reached = float(nct.sf(critical, n - 1, effect))
        if (2 * reached - 1 if equivalence else reached) >= power:
            return n
    raise ValueError(f"A difference of {difference} at sd {sd} needs more than 10,000 runs.")
