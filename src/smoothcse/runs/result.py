"""The result of a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.manifest import Manifest, manifest_file, read_manifest


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        folder: Run folder.
        start_score: Score of the untrained model, in the unit of the criterion.
        best_score: Score of the selected model; equal to ``start_score`` if no step was better.
        best_step: Step of the selected model; 0 if no step was better than the start.
        last_score: Score of the model after the last step.
        criterion: Name of the criterion, such as ``STS-B dev, Spearman x 100``.
    """

    folder: Path
    start_score: float
    best_score: float
    best_step: int
    last_score: float
    criterion: str

    @property
    def best(self) -> Path:
        """Folder of the selected model, for ``SentenceTransformer(result.best)``."""
        return self.folder / "best"

    @property
    def last(self) -> Path:
        """Folder of the model after the last step."""
        return self.folder / "last"

    def as_dict(self) -> dict[str, Any]:
        """Return all fields except the folder, for ``run.json``."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}

    def verdict(self) -> str:
        """Return one sentence that says whether training helped."""
        if self.best_step == 0:
            return (
                f"No step scored higher than the start ({self.start_score:.2f}; last step {self.last_score:.2f}): "
                "training did not help, and the selected model is the untrained one."
            )
        return (
            f"From {self.start_score:.2f} to {self.best_score:.2f} at step {self.best_step} "
            f"(last step {self.last_score:.2f})."
        )


def read_result(folder: str | Path) -> TrainResult:
    """Read the result of a finished run.

    Raises:
        SmoothCSEError: If the folder holds no finished run.
    """
    manifest = read_manifest(folder)
    if not manifest.finished:
        raise SmoothCSEError(f"The run in {folder} has not finished; continue it with --resume.")
    return result_of(folder, manifest)


def result_of(folder: str | Path, manifest: Manifest) -> TrainResult:
    """Return the result in the manifest of a finished run.

    Raises:
        SmoothCSEError: If the manifest has no result.
    """
    scores = manifest.result
    if scores is None:
        raise SmoothCSEError(f"{manifest_file(folder)} has no result, although the run has finished; train again.")
    return TrainResult(
        folder=Path(folder),
        start_score=scores.start_score,
        best_score=scores.best_score,
        best_step=scores.best_step,
        last_score=scores.last_score,
        criterion=scores.criterion,
    )
