"""Successive halving within a time budget (Jamieson and Talwalkar, AISTATS 2016).

Each round trains its candidates for three times the steps of the round before, and the best third continues. The last
round trains one candidate for the rest of the time, which is at least half of it: training longer helps more than
searching longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_STEPS = 30
"""Steps of a run in the first round; fewer do not tell candidates apart."""

_FACTOR = 3
_SEARCH_SHARE = 0.5


@dataclass(frozen=True)
class Costs:
    """Measured costs.

    Attributes:
        step_seconds: Duration of a training step.
        run_seconds: Duration of the rest of a run: loading, saving, and scoring its model.
    """

    step_seconds: float
    run_seconds: float

    def of(self, runs: int, steps: int) -> float:
        """Return the seconds that some runs of some steps take."""
        return runs * (self.run_seconds + steps * self.step_seconds)


@dataclass(frozen=True)
class Round:
    """A round of successive halving.

    Attributes:
        runs: Number of candidates.
        steps: Training steps of each.
    """

    runs: int
    steps: int


def plan_rounds(seconds: float, costs: Costs, candidates: int, most_steps: int) -> list[Round]:
    """Return the rounds that fit a budget, with as many candidates as fit.

    Args:
        seconds: Budget.
        costs: Measured costs.
        candidates: Number of candidates, at least 1.
        most_steps: Maximum steps of a run, at least 1.

    Returns:
        The rounds, the last one with a single run; empty if the budget does not suffice for :data:`FIRST_STEPS` steps
        (or ``most_steps``, if that is fewer).
    """
    for runs in range(candidates, 0, -1):
        rounds = _search_rounds(runs, most_steps)
        spent = sum(costs.of(part.runs, part.steps) for part in rounds)
        steps = min(most_steps, math.floor((seconds - spent - costs.run_seconds) / costs.step_seconds))
        least = min(most_steps, _FACTOR * rounds[-1].steps if rounds else FIRST_STEPS)
        if spent <= _SEARCH_SHARE * seconds and steps >= least:
            return [*rounds, Round(1, steps)]
    return []


def _search_rounds(runs: int, most_steps: int) -> list[Round]:
    """Return the rounds before the last one."""
    rounds, steps = [], FIRST_STEPS
    while runs > 1:
        rounds.append(Round(runs, min(steps, most_steps)))
        runs, steps = math.ceil(runs / _FACTOR), steps * _FACTOR
    return rounds
