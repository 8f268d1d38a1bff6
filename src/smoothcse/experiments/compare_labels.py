"""Comparison of two models on the user's own labels."""

from __future__ import annotations

from dataclasses import replace

from smoothcse.evaluation.item_scores import ItemScores
from smoothcse.experiments.statistics import Difference, paired_bootstrap, paired_bootstrap_spearman

LEAST = 6
"""Number of items from which there is an interval.

Even if all of fewer items changed in one direction, a sign test has p > 0.05, but a bootstrap would exclude zero.
"""


def compare(before: ItemScores, after: ItemScores) -> Difference:
    """Compare two models by a paired bootstrap over the labelled items.

    For scored pairs, Spearman's correlation is computed anew on each sample of pairs.

    Args:
        before: Scores of the control.
        after: Scores of the other model on the same labels.

    Returns:
        Score of ``after`` minus that of ``before``, in points, with its 95% interval; without interval for fewer than
        :data:`LEAST` items.

    Raises:
        ValueError: If the numbers of items differ.
    """
    if before.gold is None:
        found = paired_bootstrap(after.values, before.values)
    else:
        found = paired_bootstrap_spearman(after.values, before.values, before.gold)
    return found if found.n >= LEAST else replace(found, low=None, high=None)
