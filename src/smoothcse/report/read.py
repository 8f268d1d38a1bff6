"""A run as a report sees it: read from its folder, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.runs.config import TrainConfig, recorded_config
from smoothcse.runs.curves import Points, finite_points
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.result import TrainResult, result_of
from smoothcse.training.selection import DEV_SCORE


@dataclass(frozen=True)
class RecordedRun:
    """What a run has written.

    Attributes:
        name: short, for people.
        folder: of the run.
        manifest: the content of ``run.json``.
        metrics: the entries of ``metrics.jsonl``.
        config: of the run; fields that this version does not know are left out, new ones have their defaults.
        result: scores, those so far of an unfinished run; None before its first evaluation.
    """

    name: str
    folder: RunFolder
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    config: TrainConfig
    result: TrainResult | None

    @property
    def finished(self) -> bool:
        """Whether it has reached its last step."""
        return bool(self.manifest.get("status") == "finished")

    @property
    def last_step(self) -> int:
        """The last step that was logged."""
        return max((int(entry["step"]) for entry in self.metrics), default=0)

    def curve(self, key: str) -> Points:
        """Return ``(step, value)`` of every entry that has this metric as a finite number."""
        return finite_points(self.metrics, key)

    def path(self) -> list[tuple[int, float, float]]:
        """Return ``(step, uniformity, alignment)`` of each evaluation; empty where the criterion was another."""
        align = dict(self.curve("eval_alignment"))
        return [(int(step), value, align[step]) for step, value in self.curve("eval_uniformity") if step in align]


def read_run(path: str | Path, name: str | None = None) -> RecordedRun:
    """Read a run folder, whether the run has finished or not.

    Args:
        path: of the folder.
        name: to show; None for the folder's own.

    Raises:
        SmoothCSEError: if it is no run folder, or its files are damaged.
    """
    folder = RunFolder(path)
    if not folder.manifest_file.is_file():
        raise SmoothCSEError(f"{path} is no run folder: it holds no run.json; give a folder that a training wrote.")
    manifest = folder.read_manifest()
    if "config" not in manifest:
        raise SmoothCSEError(f"{folder.manifest_file} holds no configuration of a run; give another folder.")
    metrics = folder.metrics()
    return RecordedRun(
        name=name or folder.path.resolve().name,
        folder=folder,
        manifest=manifest,
        metrics=metrics,
        config=recorded_config(manifest["config"], where=str(folder.manifest_file)),
        result=_result(folder, manifest, metrics),
    )


def _result(folder: RunFolder, manifest: dict[str, Any], metrics: Sequence[dict[str, Any]]) -> TrainResult | None:
    if manifest.get("status") == "finished":
        return result_of(folder, manifest)
    scored = finite_points(metrics, f"eval_{DEV_SCORE}")
    if not scored:
        return None
    best_step, best_score = max(scored, key=lambda point: point[1])  # of equal ones the first, as in selection
    return TrainResult(
        folder=folder.path,
        start_score=scored[0][1],
        best_score=best_score,
        best_step=int(best_step),
        last_score=scored[-1][1],
        criterion="dev score",
    )
