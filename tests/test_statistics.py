"""What is said about figures over seeds is what scipy says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from smoothcse.studies.statistics import mean_sd, paired_difference, show_mean_sd

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
