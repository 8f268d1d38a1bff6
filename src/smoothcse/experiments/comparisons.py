"""Comparisons of a study: its tests, carried out on the runs that it has so far, as rows of tables and of a file."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from smoothcse.experiments.equivalence import paired_equivalence
from smoothcse.experiments.run_records import Record, ScoreName
from smoothcse.experiments.significance import holm, paired_p
from smoothcse.experiments.statistics import Difference, paired_difference
from smoothcse.experiments.study import Study
from smoothcse.experiments.study_tests import Pair

LEVEL = 0.05
"""Level of the family of tests for differences, and of each equivalence test."""

Point = Mapping[str, Any]
Scores = Mapping[int, float]
"""Score of each seed."""

_ScoresAt = Callable[[str, Point], Scores]
"""Scores of a variant at a point of the grid."""


@dataclass(frozen=True)
class PairedTest:
    """Result of one test.

    Attributes:
        key: Key of the study file that names the pair.
        point: Point of the grid, field to value; words such as ``64 - 32`` for an interaction.
        treated: Name of the treated variant.
        control: Name of the variant that it is compared with; empty for a slope that is compared with 0.
        difference: Mean paired difference, with an interval of 95%, or of 90% for an equivalence.
        p: p-value; None for a single seed.
        adjusted_p: p-value after Holm's correction; None for a single seed and for an equivalence.
        established: Whether the difference or the equivalence is established at :data:`LEVEL`.
    """

    key: Literal["differ", "interact", "slope", "same"]
    point: Point
    treated: str
    control: str
    difference: Difference
    p: float | None
    adjusted_p: float | None
    established: bool

    @property
    def name(self) -> str:
        """Name of the comparison, e.g. ``gs - infonce``."""
        return f"{self.treated} - {self.control}" if self.control else self.treated


def compare(study: Study, records: Sequence[Record]) -> list[PairedTest]:
    """Carry out the tests of a study.

    Args:
        study: The study; without tests, there are no comparisons.
        records: Records of its finished runs.

    Returns:
        The comparisons whose variants share a seed: of ``differ``, ``interact``, ``slope`` and ``same``, in the order
        of the file. The correction counts those that lack runs, too, so that an unfinished study is corrected like a
        finished one.
    """
    tests, points = study.tests, study.points()
    if tests is None:
        return []
    scores_at = partial(scores_of, study, tests.score, records)
    family = [
        *_differ(tests.differ, points, scores_at),
        *_interact(tests.interact, points, scores_at),
        *_slope(tests.slope, points, scores_at),
    ]
    adjusted = holm([1.0 if test.p is None else test.p for test in family])
    tested = [test.result(p) for test, p in zip(family, adjusted, strict=True) if test.treated]
    return [*tested, *_same(tests.same, tests.margin, points, scores_at)]


@dataclass(frozen=True)
class _Test:
    """One test of the family, with the scores of the seeds that both sides have, which may be none."""

    key: Literal["differ", "interact", "slope"]
    point: Point
    pair: Pair
    treated: list[float]
    control: list[float]

    @property
    def p(self) -> float | None:
        return paired_p(self.treated, self.control) if self.treated else None

    def result(self, adjusted: float) -> PairedTest:
        difference = paired_difference(self.treated, self.control)
        known = None if self.p is None else adjusted
        return PairedTest(self.key, self.point, *self.pair, difference, self.p, known, adjusted <= LEVEL)


def _differ(pairs: Sequence[Pair], points: Sequence[Point], scores_at: _ScoresAt) -> Iterator[_Test]:
    for point, pair in itertools.product(points, pairs):
        yield _Test("differ", point, pair, *_paired(*(scores_at(name, point) for name in pair)))


def _interact(pairs: Sequence[Pair], points: Sequence[Point], scores_at: _ScoresAt) -> Iterator[_Test]:
    first, *others = points
    for point, pair in itertools.product(others, pairs):
        words = {
            field: value if value == first[field] else f"{value} - {first[field]}" for field, value in point.items()
        }
        sides = (_weighted(scores_at, name, [(point, 1.0), (first, -1.0)]) for name in pair)
        yield _Test("interact", words, pair, *_paired(*sides))


def _slope(names: Sequence[Sequence[str]], points: Sequence[Point], scores_at: _ScoresAt) -> Iterator[_Test]:
    if not names:
        return
    x = [math.log2(*point.values()) for point in points]
    mean = math.fsum(x) / len(x)
    spread = math.fsum((value - mean) ** 2 for value in x)
    weights = [(point, (value - mean) / spread) for point, value in zip(points, x, strict=True)]
    words = dict.fromkeys(points[0], "slope per doubling")
    for treated, *others in names:
        slopes = _weighted(scores_at, treated, weights)
        against = _weighted(scores_at, others[0], weights) if others else dict.fromkeys(slopes, 0.0)
        yield _Test("slope", words, (treated, others[0] if others else ""), *_paired(slopes, against))


def _same(pairs: Sequence[Pair], margin: float, points: Sequence[Point], scores_at: _ScoresAt) -> Iterator[PairedTest]:
    for point, pair in itertools.product(points, pairs):
        treated, control = _paired(*(scores_at(name, point) for name in pair))
        if treated:
            found = paired_equivalence(treated, control, margin, LEVEL)
            yield PairedTest("same", point, *pair, found.difference, found.p, None, found.established)


def scores_of(study: Study, name: ScoreName, records: Sequence[Record], variant: str, point: Point) -> Scores:
    """Return the score of each seed of a variant at a point of the grid."""
    found = [record for record in records if record.variant == variant and dict(record.point) == dict(point)]
    scores = {record.seed: record.score(name) for record in found if name != "sts" or record.has(study.evaluate)}
    return {seed: score for seed, score in scores.items() if score is not None}


def _weighted(scores_at: _ScoresAt, variant: str, weights: Sequence[tuple[Point, float]]) -> Scores:
    """Return the weighted sum of a variant's scores over points of the grid, for each seed that all of them have."""
    parts = [(weight, scores_at(variant, point)) for point, weight in weights]
    seeds = [seed for seed in parts[0][1] if all(seed in scores for _, scores in parts)]
    return {seed: math.fsum(weight * scores[seed] for weight, scores in parts) for seed in seeds}


def _paired(treated: Scores, control: Scores) -> tuple[list[float], list[float]]:
    """Return the scores of the seeds that both have, in the same order."""
    seeds = [seed for seed in treated if seed in control]
    return [treated[seed] for seed in seeds], [control[seed] for seed in seeds]


def comparison_tables(study: Study, found: Sequence[PairedTest]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield title, headings and cells of the table of differences and of that of equivalences, if they have rows."""
    if study.tests is None:
        return
    score, margin = study.tests.score_words(), f"{study.tests.margin:g}"
    different = [row for row in found if row.key != "same"]
    same = [row for row in found if row.key == "same"]
    names = [*study.grid, "comparison", "seeds"]
    if different:
        size = study.tests.family_size(len(study.points()))
        yield (
            f"Differences: {score}, paired by seed; t-tests with Holm's correction for {size} at {LEVEL:.0%}",
            [*names, "difference [95%]", "p", "p (Holm)", "established"],
            [[*_first_cells(row), _p(row.p), _p(row.adjusted_p), _yes(row.established)] for row in different],
        )
    if same:
        yield (
            f"Equivalence: {score}, paired by seed; two one-sided t-tests (TOST), each at {LEVEL:.0%}",
            [*names, "difference [90%]", "p", f"same within ±{margin}"],
            [[*_first_cells(row), _p(row.p), _yes(row.established)] for row in same],
        )


def _first_cells(row: PairedTest) -> list[str]:
    return [*map(str, row.point.values()), row.name, str(row.difference.n), row.difference.words(3)]


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def comparisons_csv(study: Study, found: Sequence[PairedTest]) -> str:
    """Return the comparisons as CSV, with unrounded figures, one row per test."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = ["seeds", "difference", "low", "high", "p", "adjusted_p", "established"]
    writer.writerow(["test", *study.grid, "treated", "control", *figures])
    for row in found:
        difference = row.difference
        values = [difference.n, difference.mean, difference.low, difference.high, row.p, row.adjusted_p]
        writer.writerow([row.key, *row.point.values(), row.treated, row.control, *values, _yes(row.established)])
    return text.getvalue()
