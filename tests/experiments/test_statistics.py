"""What is said about figures over seeds is what scipy says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from smoothcse.experiments.statistics import Difference, mean_sd, paired_difference, show_mean_sd

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
