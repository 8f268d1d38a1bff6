"""The runner: trains and scores the missing runs of a plan, and returns a record of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.planned_runs import Plan, PlannedRun
from smoothcse.experiments.run_records import (
    Record,
    append_record,
    find_record,
    record_of,
    recorded,
    require_one_text,
    with_scores,
)
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.runs.config import TrainConfig

Replace = Literal["none", "changed", "all"]
"""Existing runs to replace: none, those with another configuration, or all."""


class RunFailed(SmoothCSEError):
    """Failure of one run that does not stop the others; the message gives the reason or names the log."""


class Worker(Protocol):
    """Training and scoring of one run at a time."""

    def train(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Train a run in the output folder of its configuration."""

    def score(self, model: Path, wanted: SevenTasks, data: Path, file: Path) -> None:
        """Score a model on the seven tasks and write ``file``."""


Work = Callable[[PlannedRun, Worker], None]


class Workers(Protocol):
    """Execution of the work on each run, in this process or in several others."""

    def each(self, runs: Sequence[PlannedRun], work: Work) -> Iterator[tuple[PlannedRun, RunFailed | None]]:
        """Call ``work`` for each run, and yield the run at its end, with its failure if it failed."""


def run_plan(
    plan: Plan, workers: Workers, *, replace: Replace = "none", keep_checkpoints: bool = False
) -> list[Record]:
    """Train and score the missing runs of a plan.

    Args:
        plan: Runs to carry out.
        workers: Workers that train and score.
        replace: Existing runs to replace. Other finished runs are kept, and other unfinished runs are resumed.
        keep_checkpoints: Whether to keep the checkpoints of finished runs.

    Returns:
        The records of the runs, in the order in which they ended.

    Raises:
        SmoothCSEError: If a run fails, a folder holds a run with another configuration that must not be replaced, the
            runs were trained on different texts, or the data of the seven tasks is incomplete. Finished runs are kept.
    """
    records = []
    for _, ended in run_missing(plan, workers, replace=replace, keep_checkpoints=keep_checkpoints):
        if isinstance(ended, RunFailed):
            raise ended
        records.append(ended)
    return records


def run_missing(
    plan: Plan,
    workers: Workers,
    *,
    replace: Replace = "none",
    keep_checkpoints: bool = False,
    record_file: Path | None = None,
) -> Iterator[tuple[PlannedRun, Record | RunFailed]]:
    """Train and score the missing runs of a plan, and yield each run when it ends.

    Args:
        plan: Runs to carry out.
        workers: Workers that train and score.
        replace: Existing runs to replace; see :func:`run_plan`.
        keep_checkpoints: Whether to keep the checkpoints of finished runs.
        record_file: Records of finished runs. A recorded run is never repeated, even if its folder is gone, and each
            run is recorded when it ends. None to use the run folders only.

    Yields:
        Each missing run, with its record or its failure.

    Raises:
        SmoothCSEError: If the plan cannot be carried out; see :func:`run_plan`. Failed runs are yielded.
    """
    if replace == "none":
        plan.require_same()
    known = recorded(plan.runs, record_file)
    missing = missing_runs(plan, known)
    data = plan.evaluate.checked_data() if plan.evaluate and missing else Path()
    step = _Step(plan, replace, keep_checkpoints, known, data)
    records = list(known)
    for run, failure in workers.each(missing, step.carry_out):
        if failure:
            yield run, failure
            continue
        record = step.record(run)
        records.append(record)
        require_one_text(records)
        if record_file:
            append_record(record_file, record)
        yield run, record


def missing_runs(plan: Plan, known: Sequence[Record]) -> list[PlannedRun]:
    """Return the due runs without a record, or without scores that the plan requires."""
    due = plan.runs if plan.due is None else plan.due
    return [run for run in due if not ((record := find_record(run, known)) and record.has(plan.evaluate))]


@dataclass(frozen=True)
class _Step:
    """Work on each missing run.

    Attributes:
        plan: Plan of the runs.
        replace: Existing runs to replace; see :func:`run_plan`.
        keep_checkpoints: Whether to keep the checkpoints of finished runs.
        known: Records of runs that need no training.
        data: Checked data of the seven tasks; unused if the plan does not include them.
    """

    plan: Plan
    replace: Replace
    keep_checkpoints: bool
    known: Sequence[Record]
    data: Path

    def carry_out(self, run: PlannedRun, worker: Worker) -> None:
        """Train and score a run, as far as necessary."""
        if find_record(run, self.known) is None:
            self._train(run, worker)
        if self.plan.evaluate:
            self._score(run, worker, self.plan.evaluate)

    def record(self, run: PlannedRun) -> Record:
        """Return the record of a finished run."""
        record = find_record(run, self.known) or record_of(run, self.plan.folder_of(run))
        if self.plan.evaluate is None:
            return record
        return with_scores(record, self.plan.evaluate, self.plan.scores_file(run))

    def _train(self, run: PlannedRun, worker: Worker) -> None:
        keep = self.replace != "all" and self.plan.is_started(run)
        if not (keep and self.plan.is_finished(run)):
            worker.train(self.plan.config_of(run), resume=keep, overwrite=self.replace != "none" and not keep)
        if not self.keep_checkpoints:  # three times the size of the model, and no longer needed to resume
            shutil.rmtree(self.plan.folder_of(run).checkpoints, ignore_errors=True)

    def _score(self, run: PlannedRun, worker: Worker, wanted: SevenTasks) -> None:
        folder, file = self.plan.folder_of(run), self.plan.scores_file(run)
        if not self.plan.is_finished(run):
            raise RunFailed(
                f"{folder.path} does not hold this run any more, so its model cannot be scored; restore the folder, "
                "or delete the run's line in runs.jsonl to train it again"
            )
        if not wanted.is_scored(file, self.data):
            worker.score(folder.path / wanted.which, wanted, self.data, file)
