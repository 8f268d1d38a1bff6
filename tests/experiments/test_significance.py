"""Equivalence, corrected p-values and planned numbers of runs agree with definitions and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from smoothcse.experiments.equivalence import paired_equivalence
from smoothcse.experiments.significance import holm, paired_p, seeds_for

SCORES = [76.45, 76.25, 76.27, 76.40]
CONTROL = [76.41, 76.28, 76.22, 76.41]


@pytest.mark.parametrize("margin", [0.02, 0.06, 0.1])
def test_scores_are_equivalent_where_the_90_percent_interval_lies_within_the_margin(margin):
    found = paired_equivalence(SCORES, CONTROL, margin)
    interval = ttest_rel(SCORES, CONTROL).confidence_interval(0.9)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.established == (max(abs(interval.low), abs(interval.high)) < margin)
    assert (found.p <= 0.05) == found.established
    gaps = np.subtract(SCORES, CONTROL)
    error = gaps.std(ddof=1) / 2
    expected = max(t.sf((gaps.mean() + margin) / error, 3), t.cdf((gaps.mean() - margin) / error, 3))
    assert found.p == pytest.approx(expected)


def test_a_difference_that_is_not_established_is_no_equivalence():
    scores, control = [70.0, 75.0, 80.0], [75.0, 74.0, 76.0]
    assert paired_p(scores, control) > 0.5
    assert not paired_equivalence(scores, control, 0.1).established
    single = paired_equivalence([1.0], [1.0], 0.1)
    assert (single.p, single.established) == (None, False)
    assert paired_p([1.0], [1.0]) is None


def test_p_is_that_of_the_paired_t_test():
    assert paired_p(SCORES, CONTROL) == pytest.approx(float(ttest_rel(SCORES, CONTROL).pvalue))


def test_holm_steps_down_in_any_order():
    """The example of Holm's procedure: 0.01 * 4, 0.013 * 3 raised to it, 0.03 * 2, 0.05 * 1 raised to that."""
    assert holm([0.05, 0.01, 0.03, 0.013]) == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@pytest.mark.parametrize(("sd", "difference", "equivalence"), [(1.0, 1.0, False), (0.1, 0.1, True)])
def test_planned_runs_have_the_power(sd, difference, equivalence):
    """In 20,000 simulated studies, one run fewer has too little."""
    n = seeds_for(sd, difference, power=0.8, equivalence=equivalence)
    for runs, enough in ((n, True), (n - 1, False)):
        true = 0.0 if equivalence else difference
        gaps = np.random.default_rng(0).normal(true, sd, (20_000, runs))
        mean, error = gaps.mean(axis=1), gaps.std(axis=1, ddof=1) / runs**0.5
        if equivalence:
            half = t.ppf(0.95, runs - 1) * error
            found = (mean - half > -difference) & (mean + half < difference)
        else:
            found = np.abs(mean) > t.ppf(0.975, runs - 1) * error
        assert found.mean() >= 0.795 if enough else found.mean() < 0.805  # a simulated power varies by 0.003


def test_a_hopeless_comparison_is_refused():
    with pytest.raises(ValueError, match="more than 10,000 runs"):
        seeds_for(1.0, 0.001)
