"""Execution of a study: train the missing runs, and update tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from smoothcse._utils.atomic import explain_unwritable
from smoothcse._utils.folder_lock import lock_folder
from smoothcse._utils.progress import progress_bar
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.merge_records import merge_records
from smoothcse.experiments.planned_runs import Plan
from smoothcse.experiments.run_records import Record, recorded
from smoothcse.experiments.runner import RunFailed, Workers, missing_runs, run_missing
from smoothcse.experiments.study import Study
from smoothcse.experiments.subprocesses import Subprocesses
from smoothcse.experiments.summary import write_summary
from smoothcse.runs.disk import explain_failed_writes

_WHEN_LOCKED = "wait until that study ends, or give another --output"


def run_study(
    study: Study,
    output: Path,
    *,
    runs_folder: Path | None = None,
    only: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    workers: Workers | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Train the runs that ``output/runs.jsonl`` does not record, and update tables and plots.

    A finished run is recorded and never repeated; an interrupted run is resumed from its last checkpoint. A study can
    therefore be stopped at any time and started again, also on another machine. If the study includes the seven tasks,
    runs without these scores are scored, for which their run folders are needed.

    Args:
        study: Study from :func:`~smoothcse.experiments.study.read_study`.
        output: Folder of ``runs.jsonl``, ``runs.csv``, ``summary.md`` and the plots.
        runs_folder: Folder that holds the run folders, with the models; None for ``output/runs``.
        only: Variants to run now; None for all.
        seeds: Seeds to run now; None for all.
        workers: Workers that train and score; None for processes, one per visible GPU, or one without GPUs.
        console: Console for progress and tables; None for standard error.

    Returns:
        The records of this study's runs, in the order of the study.

    Raises:
        SmoothCSEError: If runs fail, after all others have ended, with a message that names their logs; or if a file
            cannot be written.
        Stopped: After SIGINT or SIGTERM, once the runs in progress have written checkpoints.
    """
    console = console or Console(stderr=True)
    plan = study.plan(runs_folder or output / "runs", only, seeds)
    _make(output, "--output")
    _make(plan.folder, "--runs")
    with explain_failed_writes(output, "start the study again"), lock_folder(output, remedy=_WHEN_LOCKED):
        failed = _run(study, plan, output, workers or Subprocesses(), console)
        records = recorded(plan.runs, output / "runs.jsonl")
        write_summary(study, records, output, console=console)
    if failed:
        raise SmoothCSEError(
            f"{len(failed)} of the study's runs failed; start it again to retry: {', '.join(failed)}."
        )
    return records


def merge_study(
    study: Study, output: Path, sources: Sequence[Path], *, console: Console | None = None
) -> list[Record]:
    """Add the records of a study's runs from elsewhere, and update tables and plots. Nothing is trained.

    Args:
        study: Study from :func:`~smoothcse.experiments.study.read_study`.
        output: Folder of the merged ``runs.jsonl``, ``runs.csv``, ``summary.md`` and the plots.
        sources: Files named ``runs.jsonl``, or folders that contain such files at any depth.
        console: Console for the tables; None for standard error.

    Returns:
        The records of this study's runs, in the order of the study.

    Raises:
        SmoothCSEError: If the records are not of the same study; see
            :func:`~smoothcse.experiments.merge_records.merge_records`.
    """
    console = console or Console(stderr=True)
    _make(output, "--output")
    with explain_failed_writes(output, "merge again"), lock_folder(output, remedy=_WHEN_LOCKED):
        console.print(str(merge_records(study, output, sources)), markup=False, highlight=False)
        records = recorded(study.runs(), output / "runs.jsonl")
        write_summary(study, records, output, console=console)
    return records


def _make(folder: Path, option: str) -> None:
    with explain_unwritable(folder, f"give another {option}"):
        folder.mkdir(parents=True, exist_ok=True)


def _run(study: Study, plan: Plan, output: Path, workers: Workers, console: Console) -> list[str]:
    """Carry out the due runs, and return the failed ones, each with its reason."""
    record_file, failed = output / "runs.jsonl", []
    due = len(plan.due or ())
    before = due - len(missing_runs(plan, recorded(plan.runs, record_file)))
    console.print(f"{study.about}\n{due} runs, {before} of them recorded before.", markup=False)
    with progress_bar(console, unit="runs") as bar:
        task = bar.add_task("study", total=due, completed=before)
        for run, ended in run_missing(plan, workers, replace="changed", record_file=record_file):
            if isinstance(ended, RunFailed):
                failed.append(f"{run.name} ({ended})")
            else:
                write_summary(study, recorded(plan.runs, record_file), output)
            bar.update(task, advance=1, status=run.name)
    return failed
