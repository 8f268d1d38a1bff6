"""What every evaluation returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean


@dataclass(frozen=True)
class Score:
    """The result of one model on one task.

    Attributes:
        task: the task's name, e.g. ``"STS12"``.
        main: the figure that papers print, in percent: Spearman for STS, accuracy for transfer, mean reciprocal rank
            for retrieval; for geometry uniformity, as it is. Never ``nan``.
        metrics: all figures by name, in percent but for geometry.
        subsets: the same per part of the task, for tasks that have parts.
        rows: number of scored examples behind ``main``.
        diagnosis: one sentence when the figures mean something else than they seem to, else None.
    """

    task: str
    main: float
    metrics: Mapping[str, float]
    rows: int
    subsets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    diagnosis: str | None = None


def average(scores: Iterable[Score]) -> float:
    """Return the mean of the main figures.

    They are averaged as they are. SimCSE's evaluation script, and so most published averages, takes the mean
    of figures rounded to two decimals, which can move the last printed digit by one.
    """
    return fmean(score.main for score in scores)
