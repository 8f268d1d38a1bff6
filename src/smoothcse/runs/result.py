"""What a run came to, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.runs.folder import RunFolder


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        folder: of the run.
        start_score: of the untrained model, by the criterion that selects.
        best_score: of the selected model; equal to ``start_score`` if nothing beat the start.
        best_step: 0 if nothing beat the start.
        last_score: of the model after the last step.
        criterion: what the scores are.
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
        """Return the fields but the folder, for ``run.json``."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "folder"}

    def verdict(self) -> str:
        """Return in one plain sentence what the training did."""
        if self.best_step == 0:
            return (
                f"No step beat the start ({self.start_score:.2f}; last step {self.last_score:.2f}): "
                "training did not help, and the model handed back is the one it started from."
            )
        return (
            f"From {self.start_score:.2f} to {self.best_score:.2f} at step {self.best_step} "
            f"(last step {self.last_score:.2f})."
        )


def read_result(folder: str | Path) -> TrainResult:
    """Read the result of a finished run from its folder.

    Raises:
        SmoothCSEError: if the folder holds no finished run.
    """
    manifest = RunFolder(folder).read_manifest()
    if manifest.get("status") != "finished":
        raise SmoothCSEError(f"The run in {folder} has not finished; continue it with --resume.")
    return result_of(RunFolder(folder), manifest)


def result_of(folder: RunFolder, manifest: Mapping[str, Any]) -> TrainResult:
    """Return the result that the record of a finished run holds.

    Raises:
        SmoothCSEError: if it holds none.
    """
    try:
        return TypeAdapter(TrainResult).validate_python({**manifest["result"], "folder": folder.path})
    except (KeyError, TypeError, ValueError) as error:
        raise SmoothCSEError(f"{folder.manifest_file} holds no result of a run: {first_line(error)}.") from error
