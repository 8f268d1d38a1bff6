"""Successive halving stays within its budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.experiments.adapt.budget import FIRST_STEPS, Costs, Round, plan_rounds


@given(
    seconds=st.floats(0, 1e5),
    step=st.floats(1e-3, 50),
    run=st.floats(0, 300),
    candidates=st.integers(1, 12),
    most=st.integers(1, 3000),
)
def test_the_rounds_fit_the_budget_and_end_with_the_longest_run(seconds, step, run, candidates, most):
    costs = Costs(step, run)
    rounds = plan_rounds(seconds, costs, candidates, most)
    assert sum(costs.of(part.runs, part.steps) for part in rounds) <= seconds * (1 + 1e-9) + 1e-6
    for part in rounds:
        assert 1 <= part.runs <= candidates
        assert 1 <= part.steps <= most
    if rounds:
        assert rounds[-1].runs == 1
        assert [part.runs for part in rounds] == sorted((part.runs for part in rounds), reverse=True)
        assert rounds[-1].steps == max(part.steps for part in rounds)
        searched = sum(costs.of(part.runs, part.steps) for part in rounds[:-1])
        assert searched <= 0.5 * seconds


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (39.9, []),  # one run of 30 steps costs 40
        (40, [Round(1, 30)]),
        (129, [Round(1, 119)]),
        (180, [Round(2, 30), Round(1, 90)]),
        (900, [Round(6, 30), Round(2, 90), Round(1, 450)]),
        (100_000, [Round(8, 30), Round(3, 90), Round(1, 500)]),
    ],
)
def test_more_time_tries_more_candidates_and_then_trains_longer(seconds, expected):
    assert plan_rounds(seconds, Costs(step_seconds=1, run_seconds=10), candidates=8, most_steps=500) == expected


def test_a_small_corpus_needs_fewer_steps():
    assert plan_rounds(1000, Costs(1, 10), candidates=1, most_steps=FIRST_STEPS // 2) == [Round(1, FIRST_STEPS // 2)]
