"""The result type of every evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

ScoredBy = Literal["model", "BM25", "model + BM25", "model + BM25 + MaxSim"]


@dataclass(frozen=True)
class Score:
    """Result of one model on one task.

    Attributes:
        task: Name of the task, e.g. ``"STS12"``.
        main: Main metric, which papers report, in percent: Spearman for STS, accuracy for transfer, mean reciprocal
            rank for retrieval. For geometry: uniformity, not in percent. Never ``nan``.
        metrics: All metrics by name, in percent except for geometry.
        rows: Number of scored examples.
        subsets: All metrics of each subset, for tasks with subsets.
        diagnosis: One sentence if the metrics are misleading, else None.
        by: What is scored: ``"model"``, for retrieval also ``"BM25"``, ``"model + BM25"`` or
            ``"model + BM25 + MaxSim"``.
        milliseconds: For MaxSim, what it adds to the time of one query.
    """

    task: str
    main: float
    metrics: Mapping[str, float]
    rows: int
    subsets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    diagnosis: str | None = None
    by: ScoredBy = "model"
    milliseconds: float | None = None


def average(scores: Iterable[Score]) -> float:
    """Return the mean of the main metrics.

    The unrounded metrics are averaged. SimCSE's evaluation script, and therefore most published averages, uses metrics
    rounded to two decimals, which can change the last printed digit by one.
    """
    return fmean(score.main for score in scores)
