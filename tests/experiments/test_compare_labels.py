"""Two models compared on the user's own labels: the interval says how little few labels tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from smoothcse.evaluation.item_scores import ItemScores
from smoothcse.experiments.compare_labels import LEAST, compare
from smoothcse.experiments.statistics import paired_bootstrap, paired_bootstrap_spearman


def correlated(n, noise, seed):
    """Scores from 0 to 5 and similarities that agree with them up to noise."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 6, n).astype(float)
    return gold, gold + noise * rng.normal(size=n)


def test_queries_and_triplets_are_compared_by_the_mean():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0, 100, (2, 50))
    assert compare(ItemScores(before), ItemScores(after)) == paired_bootstrap(after, before)


def test_pairs_are_compared_by_the_correlation_of_each_sample():
    gold, before = correlated(40, 3.0, 0)
    after = gold + np.random.default_rng(1).normal(size=40)
    found = paired_bootstrap_spearman(after, before, gold, resamples=100)
    drawn = np.random.default_rng(0).integers(40, size=(100, 40))
    whole, *samples = (
        100 * (spearmanr(after[rows], gold[rows]).statistic - spearmanr(before[rows], gold[rows]).statistic)
        for rows in (np.arange(40), *drawn)
    )
    assert found.mean == pytest.approx(whole)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))
    scores = ItemScores(before, gold), ItemScores(after, gold)
    assert compare(*scores) == paired_bootstrap_spearman(after, before, gold)
    assert compare(*scores).mean == pytest.approx(scores[1].value - scores[0].value)


def test_more_pairs_narrow_the_interval():
    few, many = (
        compare(ItemScores(correlated(n, 3.0, 0)[1], gold := correlated(n, 3.0, 0)[0]), ItemScores(gold, gold))
        for n in (20, 200)
    )
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_similarities_all_alike_have_the_correlation_zero():
    gold, after = correlated(30, 0.5, 0)
    found = paired_bootstrap_spearman(after, np.zeros(30), gold)
    assert found.mean == pytest.approx(100 * spearmanr(after, gold).statistic)
    assert found.established


def test_samples_without_two_scores_are_left_out():
    gold = np.array([0.0] * 7 + [1.0])  # in a third of the samples, all scores are 0
    found = paired_bootstrap_spearman(np.arange(8.0), np.arange(8.0)[::-1], gold)
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize("gold", [None, np.arange(LEAST)])
def test_a_handful_of_labels_gives_no_interval(gold):
    before, after = np.arange(LEAST)[::-1] + 0.0, np.arange(LEAST) + 100.0
    whole = compare(ItemScores(before, gold), ItemScores(after, gold))
    assert whole.low is not None
    few = compare(*(ItemScores(v[1:], None if gold is None else gold[1:]) for v in (before, after)))
    assert (few.low, few.high, few.established) == (None, None, False)
    assert few.mean > 0


def test_scores_of_other_labels_cannot_be_compared():
    with pytest.raises(ValueError, match="cannot be paired"):
        compare(ItemScores(np.zeros(3)), ItemScores(np.zeros(4)))
