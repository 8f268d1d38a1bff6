"""Scoring on the seven STS tasks in studies and reproductions.

In a study file::

    evaluate: {data: ../shared/data/sts, which: last, pairs: 400}

``pairs`` is for slow machines, on which the 26,000 sentences of the seven tasks take too long.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import sts_folder
from smoothcse.evaluation.results import AVERAGE
from smoothcse.evaluation.sts_tasks import SEVEN_STS, load_tasks
from smoothcse.experiments.statistics import mean_sd

FIGURES = (*SEVEN_STS, AVERAGE)


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SevenTasks:
    """Settings of the scoring of each run.

    Attributes:
        data: Folder in SentEval's layout, or ``"hub"``.
        which: The ``last`` model of a run, or its ``best``.
        pairs: Pairs sampled from each task, the same for all runs; None for all pairs, as in papers.
    """

    data: str
    which: Literal["last", "best"] = "last"
    pairs: Annotated[int, Field(ge=2)] | None = None

    def is_like(self, other: SevenTasks | None) -> bool:
        """Return whether both give the same scores, regardless of the data's location."""
        return other is not None and (self.which, self.pairs) == (other.which, other.pairs)

    def checked_data(self) -> Path:
        """Return the folder of the data, downloaded if necessary, after reading all of it once.

        Raises:
            SmoothCSEError: If files are missing or damaged.
        """
        folder = sts_folder(self.data)
        load_tasks(folder)
        return folder

    def is_scored(self, file: Path, data: Path) -> bool:
        """Return whether a results file of ``smoothcse evaluate`` has these scores for this data."""
        if not file.is_file():
            return False
        results = json.loads(file.read_text(encoding="utf-8"))
        settings = results["settings"]
        found = (list(results["details"]), settings.get("data"), settings.get("pairs"))
        return found == ([self.which], str(data), self.pairs)

    def describe(self) -> str:
        """Return the heading of a table of these scores."""
        words = f"STS: Spearman × 100, 'all' setting, of each run's {self.which} model"
        if self.pairs is None:
            return words
        return f"{words}, on a fixed sample of {self.pairs} pairs a task: not to be compared with other tables"


def read_seven_tasks(values: Any) -> SevenTasks | None:
    """Read the key ``evaluate`` of a study file; None if it is absent.

    Raises:
        SmoothCSEError: If a key is wrong; the message names it.
    """
    if values is None:
        return None
    try:
        return TypeAdapter(SevenTasks).validate_python(values)
    except ValidationError as error:
        raise SmoothCSEError(
            f"evaluate: {first_problem(error)}; write e.g. evaluate: {{data: hub, which: last}}."
        ) from error


def read_figures(file: Path) -> dict[str, float]:
    """Return the seven unrounded figures in a results file of one model, and their mean."""
    scores = _scores(file)
    figures = {task: float(scores[task]["spearman"]) for task in SEVEN_STS}
    return {**figures, AVERAGE: mean_sd(list(figures.values()))[0]}


def read_diagnoses(file: Path) -> list[str]:
    """Return the distinct diagnoses in a results file of one model: problems with its scores."""
    return sorted({score["diagnosis"] for score in _scores(file).values() if score["diagnosis"]})


def _scores(file: Path) -> dict[str, dict[str, Any]]:
    [groups] = json.loads(file.read_text(encoding="utf-8"))["details"].values()
    scores: dict[str, dict[str, Any]] = groups["sts"]
    return scores
