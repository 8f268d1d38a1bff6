"""``adapt.json``: everything that an adaptation found, for its report and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.json_files import read_text
from smoothcse._utils.validation import first_problem
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.adapt.layout import RECORD
from smoothcse.experiments.adapt.trials import Trial
from smoothcse.experiments.adapt.verdict import Verdict


@dataclass(frozen=True)
class AdaptRecord:
    """The record of a finished adaptation.

    Attributes:
        request: Arguments.
        documents: Report on the documents.
        start_score: Criterion of selection of the start.
        trials: Trained candidates, in order.
        selected: Name of the run folder of the selected trial; None if nothing was trained.
        verdict: Comparison with the start; None if there are too few documents to compare.
        adapted: Whether ``model`` holds the adapted encoder; otherwise it holds the start.
        cosine_weight: Weight of the cosine similarity in the fused score, chosen for the model in ``model``.
        seconds: Duration.
        summary: Verdict in one sentence.
        environment: Versions and hardware.
    """

    request: dict[str, Any]
    documents: dict[str, Any]
    start_score: float | None
    trials: Sequence[Trial]
    selected: str | None
    verdict: Verdict | None
    adapted: bool
    cosine_weight: float
    seconds: float
    summary: str
    environment: dict[str, Any]


_ADAPTER = TypeAdapter(AdaptRecord)


def write_record(folder: Path, record: AdaptRecord) -> None:
    """Write the record of an adaptation atomically."""
    write_text_atomic(folder / RECORD, _ADAPTER.dump_json(record, indent=2).decode() + "\n")


def read_record(folder: Path) -> AdaptRecord:
    """Read the record of a finished adaptation.

    Raises:
        SmoothCSEError: If there is none, or it is damaged.
    """
    file = folder / RECORD
    if not file.is_file():
        raise SmoothCSEError(f"{folder} holds no finished adaptation; give the output folder of `smoothcse adapt`.")
    try:
        return _ADAPTER.validate_json(read_text(file, "the record of an adaptation"))
    except ValidationError as error:
        raise SmoothCSEError(
            f"{file} cannot be read as the record of an adaptation: {first_problem(error)}."
        ) from error
