"""The seven STS tasks as a study asks for them, and the figures that come of it.

In the study file::

    evaluate: {data: ../shared/data/sts, which: last, pairs: 400}

``pairs`` is for machines where the 26,000 sentences of the seven tasks are too many for each run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.results import AVERAGE
from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments.statistics import mean_sd

FIGURES = (*SEVEN_STS, AVERAGE)


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SevenTasks:
    """How the model of each run is scored.

    Attributes:
        data: folder in SentEval's layout, or ``"hub"``.
        which: the ``last`` model of a run, or its ``best``.
        pairs: drawn of each task, the same ones for each run; None for all, as papers do.
    """

    data: str
    which: Literal["last", "best"] = "last"
    pairs: Annotated[int, Field(ge=2)] | None = None

    def is_like(self, other: SevenTasks | None) -> bool:
        """Whether both give the same figures, wherever the data lies."""
        return other is not None and (self.which, self.pairs) == (other.which, other.pairs)

    def describe(self) -> str:
        """Return it in words for people."""
        words = f"STS: Spearman × 100, 'all' setting, of each run's {self.which} model"
        if self.pairs is None:
            return words
        return f"{words}, on a fixed sample of {self.pairs} pairs a task: not to be compared with other tables"


def read_seven_tasks(values: Any) -> SevenTasks | None:
    """Read the key ``evaluate`` of a study file; None where it is not there.

    Raises:
        SmoothCSEError: naming the key that is wrong.
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
    """Return the seven figures of the one model in a file of ``smoothcse evaluate``, unrounded, and their mean."""
    [groups] = json.loads(file.read_text(encoding="utf-8"))["details"].values()
    figures = {task: float(groups["sts"][task]["spearman"]) for task in SEVEN_STS}
    return {**figures, AVERAGE: mean_sd(list(figures.values()))[0]}
