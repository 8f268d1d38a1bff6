"""General quality decides how much of the trained weights is kept."""

from __future__ import annotations

import pytest

from smoothcse.experiments.adapt import yardsticks
from smoothcse.experiments.adapt.verdict import GeneralComparison
from smoothcse.experiments.adapt.yardsticks import keep_general_quality


@pytest.mark.parametrize(
    ("loss", "share"),
    [(-1.0, 1.0), (0.3, 1.0), (0.35, 0.75), (0.6, 0.5), (1.2, 0.25), (4.0, 0.25)],
)
def test_the_largest_share_that_keeps_general_quality_is_taken(loss, share, monkeypatch):
    monkeypatch.setattr(yardsticks, "average_with_start", lambda trained, start, share: share)
    scores = {"start": 78.0, "trained": 78.0 - loss}

    def general(model):
        return scores[model] if isinstance(model, str) else 78.0 - loss * model

    model, found = keep_general_quality("trained", "start", general)
    assert model == ("trained" if share == 1 else share)
    assert found == GeneralComparison(78.0, pytest.approx(78.0 - loss * share), share)
