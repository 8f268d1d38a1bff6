"""Reading of a run, finished or not, for a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcse.runs.config import TrainConfig
from smoothcse.runs.curves import Points, finite_points
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, read_manifest
from smoothcse.runs.result import TrainResult, result_of
from smoothcse.training.selection import DEV_SCORE


@dataclass(frozen=True)
class RecordedRun:
    """A run as its folder records it.

    Attributes:
        name: Short name.
        folder: Run folder.
        manifest: Content of ``run.json``.
        metrics: Entries of ``metrics.jsonl``.
        config: Configuration; unknown fields are left out, missing ones have their defaults.
        result: Scores, for an unfinished run those up to now; None before the first evaluation.
    """

    name: str
    folder: RunFolder
    manifest: Manifest
    metrics: list[dict[str, Any]]
    config: TrainConfig
    result: TrainResult | None

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last step."""
        return self.manifest.finished

    @property
    def last_step(self) -> int:
        """Last logged step."""
        return max((int(entry["step"]) for entry in self.metrics), default=0)

    def curve(self, key: str) -> Points:
        """Return ``(step, value)`` of every entry with a finite value of this metric."""
        return finite_points(self.metrics, key)

    def path(self) -> list[tuple[int, float, float]]:
        """Return ``(step, uniformity, alignment)`` of each evaluation; empty if the criterion is not label-free."""
        align = dict(self.curve("eval_alignment"))
        return [(int(step), value, align[step]) for step, value in self.curve("eval_uniformity") if step in align]


def read_run(path: str | Path, name: str | None = None) -> RecordedRun:
    """Read a run folder, whether the run has finished or not.

    Args:
        path: Run folder.
        name: Name to show; None for the name of the folder.

    Raises:
        SmoothCSEError: If it is not a run folder, or its files are damaged.
    """
    folder = RunFolder(path)
    manifest = read_manifest(path)
    metrics = folder.metrics()
    return RecordedRun(
        name=name or folder.path.resolve().name,
        folder=folder,
        manifest=manifest,
        metrics=metrics,
        config=manifest.train_config(where=folder.manifest_file),
        result=_result(folder, manifest, metrics),
    )


def _result(folder: RunFolder, manifest: Manifest, metrics: Sequence[dict[str, Any]]) -> TrainResult | None:
    if manifest.finished:
        return result_of(folder.path, manifest)
    scored = finite_points(metrics, f"eval_{DEV_SCORE}")
    if not scored:
        return None
    best_step, best_score = max(scored, key=lambda point: point[1])  # the first of equal scores, as in training
    return TrainResult(
        folder=folder.path,
        start_score=scored[0][1],
        best_score=best_score,
        best_step=int(best_step),
        last_score=scored[-1][1],
        criterion="dev score",
    )
