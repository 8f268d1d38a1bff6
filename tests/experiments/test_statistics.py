"""Intervals of differences over seeds and over queries are those of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from smoothcse.experiments import statistics
from smoothcse.experiments.statistics import Difference, mean_sd, paired_bootstrap, paired_difference, show_mean_sd

SCORES = [76.45, 76.25, 76.27]
CONTROL = [75.71, 75.88, 76.40]


def test_the_interval_is_that_of_the_paired_t_test():
    difference = paired_difference(SCORES, CONTROL)
    expected = ttest_rel(SCORES, CONTROL).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))
    assert difference.mean == pytest.approx(np.mean(np.subtract(SCORES, CONTROL)))
    assert not difference.established
    assert paired_difference([2.0, 2.1, 2.2], [1.0, 1.1, 1.21]).established


def test_a_single_seed_has_no_spread():
    assert mean_sd([80.0]) == (80.0, None)
    assert show_mean_sd([80.0]) == "80.00"
    difference = paired_difference([81.0], [80.0])
    assert (difference.low, difference.established, str(difference)) == (None, False, "+1.00")
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([], [])


def test_two_values_have_a_spread_and_more_a_mean_of_all():
    assert mean_sd([1.0, 2.0]) == (1.5, pytest.approx(0.5**0.5))
    assert show_mean_sd(SCORES) == f"{np.mean(SCORES):.2f} ± {np.std(SCORES, ddof=1):.2f}"


@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_a_difference_says_its_interval_and_its_pairs(confidence):
    difference = paired_difference(SCORES, CONTROL, confidence)
    low, high = ttest_rel(SCORES, CONTROL).confidence_interval(confidence)
    assert (difference.low, difference.high) == pytest.approx((low, high))
    assert str(difference) == f"{difference.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert difference.n == 3
    assert paired_difference([81.0], [80.0]).n == 1


def test_an_interval_that_ends_at_zero_establishes_nothing():
    assert not Difference(1.0, 0.0, 2.0, 3).established
    assert not Difference(-1.0, -2.0, 0.0, 3).established
    assert Difference(-1.0, -2.0, -0.1, 3).established


def test_runs_without_their_control_are_refused():
    for treated, control in (([1.0, 2.0], [1.0]), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"shorter|longer"):
            paired_difference(treated, control)


# ---- over queries -------------------------------------------------------------------------------------------


def reciprocal_ranks(seed, n=400):
    return 100.0 / np.random.default_rng(seed).integers(1, 30, n)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_interval_is_that_of_scipy(confidence):
    treated, control = reciprocal_ranks(0), reciprocal_ranks(1)
    ours = paired_bootstrap(treated, control, confidence=confidence)
    theirs = bootstrap(
        (treated - control,), np.mean, n_resamples=10_000, confidence_level=confidence, method="percentile", batch=100
    ).confidence_interval
    sd = (treated - control).std() / 20
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * sd)
    assert ours.mean == pytest.approx((treated - control).mean())
    assert ours.n == 400


def test_pairing_removes_what_the_queries_have_in_common():
    control = reciprocal_ranks(0)
    treated = control + np.random.default_rng(1).normal(0.5, 1, len(control))
    paired = paired_bootstrap(treated, control)
    assert paired.established
    assert 0.3 < paired.low < paired.mean < paired.high < 0.7
    assert not paired_bootstrap(treated, np.random.default_rng(2).permutation(control)).established


def test_the_bootstrap_depends_on_its_seed_and_not_on_its_memory(monkeypatch):
    treated, control = reciprocal_ranks(0), reciprocal_ranks(1)
    whole = paired_bootstrap(treated, control, seed=3)
    assert whole == paired_bootstrap(treated.tolist(), control.tolist(), seed=3)
    assert whole != paired_bootstrap(treated, control, seed=4)
    monkeypatch.setattr(statistics, "_DRAWN_AT_A_TIME", 999)
    assert paired_bootstrap(treated, control, seed=3) == whole


def test_equal_systems_and_single_queries_establish_nothing():
    assert paired_bootstrap([1.0, 2.0], [1.0, 2.0]) == Difference(0.0, 0.0, 0.0, 2)
    assert paired_bootstrap([3.0], [1.0]) == Difference(2.0, None, None, 1)
    assert paired_bootstrap([2.0, 3.0], [1.0, 2.0]) == Difference(1.0, 1.0, 1.0, 2)


@pytest.mark.parametrize(("treated", "control"), [([], []), ([1.0], [1.0, 2.0])])
def test_scores_that_cannot_be_paired_are_refused(treated, control):
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap(treated, control)
