"""A plan: the named runs of an experiment and their folders.

Studies, reproductions, ``--seeds`` and the demo create plans; :mod:`smoothcse.experiments.runner` carries them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.runs.config import TrainConfig, changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        name: Run folder, relative to the plan's folder; see :func:`run_name`.
        variant: Name of the variant; empty if the runs of the plan differ only in their seeds.
        config: Complete configuration, except for the output folder.
        point: Point of the study's grid, field to value; empty without a grid.
    """

    name: str
    variant: str
    config: TrainConfig
    point: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.config.seed


def run_name(variant: str, point: Mapping[str, Any], seed: int) -> str:
    """Return the name of a run in its plan, e.g. ``batch_size=64/gs/seed-0``."""
    parts = [*(f"{name}={value}" for name, value in point.items()), variant, f"seed-{seed}"]
    return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class Plan:
    """Runs to train and to score.

    Attributes:
        runs: All runs, in the order in which they are trained.
        folder: Folder that holds the run folders.
        evaluate: Settings of the scoring on the seven STS tasks; None to skip it.
        due: Runs to carry out now; None for all of them.
    """

    runs: Sequence[PlannedRun]
    folder: Path
    evaluate: SevenTasks | None = None
    due: Sequence[PlannedRun] | None = None

    def folder_of(self, run: PlannedRun) -> RunFolder:
        """Return the folder of a run, whether it exists or not."""
        return RunFolder(self.folder / run.name)

    def scores_file(self, run: PlannedRun) -> Path:
        """Return the file of a run's scores on the seven tasks."""
        return self.folder_of(run).path / "sts.json"

    def config_of(self, run: PlannedRun) -> TrainConfig:
        """Return the configuration of a run with its output folder."""
        return run.config.replace(output=str(self.folder_of(run).path))

    def is_started(self, run: PlannedRun) -> bool:
        """Return whether the run's folder holds a run with the same configuration, finished or not."""
        return self._changes(run) == []

    def is_finished(self, run: PlannedRun) -> bool:
        """Return whether the run's folder holds a finished run with the same configuration."""
        return self.is_started(run) and self.folder_of(run).finished

    def require_new(self, remedy: str) -> None:
        """Check that none of the run folders holds a run.

        Args:
            remedy: Advice to the user. The end of a sentence, without a full stop.

        Raises:
            SmoothCSEError: If there are such runs; the message gives their number.
        """
        there = sum(self.folder_of(run).manifest_file.is_file() for run in self.runs)
        if there:
            raise SmoothCSEError(f"{self.folder} holds {there} of these runs; {remedy}.")

    def require_same(self) -> None:
        """Check that no run folder holds a run with another configuration.

        Raises:
            SmoothCSEError: If one does; the message names the folder and the fields that differ.
        """
        for run in self.runs:
            if changed := self._changes(run):
                raise SmoothCSEError(
                    f"The run in {self.folder_of(run).path} was started with another configuration "
                    f"({', '.join(changed)} differ); use the same configuration, or give another --output."
                )

    def _changes(self, run: PlannedRun) -> list[str] | None:
        """Return the fields in which the run in the folder differs from this one; None if there is no run."""
        folder = self.folder_of(run)
        if not folder.manifest_file.is_file():
            return None
        return changed_fields(read_manifest(folder.path).config, run.config.as_dict())
