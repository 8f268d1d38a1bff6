"""Statistical tests of a study, named in its file before its runs.

In a study file; all keys are optional::

    tests:
      score: last                       # sts (average of the seven tasks), last or best
      differ: [[gs, infonce]]           # by default each variant against the control
      same: [[share-0.4, ratio-1.67]]   # equivalence within the margin
      margin: 0.1
      interact: [[gs, infonce]]         # whether the difference changes between points of the grid
      slope: [[infonce], [gs, infonce]] # slope per doubling of the grid's field: against 0, and of two variants

Runs are paired by seed. All tests of ``differ``, ``interact`` and ``slope`` are one family;
:mod:`smoothcse.experiments.comparisons` carries them out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.experiments.run_records import ScoreName

if TYPE_CHECKING:
    from smoothcse.experiments.study import Study

Pair = tuple[str, str]
"""Treated variant, and the variant that it is compared with."""

SCORE_WORDS: dict[ScoreName, str] = {
    "sts": "average of the seven tasks",
    "last": "dev score after the last step",
    "best": "best dev score",
}


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class StudyTests:
    """Tests of a study.

    Attributes:
        score: Score that is compared: ``"sts"`` for the average of the seven tasks, ``"last"`` and ``"best"`` for the
            dev score after the last step and that of the best evaluation.
        differ: Pairs that are tested for a difference, at each point of the grid.
        same: Pairs that are tested for equivalence, at each point of the grid.
        margin: Differences up to this size count as the same, in the unit of the score.
        interact: Pairs whose difference at each further point of the grid is compared with that at the first.
        slope: Variants whose slope is compared with 0, and pairs whose slopes are compared. A slope is that of the
            least-squares line of a seed's scores over the binary logarithm of the grid's only field.
    """

    score: ScoreName
    differ: list[Pair]
    same: list[Pair] = Field(default_factory=list)
    margin: Annotated[float, Field(gt=0)] = 0.1
    interact: list[Pair] = Field(default_factory=list)
    slope: list[Annotated[list[str], Field(min_length=1, max_length=2)]] = Field(default_factory=list)

    def score_words(self) -> str:
        """Return the name of the score for headings."""
        return SCORE_WORDS[self.score]

    def family_size(self, points: int) -> int:
        """Return the number of tests of the family, given the number of points of the grid."""
        return points * len(self.differ) + (points - 1) * len(self.interact) + len(self.slope)


def read_tests(values: Any, study: Study) -> StudyTests | None:
    """Read the key ``tests`` of a study file; None if it is absent.

    Args:
        values: Value of the key.
        study: The study without its tests.

    Raises:
        SmoothCSEError: If a value is wrong, or the study has no runs for a test; the message says why.
    """
    if values is None:
        return None
    if isinstance(values, dict):
        values = {"score": "sts" if study.evaluate else "last", "differ": _against_control(study), **values}
    try:
        tests = TypeAdapter(StudyTests).validate_python(values)
    except ValidationError as error:
        raise SmoothCSEError(
            f"tests: {first_problem(error)}; write e.g. tests: {{differ: [[a, b]], same: [[a, c]], margin: 0.1}}."
        ) from error
    for problem in _problems(tests, study):
        raise SmoothCSEError(f"tests: {problem}")
    return tests


def _against_control(study: Study) -> list[Pair]:
    return [(name, study.control) for name in study.variants if study.control is not None and name != study.control]


def _problems(tests: StudyTests, study: Study) -> Iterator[str]:
    named: dict[str, Sequence[Sequence[str]]] = {
        "differ": tests.differ,
        "same": tests.same,
        "interact": tests.interact,
        "slope": tests.slope,
    }
    for key, pairs in named.items():
        yield from (f"{key}: {problem}" for problem in _pair_problems(pairs, list(study.variants)))
    if not any(named.values()):
        yield "there is nothing to test; name pairs in differ or same, or give a control and other variants."
    if tests.score == "sts" and not study.evaluate:
        yield "the score sts needs the seven tasks; add e.g. evaluate: {data: hub}, or choose last or best."
    if tests.interact and len(study.points()) < 2:
        yield "interact compares points of a grid, but the study has a single one; add a grid, or leave interact out."
    if tests.slope and not _has_logarithms(study):
        yield "slope needs a grid of one field with two or more values above 0; change the grid, or leave slope out."
    if len(study.seeds) < 2:
        yield f"runs are paired by seed, and one seed has no spread; give at least two seeds, not {study.seeds}."


def _has_logarithms(study: Study) -> bool:
    """Return whether a line can be drawn over the logarithm of the grid's only field."""
    values = [value for point in study.points() for value in point.values()]
    return len(study.grid) == 1 and len(values) > 1 and all(type(v) in (int, float) and v > 0 for v in values)


def _pair_problems(pairs: Sequence[Sequence[str]], variants: Sequence[str]) -> Iterator[str]:
    for name in itertools.chain(*pairs):
        if name not in variants:
            yield f"there is no variant {name!r}.{did_you_mean(name, variants)}"
    for number, pair in enumerate(pairs):
        if len(set(pair)) < len(pair):
            yield f"{pair[0]} is compared with itself; name two variants."
        if set(pair) in map(set, pairs[:number]):
            yield f"[{', '.join(pair)}] is named twice, which would count as two tests; remove one."
